//! Stores of keytool and OpenSSL.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tailwater_tls::{Credentials, Error, Roots, ServerConfig, ServerOptions, Store};

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fs::read(folder.join(name)).expect("a fixture")
}

/// Store, password, its identities (alias, hosts, length of the chain), number of trusted certificates.
type Row =
    (&'static str, &'static str, &'static [(&'static str, &'static [&'static str], usize)], usize);

#[test]
fn stores_of_keytool_and_openssl_are_read() {
    const LOCALHOST: &[&str] = &["localhost", "*.example.com"];
    const CHAINED: (&str, &[&str], usize) = ("chained", &["chained.example"], 2);
    let both: &[_] = &[("localhost", LOCALHOST, 1), ("second", &["second.example"], 1)];
    let table: &[Row] = &[
        ("keytool.p12", "generated", both, 0),
        // 40-bit RC2, triple DES, SHA-1, as Java 8 writes them.
        ("keytool-legacy.p12", "generated", both, 0),
        ("keytool-chain.p12", "generated", &[CHAINED], 0),
        // trustedKeyUsage
        ("keytool-trust.p12", "generated", &[], 1),
        ("openssl.p12", "generated", &[CHAINED], 0),
        ("openssl-legacy.p12", "generated", &[CHAINED], 0),
        ("openssl-unnamed.p12", "", &[("1", &["chained.example"], 1)], 0),
        ("openssl-plain.p12", "any", &[("chained", &["chained.example"], 1)], 0),
        ("openssl-trust.p12", "generated", &[], 1),
    ];
    for (name, password, identities, trusted) in table {
        let store = Store::pkcs12(&fixture(name), password).expect(name);
        let found: Vec<_> = store.identities().map(|one| one.expect(name)).collect();
        assert_eq!(found.len(), identities.len(), "{name}");
        for (identity, (alias, hosts, chain)) in found.iter().zip(*identities) {
            assert_eq!(identity.alias(), *alias, "{name}");
            assert_eq!(identity.hosts(), *hosts, "{name}");
            assert_eq!(identity.certificates().len(), *chain, "{name}");
            ServerConfig::new(Credentials::new().identity(identity.clone()), ServerOptions::new())
                .expect(name);
        }
        assert_eq!(store.roots().expect(name).len(), *trusted, "{name}");
    }
}

#[test]
fn an_alias_is_found_without_case() {
    let store = Store::pkcs12(&fixture("keytool.p12"), "generated").unwrap();
    assert_eq!(store.identity("LocalHost").unwrap().common_name(), Some("localhost"));
    let Err(Error::NoIdentity { alias, present }) = store.identity("third") else { panic!() };
    assert_eq!((alias.as_str(), present), ("third", vec!["localhost".into(), "second".into()]));

    let trust = Store::pkcs12(&fixture("keytool-trust.p12"), "generated").unwrap();
    let partner = trust.certificates("PARTNER").unwrap();
    assert_eq!(partner, store.identity("localhost").unwrap().certificates());
    // As in Java, the certificate of a key can be trusted by its alias.
    assert_eq!(store.certificates("localhost").unwrap(), partner);
    assert!(matches!(trust.certificates("other"), Err(Error::NoCertificate { .. })));
}

#[test]
fn a_subject_is_written_as_java_writes_it() {
    let store = Store::pkcs12(&fixture("keytool.p12"), "generated").unwrap();
    let identity = store.identity("localhost").unwrap();
    assert_eq!(identity.distinguished_name(), "CN=localhost,OU=Tests,O=Tail\\, water,C=DE");
}

#[test]
fn an_issuer_is_known_by_its_name() {
    let store = Store::pkcs12(&fixture("openssl.p12"), "generated").unwrap();
    let identity = store.identity("chained").unwrap();
    let signers = Store::pkcs12(&fixture("openssl-trust.p12"), "generated").unwrap();
    let authority = signers.certificates("1").unwrap().remove(0);
    assert!(identity.is_issued_by(&authority));
    assert!(!identity.is_issued_by(&identity.certificates()[0]));
}

