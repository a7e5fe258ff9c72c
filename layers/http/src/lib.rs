//! HTTP/1.1 and HTTP/2 for servers with tens of thousands of open streams: hyper as a tower layer with
//! every limit stated, and the accept loop below it.
//!
//! ```
//! # use std::{convert::Infallible, time::Duration};
//! use http::{Request, Response};
//! use tailwater_http::{HttpLayer, ListenOptions, Peer, ServeOptions, Shutdown, serve};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tower_layer::Layer;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! let inner = tower::service_fn(async |request: Request<hyper::body::Incoming>| {
//!     let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_string());
//!     Ok::<_, Infallible>(Response::new(peer.unwrap_or_default()))
//! });
//! let shutdown = Shutdown::new();
//! let service = HttpLayer::new().shutdown(shutdown.clone()).layer(inner);
//! let listener = ListenOptions::new().bind(([127, 0, 0, 1], 0).into())?;
//! let address = listener.local_address()?;
//! let server = tokio::spawn(serve([listener], service, ServeOptions::new(), shutdown.clone()));
//!
//! let mut client = tokio::net::TcpStream::connect(address).await?;
//! client.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer).await?;
//! assert!(answer.ends_with("\r\n\r\n127.0.0.1"));
//!
//! shutdown.begin(Duration::from_secs(5));
//! server.await?;
//! # Ok(()) }
//! ```
//!
//! # When to use it
//!
//! `axum::serve` and hyper-util's `auto` server have no timeout for a client that connects and sends
//! nothing, buffer up to 400 KiB for each slow client, never close an idle HTTP/2 connection, and
//! stop only when the last stream ends. [`HttpLayer`] takes any service of `http` requests, such as an
//! axum router. [`Http`], its service, can be called from any other accept loop.
//!
//! hyper keeps 16 KiB of buffers for each connection. So an HTTP/1.1 response of `text/event-stream` is
//! written by this crate, and is the last one of its connection. hyper does all the rest.
//!
//! # The limits of a connection
//!
//! | limit | option | default |
//! |---|---|---|
//! | connections at once | [`ConnectionLimit`] | 65 536 |
//! | time until the first head | [`HttpLayer::first_request_timeout`] | 10 s |
//! | time without an open request | [`HttpLayer::idle_timeout`] | 60 s |
//! | time without a byte taken | [`ServeOptions::write_deadline`] | 60 s |
//! | time without an answer of the peer | [`ListenOptions::tcp_user_timeout`], [`HttpLayer::ping`] | 60 s; 30 s + 20 s |
//! | head of a request | [`HttpLayer::max_head_bytes`], [`HttpLayer::max_headers`] | 32 KiB, 100 fields |
//! | HTTP/2 streams at once | [`HttpLayer::max_concurrent_streams`] | 128 |
//! | bytes waiting for a slow client | [`HttpLayer::send_buffer_bytes`], [`ListenOptions::send_buffer_bytes`] | 64 KiB, 128 KiB |
//! | time to end at a shutdown | [`Shutdown::begin`] | |
//!
//! The inner service has to bound the duration of a response and of a request body.

#[macro_use]
mod macros;

mod config;
mod conn;
mod connection;
mod deadline;
mod error;
mod layer;
mod open_files;
mod serve;
mod service;
mod shutdown;

pub use config::Versions;
pub use connection::{Connection, Negotiated, Peer, Rejection, StallFlag};
pub use error::Error;
pub use layer::HttpLayer;
pub use open_files::raise_open_files;
pub use serve::{
    Accept, ConnectionCounts, ConnectionLimit, ListenOptions, Listener, ServeOptions, Socket,
    Workers, WriteDeadline, serve,
};
pub use service::{ConnectionFuture, Http};
pub use shutdown::{Shutdown, Started};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
