//! A server and a client over a pipe, and their certificates.

use std::future::{Future, ready};
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType,
    SignatureAlgorithm,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tailwater_tls::{
    BoxError, ClientConfig, ClientOptions, ConnectLayer, Credentials, Error, Handshake, Identity,
    Roots, ServerConfig, ServerOptions, TlsLayer, TlsStream,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tower::{Layer as _, ServiceExt as _, service_fn};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        self.0.der()
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::empty().with_certificates([self.certificate()]).expect("a root")
    }

    /// An identity with these names, the first of which is its alias.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_with(names, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
    ) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let alias = names.first().expect("a name").clone();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, alias.clone());
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let chain = vec![certificate.der().clone(), self.certificate().clone()];
        Identity::new(alias, chain, PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .expect("an identity")
    }
}

/// A self-signed identity as of `openssl req -x509`: it is marked as an authority.
pub(crate) fn self_signed(name: &str) -> Identity {
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Identity::new(name, vec![certificate.der().clone()], key).expect("an identity")
}

/// Credentials for `localhost`, and the roots for them.
pub(crate) fn localhost() -> (Credentials, Roots) {
    let authority = Authority::new("Test authority");
    (Credentials::new().identity(authority.issue(&["localhost"])), authority.roots())
}

pub(crate) fn server(credentials: Credentials, options: ServerOptions) -> ServerConfig {
    ServerConfig::new(credentials, options).expect("a server")
}

pub(crate) fn client(credentials: Credentials, options: ClientOptions) -> ClientConfig {
    ClientConfig::new(credentials, options).expect("a client")
}

/// Runs the layer over `io`. The inner service sends a greeting and waits for the response.
pub(crate) async fn accept(layer: TlsLayer, io: DuplexStream) -> Result<Arc<Handshake>, Error> {
    let inner = service_fn(async |mut stream: TlsStream<DuplexStream>| {
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        assert_eq!(answer, "thanks");
        stream.shutdown().await?;
        Ok::<_, BoxError>(Arc::clone(stream.handshake()))
    });
    layer.layer(inner).oneshot(io).await
}

/// A connector that returns this connection.
pub(crate) fn connector<Io: Send + 'static>(
    io: Io,
) -> impl tower::Service<
    http::Uri,
    Response = Io,
    Error = BoxError,
    Future = impl Future<Output = Result<Io, BoxError>> + Send + 'static,
> + Send {
    let io = Mutex::new(Some(io));
    service_fn(move |_| {
        ready(io.lock().expect("no panic").take().ok_or_else(|| BoxError::from("connected twice")))
    })
}

pub(crate) async fn connect(
    layer: ConnectLayer,
    host: &str,
    io: DuplexStream,
) -> Result<Arc<Handshake>, BoxError> {
    let uri = format!("https://{host}/").parse().expect("a URI");
    let mut stream = layer.layer(connector(io)).oneshot(uri).await?;
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting).await?;
    assert_eq!(&greeting, b"hello");
    stream.write_all(b"thanks").await?;
    stream.shutdown().await?;
    // Everything behind the greeting is read, including the tickets of the session.
    assert_eq!(stream.read_to_end(&mut Vec::new()).await?, 0);
    Ok(Arc::clone(stream.handshake()))
}

/// The results of the server and the client for one connection.
pub(crate) async fn meet(
    server: &ServerConfig,
    client: &ClientConfig,
    host: &str,
) -> (Result<Arc<Handshake>, Error>, Result<Arc<Handshake>, BoxError>) {
    let (io, peer) = duplex(64 * 1024);
    tokio::join!(
        accept(TlsLayer::new(server.clone()), io),
        connect(ConnectLayer::new(client.clone()), host, peer)
    )
}
