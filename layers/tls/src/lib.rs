//! TLS as tower layers over rustls, for servers and clients, with PKCS#12 and PEM stores and certificate
//! rotation.
//!
//! [`TlsLayer`] is for servers: it stands between the accept loop and the service of a connection.
//! [`ConnectLayer`] is for clients: it stands between the connector and the client. Both produce a
//! [`TlsStream`], which knows its [`Handshake`].
//!
//! ```
//! use tailwater_tls::{
//!     ClientConfig, ClientOptions, ConnectLayer, Credentials, ServerConfig, ServerOptions, Store,
//!     TlsLayer, TlsStream,
//! };
//! use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
//! # let certificate = made.cert.pem();
//! # let key = made.signing_key.serialize_pem();
//! // A server: a store, the credentials from it, the options of the protocol.
//! let store = Store::pem("main", [certificate.as_bytes(), key.as_bytes()].concat().as_slice())?;
//! let credentials = Credentials::new().identity(store.identity("main")?);
//! let options = ServerOptions::new().alpn(["h2", "http/1.1"]);
//! let config = ServerConfig::new(credentials, options)?;
//!
//! let greet = service_fn(async |mut stream: TlsStream<DuplexStream>| {
//!     let greeting = format!("hello, {}", stream.handshake().server_name().unwrap_or("stranger"));
//!     stream.write_all(greeting.as_bytes()).await?;
//!     stream.shutdown().await
//! });
//! let server = TlsLayer::new(config).layer(greet);
//!
//! // A client that trusts the certificate of the server.
//! let trusted = Store::pem("server", certificate.as_bytes())?;
//! let credentials = Credentials::new().roots(trusted.roots()?);
//! let config = ClientConfig::new(credentials, ClientOptions::new().alpn(["http/1.1"]))?;
//!
//! let connect = service_fn(move |_: http::Uri| {
//!     let (io, peer) = tokio::io::duplex(16 * 1024); // in place of a socket
//!     tokio::spawn(server.clone().oneshot(peer));
//!     std::future::ready(Ok::<_, std::io::Error>(io))
//! });
//! let connector = ConnectLayer::new(config).layer(connect);
//! let mut stream = connector.oneshot("https://localhost".parse()?).await?;
//! let mut greeting = String::new();
//! stream.read_to_string(&mut greeting).await?;
//! assert_eq!(greeting, "hello, localhost");
//! assert_eq!(stream.handshake().alpn(), Some(&b"http/1.1"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! - **Stores**: [`Store`] reads PEM, and PKCS#12 as keytool and OpenSSL write it, including legacy
//!   encryption.
//! - **Server certificate**: the first certificate for the name that the client asks for, literally or by a
//!   wildcard, whose key the client can verify. For any other name it is the first certificate of all.
//! - **Trust**: [`Roots`] of a store, of the system, or both. A certificate in the roots is itself accepted
//!   for its names during its validity, whatever its issuer is, as in Java. Certificates that it has signed are
//!   accepted only if it belongs to an authority.
//! - **Rotation**: [`ServerConfig::rotate`] and [`ClientConfig::rotate`] replace certificates for new
//!   connections. [`Watch`] detects changes of their files.
//! - **Cryptography** is AWS-LC. The crate does not install it for the process: that is up to the program.
//!   Early data (0-RTT) is not supported, since it can be replayed, nor is renegotiation.
//! - **Revocation** is not checked. To revoke a certificate, rotate the roots.
//!
//! # Limits of a connection
//!
//! | | limit | default |
//! |---|---|---|
//! | from the start of the connection to the end of the handshake | [`TlsLayer::handshake_timeout`] | 10 s |
//! | bytes from the peer until then | [`TlsLayer::max_handshake_bytes`] | 64 KiB |
//! | encrypted bytes that wait for a peer that does not read | [`TlsLayer::send_buffer_bytes`] | 64 KiB |
//! | bytes that are read ahead | one record | 16 KiB |
//! | sessions of TLS 1.2 without tickets | | 256 |
//! | a store | [`Store::MAX_BYTES`] | 1 MiB |
//!
//! A rejected client has one second to read the reason. After the handshake there is no timeout: idle
//! connections, and peers that do not read, are up to the layers above and below. A flush waits without limit.

mod alpn;
mod bounded;
mod certificates;
mod client;
mod credentials;
mod error;
mod handshake;
mod limits;
mod macros;
mod provider;
mod server;
mod stream;
mod version;

pub use certificates::identity::Identity;
pub use certificates::roots::Roots;
pub use certificates::store::Store;
pub use certificates::watch::Watch;
pub use client::config::ClientConfig;
pub use client::layer::ConnectLayer;
pub use client::options::ClientOptions;
pub use client::service::{Connect, ConnectFuture};
pub use credentials::Credentials;
pub use error::{BoxError, Error};
pub use handshake::Handshake;
pub use server::config::{HandshakeCounts, ServerConfig};
pub use server::layer::TlsLayer;
pub use server::options::{ClientCertificates, ServerOptions};
pub use server::service::{Tls, TlsFuture};
pub use stream::TlsStream;
pub use version::Version;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
