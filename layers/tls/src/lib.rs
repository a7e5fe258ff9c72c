//! TLS as tower layers over rustls: servers and clients, the stores that their certificates come
//! from, and certificates that are rotated while they run.
//!
//! [`TlsLayer`] stands between an accept loop and whatever serves a connection; [`ConnectLayer`]
//! between a connector and a client. Both hand on a [`TlsStream`], which knows its [`Handshake`].
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
//! // A server: files to a store, what of it is shown and trusted, how it is spoken.
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
//! - **Stores**: [`Store`] reads PKCS#12 as keytool and OpenSSL write it, old ones too, and PEM.
//! - **Which certificate**: the first for the name that the client asks for, literally or by a
//!   wildcard, whose key the client can verify; for any other name the first of all.
//! - **Whom to trust**: [`Roots`], of a store, of the system, or both. A certificate that is there
//!   itself is trusted for its names and its time, whoever issued it, as in Java. It vouches for
//!   others only if it is an authority's.
//! - **Without a restart**: [`ServerConfig::rotate`] and [`ClientConfig::rotate`] rotate
//!   certificates for new connections; [`Watch`] says when the files have changed.
//! - **Cryptography** is AWS-LC. It is not installed for the process, which belongs to the program.
//!   Neither early data (0-RTT, which can be replayed) nor renegotiation is there.
//! - **Revocation** is not checked: rotate the trusted certificates.
//!
//! # What bounds a connection
//!
//! | | bound | default |
//! |---|---|---|
//! | from the connection to the end of the handshake | [`TlsLayer::handshake_timeout`] | 10 s |
//! | what the peer may send until then | [`TlsLayer::max_handshake_bytes`] | 64 KiB |
//! | what waits for a peer that takes nothing | [`TlsLayer::send_buffer_bytes`] | 64 KiB |
//! | what is read ahead | a record | 16 KiB |
//! | sessions of TLS 1.2 without tickets | | 256 |
//! | a store | [`Store::MAX_BYTES`] | 1 MiB |
//!
//! A refused client has a second to read why. What comes after the handshake, idle connections and
//! peers that take nothing among it, is for the layers above and below: a flush waits for ever.

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
pub use server::config::ServerConfig;
pub use server::layer::TlsLayer;
pub use server::options::{ClientCertificates, ServerOptions};
pub use server::service::{Tls, TlsFuture};
pub use stream::TlsStream;
pub use version::Version;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
