//! Certificates, and the stores of a vault that hold them.

use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Of all stores.
pub(crate) const PASSWORD: &str = "generated";

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

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A key with a certificate for these names; the first is its alias.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        let all: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(all).expect("names");
        let alias = names.first().expect("a name");
        params.distinguished_name.push(DnType::CommonName, *alias);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Identity {
            alias: (*alias).to_owned(),
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
        }
    }
}

/// A key with its certificate.
#[derive(Clone)]
pub(crate) struct Identity {
    alias: String,
    pub(crate) certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone().into())
    }
}

/// A PKCS#12 store of keys.
pub(crate) fn keys_store(identities: &[&Identity]) -> Vec<u8> {
    let mut store = KeyStore::new();
    for identity in identities {
        let key = PrivateKey::from_der(&identity.key).expect("PKCS#8");
        let chain = PrivateKeyChain::new(&*identity.alias, key, [stored(&identity.certificate)]);
        store.add_entry(&identity.alias, KeyStoreEntry::PrivateKeyChain(chain));
    }
    store.writer(PASSWORD).write().expect("a store")
}

/// A PKCS#12 store of authorities that are trusted, by their aliases.
pub(crate) fn trust_store(authorities: &[(&str, &Authority)]) -> Vec<u8> {
    let mut store = KeyStore::new();
    for (alias, authority) in authorities {
        store.add_entry(alias, KeyStoreEntry::Certificate(stored(authority.certificate())));
    }
    store.writer(PASSWORD).write().expect("a store")
}

fn stored(certificate: &CertificateDer<'_>) -> Certificate {
    Certificate::from_der(certificate).expect("a certificate")
}
