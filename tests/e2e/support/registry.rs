//! A registry of schemas, as far as a test needs one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::support::Authority;

/// Answers by path: status and body.
type Answers = HashMap<String, (u16, String)>;

/// A registry that listens until it is dropped. It keeps the heads of all requests.
pub(crate) struct Registry {
    scheme: &'static str,
    address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// A port that the kernel gives to nobody else while this is kept. A server that sets `SO_REUSEADDR` can listen on
/// it.
pub(crate) struct FreePort(TcpSocket);

impl FreePort {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("it may share its port");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        Self(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    pub(crate) fn number(&self) -> u16 {
        self.address().port()
    }
}

impl Registry {
    pub(crate) async fn new() -> Self {
        Self::at(0).await
    }

    pub(crate) async fn at(port: u16) -> Self {
        Self::listen(port, None).await
    }

    /// One for `localhost` that speaks TLS.
    pub(crate) async fn with_tls(authority: &Authority) -> Self {
        Self::listen(0, Some(acceptor(authority, false))).await
    }

    /// As [`Self::with_tls`], with those only who have a certificate of the same authority.
    pub(crate) async fn with_mutual_tls(authority: &Authority) -> Self {
        Self::listen(0, Some(acceptor(authority, true))).await
    }

    async fn listen(port: u16, tls: Option<TlsAcceptor>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let address = listener.local_addr().expect("an address");
        let answers = Arc::<Mutex<Answers>>::default();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let task = tokio::spawn({
            let answers = Arc::clone(&answers);
            let requests = Arc::clone(&requests);
            async move {
                while let Ok((io, _)) = listener.accept().await {
                    let (answers, requests) = (Arc::clone(&answers), Arc::clone(&requests));
                    let Some(tls) = tls.clone() else {
                        tokio::spawn(answer(io, answers, requests));
                        continue;
                    };
                    tokio::spawn(async move {
                        if let Ok(io) = tls.accept(io).await {
                            answer(io, answers, requests).await;
                        }
                    });
                }
            }
        });
        Self { scheme, address, answers, requests, task }
    }

    pub(crate) fn url(&self) -> String {
        self.url_of("")
    }

    /// Its URL, with what stands before the host.
    pub(crate) fn url_of(&self, user: &str) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{user}{host}:{}", self.scheme, self.address.port())
    }

    /// What it answers from now on at a path. Elsewhere it has no schema.
    pub(crate) fn answer(&self, path: &str, status: u16, body: impl Into<String>) {
        self.answers.lock().expect("no panic").insert(path.to_owned(), (status, body.into()));
    }

    /// A schema of an id.
    pub(crate) fn schema(&self, id: u32, text: &str) {
        let body = serde_json::json!({"schema": text}).to_string();
        self.answer(&format!("/schemas/ids/{id}"), 200, body);
    }

    /// The latest version of a subject.
    pub(crate) fn subject(&self, subject: &str, id: u32, text: &str) {
        let body = serde_json::json!({"subject": subject, "version": 1, "id": id, "schema": text});
        self.answer(&format!("/subjects/{subject}/versions/latest"), 200, body.to_string());
        self.schema(id, text);
    }

    /// The heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acceptor(authority: &Authority, is_mutual: bool) -> TlsAcceptor {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = if is_mutual {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone()).expect("a root");
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        builder.with_client_cert_verifier(clients.build().expect("a verifier"))
    } else {
        builder.with_no_client_auth()
    };
    let identity = authority.issue(&["localhost"]);
    let chain = vec![identity.certificate.clone()];
    let config = builder.with_single_cert(chain, identity.key()).expect("an identity");
    TlsAcceptor::from(Arc::new(config))
}

async fn answer(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    answers: Arc<Mutex<Answers>>,
    requests: Arc<Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match io.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        value.parse().ok().filter(|_: &usize| name.eq_ignore_ascii_case("content-length"))
    });
    if io.read_exact(&mut vec![0; length.unwrap_or(0)]).await.is_err() {
        return;
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    let found = answers.lock().expect("no panic").get(path).cloned();
    requests.lock().expect("no panic").push(head);
    let missing = || (404, r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned());
    let (status, body) = found.unwrap_or_else(missing);
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    // The client may be gone.
    let _ = io.write_all(answer.as_bytes()).await;
}
