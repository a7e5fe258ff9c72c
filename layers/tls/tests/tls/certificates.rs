//! Which certificate a server uses, and which client certificates it accepts.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{AlertDescription, CertificateError, RootCertStore, SignatureScheme};
use tailwater_tls::{
    ClientCertificates, ClientOptions, Credentials, Error, Identity, Roots, ServerConfig,
    ServerOptions, TlsLayer, Version,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::TlsConnector;

use crate::support::{Authority, accept, client, meet, self_signed, server};

#[tokio::test]
async fn a_name_chooses_its_certificate() {
    let authority = Authority::new("Test authority");
    let credentials = Credentials::new()
        .identity(authority.issue(&["first.example", "127.0.0.1"]))
        .identity(authority.issue(&["*.wild.example"]))
        .identity(authority.issue(&["exact.wild.example"]));
    let server = server(credentials, ServerOptions::new());
    // requested name, name as sent, alias
    for (host, sent, alias) in [
        ("first.example", Some("first.example"), "first.example"),
        ("FIRST.example", Some("first.example"), "first.example"),
        ("any.wild.example", Some("any.wild.example"), "*.wild.example"),
        ("exact.wild.example", Some("exact.wild.example"), "exact.wild.example"),
        ("127.0.0.1", None, "first.example"),
    ] {
        let client = client(Credentials::new().roots(authority.roots()), ClientOptions::new());
        let (accepted, connected) = meet(&server, &client, host).await;
        let accepted = accepted.expect(host);
        let connected = connected.expect(host);
        assert_eq!(accepted.server_name(), sent, "{host}");
        assert_eq!(accepted.identity(), Some(alias), "{host}");
        assert_eq!(connected.server_name(), sent, "{host}");
        assert_eq!(connected.peer_certificates().len(), 2, "{host}");
    }
    // For other names the server uses the first certificate. The client may reject it.
    for host in ["unknown.example", "wild.example", "a.b.wild.example", "[::1]"] {
        let client = client(Credentials::new().roots(authority.roots()), ClientOptions::new());
        let (accepted, connected) = meet(&server, &client, host).await;
        let Err(Error::Handshake(rustls::Error::AlertReceived(alert))) = accepted else {
            panic!("{host}: {accepted:?}")
        };
        assert_eq!(alert, AlertDescription::BadCertificate, "{host}");
        let error = connected.expect_err(host);
        let Some(Error::Handshake(rustls::Error::InvalidCertificate(error))) = error.downcast_ref()
        else {
            panic!("{host}: {error:?}")
        };
        assert!(matches!(error, CertificateError::NotValidForNameContext { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn of_two_certificates_for_a_name_the_client_gets_what_it_can_verify() {
    let authority = Authority::new("Test authority");
    let credentials = Credentials::new()
        .identity(authority.issue_with(&["p256", "localhost"], &rcgen::PKCS_ECDSA_P256_SHA256))
        .identity(authority.issue_with(&["p384", "localhost"], &rcgen::PKCS_ECDSA_P384_SHA384));
    let server = server(credentials, ServerOptions::new());
    for (scheme, expected) in [
        (SignatureScheme::ECDSA_NISTP256_SHA256, Some("p256")),
        (SignatureScheme::ECDSA_NISTP384_SHA384, Some("p384")),
        (SignatureScheme::ED25519, None),
    ] {
        // A client that supports one scheme.
        let mut provider = aws_lc_rs::default_provider();
        let known = &mut provider.signature_verification_algorithms;
        let one: Vec<_> = known.mapping.iter().filter(|row| row.0 == scheme).copied().collect();
        known.mapping = one.leak();
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (io, peer) = duplex(64 * 1024);
        let connector = TlsConnector::from(Arc::new(config));
        let (accepted, connected) =
            tokio::join!(accept(TlsLayer::new(server.clone()), io), async {
                let mut stream = connector.connect("localhost".try_into().unwrap(), peer).await?;
                stream.write_all(b"thanks").await?;
                stream.shutdown().await?;
                stream.read_to_end(&mut Vec::new()).await
            });
        assert_eq!(connected.is_ok(), expected.is_some(), "{scheme:?} {connected:?}");
        let shown = accepted.ok().and_then(|handshake| handshake.identity().map(str::to_owned));
        assert_eq!(shown.as_deref(), expected, "{scheme:?}");
    }
}

/// The result of a client certificate.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Known,
    Unknown,
    Refused,
}

#[tokio::test]
async fn client_certificates_are_asked_for_and_verified() {
    use ClientCertificates::{None as NotAsked, Requested, Required};
    use Outcome::{Known, Refused, Unknown};
    let authority = Authority::new("Test authority");
    let stranger = Authority::new("Stranger").issue(&["someone"]);
    let friend = authority.issue(&["someone"]);
    let ourselves = self_signed("itself");
    let roots = authority.roots().with_certificates(ourselves.certificates()).unwrap();
    for version in [Version::Tls12, Version::Tls13] {
        for (asked, identity, expected) in [
            (NotAsked, Some(&friend), Unknown),
            (Requested, None, Unknown),
            (Requested, Some(&friend), Known),
            (Requested, Some(&stranger), Refused),
            (Required, None, Refused),
            (Required, Some(&friend), Known),
            (Required, Some(&ourselves), Known),
            (Required, Some(&stranger), Refused),
        ] {
            let row = format!("{version:?} {asked:?} {identity:?}");
            let credentials =
                Credentials::new().identity(authority.issue(&["localhost"])).roots(roots.clone());
            let server = server(credentials, ServerOptions::new().client_certificates(asked));
            let mut credentials = Credentials::new().roots(authority.roots());
            if let Some(identity) = identity {
                credentials = credentials.identity(Identity::clone(identity));
            }
            let client = client(credentials, ClientOptions::new().only(version));
            let (accepted, connected) = meet(&server, &client, "localhost").await;
            let outcome = match &accepted {
                Ok(handshake) if handshake.peer_certificates().is_empty() => Unknown,
                Ok(handshake) => {
                    let shown = identity.expect("one was shown").certificates();
                    assert_eq!(handshake.peer_certificates(), shown, "{row}");
                    Known
                }
                Err(Error::Handshake(_)) => Refused,
                Err(error) => panic!("{row}: {error:?}"),
            };
            assert_eq!(outcome, expected, "{row}: {accepted:?}");
            assert_eq!(connected.is_err(), expected == Refused, "{row}: {connected:?}");
        }
    }
}

#[tokio::test]
async fn of_a_clients_certificates_the_one_from_a_trusted_authority_is_shown() {
    let authority = Authority::new("Test authority");
    let friend = authority.issue(&["someone"]);
    let credentials =
        Credentials::new().identity(authority.issue(&["localhost"])).roots(authority.roots());
    let options = ServerOptions::new().client_certificates(ClientCertificates::Required);
    let server = server(credentials, options);
    let credentials = Credentials::new()
        .roots(authority.roots())
        .identity(Authority::new("Stranger").issue(&["someone"]))
        .identity(friend.clone());
    let client = client(credentials, ClientOptions::new());
    let (accepted, connected) = meet(&server, &client, "localhost").await;
    connected.unwrap();
    assert_eq!(accepted.unwrap().peer_certificates(), friend.certificates());
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let authority = Authority::new("Test authority");
    let credentials = Credentials::new().identity(authority.issue(&["localhost"]));
    let refused = |credentials: &Credentials, options| {
        ServerConfig::new(credentials.clone(), options).unwrap_err()
    };
    assert!(matches!(
        refused(&Credentials::new(), ServerOptions::new()),
        Error::ServerWithoutIdentity
    ));
    for asked in [ClientCertificates::Requested, ClientCertificates::Required] {
        let options = ServerOptions::new().client_certificates(asked);
        assert!(matches!(refused(&credentials, options), Error::NoRoots));
    }
    let long = "x".repeat(256);
    for (name, length) in [("", 0), (long.as_str(), 256)] {
        let options = ServerOptions::new().alpn([name]);
        assert!(matches!(refused(&credentials, options), Error::Alpn(l) if l == length));
    }
    let no_certificate = vec![0x30, 0x00].into();
    assert!(matches!(
        Roots::empty().with_certificates([&no_certificate]),
        Err(Error::Certificate(_))
    ));
}
