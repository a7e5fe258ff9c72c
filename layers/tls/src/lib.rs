//! TLS as tower layers over rustls: servers and clients, the stores that their certificates come
//! from, and certificates that are exchanged while they run.

mod accept;
mod certificate;
mod client;
mod connect;
mod error;
mod guarded;
mod handshake;
mod identity;
mod layer;
mod limits;
mod options;
mod pem;
mod provider;
mod roots;
mod server;
mod service;
mod store;
mod stream;
mod verify;
mod watch;

pub use client::{ClientConfig, ClientOptions};
pub use connect::{Connect, ConnectFuture, ConnectLayer};
pub use error::{BoxError, Error};
pub use handshake::Handshake;
pub use identity::Identity;
pub use layer::TlsLayer;
pub use options::{Credentials, Version};
pub use roots::Roots;
pub use server::{ClientCertificates, ServerConfig, ServerOptions};
pub use service::{Tls, TlsFuture};
pub use store::Store;
pub use stream::TlsStream;
pub use watch::Watch;
