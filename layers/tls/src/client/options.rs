use crate::version::Version;

/// The options of a [`ClientConfig`].
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
    /// The defaults that the options name.
    pub fn new() -> Self {
        Self::default()
    }

    /// The protocols that are offered, the preferred one first. Default: none.
    pub fn alpn(mut self, names: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        self.alpn = names.into_iter().map(Into::into).collect();
        self
    }

    /// Speaks this version only. Default: TLS 1.3, and 1.2 with servers that have no 1.3.
    pub fn only(mut self, version: Version) -> Self {
        self.only = Some(version);
        self
    }

    /// Asks every server for this name, and verifies its certificate by it, whatever the URI says.
    /// Default: the host of the URI.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }
}
