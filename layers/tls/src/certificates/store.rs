use std::fmt;

use p12_keystore::error::Error as Pkcs12Error;
use p12_keystore::{CertificateBag, Pkcs12Archive};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificates::identity::Identity;
use crate::certificates::pem;
use crate::certificates::roots::Roots;
use crate::certificates::subject::is_issued_by;
use crate::error::Error;

/// About the longest chain that OpenSSL and Java verify.
const MAX_CHAIN: usize = 10;

/// Keys with their certificate chains, and trusted certificates, by alias. The content of a PKCS#12 or PEM
/// file.
///
/// Aliases are compared without regard to case, since keytool writes them in lower case. An entry of a
/// PKCS#12 store without an alias has its number as alias, as in Java: `1`, `2`.
///
/// ```
/// use tailwater_tls::Store;
/// # let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
/// # let text = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem());
///
/// let store = Store::pem("main", text.as_bytes())?; // a certificate and its key
/// assert_eq!(store.identity("MAIN")?.hosts(), ["example.com"]);
/// assert!(store.identity("other").is_err());
/// # Ok::<_, tailwater_tls::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Store {
    keys: Vec<Entry>,
    trusted: Vec<(String, CertificateDer<'static>)>,
}

struct Entry {
    alias: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for Entry {
    fn clone(&self) -> Self {
        Self { alias: self.alias.clone(), chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl Store {
    /// The maximum length of a store: 1 MiB. Java's `cacerts` with the public authorities has 200 KiB.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// Reads a PKCS#12 store of keytool or OpenSSL, including legacy stores that are encrypted by 40-bit RC2 or
    /// triple DES with a SHA-1 MAC. The trusted certificates are those that Java trusts (with a trusted key
    /// usage). In a store without keys, as OpenSSL writes it, all certificates are trusted.
    ///
    /// The store determines how long this blocks. A store of keytool or OpenSSL takes some 10 ms. At most
    /// 1 000 000 iterations are accepted for each encrypted part, but the store also determines the number of
    /// parts. Therefore read only stores that you trust, and not on a thread of an async runtime.
    ///
    /// RC4, 128-bit RC2, PBMAC1 and indefinite lengths (BER) are not supported.
    ///
    /// # Errors
    /// [`Error::StoreTooLarge`], [`Error::Password`] or [`Error::Pkcs12`].
    pub fn pkcs12(bytes: &[u8], password: &str) -> Result<Self, Error> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(Error::StoreTooLarge(Self::MAX_BYTES));
        }
        let archive = Pkcs12Archive::from_pkcs12(bytes, password).map_err(|error| match error {
            Pkcs12Error::MacError(_) => Error::Password,
            error => Error::Pkcs12(error.into()),
        })?;
        Ok(Self::from_archive(archive))
    }

    /// Reads a PEM text: a private key (PKCS#8, PKCS#1 or SEC 1, not encrypted) with its chain in any order, or
    /// only trusted certificates. All of them have this alias.
    ///
    /// # Errors
    /// [`Error::StoreTooLarge`], [`Error::Pem`], [`Error::PemWithoutCertificate`],
    /// [`Error::PemKeys`] if there are several keys.
    pub fn pem(alias: &str, text: &[u8]) -> Result<Self, Error> {
        if text.len() > Self::MAX_BYTES {
            return Err(Error::StoreTooLarge(Self::MAX_BYTES));
        }
        let pem::Sections { certificates, mut keys } = pem::read(text)?;
        if certificates.is_empty() {
            return Err(Error::PemWithoutCertificate);
        }
        if keys.len() > 1 {
            return Err(Error::PemKeys(keys.len()));
        }
        let Some(key) = keys.pop() else {
            let trusted = certificates.into_iter().map(|one| (alias.to_owned(), one)).collect();
            return Ok(Self { keys: Vec::new(), trusted });
        };
        let chain = match certificates.iter().find(|one| is_of(one, &key)) {
            Some(own) => chain(own, &certificates),
            None => certificates, // `identity` returns the error
        };
        Ok(Self { keys: vec![Entry { alias: alias.to_owned(), chain, key }], trusted: Vec::new() })
    }

    /// Adds the entries of `other`. (A file with only a key is not a store: pass the texts of the key and of
    /// the certificate to [`pem`](Store::pem) together.)
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self.trusted.extend(other.trusted);
        self
    }

    /// The identity with this alias.
    ///
    /// # Errors
    /// [`Error::NoIdentity`], or [`Error::Identity`] if TLS does not support its key.
    pub fn identity(&self, alias: &str) -> Result<Identity, Error> {
        let entry = self.keys.iter().find(|entry| is_alias(&entry.alias, alias));
        entry.map_or_else(|| Err(self.no_identity(alias)), Entry::identity)
    }

    /// All identities, in the order of the store.
    ///
    /// # Errors
    /// [`Error::Identity`] for each whose key TLS does not support.
    pub fn identities(&self) -> impl Iterator<Item = Result<Identity, Error>> {
        self.keys.iter().map(Entry::identity)
    }

    /// The trusted certificates with this alias. If there are none, the certificate of the key with this alias,
    /// as in Java.
    ///
    /// # Errors
    /// [`Error::NoCertificate`].
    pub fn certificates(&self, alias: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
        let trusted = self.trusted.iter().filter(|(name, _)| is_alias(name, alias));
        let mut found: Vec<_> = trusted.map(|(_, one)| one.clone()).collect();
        if found.is_empty() {
            let keys = self.keys.iter().filter(|entry| is_alias(&entry.alias, alias));
            found.extend(keys.filter_map(|entry| entry.chain.first().cloned()));
        }
        if found.is_empty() {
            let present = self.trusted.iter().map(|(name, _)| name.clone()).collect();
            return Err(Error::NoCertificate { alias: alias.to_owned(), present });
        }
        Ok(found)
    }

    /// All trusted certificates.
    ///
    /// # Errors
    /// [`Error::Certificate`] if one of them cannot be used.
    pub fn roots(&self) -> Result<Roots, Error> {
        Roots::empty().with_certificates(self.trusted.iter().map(|(_, one)| one))
    }

    fn no_identity(&self, alias: &str) -> Error {
        let present = self.keys.iter().map(|entry| entry.alias.clone()).collect();
        Error::NoIdentity { alias: alias.to_owned(), present }
    }

    fn from_archive(archive: Pkcs12Archive) -> Self {
        let certificates: Vec<_> = archive.certs.iter().map(der).collect();
        let mut unnamed = 0;
        let mut number = || {
            unnamed += 1;
            unnamed.to_string()
        };
        let mut keys = Vec::new();
        for bag in archive.keys {
            let key = PrivateKeyDer::Pkcs8(bag.key.as_der().to_vec().into());
            let id = bag.local_key_id.as_ref().map(AsRef::as_ref);
            let of_id = archive.certs.iter().zip(&certificates).filter(|(certificate, _)| {
                id.is_some() && certificate.local_key_id.as_deref() == id
            });
            // Some writers omit the id, or give the same id to the whole chain.
            let mut of_id: Vec<_> = of_id.map(|(_, der)| der).collect();
            of_id.sort_by_key(|der| !is_of(der, &key));
            let own =
                of_id.first().copied().or_else(|| certificates.iter().find(|der| is_of(der, &key)));
            // A key without a certificate is not for TLS.
            let Some(own) = own else { continue };
            let chain = chain(own, &certificates);
            keys.push(Entry { alias: bag.friendly_name.unwrap_or_else(&mut number), chain, key });
        }
        let has_keys = !keys.is_empty();
        let trusted = archive
            .certs
            .iter()
            .filter(|one| one.local_key_id.is_none() && (one.trusted || !has_keys))
            .map(|one| (one.friendly_name.clone().unwrap_or_else(&mut number), der(one)))
            .collect();
        Self { keys, trusted }
    }
}

impl Entry {
    fn identity(&self) -> Result<Identity, Error> {
        Identity::new(self.alias.clone(), self.chain.clone(), self.key.clone_key())
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(|entry| &entry.alias).collect();
        let trusted: Vec<_> = self.trusted.iter().map(|(alias, _)| alias).collect();
        f.debug_struct("Store").field("keys", &keys).field("trusted", &trusted).finish()
    }
}

fn der(bag: &CertificateBag) -> CertificateDer<'static> {
    bag.cert.as_der().to_vec().into()
}

/// Keytool's `toLowerCase(Locale.ENGLISH)`.
fn is_alias(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// Whether the certificate belongs to the key.
fn is_of(certificate: &CertificateDer<'static>, key: &PrivateKeyDer<'static>) -> bool {
    Identity::new("", vec![certificate.clone()], key.clone_key()).is_ok()
}

/// The chain from a certificate to the last issuer in the list.
fn chain(
    own: &CertificateDer<'static>,
    certificates: &[CertificateDer<'static>],
) -> Vec<CertificateDer<'static>> {
    let mut chain = vec![own.clone()];
    while chain.len() < MAX_CHAIN
        && let Some(last) = chain.last()
        && !is_issued_by(last, last)
        && let Some(issuer) =
            certificates.iter().find(|issuer| is_issued_by(last, issuer) && !chain.contains(issuer))
    {
        chain.push(issuer.clone());
    }
    chain
}
