use crate::version::Version;

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    None,
    /// They are asked, and may have none. One that is not trusted ends the handshake, as it does in
    /// Java (`wantClientAuth`).
    Requested,
    /// Without one that is trusted there is no connection.
    Required,
}

/// The options of a [`ServerConfig`].
///
/// ```
/// use tailwater_tls::{ServerOptions, Version};
///
/// let options = ServerOptions::new().alpn(["h2", "http/1.1"]).only(Version::Tls13);
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ServerOptions {
    pub(crate) alpn: Vec<Vec<u8>>,
    pub(crate) require_alpn: Option<bool>,
    pub(crate) only: Option<Version>,
    pub(crate) client_certificates: ClientCertificates,
    pub(crate) resumption: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerOptions {
    /// The defaults that the options name.
    pub fn new() -> Self {
        Self {
            alpn: Vec::new(),
            require_alpn: None,
            only: None,
            client_certificates: ClientCertificates::None,
            resumption: true,
        }
    }

    /// The protocols that are spoken within, the preferred one first. A client that offers others
    /// only is refused (`no_application_protocol`). Default: none, and nothing is agreed.
    pub fn alpn(mut self, names: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        self.alpn = names.into_iter().map(Into::into).collect();
        self
    }

    /// Whether a client that offers no protocol at all is refused, too. Default: if there are
    /// protocols and `http/1.1`, which is what such a client speaks, is not among them.
    pub fn require_alpn(mut self, require: bool) -> Self {
        self.require_alpn = Some(require);
        self
    }

    /// Speaks this version only. Default: TLS 1.3, and 1.2 with clients that have no 1.3.
    pub fn only(mut self, version: Version) -> Self {
        self.only = Some(version);
        self
    }

    /// Whether clients show a certificate that the roots of the [`Credentials`] vouch for. Default:
    /// [`ClientCertificates::None`].
    pub fn client_certificates(mut self, certificates: ClientCertificates) -> Self {
        self.client_certificates = certificates;
        self
    }

    /// Whether a client can come back without the whole handshake: by tickets, which take no memory
    /// here and whose keys change every 6 hours, or in TLS 1.2 without tickets by one of the last
    /// 256 sessions. A client certificate is not verified again then. Rotated
    /// credentials end it for all. Default: yes.
    pub fn resumption(mut self, resumption: bool) -> Self {
        self.resumption = resumption;
        self
    }

    pub(crate) fn requires_alpn(&self) -> bool {
        self.require_alpn.unwrap_or_else(|| {
            !self.alpn.is_empty() && !self.alpn.iter().any(|name| name == b"http/1.1")
        })
    }
}
