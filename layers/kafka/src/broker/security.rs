use std::fmt;

use crate::Error;

/// TLS for the connections to Kafka. Without it, connections are not encrypted.
///
/// ```
/// use tailwater_kafka::{ClusterOptions, TlsOptions};
///
/// # let authority = "-----BEGIN CERTIFICATE-----";
/// let tls = TlsOptions::new().authorities(authority).system_authorities(false);
/// let options = ClusterOptions::new(["kafka.example:9093"]).tls(tls);
/// # let _ = options;
/// ```
#[derive(Clone)]
#[must_use]
pub struct TlsOptions {
    authorities: String,
    system_authorities: bool,
    identity: Option<(String, String)>,
    check_host_names: bool,
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the identity: the private key is in it.
        f.debug_struct("TlsOptions")
            .field("authorities", &self.authorities)
            .field("system_authorities", &self.system_authorities)
            .field("check_host_names", &self.check_host_names)
            .finish_non_exhaustive()
    }
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl TlsOptions {
    /// Trusts the authorities of the system, checks the host names of the servers, and has no client certificate.
    pub fn new() -> Self {
        Self {
            authorities: String::new(),
            system_authorities: true,
            identity: None,
            check_host_names: true,
        }
    }

    /// Trusts these certificates, too, in PEM. There are none by default; each call adds to those before.
    pub fn authorities(mut self, certificates_pem: &str) -> Self {
        self.authorities.push_str(certificates_pem.trim());
        self.authorities.push('\n');
        self
    }

    /// Whether to trust the authorities of the system: those at `SSL_CERT_FILE` or `SSL_CERT_DIR`, or in one of
    /// the usual paths. True by default.
    pub fn system_authorities(mut self, trusted: bool) -> Self {
        self.system_authorities = trusted;
        self
    }

    /// Sets the client certificate with its chain, and its private key, in PEM. There is none by default.
    pub fn identity(mut self, certificates_pem: &str, key_pem: &str) -> Self {
        self.identity = Some((certificates_pem.to_owned(), key_pem.to_owned()));
        self
    }

    /// Whether the certificate of a server must be for its host name. True by default. If false, a server with
    /// any certificate of a trusted authority can pose as Kafka.
    pub fn check_host_names(mut self, checked: bool) -> Self {
        self.check_host_names = checked;
        self
    }

    /// The properties of librdkafka for these options.
    pub(crate) fn properties(&self) -> Result<Vec<(&'static str, String)>, Error> {
        let algorithm = if self.check_host_names { "https" } else { "none" };
        let mut properties = vec![
            ("enable.ssl.certificate.verification", "true".to_owned()),
            ("ssl.endpoint.identification.algorithm", algorithm.to_owned()),
        ];
        if !self.authorities.trim().is_empty() {
            properties.push(("ssl.ca.pem", self.authorities.clone()));
        } else if !self.system_authorities {
            // librdkafka would trust the places that its OpenSSL was built with.
            return Err(Error::NoAuthority);
        }
        if self.system_authorities {
            properties.push(("ssl.ca.location", system_authorities()));
        }
        if let Some((certificates, key)) = &self.identity {
            properties.push(("ssl.certificate.pem", certificates.clone()));
            properties.push(("ssl.key.pem", key.clone()));
        }
        Ok(properties)
    }
}

/// The path of the system's authorities. librdkafka looks for them by itself (`probe`), but not if there is an
/// `ssl.ca.pem`, too.
fn system_authorities() -> String {
    let found = openssl_probe::probe();
    let path = found.cert_file.or_else(|| found.cert_dir.into_iter().next());
    let path = path.and_then(|path| path.into_os_string().into_string().ok());
    path.unwrap_or_else(|| "probe".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn options_become_properties_of_librdkafka() {
        let of = |tls: TlsOptions| tls.properties().unwrap().into_iter().collect::<HashMap<_, _>>();
        let system = of(TlsOptions::new());
        assert_eq!(system["ssl.endpoint.identification.algorithm"], "https");
        assert_eq!(system["enable.ssl.certificate.verification"], "true");
        assert!(!system["ssl.ca.location"].is_empty());
        assert_eq!(system.len(), 3, "{system:?}");

        let own = TlsOptions::new().authorities("A\n").authorities("B").system_authorities(false);
        let own = of(own.identity("C", "K").check_host_names(false));
        assert_eq!(own["ssl.endpoint.identification.algorithm"], "none");
        assert_eq!(own["enable.ssl.certificate.verification"], "true");
        assert_eq!(own["ssl.ca.pem"], "A\nB\n");
        assert_eq!((&*own["ssl.certificate.pem"], &*own["ssl.key.pem"]), ("C", "K"));
        assert_eq!(own.len(), 5, "{own:?}");
    }
}