#[test]
fn what_cannot_be_read_says_why() {
    let keytool = fixture("keytool.p12");
    assert!(matches!(Store::pkcs12(&keytool, "wrong"), Err(Error::Password)));
    assert!(matches!(Store::pkcs12(&keytool[..100], "generated"), Err(Error::Pkcs12(_))));
    let long = vec![0x30; Store::MAX_BYTES + 1];
    assert!(matches!(Store::pkcs12(&long, ""), Err(Error::StoreTooLarge(Store::MAX_BYTES))));
    assert!(matches!(Store::pem("a", &long), Err(Error::StoreTooLarge(Store::MAX_BYTES))));
    assert!(matches!(Store::pem("a", b"nothing"), Err(Error::PemWithoutCertificate)));
    let cut = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
    assert!(matches!(Store::pem("a", cut), Err(Error::Pem(_))));
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let text = [key.as_bytes(), key.as_bytes(), &fixture("localhost.pem")].concat();
    assert!(matches!(Store::pem("a", &text), Err(Error::PemKeys(2))));
    // A key that does not belong to the certificate.
    let text = [key.as_bytes(), &fixture("localhost.pem")].concat();
    let store = Store::pem("a", &text).unwrap();
    assert!(matches!(store.identity("a"), Err(Error::Identity { .. })));
}

#[test]
fn pem_takes_the_chain_in_any_order() {
    let store = Store::pkcs12(&fixture("openssl.p12"), "generated").unwrap();
    let identity = store.identity("chained").unwrap();
    let mut chain = identity.certificates().to_vec();
    chain.reverse();
    let reversed = Roots::empty().with_certificates(&chain).unwrap().to_pem();
    let read = Store::pem("x", (identity.key_pem() + &reversed).as_bytes()).unwrap();
    assert_eq!(read.identity("x").unwrap().certificates(), identity.certificates());
    assert_eq!(read.identity("x").unwrap().certificates_pem(), identity.certificates_pem());

    let trust = Store::pem("x", reversed.as_bytes()).unwrap();
    assert_eq!(trust.roots().unwrap().to_pem(), reversed);
    assert_eq!(trust.certificates("x").unwrap(), chain);
}

#[test]
fn a_chain_has_an_end() {
    let params = |name: String| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let key = || KeyPair::generate().unwrap();
    let mut last = CertifiedIssuer::self_signed(params("0".to_owned()), key()).unwrap();
    let mut text = last.pem();
    for number in 1..12 {
        last = CertifiedIssuer::signed_by(params(number.to_string()), key(), &last).unwrap();
        text += &last.pem();
    }
    text += &last.key().serialize_pem();
    let identity = Store::pem("x", text.as_bytes()).unwrap().identity("x").unwrap();
    assert_eq!(identity.common_name(), Some("11"));
    assert_eq!(identity.certificates().len(), 10);
}

#[test]
fn debug_shows_neither_password_nor_key() {
    let store = Store::pkcs12(&fixture("keytool.p12"), "generated").unwrap();
    let identity = store.identity("localhost").unwrap();
    let config =
        ServerConfig::new(Credentials::new().identity(identity.clone()), ServerOptions::new());
    assert_eq!(format!("{store:?}"), r#"Store { keys: ["localhost", "second"], trusted: [] }"#);
    for text in [format!("{identity:?}"), format!("{:?}", config.unwrap())] {
        assert!(text.len() < 600 && !text.contains("generated"), "{text}");
        assert!(text.contains(r#"alias: "localhost""#), "{text}");
    }
}

#[test]
fn one_store_can_have_several_files() {
    let store = Store::pkcs12(&fixture("keytool.p12"), "generated")
        .unwrap()
        .merge(Store::pem("ca", &fixture("localhost.pem")).unwrap());
    assert_eq!(store.identities().count(), 2);
    assert_eq!(store.roots().unwrap().len(), 1);
}

/// Calls all functions of a store.
fn ask(store: &Store) {
    for identity in store.identities().flatten() {
        let _ = (identity.key_pem(), identity.certificates_pem());
        let credentials = Credentials::new().identity(identity);
        let _ = ServerConfig::new(credentials, ServerOptions::new());
    }
    let _ = (store.roots().map(|roots| roots.to_pem()), format!("{store:?}"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The store is not encrypted, so that mangled bytes reach the parsers of keys and certificates, too.
    #[test]
    fn no_mangled_store_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = fixture("openssl-plain.p12");
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(store) = Store::pkcs12(&bytes, "") {
            ask(&store);
        }
    }

    #[test]
    fn no_mangled_pem_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = fixture("localhost.pem");
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(store) = Store::pem("x", &bytes) {
            ask(&store);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = Store::pkcs12(&bytes, "generated");
        let _ = Store::pem("x", &bytes);
    }
}
