use rustls::pki_types::CertificateDer;
use rustls::{CommonState, HandshakeKind};

use crate::version::Version;

/// The result of the handshake of a [`TlsStream`](crate::TlsStream).
#[derive(Clone, Debug)]
pub struct Handshake {
    server_name: Option<String>,
    alpn: Option<Vec<u8>>,
    version: Version,
    resumed: bool,
    peer_certificates: Vec<CertificateDer<'static>>,
    identity: Option<String>,
}

impl Handshake {
    pub(crate) fn new(
        server_name: Option<String>,
        identity: Option<String>,
        state: &CommonState,
    ) -> Self {
        Self {
            server_name,
            alpn: state.alpn_protocol().map(<[u8]>::to_vec),
            version: Version::of(state.protocol_version()),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            peer_certificates: state.peer_certificates().unwrap_or_default().to_vec(),
            identity,
        }
    }

    /// The server name (SNI) that the client has sent, in lower case. A client that connects to an address
    /// sends none.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The protocol that ALPN has negotiated.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// The version of TLS.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the handshake has resumed an earlier session.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The verified certificates of the peer, its own first. Empty if the peer was not asked or has sent none.
    #[must_use]
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.peer_certificates
    }

    /// The alias of the server's [`Identity`](crate::Identity). `None` in a client.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }
}
