//! What is trusted.

use std::{fmt, sync::Arc};

use rustls::{RootCertStore, pki_types::CertificateDer};

use crate::{error::Error, pem};

/// The certificates that are trusted when a peer's is verified: those of authorities, or the peer's
/// own.
///
/// ```
/// use tailwater_tls::Roots;
/// # let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
/// # let certificate = made.cert.der();
///
/// let roots = Roots::none().with([certificate])?;
/// assert_eq!(roots.len(), 1);
/// # Ok::<_, tailwater_tls::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Roots {
    anchors: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Nothing.
    pub fn none() -> Self {
        Self { anchors: RootCertStore::empty(), certificates: Vec::new() }
    }

    /// What the system trusts: `SSL_CERT_FILE` and `SSL_CERT_DIR` where they are set, else where
    /// OpenSSL looks, or macOS's keychain. Those that cannot be used are left out. Reads files.
    ///
    /// # Errors
    /// [`Error::SystemCertificates`] if there are none.
    pub fn system() -> Result<Self, Error> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = Self::none();
        for certificate in found.certs {
            if roots.anchors.add(certificate.clone()).is_ok() {
                roots.certificates.push(certificate);
            }
        }
        if roots.is_empty() {
            let cause = found.errors.into_iter().next();
            return Err(Error::SystemCertificates(cause.map(Into::into)));
        }
        Ok(roots)
    }

    /// With these in addition.
    ///
    /// # Errors
    /// [`Error::Certificate`] if one is no certificate of X.509 version 3.
    pub fn with<'a>(
        mut self,
        certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
    ) -> Result<Self, Error> {
        for certificate in certificates {
            self.anchors.add(certificate.clone()).map_err(Error::Certificate)?;
            self.certificates.push(certificate.clone());
        }
        Ok(self)
    }

    /// Both.
    pub fn and(mut self, other: Self) -> Self {
        self.anchors.extend(other.anchors.roots);
        self.certificates.extend(other.certificates);
        self
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.certificates.len()
    }

    /// Whether nothing is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// All of them as PEM, for a library that takes no other form.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::certificates(&self.certificates)
    }

    pub(crate) fn anchors(&self) -> Arc<RootCertStore> {
        Arc::new(self.anchors.clone())
    }

    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

impl Default for Roots {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("len", &self.len()).finish_non_exhaustive()
    }
}
