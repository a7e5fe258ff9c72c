//! Event streams of other servers: [`EventSource`] reads one and connects again whenever it is lost, and
//! [`UpstreamLayer`] makes a source for the sse crate of a server that has them.
//!
//! ```
//! use http::Uri;
//! use tailwater_client::EventSource;
//! # use tokio::{io::{AsyncReadExt, AsyncWriteExt}, net::TcpListener};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = TcpListener::bind("127.0.0.1:0").await?;
//! # let uri: Uri = format!("http://{}/prices", listener.local_addr()?).parse()?;
//! # tokio::spawn(async move {
//! #     let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nretry:100\n";
//! #     for events in ["event:quote\ndata:1.0873\nid:1\n\nda", "data:1.0875\nid:2\n\n"] {
//! #         let (mut socket, _) = listener.accept().await?;
//! #         let _ = socket.read(&mut [0; 4096]).await?;
//! #         socket.write_all(format!("{head}{events}").as_bytes()).await?;
//! #     }
//! #     Ok::<_, std::io::Error>(())
//! # });
//! let mut prices = EventSource::builder(uri).build()?;
//!
//! let first = prices.next().await.expect("a stream that goes on")?;
//! assert_eq!(first.event.as_deref(), Some(&b"quote"[..]));
//! assert_eq!(first.data, "1.0873");
//! assert_eq!(prices.last_event_id(), b"1");
//!
//! // The connection is lost here; the next one goes on after event 1.
//! let second = prices.next().await.expect("a stream that goes on")?;
//! assert_eq!(second.data, "1.0875");
//! # Ok(())
//! # }
//! ```
//!
//! # Connectors
//!
//! A connector is a `Service<Uri>` whose response is a connection: [`TcpConnector`], or one for TLS around
//! it. Each stream has a connection of its own, which is closed with the stream, at once, whatever the
//! server does. Its tasks (one for HTTP/1.1, two for HTTP/2) read ahead no more than the buffers below hold.
//!
//! # What ends a stream, and what does not
//!
//! | | [`EventSource`] | [`UpstreamLayer`], first answer | later |
//! |---|---|---|---|
//! | no connection, no answer in time, an answer that is no HTTP | tries again | 502 | tries again |
//! | the stream breaks off, ends, or is silent for too long | tries again | | tries again |
//! | 502, 503 or 504 of a gateway whose server is away for now | an error; once there was a stream: tries again | 502 | tries again |
//! | `204 No Content` | the end | 204 | the end |
//! | a redirection, another status, another content type, a content coding | an error | 502 | the end |
//! | an event that is too long | an error | | the end |
//!
//! Redirections are refused, unlike in browsers: a request with credentials should go where it was sent,
//! and a server inside may not choose whom a gateway asks. The id of an event is taken when the whole event
//! is there, so that one which was cut off comes again.
//!
//! # Paths
//!
//! An [`UpstreamLayer`] passes a path on as it is written, so that the server sees what the routes and guards
//! in front of the layer have seen. It answers `404 Not Found`, and asks nobody, where servers are known to
//! read another path than that, by which `/open/../guarded` would be a way around a guard:
//!
//! - a segment that is `.` or `..`, percent-decoded once, also with `;` and anything behind it;
//! - a backslash, an encoded slash or backslash, or a control character, encoded or not;
//! - an empty segment (`//a`) other than the last one: many servers merge slashes;
//! - no `/` at the start.
//!
//! What a server ignores beyond that (case, `;` and what follows in other segments, a second encoding) is its
//! own: where it does, guard by default, and name what is open.
//!
//! # Buffers
//!
//! What a server can make a stream hold: 32 KiB of an HTTP/1.1 response read ahead, its head included, or
//! 64 KiB and a head of 32 KiB over HTTP/2; and an event that is not whole yet: its data, its longest line
//! and a piece of what follows. An [`UpstreamLayer`]'s stream holds in addition what it has encoded for the
//! next write, which an event made of empty lines makes six times as long as its data.

mod backoff;
mod connect;
mod error;
mod event_source;
mod exchange;
mod options;
mod reader;
mod upstream;

pub use connect::TcpConnector;
pub use error::Error;
pub use event_source::{EventSource, EventSourceBuilder};
pub use options::Version;
pub use upstream::{Upstream, UpstreamEvents, UpstreamFuture, UpstreamLayer};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
