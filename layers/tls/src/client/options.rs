use crate::version::Version;

/// The options of a [`ClientConfig`](crate::ClientConfig).
///
/// ```
/// use tailwater_tls::ClientOptions;
///
/// let options = ClientOptions::new().alpn(["h2", "http/1.1"]).server_name("internal.example");
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ClientOptions {
    pub(crate) alpn: Vec<Vec<u8>>,
    pub(crate) only: Option<Version>,
    pub(crate) server_name: Option<String>,
}

impl ClientOptions {
    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// The protocols that the client offers by ALPN, the preferred one first. Default: none.
    pub fn alpn(mut self, names: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        self.alpn = names.into_iter().map(Into::into).collect();
        self
    }

    /// Supports only this version. Default: TLS 1.3, and 1.2 for servers without 1.3.
    pub fn only(mut self, version: Version) -> Self {
        self.only = Some(version);
        self
    }

    /// The server name that is sent (SNI) and for which the certificate is verified, for any URI. Default: the
    /// host of the URI.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }
}
