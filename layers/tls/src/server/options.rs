use crate::version::Version;

/// Whether a server requests certificates of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientCertificates {
    /// The server requests none.
    #[default]
    None,
    /// The server requests a certificate, and accepts a client without one. A certificate that is not trusted
    /// ends the handshake, as in Java (`wantClientAuth`).
    Requested,
    /// The server accepts only clients with a trusted certificate.
    Required,
}

/// The options of a [`ServerConfig`](crate::ServerConfig).
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
    /// The default options.
    pub fn new() -> Self {
        Self {
            alpn: Vec::new(),
            require_alpn: None,
            only: None,
            client_certificates: ClientCertificates::None,
            resumption: true,
        }
    }

    /// The protocols for ALPN, the preferred one first. A client that offers only other protocols is rejected
    /// (`no_application_protocol`). Default: none, and no protocol is negotiated.
    pub fn alpn(mut self, names: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        self.alpn = names.into_iter().map(Into::into).collect();
        self
    }

    /// Whether a client without ALPN is rejected, too. Such a client speaks HTTP/1.1. Default: it is rejected if
    /// there are protocols and `http/1.1` is not among them.
    pub fn require_alpn(mut self, require: bool) -> Self {
        self.require_alpn = Some(require);
        self
    }

    /// Supports only this version. Default: TLS 1.3, and 1.2 for clients without 1.3.
    pub fn only(mut self, version: Version) -> Self {
        self.only = Some(version);
        self
    }

    /// Whether the server requests certificates of clients. The roots of the
    /// [`Credentials`](crate::Credentials) must vouch for them. Default: [`ClientCertificates::None`].
    pub fn client_certificates(mut self, certificates: ClientCertificates) -> Self {
        self.client_certificates = certificates;
        self
    }

    /// Whether a client can resume a session without the whole handshake. Default: yes.
    ///
    /// Sessions are resumed by tickets, which take no memory in the server and whose keys change every 6
    /// hours. Clients with TLS 1.2 and without tickets can resume one of the last 256 sessions. The
    /// certificate of a client is not verified again when it resumes a session. No session is resumed after a
    /// [rotation](crate::ServerConfig::rotate).
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
