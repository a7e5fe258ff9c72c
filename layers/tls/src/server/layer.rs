//! The layer of a server, and its limits.

use std::time::Duration;

use tower_layer::Layer;

use crate::limits::Limits;
use crate::server::config::ServerConfig;
use crate::server::service::Tls;

/// Makes TLS of each connection, and gives it to the inner service when its handshake is over.
///
/// ```
/// use std::time::Duration;
/// use tailwater_tls::{Credentials, ServerConfig, ServerOptions, Store, TlsLayer};
/// # let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
/// # let text = format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem());
///
/// let store = Store::pem("main", text.as_bytes())?;
/// let credentials = Credentials::new().identity(store.identity("main")?);
/// let config = ServerConfig::new(credentials, ServerOptions::new())?;
/// let layer = TlsLayer::new(config).handshake_timeout(Duration::from_secs(5));
/// # let _ = layer;
/// # Ok::<_, tailwater_tls::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct TlsLayer {
    config: ServerConfig,
    limits: Limits,
}

impl TlsLayer {
    /// TLS with this configuration, and the limits that the options name.
    pub fn new(config: ServerConfig) -> Self {
        Self { config, limits: Limits::default() }
    }

    /// From the call of the service to the end of the handshake, or to the end of saying why there
    /// is none. Default: 10 s; 0 is no deadline.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.limits.handshake_timeout = timeout;
        self
    }

    /// How much a client may send before its handshake is over. Default: 64 KiB; a handshake without
    /// client certificates takes less than 1 KiB to 3 KiB. rustls itself takes no message of more
    /// than 64 KiB.
    pub fn max_handshake_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_handshake_bytes = bytes;
        self
    }

    /// How much of what was written may wait, encrypted, for a client that takes nothing. Default:
    /// 64 KiB; what is below 16 KiB, a record, is 16 KiB.
    pub fn send_buffer_bytes(mut self, bytes: usize) -> Self {
        self.limits.send_buffer_bytes = bytes.max(16 * 1024);
        self
    }
}

impl<S> Layer<S> for TlsLayer {
    type Service = Tls<S>;

    fn layer(&self, inner: S) -> Tls<S> {
        Tls::new(inner, self.config.clone(), self.limits)
    }
}
