//! A server of event streams above tailwater, answered by the test, and tailwater in front of it.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, crypto::aws_lc_rs};

use crate::support::{Server, Version, soon};

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Write = Result<Frame<Bytes>, io::Error>;

/// A server above, on a port of its own.
pub(crate) struct Above {
    address: SocketAddr,
    version: Version,
    certificate: Option<String>,
    requests: mpsc::UnboundedReceiver<Asked>,
}

impl Above {
    /// One that speaks this version of HTTP only, without TLS.
    pub(crate) async fn start(version: Version) -> Self {
        Self::listen(version, None).await
    }

    /// One with a certificate for `localhost` that it has signed itself.
    pub(crate) async fn with_tls(version: Version) -> Self {
        let names = vec!["localhost".to_owned()];
        let made = generate_simple_self_signed(names).expect("a certificate");
        Self::listen(version, Some(made)).await
    }

    async fn listen(version: Version, made: Option<CertifiedKey<rcgen::KeyPair>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (asked, requests) = mpsc::unbounded_channel();
        let acceptor = made.as_ref().map(|made| acceptor(made, version));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let asked = asked.clone();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(socket, version, asked).await,
                        // A client that does not trust us goes.
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(socket).await {
                                serve(stream, version, asked).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, version, certificate: made.map(|made| made.cert.pem()), requests }
    }

    pub(crate) fn certificate(&self) -> &str {
        self.certificate.as_deref().expect("it has one")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next request, which waits for its answer.
    pub(crate) async fn asked(&mut self) -> Asked {
        soon("a request to the server above", self.requests.recv()).await.expect("it listens")
    }

    /// tailwater in front of it, without a guard.
    pub(crate) fn proxy(&self) -> Proxy {
        Proxy::to(self.address).over(self.version)
    }
}

fn acceptor(made: &CertifiedKey<rcgen::KeyPair>, version: Version) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)
        })
        .expect("a certificate and its key");
    config.alpn_protocols = match version {
        Version::Http1 => vec![b"http/1.1".to_vec()],
        Version::Http2 => vec![b"h2".to_vec()],
    };
    TlsAcceptor::from(Arc::new(config))
}

async fn serve<Io>(io: Io, version: Version, asked: mpsc::UnboundedSender<Asked>)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (answer, answered) = oneshot::channel();
        let known = asked.send(Asked { head: request.into_parts().0, answer });
        async move {
            known.expect("the test goes on");
            let gone =
                |_| Response::new(Full::default().map_err(|error| match error {}).boxed_unsync());
            Ok::<_, Infallible>(answered.await.unwrap_or_else(gone))
        }
    });
    let io = TokioIo::new(io);
    // How it ends is the test's to say.
    let _ = match version {
        Version::Http1 => http1::Builder::new().serve_connection(io, service).await,
        Version::Http2 => {
            http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
        }
    };
}

/// A request that waits for its answer.
pub(crate) struct Asked {
    pub(crate) head: Parts,
    answer: oneshot::Sender<Response<Body>>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().expect("a text"))
    }

    /// Answers with this status, these headers and a text.
    pub(crate) fn answer(self, status: u16, headers: &[(&str, &str)]) {
        let body = Full::from("<h1>not what was asked for</h1>");
        let mut response = Response::new(body.map_err(|error| match error {}).boxed_unsync());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().expect("a name");
            response.headers_mut().insert(name, value.parse().expect("a value"));
        }
        assert!(self.answer.send(response).is_ok(), "who asked is gone");
    }

    /// Answers with an event stream.
    pub(crate) fn stream(self) -> Sending {
        let (write, mut written) = mpsc::channel(1);
        let body = StreamBody::new(futures_util::stream::poll_fn(move |cx| written.poll_recv(cx)));
        let mut response = Response::new(UnsyncBoxBody::new(body));
        let content_type = "text/event-stream; charset=utf-8".parse().expect("a value");
        response.headers_mut().insert("content-type", content_type);
        assert!(self.answer.send(response).is_ok(), "who asked is gone");
        Sending(write)
    }
}

/// An event stream of the server above. Dropping it ends it cleanly.
pub(crate) struct Sending(mpsc::Sender<Write>);

impl Sending {
    pub(crate) async fn write(&self, text: &str) {
        let data = Frame::data(Bytes::copy_from_slice(text.as_bytes()));
        soon("the stream above is read", self.0.send(Ok(data))).await.expect("it is open");
    }

