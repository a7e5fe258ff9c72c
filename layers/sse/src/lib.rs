//! Server-Sent Events for tower: [`SseLayer`] makes an HTTP service of a source of encoded events.
//!
//! The source is a `Service<Subscription>` whose response implements [`Events`]; who pulls is the
//! connection, so that there is no queue and no task for a client. The layer does what every event stream
//! needs: which method, the last event id, the headers, a first write at once, a comment when there is
//! nothing to say, an end when the client's permission ends ([`Lease`]), when the stream is old, and when
//! the process stops ([`Drain`]).
//!
//! ```
//! use std::convert::Infallible;
//!
//! use futures_util::stream;
//! use http::Request;
//! use http_body_util::BodyExt;
//! use tailwater_sse::{BoxError, Event, Rejection, SseLayer, Subscription, from_stream};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let source = service_fn(async |subscription: Subscription| {
//!     let seen: u32 = subscription.parse_last_event_id().unwrap_or(0);
//!     let numbers = (1..=3).filter(move |number| *number > seen);
//!     let ticks = numbers.map(|number| Ok::<_, Infallible>(Event::data("tick").id(number.to_string())));
//!     Ok::<_, Rejection>(from_stream(stream::iter(ticks)))
//! });
//! let service = SseLayer::new().layer(source);
//!
//! let request = Request::get("/").header("last-event-id", "1").body(())?;
//! let response = service.oneshot(request).await?;
//! assert_eq!(response.headers()["content-type"], "text/event-stream");
//! let body = response.into_body().collect().await?.to_bytes();
//! assert!(body.ends_with(b"data:tick\nid:2\n\ndata:tick\nid:3\n\n"));
//! # Ok(())
//! # }
//! ```
//!
//! # Sources
//!
//! [`from_stream`] makes a source of a `Stream` of events. `EventLog` (feature `event-log`) is a source for
//! servers that send the same events to many clients: it keeps events, gives them ids, and lets clients resume.
//! [`Events`] is the trait below both, for sources that write encoded events without a copy.
//!
//! # Encoder and parser
//!
//! [`encode_event`] and [`Parser`] are plain functions and types, without async and of use alone. Events
//! are bytes, not text: nothing is checked for UTF-8, and no byte of a payload can forge a field.
//!
//! # Behind a proxy
//!
//! A stream says `cache-control: no-cache, no-transform`, `x-accel-buffering: no` and
//! `x-content-type-options: nosniff`, and writes every 15 s. A proxy that collects whole responses all
//! the same, or closes what is idle for less, breaks it: set [`SseLayer::keep_alive`] below its timeout.
//! Over HTTP/1.1 browsers open six connections to an origin, whatever the number of pages: serve HTTP/2.
//!
//! # Empty messages
//!
//! Many client libraries deliver an empty message at every empty line that no data stood before. The
//! layer's own writes therefore have none; an id-only block has, and is written only if the source has
//! one ([`Events::position`]).

mod body;
mod drain;
mod encoder;
mod error;
mod event;
#[cfg(feature = "event-log")]
mod event_log;
mod events;
mod future;
mod jitter;
mod layer;
mod lease;
mod negotiation;
mod options;
mod parser;
mod service;
mod stream;
mod subscription;

pub use body::SseBody;
pub use drain::Drain;
pub use encoder::{DataFields, encode_comment, encode_event, encode_id};
pub use error::{BoxError, Error, Rejection};
pub use event::{Event, EventRef};
#[cfg(feature = "event-log")]
pub use event_log::{EventLog, EventLogSource, EventLogStream};
pub use events::{Encoded, Events};
pub use future::ResponseFuture;
pub use layer::SseLayer;
pub use lease::{Due, Lease};
pub use parser::{Item, Message, Parser};
pub use service::Sse;
pub use stream::{FromStream, from_stream};
pub use subscription::Subscription;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
