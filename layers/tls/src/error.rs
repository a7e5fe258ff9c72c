//! What goes wrong with stores, with a configuration, and with a connection.

use std::io;
use std::time::Duration;

/// An error of an inner service, or of a library that this crate does not show.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a store, a configuration or a connection is not accepted. None of them holds a password, a
/// key, or what a peer sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A store is longer than this many bytes.
    #[error("a store of more than {0} bytes")]
    StoreTooLarge(usize),
    /// A PKCS#12 store whose MAC does not fit: the password is wrong, or the file is damaged.
    #[error("the password of the PKCS#12 store is wrong, or the store is damaged")]
    Password,
    /// A PKCS#12 store that cannot be read.
    #[error("the PKCS#12 store cannot be read")]
    Pkcs12(#[source] BoxError),
    /// PEM text that cannot be read.
    #[error("the PEM text cannot be read")]
    Pem(#[source] BoxError),
    /// A PEM text with neither a certificate nor a key.
    #[error("the PEM text has no certificate")]
    PemWithoutCertificate,
    /// A PEM text with several private keys.
    #[error("the PEM text has {0} private keys, where one is expected")]
    PemKeys(usize),
    /// A store without an identity of this alias.
    #[error("no key with alias `{alias}`, there are {present:?}")]
    NoIdentity {
        /// What was asked for.
        alias: String,
        /// The aliases of the store's identities.
        present: Vec<String>,
    },
    /// A store without a trusted certificate of this alias.
    #[error("no trusted certificate with alias `{alias}`, there are {present:?}")]
    NoCertificate {
        /// What was asked for.
        alias: String,
        /// The aliases of the store's trusted certificates.
        present: Vec<String>,
    },
    /// A certificate chain and a key that do not make an identity.
    #[error("the key or the certificate of `{alias}` cannot be used")]
    Identity {
        /// Which one.
        alias: String,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// A certificate that no trust anchor can be made of.
    #[error("a trusted certificate cannot be used")]
    Certificate(#[source] rustls::Error),
    /// The system has no trusted certificates, or they cannot be read.
    #[error("the system has no trusted certificates")]
    SystemCertificates(#[source] Option<BoxError>),
    /// A server without an identity.
    #[error("a server needs a certificate and its key")]
    ServerWithoutIdentity,
    /// Peers are to be verified, and nothing is trusted.
    #[error("certificates are to be verified, but none is trusted")]
    NoRoots,
    /// A protocol name that ALPN cannot carry: RFC 7301 has 1 to 255 bytes.
    #[error("an ALPN protocol name of {0} bytes")]
    Alpn(usize),
    /// What rustls does not accept of a configuration.
    #[error("the TLS configuration is not accepted")]
    Configuration(#[source] rustls::Error),
    /// A URI or an option that does not say which server name to ask for.
    #[error("`{0}` is no server name")]
    ServerName(String),
    /// The handshake was not over in time.
    #[error("no TLS handshake within {0:?}")]
    HandshakeTimeout(Duration),
    /// The peer sent more than this before the handshake was over.
    #[error("more than {0} bytes before the end of the TLS handshake")]
    HandshakeBytes(usize),
    /// The peer was gone before the handshake was over.
    #[error("the peer left during the TLS handshake")]
    Closed,
    /// The peer does not speak TLS, but something else, often plain HTTP.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// The client names no protocol by ALPN, where one has to be agreed.
    #[error("the client offers no protocol by ALPN")]
    NoAlpn,
    /// The handshake failed.
    #[error("the TLS handshake failed")]
    Handshake(#[source] rustls::Error),
    /// The connection failed.
    #[error("the connection failed during the TLS handshake")]
    Io(#[source] io::Error),
    /// The inner service, or the connector, failed.
    #[error(transparent)]
    Inner(BoxError),
}
