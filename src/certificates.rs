//! The log of the certificates of `tls` servers, and of those that are about to expire.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use tailwater_tls::{Identity, ServerConfig};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::sleep;
use tracing::{info, warn};

/// How often rotated certificates are looked for.
const LOOK: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A certificate that is valid for less than this is warned of, each day.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Logs the certificates of these bindings: each once, and each day those that are about to expire. It does not
/// return.
pub(crate) async fn tell(servers: Vec<(String, ServerConfig)>) {
    let mut told = Told::default();
    loop {
        let now = SystemTime::now();
        for (binding, config) in &servers {
            for identity in config.identities() {
                told.tell(binding, &identity, now);
            }
        }
        told.forget(now);
        sleep(LOOK).await;
    }
}

/// Binding, alias and end of the validity.
type Key = (String, String, SystemTime);

/// The certificates that were logged.
#[derive(Debug, Default)]
struct Told(HashMap<Key, Certificate>);

#[derive(Debug)]
struct Certificate {
    seen: SystemTime,
    warned: Option<SystemTime>,
}

impl Told {
    /// Logs a certificate if it is new, and warns of it if that is due. Returns whether it warned.
    fn tell(&mut self, binding: &str, identity: &Identity, now: SystemTime) -> bool {
        let (alias, subject) = (identity.alias(), identity.distinguished_name());
        let end = identity.not_after();
        let not_after = OffsetDateTime::from(end).format(&Rfc3339).unwrap_or_default();
        let key = (binding.to_owned(), alias.to_owned(), end);
        let certificate = self.0.entry(key).or_insert_with(|| {
            info!(binding, alias, subject, not_after, "certificate");
            Certificate { seen: now, warned: None }
        });
        certificate.seen = now;
        let left = end.duration_since(now).unwrap_or_default();
        let was_warned = certificate
            .warned
            .is_some_and(|warned| now.duration_since(warned).unwrap_or_default() < DAY);
        if left >= SOON || was_warned {
            return false;
        }
        certificate.warned = Some(now);
        let days = left.as_secs() / DAY.as_secs();
        if left.is_zero() {
            warn!(binding, alias, subject, not_after, "certificate has expired");
        } else {
            warn!(binding, alias, subject, not_after, days, "certificate expires soon");
        }
        true
    }

    /// Forgets the certificates that are in use no more.
    fn forget(&mut self, now: SystemTime) {
        self.0.retain(|_, certificate| certificate.seen == now);
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_is_warned_of_each_day_below_fourteen_days() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["example.com".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2030, 1, 31);
        let chain = vec![params.self_signed(&key).unwrap().der().clone()];
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let identity = Identity::new("main", chain, key).unwrap();
        let end = SystemTime::from(date_time_ymd(2030, 1, 31));
        assert_eq!(identity.not_after(), end);

        let mut told = Told::default();
        assert!(!told.tell("tls_in", &identity, end - SOON));
        let below = end - SOON + Duration::from_secs(1);
        assert!(told.tell("tls_in", &identity, below));
        assert!(told.tell("tls_other", &identity, below), "each binding has its own");
        assert!(!told.tell("tls_in", &identity, below + DAY - LOOK));
        assert!(told.tell("tls_in", &identity, below + DAY));
        assert!(told.tell("tls_in", &identity, end + DAY), "it has expired");
        told.forget(end + DAY);
        assert_eq!(told.0.len(), 1);
    }
}