    /// Breaks off, without an end of the body.
    pub(crate) async fn cut(self) {
        let broken = Err(io::ErrorKind::ConnectionReset.into());
        soon("the stream above is read", self.0.send(broken)).await.expect("it is open");
    }

    /// Waits until its reader has closed it.
    pub(crate) async fn left(&self) {
        soon("the connection above is closed", self.0.closed()).await;
    }
}

const CONFIG: &str = r#"
name: proxy
%VAULTS%
%GUARDS%
bindings:
  tcp_in: { type: tcp, kind: server, options: { host: 127.0.0.1, port: 0 }, exit: http_in }
  http_in:
    type: http
    kind: server
    options: { access-control: { policy: cross-origin }, %AUTHORIZATION% }
    exit: sse_in
  sse_in:
    type: sse
    kind: server
    routes:
      - { when: [{ path: /open }], exit: upstream }
      - { exit: upstream%GUARDED% }
  upstream: { type: sse, kind: client, exit: http_out }
  http_out:
    type: http
    kind: client
    options: { versions: [%VERSION%], %HANDED% }
    exit: %WAY%
  %TLS%
  tcp_upstream: { type: tcp, kind: client, options: { host: %HOST%, port: %PORT% } }
telemetry: { exporters: { logs: { type: stdout } } }
"#;

/// tailwater with event streams of a server above: the shape of Zilla's example `sse.proxy.jwt`.
pub(crate) struct Proxy {
    above: SocketAddr,
    version: Version,
    guards: String,
    authorization: String,
    handed: String,
    tls: Option<(Option<String>, String)>,
}

impl Proxy {
    pub(crate) fn to(above: SocketAddr) -> Self {
        Self {
            above,
            version: Version::Http1,
            guards: String::new(),
            authorization: String::new(),
            handed: String::new(),
            tls: None,
        }
    }

    fn over(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// A guard for all paths but `/open`, and where its credentials are.
    pub(crate) fn guard(self, guards: &str, credentials: &str) -> Self {
        let authorization = format!("authorization: {{ who: {{ credentials: {credentials} }} }}");
        Self { guards: guards.to_owned(), authorization, ..self }
    }

    /// Options of the `http` client.
    pub(crate) fn http_client(self, options: &str) -> Self {
        Self { handed: options.to_owned(), ..self }
    }

    /// Options of a `tls` client, which finds this certificate under the alias `above`.
    pub(crate) fn tls(self, trusted: Option<&str>, options: &str) -> Self {
        Self { tls: Some((trusted.map(ToOwned::to_owned), options.to_owned())), ..self }
    }

    /// Starts it, and waits until it listens.
    pub(crate) async fn run(self) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let config = self.config(folder.path());
        Server::of_text(folder, &config, &[]).await
    }

    /// Its configuration, whose files are in this folder.
    pub(crate) fn config(&self, folder: &Path) -> String {
        let mut vaults = String::new();
        let mut tls = String::new();
        let mut way = "tcp_upstream";
        let mut host = self.above.ip().to_string();
        if let Some((trusted, options)) = &self.tls {
            (way, host) = ("tls_out", "localhost".to_owned());
            let mut vault = "";
            if let Some(trusted) = trusted {
                fs::write(folder.join("above.pem"), trusted).expect("the certificate is written");
                let store = "{ trust: { store: above.pem, type: pem } }";
                vaults = format!("vaults: {{ known: {{ type: filesystem, options: {store} }} }}");
                vault = "vault: known, ";
            }
            tls = format!(
                "tls_out: {{ type: tls, kind: client, {vault}options: {options}, exit: tcp_upstream }}"
            );
        }
        let guarded = match self.guards.is_empty() {
            true => "",
            false => ", guarded: { who: [\"proxy:stream\"] }",
        };
        let version = match self.version {
            Version::Http1 => "http/1.1",
            Version::Http2 => "h2",
        };
        CONFIG
            .replace("%VAULTS%", &vaults)
            .replace("%GUARDS%", &self.guards)
            .replace("%AUTHORIZATION%", &self.authorization)
            .replace("%GUARDED%", guarded)
            .replace("%VERSION%", version)
            .replace("%HANDED%", &self.handed)
            .replace("%WAY%", way)
            .replace("%TLS%", &tls)
            .replace("%HOST%", &host)
            .replace("%PORT%", &self.above.port().to_string())
    }
}
