use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, DistinguishedName, RootCertStore};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::certificates::pem;
use crate::certificates::subject::is_authority;
use crate::error::Error;

/// The certificates that are trusted to verify a peer: certificates of authorities, or of the peer itself.
///
/// Each of them is accepted itself. It vouches for certificates that its key has signed only if it belongs
/// to an authority: its `basicConstraints` say so, and its `keyUsage`, if there is one, has `keyCertSign`.
///
/// ```
/// use tailwater_tls::Roots;
/// # let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
/// # let certificate = made.cert.der();
///
/// let roots = Roots::empty().with_certificates([certificate])?;
/// assert_eq!(roots.len(), 1);
/// # Ok::<_, tailwater_tls::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Roots {
    /// The authorities. webpki treats each certificate in here as one.
    anchors: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
    /// The issuers of the accepted certificates.
    issuers: Vec<DistinguishedName>,
}

impl Roots {
    /// No certificates.
    pub fn empty() -> Self {
        Self { anchors: RootCertStore::empty(), certificates: Vec::new(), issuers: Vec::new() }
    }

    /// The certificates that the system trusts: those in `SSL_CERT_FILE` and `SSL_CERT_DIR` if these are set,
    /// or else those of OpenSSL's default paths or the keychain of macOS. Unusable ones are left out. It reads
    /// files and blocks.
    ///
    /// # Errors
    /// [`Error::SystemCertificates`] if there are none.
    pub fn system() -> Result<Self, Error> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = Self::empty();
        for certificate in found.certs {
            let _ = roots.add(certificate);
        }
        if roots.is_empty() {
            let cause = found.errors.into_iter().next();
            return Err(Error::SystemCertificates(cause.map(Into::into)));
        }
        Ok(roots)
    }

    /// Adds certificates.
    ///
    /// # Errors
    /// [`Error::Certificate`] if one is not an X.509 certificate.
    pub fn with_certificates<'a>(
        mut self,
        certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
    ) -> Result<Self, Error> {
        for certificate in certificates {
            self.add(certificate.clone()).map_err(Error::Certificate)?;
        }
        Ok(self)
    }

    /// Adds the certificates of `other`.
    pub fn merge(mut self, other: Self) -> Self {
        self.anchors.extend(other.anchors.roots);
        self.certificates.extend(other.certificates);
        self.issuers.extend(other.issuers);
        self
    }

    /// The number of certificates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.certificates.len()
    }

    /// Whether there are no certificates.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// All certificates as PEM, for a library that accepts no other form.
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

    pub(crate) fn issuers(&self) -> &[DistinguishedName] {
        &self.issuers
    }

    fn add(&mut self, certificate: CertificateDer<'static>) -> Result<(), rustls::Error> {
        let mut anchor = RootCertStore::empty();
        anchor.add(certificate.clone())?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| CertificateError::BadEncoding)?;
        let issuer = if is_authority(&parsed) {
            self.anchors.extend(anchor.roots);
            parsed.subject()
        } else {
            parsed.issuer()
        };
        self.issuers.push(issuer.as_raw().to_vec().into());
        self.certificates.push(certificate);
        Ok(())
    }
}

impl Default for Roots {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[test]
    fn authorities_alone_are_anchors() {
        for (pem, anchors) in [
            (include_str!("../../tests/fixtures/ca.pem"), 1),
            (include_str!("../../tests/fixtures/localhost.pem"), 0),
            (include_str!("../../tests/fixtures/version-1.pem"), 0),
        ] {
            let roots = Store::pem("it", pem.as_bytes()).unwrap().roots().unwrap();
            assert_eq!(roots.anchors().len(), anchors, "{pem}");
            assert_eq!(roots.len(), 1, "{pem}");
            let both = roots.clone().merge(roots);
            assert_eq!((both.anchors().len(), both.len()), (2 * anchors, 2), "{pem}");
        }
    }

    #[test]
    fn a_certificate_whose_dates_are_none_is_refused() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut der = made.cert.der().to_vec();
        let utc_time = der.windows(2).position(|header| header == [0x17, 13]).unwrap();
        der[utc_time] = 0x0c; // UTF8String; webpki does not look at the dates of an anchor
        let certificate = der.into();
        assert!(RootCertStore::empty().add(CertificateDer::clone(&certificate)).is_ok());
        let refused = Roots::empty().with_certificates([&certificate]).unwrap_err();
        let bad = rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        assert!(matches!(refused, Error::Certificate(error) if error == bad));
    }
}
