use std::io;
use std::time::Duration;

/// An error of an inner service, or of a library that is not part of this crate's API.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The reason why a store, a configuration or a connection has failed. It contains no password, no key and
/// no data from a peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A store is longer than this number of bytes.
    #[error("the store has more than {0} bytes")]
    StoreTooLarge(usize),
    /// The MAC of a PKCS#12 store does not match: the password is wrong, or the file is damaged.
    #[error("the password of the PKCS#12 store is wrong, or the store is damaged")]
    Password,
    /// A PKCS#12 store cannot be parsed.
    #[error("the PKCS#12 store cannot be read")]
    Pkcs12(#[source] BoxError),
    /// A PEM text cannot be parsed.
    #[error("the PEM text cannot be read")]
    Pem(#[source] BoxError),
    /// A PEM text contains no certificate.
    #[error("the PEM text has no certificate")]
    PemWithoutCertificate,
    /// A PEM text contains several private keys.
    #[error("the PEM text has {0} private keys, where one is expected")]
    PemKeys(usize),
    /// A store has no identity with this alias.
    #[error("no key with alias `{alias}`, there are {present:?}")]
    NoIdentity {
        /// The requested alias.
        alias: String,
        /// The aliases of the store's identities.
        present: Vec<String>,
    },
    /// A store has no trusted certificate with this alias.
    #[error("no trusted certificate with alias `{alias}`, there are {present:?}")]
    NoCertificate {
        /// The requested alias.
        alias: String,
        /// The aliases of the store's trusted certificates.
        present: Vec<String>,
    },
    /// A certificate chain and a key are not a valid identity.
    #[error("the key or the certificate of `{alias}` cannot be used")]
    Identity {
        /// Its alias.
        alias: String,
        /// The reason.
        source: rustls::Error,
    },
    /// A certificate cannot be used as a root.
    #[error("a trusted certificate cannot be used")]
    Certificate(#[source] rustls::Error),
    /// The system has no trusted certificates, or they cannot be read.
    #[error("the system has no trusted certificates")]
    SystemCertificates(#[source] Option<BoxError>),
    /// The credentials of a server contain no identity.
    #[error("a server needs a certificate and its key")]
    ServerWithoutIdentity,
    /// The certificates of peers must be verified, but there are no roots.
    #[error("certificates are to be verified, but none is trusted")]
    NoRoots,
    /// An ALPN protocol name has a length other than 1 to 255 bytes (RFC 7301).
    #[error("an ALPN protocol name has {0} bytes; 1 to 255 are possible")]
    Alpn(usize),
    /// rustls does not accept the configuration.
    #[error("the TLS configuration is not accepted")]
    Configuration(#[source] rustls::Error),
    /// The host of a URI, or the option for it, is not a valid server name.
    #[error("`{0}` is no server name")]
    ServerName(String),
    /// The handshake was not over within this time.
    #[error("no TLS handshake within {0:?}")]
    HandshakeTimeout(Duration),
    /// The peer has sent more than this number of bytes before the handshake was over.
    #[error("more than {0} bytes before the end of the TLS handshake")]
    HandshakeBytes(usize),
    /// The peer has closed the connection before the handshake was over.
    #[error("the peer closed the connection during the TLS handshake")]
    Closed,
    /// The peer does not speak TLS, but another protocol, often plain HTTP.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// The client offers no protocol by ALPN, but the server requires one.
    #[error("the client offers no protocol by ALPN")]
    NoAlpn,
    /// The handshake failed.
    #[error("the TLS handshake failed")]
    Handshake(#[source] rustls::Error),
    /// The connection failed.
    #[error("the connection failed during the TLS handshake")]
    Io(#[source] io::Error),
    /// The inner service or the connector failed.
    #[error(transparent)]
    Inner(BoxError),
}
