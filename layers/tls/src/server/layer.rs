use std::time::Duration;

use tower_layer::Layer;

use crate::limits::Limits;
use crate::server::config::ServerConfig;
use crate::server::service::Tls;

/// Performs the TLS handshake of each connection, and calls the inner service with the [`TlsStream`](crate::TlsStream).
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
    /// A layer with this configuration and the default limits.
    pub fn new(config: ServerConfig) -> Self {
        Self { config, limits: Limits::default() }
    }

    /// The timeout from the call of the service to the end of the handshake. It includes the time that a
    /// rejected client has to read the reason. Default: 10 s. 0 means no timeout.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.limits.handshake_timeout = timeout;
        self
    }

    /// The maximum number of bytes from a client before its handshake is over. Default: 64 KiB. A handshake
    /// without client certificates takes between less than 1 KiB and 3 KiB. rustls itself accepts no message
    /// of more than 64 KiB.
    pub fn max_handshake_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_handshake_bytes = bytes;
        self
    }

    /// The maximum number of encrypted bytes that wait for a client that does not read. Default: 64 KiB. A
    /// value below 16 KiB, the size of a record, is raised to 16 KiB.
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
