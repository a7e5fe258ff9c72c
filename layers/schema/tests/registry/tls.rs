//! Registries over TLS.

use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tailwater_schema::catalog::registry::{Confluent, Registry};
use tokio_rustls::TlsAcceptor;

use crate::stub::{Answer, Stub};
use crate::{id, options, text};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn issuer() -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("valid")).expect("valid")
}

/// A certificate for `localhost`, for servers and clients alike, with its key.
fn certificate(issuer: &Issuer) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().expect("valid");
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("valid");
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, issuer).expect("valid");
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    (vec![certificate.der().clone()], key.into())
}

fn roots(issuer: &Issuer) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone()).expect("valid");
    roots
}

async fn stub(server: &Issuer, clients: Option<&Issuer>) -> Stub {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("valid");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(issuer) => {
            let roots = Arc::new(roots(issuer));
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().expect("valid"))
        }
    };
    let (chain, key) = certificate(server);
    let config = builder.with_single_cert(chain, key).expect("valid");
    let tls = TlsAcceptor::from(Arc::new(config));
    Stub::at("127.0.0.1:0".parse().expect("valid"), Some(tls), |_, _| Answer::schema("x")).await
}

fn trusting(server: &Issuer, client: Option<&Issuer>) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("valid")
        .with_root_certificates(roots(server));
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(issuer) => {
            let (chain, key) = certificate(issuer);
            builder.with_client_auth_cert(chain, key).expect("valid")
        }
    };
    // Of a vault that others use with HTTP/2: the registry does not take it.
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

#[tokio::test]
async fn a_registry_is_trusted_by_the_configured_certificates() {
    let ours = issuer();
    let stub = stub(&ours, None).await;
    let url = format!("https://localhost:{}", stub.address.port());
    let options = options(&url, Confluent::new());
    for untrusted in [options.clone(), options.clone().tls(trusting(&issuer(), None))] {
        let error = Registry::new(untrusted).unwrap().fetch(&id(9)).await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("certificate"), "{error}");
    }
    let registry = Registry::new(options.tls(trusting(&ours, None))).unwrap();
    assert_eq!(text(&registry, &id(9)).await, "x");
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_can_be_replaced() {
    let (servers, clients) = (issuer(), issuer());
    let stub = stub(&servers, Some(&clients)).await;
    let url = format!("https://localhost:{}", stub.address.port());
    let without = options(&url, Confluent::new()).tls(trusting(&servers, None));
    let registry = Registry::new(without).unwrap();
    assert!(registry.fetch(&id(9)).await.unwrap_err().is_transient());
    registry.set_tls(&trusting(&servers, Some(&clients)));
    assert_eq!(text(&registry, &id(9)).await, "x");
}
