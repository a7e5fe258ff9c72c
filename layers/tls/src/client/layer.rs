use std::time::Duration;

use tower_layer::Layer;

use crate::client::config::ClientConfig;
use crate::client::service::Connect;
use crate::limits::Limits;

/// Performs a TLS handshake on the connections of a connector, for any scheme of the URI.
///
/// ```
/// use tailwater_tls::{ClientConfig, ClientOptions, ConnectLayer, Credentials, Roots};
/// use tower::{Layer, service_fn};
/// # let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
/// # let certificate = made.cert.der();
///
/// let tcp = service_fn(async |uri: http::Uri| {
///     let host = uri.host().unwrap_or_default();
///     tokio::net::TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await
/// });
/// let credentials = Credentials::new().roots(Roots::empty().with_certificates([certificate])?);
/// let config = ClientConfig::new(credentials, ClientOptions::new().alpn(["h2"]))?;
/// let connector = ConnectLayer::new(config).layer(tcp);
/// # let _ = connector;
/// # Ok::<_, tailwater_tls::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ConnectLayer {
    config: ClientConfig,
    limits: Limits,
}

impl ConnectLayer {
    /// A layer with this configuration and the default limits.
    pub fn new(config: ClientConfig) -> Self {
        Self { config, limits: Limits::default() }
    }

    /// The timeout from the start of the connection to the end of the handshake. The connector has its own
    /// timeout. Default: 10 s. 0 means no timeout.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.limits.handshake_timeout = timeout;
        self
    }

    /// The maximum number of bytes from a server before its handshake is over. Default: 64 KiB.
    pub fn max_handshake_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_handshake_bytes = bytes;
        self
    }

    /// The maximum number of encrypted bytes that wait for a server that does not read. Default: 64 KiB. A
    /// value below 16 KiB, the size of a record, is raised to 16 KiB.
    pub fn send_buffer_bytes(mut self, bytes: usize) -> Self {
        self.limits.send_buffer_bytes = bytes.max(16 * 1024);
        self
    }
}

impl<S> Layer<S> for ConnectLayer {
    type Service = Connect<S>;

    fn layer(&self, inner: S) -> Connect<S> {
        Connect::new(inner, self.config.clone(), self.limits)
    }
}
