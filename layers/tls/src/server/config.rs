use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache,
};
use rustls::sign::CertifiedKey;

use crate::alpn::check_alpn;
use crate::certificates::identity::Identity;
use crate::certificates::verify::ClientVerifier;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::provider::provider;
use crate::server::options::{ClientCertificates, ServerOptions};
use crate::version::versions;

/// The configuration of a server: its credentials and options.
///
/// A clone is a handle of the same configuration: [`rotate`](ServerConfig::rotate) on one replaces the
/// certificates of all, while the server runs.
///
/// ```
/// use tailwater_tls::{Credentials, ServerConfig, ServerOptions, Store};
/// # let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
/// # let text = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem());
///
/// let load = |text: &str| -> Result<Credentials, tailwater_tls::Error> {
///     let store = Store::pem("main", text.as_bytes())?;
///     Ok(Credentials::new().identity(store.identity("main")?))
/// };
/// let config = ServerConfig::new(load(&text)?, ServerOptions::new().alpn(["http/1.1"]))?;
/// config.rotate(load(&text)?)?; // from now on, for new connections
/// # Ok::<_, tailwater_tls::Error>(())
/// ```
#[derive(Clone)]
pub struct ServerConfig {
    shared: Arc<Shared>,
}

struct Shared {
    options: ServerOptions,
    current: RwLock<Arc<Current>>,
    done: AtomicU64,
    failed: AtomicU64,
}

/// The handshakes of a server at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeCounts {
    /// Handshakes that led to a connection.
    pub done: u64,
    /// Connections without a handshake: the client did not speak TLS, did not accept the certificate, or was
    /// too slow.
    pub failed: u64,
}

/// The rustls configuration of the current credentials.
pub(crate) struct Current {
    pub(crate) config: Arc<rustls::ServerConfig>,
    pub(crate) requires_alpn: bool,
    identities: Arc<Identities>,
}

impl ServerConfig {
    /// A configuration with these credentials.
    ///
    /// # Errors
    /// [`Error::ServerWithoutIdentity`], [`Error::NoRoots`] if the server requests client certificates and has
    /// no roots, [`Error::Alpn`], [`Error::Configuration`].
    pub fn new(credentials: Credentials, options: ServerOptions) -> Result<Self, Error> {
        check_alpn(&options.alpn)?;
        let current = RwLock::new(Arc::new(Current::new(credentials, &options)?));
        let (done, failed) = Default::default();
        Ok(Self { shared: Arc::new(Shared { options, current, done, failed }) })
    }

    /// Replaces the credentials for new connections. Existing connections and handshakes that have begun keep
    /// theirs. Earlier sessions are not resumed.
    ///
    /// # Errors
    /// The errors of [`new`](ServerConfig::new). The old credentials stay in use then.
    pub fn rotate(&self, credentials: Credentials) -> Result<(), Error> {
        let current = Arc::new(Current::new(credentials, &self.shared.options)?);
        // A poisoned lock is harmless: the `Arc` is always complete.
        *self.shared.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    /// The handshakes since the start. All clones count together, and a rotation does not end the count.
    #[must_use]
    pub fn handshakes(&self) -> HandshakeCounts {
        let Shared { done, failed, .. } = &*self.shared;
        HandshakeCounts { done: done.load(Relaxed), failed: failed.load(Relaxed) }
    }

    /// The identities in use, in their order.
    #[must_use]
    pub fn identities(&self) -> Vec<Identity> {
        self.current().identities.all.clone()
    }

    pub(crate) fn record_handshake(&self, is_done: bool) {
        let counter = if is_done { &self.shared.done } else { &self.shared.failed };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.shared.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("options", &self.shared.options)
            .field("identities", &self.current().identities)
            .finish()
    }
}

impl Current {
    fn new(credentials: Credentials, options: &ServerOptions) -> Result<Self, Error> {
        let Credentials { identities, roots } = credentials;
        if identities.is_empty() {
            return Err(Error::ServerWithoutIdentity);
        }
        let identities = Arc::new(Identities { all: identities });
        let builder = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(options.only))
            .map_err(Error::Configuration)?;
        let builder = if options.client_certificates == ClientCertificates::None {
            builder.with_no_client_auth()
        } else {
            if roots.is_empty() {
                return Err(Error::NoRoots);
            }
            let mandatory = options.client_certificates != ClientCertificates::Requested;
            builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(&roots, mandatory)))
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&identities) as _);
        config.alpn_protocols.clone_from(&options.alpn);
        if options.resumption {
            config.ticketer = Ticketer::new().map_err(Error::Configuration)?;
            config.session_storage = ServerSessionMemoryCache::new(256);
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        let requires_alpn = options.requires_alpn();
        Ok(Self { config: Arc::new(config), requires_alpn, identities })
    }

    /// The identity that the resolver selects as well.
    pub(crate) fn identity(&self, hello: &ClientHello<'_>) -> Option<Identity> {
        self.identities.select(hello).cloned()
    }
}

/// The identities of a server.
struct Identities {
    all: Vec<Identity>,
}

impl Identities {
    /// The first identity for the server name whose key the client can verify. Without a server name, or with
    /// an unknown one, the first identity that the client can verify.
    fn select(&self, hello: &ClientHello<'_>) -> Option<&Identity> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let usable = |identity: &&Identity| identity.signs(hello.signature_schemes());
        let for_name = |matches: fn(&str, &str) -> bool| {
            let name = name.as_deref()?;
            self.all
                .iter()
                .filter(|identity| identity.hosts().iter().any(|host| matches(host, name)))
                .find(usable)
        };
        for_name(|host, name| host == name)
            .or_else(|| for_name(is_wildcard_of))
            .or_else(|| self.all.iter().find(usable))
            .or(self.all.first()) // rustls sends the alert
    }
}

/// RFC 6125, 6.4.3: `*` is the whole first label and matches one label.
fn is_wildcard_of(host: &str, name: &str) -> bool {
    let (Some(parent), Some((first, rest))) = (host.strip_prefix("*."), name.split_once('.'))
    else {
        return false;
    };
    !first.is_empty() && parent == rest
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.select(&hello).map(|identity| Arc::clone(identity.certified()))
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.all).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::is_wildcard_of;

    #[test]
    fn a_wildcard_is_one_label() {
        for (host, name, expected) in [
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", ".example.com", false),
            ("example.com", "example.com", false),
            ("*", "localhost", false),
            ("a*.example.com", "ab.example.com", false),
        ] {
            assert_eq!(is_wildcard_of(host, name), expected, "{host} {name}");
        }
    }
}
