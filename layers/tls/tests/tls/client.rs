//! The client: which servers it trusts, and which server name it sends.

use rustls::CertificateError;
use tailwater_tls::{
    ClientConfig, ClientOptions, ConnectLayer, Credentials, Error, Roots, ServerOptions,
};
use tokio::io::duplex;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{Authority, client, connector, localhost, meet, self_signed, server};

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_refused() {
    let (credentials, _) = localhost();
    let server = server(credentials, ServerOptions::new());
    let roots = Authority::new("Other").roots();
    let client = client(Credentials::new().roots(roots), ClientOptions::new());
    let (accepted, connected) = meet(&server, &client, "localhost").await;
    assert!(matches!(accepted, Err(Error::Handshake(rustls::Error::AlertReceived(_)))));
    let error = connected.unwrap_err();
    let error = error.downcast_ref();
    let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
    assert!(matches!(error, Some(Error::Handshake(error)) if *error == unknown), "{error:?}");
}

/// Java accepts a certificate that is itself in the trust store. webpki does not, if the certificate is marked
/// as an authority.
#[tokio::test]
async fn a_certificate_that_is_trusted_itself_is_trusted() {
    let itself = self_signed("localhost");
    let roots = Roots::empty().with_certificates(itself.certificates()).unwrap();
    let server = server(Credentials::new().identity(itself), ServerOptions::new());
    let client = client(Credentials::new().roots(roots), ClientOptions::new());
    for host in ["localhost", "127.0.0.1"] {
        let (accepted, connected) = meet(&server, &client, host).await;
        accepted.expect(host);
        connected.expect(host);
    }
    // It is accepted for its names only.
    let (_, connected) = meet(&server, &client, "elsewhere.example").await;
    assert!(connected.is_err());
}

#[tokio::test]
async fn the_server_name_can_be_another_than_the_uris() {
    let (credentials, roots) = localhost();
    let server = server(credentials, ServerOptions::new());
    let options = ClientOptions::new().server_name("localhost");
    let client = client(Credentials::new().roots(roots), options);
    let (accepted, connected) = meet(&server, &client, "10.0.0.1").await;
    connected.unwrap();
    assert_eq!(accepted.unwrap().server_name(), Some("localhost"));
}

#[tokio::test]
async fn what_is_no_server_name_is_refused_before_connecting() {
    let (_, roots) = localhost();
    let credentials = Credentials::new().roots(roots);
    let options = ClientOptions::new().server_name("no name");
    let refused = ClientConfig::new(credentials.clone(), options).unwrap_err();
    assert_eq!(refused.to_string(), "`no name` is no server name");
    assert!(matches!(
        ClientConfig::new(Credentials::new(), ClientOptions::new()),
        Err(Error::NoRoots)
    ));
    let options = ClientOptions::new().alpn([""]);
    assert!(matches!(ClientConfig::new(credentials.clone(), options), Err(Error::Alpn(0))));

    let layer = ConnectLayer::new(client(credentials, ClientOptions::new()));
    let (io, _peer) = duplex(1024);
    let connecting = layer.layer(connector(io)).oneshot("/path".parse().unwrap());
    assert!(matches!(connecting.await, Err(Error::ServerName(name)) if name.is_empty()));
}

#[tokio::test]
async fn an_error_of_the_connector_is_passed_on() {
    let (_, roots) = localhost();
    let client = client(Credentials::new().roots(roots), ClientOptions::new());
    let unreachable = service_fn(async |_: http::Uri| {
        Err::<tokio::io::DuplexStream, _>(std::io::Error::other("unreachable"))
    });
    let connecting = ConnectLayer::new(client).layer(unreachable);
    let error = connecting.oneshot("https://localhost".parse().unwrap()).await.unwrap_err();
    assert!(matches!(&error, Error::Inner(_)));
    assert_eq!(error.to_string(), "unreachable");
}
