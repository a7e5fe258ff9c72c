//! Clients for event streams of other servers. [`EventSource`] reads a stream and reconnects whenever it is
//! lost. [`UpstreamLayer`] makes a source for `SseLayer` that forwards the streams of a server.
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
//! A connector is a `Service<Uri>` whose response is a connection: [`TcpConnector`], or a TLS connector
//! around it. Each stream has a connection of its own. It is closed at once when the stream is dropped. The
//! tasks of a connection (one for HTTP/1.1, two for HTTP/2) read ahead up to the [buffers](#buffers) below.
//!
//! # What ends a stream, and what does not
//!
//! | | [`EventSource`] | [`UpstreamLayer`], first response | later |
//! |---|---|---|---|
//! | no connection, a timeout, a response that is not HTTP | reconnects | 502 | reconnects |
//! | the stream breaks off, ends, or is idle for too long | reconnects | | reconnects |
//! | 502, 503 or 504 of a gateway | an error at first; reconnects if the stream was open before | 502 | reconnects |
//! | `204 No Content` | ends | 204 | ends |
//! | a redirect, another status, another content type, a content coding | an error | 502 | ends |
//! | an event that is too long | an error | | ends |
//!
//! Redirects are not followed, unlike in browsers: credentials must not be sent to another server, and an
//! internal server must not choose which server a gateway connects to. The id of an event is remembered
//! when the event is complete, so that an event that was cut off is sent again.
//!
//! # Paths
//!
//! An [`UpstreamLayer`] forwards the path unchanged, so that the server sees the same path as the routes
//! and guards in front of the layer. Some servers interpret some paths as other paths; `/open/../guarded`
//! would then bypass a guard. The layer answers such a path with `404 Not Found`, without a request to the
//! server:
//!
//! - a segment that is `.` or `..`, percent-decoded once, also if `;` and more text follow;
//! - a backslash, an encoded slash or backslash, or a control character, encoded or not;
//! - an empty segment (`//a`) other than the last one: many servers merge slashes;
//! - no `/` at the start.
//!
//! A server may ignore more than that: case, `;` and the text after it in other segments, a second
//! encoding. For such a server, guard all paths by default, and list the open ones.
//!
//! # Buffers
//!
//! A server can make a stream hold 32 KiB of an HTTP/1.1 response, its head included, or 64 KiB and a head
//! of 32 KiB over HTTP/2. In addition a stream holds an event that is not complete: its data, its longest
//! line and the piece after it. A stream of an [`UpstreamLayer`] also holds the encoded events of the next
//! write. An event of empty lines is encoded as six times the length of its data.

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
