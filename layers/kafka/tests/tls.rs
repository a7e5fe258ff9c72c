//! A cluster in front of a broker that speaks TLS, as far as the handshake.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use futures_executor::block_on;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use tailwater_kafka::{Closing, Cluster, ClusterOptions, Error, SaslMechanism, TlsOptions};

/// An authority, and what it vouches for.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // OpenSSL takes a certificate whose issuer has its own name for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn pem(&self) -> String {
        self.certificate.pem()
    }

    fn identity(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A broker of this name. Its port, and whether each connection came through the handshake.
    fn broker(&self, name: &str, asks_for_identity: bool) -> (u16, Receiver<bool>) {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = if asks_for_identity {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            config.with_no_client_auth()
        };
        let (certificate, key) = self.identity(name);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let config = Arc::new(config);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (done, outcomes) = channel();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                let outcome = loop {
                    match tls.complete_io(&mut connection) {
                        Ok(_) if !tls.is_handshaking() => break true,
                        Ok(_) => {}
                        Err(_) => break false,
                    }
                };
                // The port stays taken after the test has its outcome: at the same port, clients of this cluster
                // would reach the broker of another.
                let _ = done.send(outcome);
            }
        });
        (port, outcomes)
    }
}

/// Whether a cluster with these options came through the handshake with the broker, and the end of the cluster.
fn connects((port, outcomes): (u16, Receiver<bool>), tls: TlsOptions) -> (bool, Closing) {
    let options = ClusterOptions::new([format!("localhost:{port}")])
        .property("broker.address.family", "v4")
        .preload_topic("orders")
        .tls(tls);
    let cluster = Cluster::new(options).unwrap();
    let connected = outcomes.recv_timeout(Duration::from_secs(20)).unwrap();
    (connected, cluster.close())
}

#[test]
fn a_broker_is_trusted_by_its_authority_and_its_name() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let trusts = |authority: &Authority| TlsOptions::new().authorities(&authority.pem());
    let alone = |authority: &Authority| trusts(authority).system_authorities(false);
    let rows = [
        ("localhost", alone(&ours), true),
        ("localhost", trusts(&ours), true),
        ("localhost", alone(&other).authorities(&ours.pem()), true),
        ("localhost", alone(&other), false),
        ("localhost", trusts(&other), false),
        ("localhost", TlsOptions::new(), false),
        ("elsewhere", alone(&ours), false),
        ("elsewhere", alone(&ours).check_host_names(false), true),
        ("localhost", alone(&other).check_host_names(false), false),
    ];
    let mut closing = Vec::new();
    for (name, tls, expected) in rows {
        let said = format!("{name} {tls:?}");
        let (connected, end) = connects(ours.broker(name, false), tls);
        assert_eq!(connected, expected, "{said}");
        closing.push(end);
    }
    // The process may exit after the test: no thread may use OpenSSL then.
    closing.into_iter().for_each(block_on);
}

#[test]
fn a_broker_that_asks_for_it_is_shown_the_identity() {
    let authority = Authority::new("ours");
    let tls = || TlsOptions::new().authorities(&authority.pem()).system_authorities(false);
    let (certificate, key) = authority.identity("tailwater");
    let with = tls().identity(&certificate.pem(), &key.serialize_pem());
    let (accepted, first) = connects(authority.broker("localhost", true), with);
    assert!(accepted);
    let (accepted, second) = connects(authority.broker("localhost", true), tls());
    assert!(!accepted);
    [first, second].into_iter().for_each(block_on);
}

#[test]
fn what_can_not_be_used_is_an_error_that_tells_no_secret() {
    let authority = Authority::new("ours");
    let (certificate, _) = authority.identity("tailwater");
    let key = KeyPair::generate().unwrap().serialize_pem();
    let nobody = TlsOptions::new().system_authorities(false);
    let rows = [
        (nobody.clone(), "tls to kafka needs an authority to trust"),
        (nobody.clone().authorities(" \n"), "tls to kafka needs an authority to trust"),
        (nobody.authorities("no certificate"), "ssl.ca.pem"),
        (TlsOptions::new().identity(&certificate.pem(), &key), "key"),
        (TlsOptions::new().identity("my secret", &key), "ssl.certificate.pem"),
        (TlsOptions::new().identity(&certificate.pem(), "my secret"), "ssl.key.pem"),
        (TlsOptions::new().identity(&certificate.pem(), "my secret\0"), "`ssl.key.pem`"),
    ];
    for (tls, expected) in rows {
        let options = ClusterOptions::new(["localhost:9"])
            .sasl(SaslMechanism::Plain, "me", "my secret")
            .tls(tls);
        let mut said = format!("{options:?}");
        let error = Cluster::new(options).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        said += &format!("{error} {error:?}");
        assert!(!said.contains("secret") && !said.contains("PRIVATE"), "{said}");
    }
}

#[test]
fn the_value_of_a_property_that_is_not_taken_is_not_told() {
    let options = ClusterOptions::new(["localhost:9"]).property("sasl.passwort", "my secret");
    let error = Cluster::new(options).unwrap_err();
    assert!(matches!(&error, Error::Property { name, .. } if name == "sasl.passwort"));
    assert!(!format!("{error} {error:?}").contains("secret"));
}
