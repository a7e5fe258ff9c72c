use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::SignatureScheme;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::certificates::pem;
use crate::certificates::subject::{Subject, has_issuer, is_issued_by};
use crate::error::Error;
use crate::provider::provider;

/// The identity of a server or a client: a certificate chain and the private key of its first certificate.
///
/// Clones share the data. The `Debug` output contains the alias and the names, never the key.
///
/// ```
/// use tailwater_tls::Identity;
/// # let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
/// # let chain = vec![made.cert.der().clone()];
/// # let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
///
/// let identity = Identity::new("main", chain, key)?;
/// assert_eq!(identity.hosts(), ["example.com"]);
/// assert!(identity.certificates_pem().starts_with("-----BEGIN CERTIFICATE-----"));
/// # Ok::<_, tailwater_tls::Error>(())
/// ```
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    alias: String,
    subject: Subject,
    key: PrivateKeyDer<'static>,
    certified: Arc<CertifiedKey>,
}

impl Identity {
    /// An identity with this chain, whose first certificate belongs to the key. The alias is for logs and for
    /// [`Handshake::identity`](crate::Handshake::identity).
    ///
    /// # Errors
    /// [`Error::Identity`] if TLS does not support the kind of the key (supported are RSA, ECDSA with P-256,
    /// P-384 or P-521, and Ed25519), or if it does not belong to the first certificate.
    pub fn new(
        alias: impl Into<String>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, Error> {
        let alias = alias.into();
        let failed = |source| Error::Identity { alias: alias.clone(), source };
        let first = chain.first().ok_or(rustls::Error::NoCertificatesPresented).map_err(failed)?;
        let subject = Subject::of(first)
            .ok_or(rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding))
            .map_err(failed)?;
        let certified =
            CertifiedKey::from_der(chain, key.clone_key(), &provider()).map_err(failed)?;
        let certified = Arc::new(certified);
        Ok(Self { inner: Arc::new(Inner { alias, subject, key, certified }) })
    }

    /// The alias in the store.
    #[must_use]
    pub fn alias(&self) -> &str {
        &self.inner.alias
    }

    /// The host names of the certificate in lower case: the DNS names among its subject alternative names, or
    /// the common name if there are none.
    #[must_use]
    pub fn hosts(&self) -> &[String] {
        &self.inner.subject.hosts
    }

    /// The common name of the subject.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.inner.subject.common_name.as_deref()
    }

    /// The distinguished name of the subject in the form of RFC 4514: `CN=a,O=b,C=de`.
    #[must_use]
    pub fn distinguished_name(&self) -> &str {
        &self.inner.subject.distinguished_name
    }

    /// The end of the validity of the own certificate.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        let seconds = u64::try_from(self.inner.subject.not_after).unwrap_or(0);
        let after = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        after.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// The chain, the own certificate first.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.inner.certified.cert
    }

    /// Whether the own certificate names the subject of this one as its issuer. The signature is not verified.
    #[must_use]
    pub fn is_issued_by(&self, issuer: &CertificateDer<'_>) -> bool {
        self.certificates().first().is_some_and(|first| is_issued_by(first, issuer))
    }

    /// The chain as PEM.
    #[must_use]
    pub fn certificates_pem(&self) -> String {
        pem::certificates(self.certificates())
    }

    /// The private key as PEM without encryption, for a library that accepts no other form.
    #[must_use]
    pub fn key_pem(&self) -> String {
        pem::key(&self.inner.key)
    }

    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.inner.certified
    }

    /// Whether one of these issuers, distinguished names in DER, has issued a certificate of the chain.
    pub(crate) fn is_from(&self, issuers: &[&[u8]]) -> bool {
        self.certificates().iter().any(|one| has_issuer(one, issuers))
    }

    pub(crate) fn signs(&self, schemes: &[SignatureScheme]) -> bool {
        self.inner.certified.key.choose_scheme(schemes).is_some()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("alias", &self.inner.alias)
            .field("subject", &self.inner.subject.distinguished_name)
            .field("hosts", &self.inner.subject.hosts)
            .finish_non_exhaustive()
    }
}
