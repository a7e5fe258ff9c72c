//! Server-Sent Events for tower: [`SseLayer`] makes an HTTP service of a source of events.
//!
//! The source is a `Service<Subscription>` whose response implements [`Events`]. The connection pulls the
//! events, so a client needs no queue and no task. The layer checks the method, reads the last event id,
//! sets the headers, writes at once and when the stream is idle, and ends a stream when the permission of
//! its client ends ([`Lease`]), when it reaches its maximum age, and when the process stops ([`Drain`]).
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
//! [`encode_event`] and [`Parser`] are synchronous and can be used alone. Events are bytes, and are not
//! checked for UTF-8. No byte of a payload can forge a field.
//!
//! # Behind a proxy
//!
//! The response has the headers `cache-control: no-cache, no-transform`, `x-accel-buffering: no` and
//! `x-content-type-options: nosniff`, and at least one write every 15 s. A proxy that buffers whole
//! responses breaks it. If a proxy closes connections that are idle for less than 15 s, set
//! [`SseLayer::keep_alive`] below its timeout. Over HTTP/1.1 a browser opens six connections to an origin,
//! for all pages together: serve HTTP/2.
//!
//! # Empty messages
//!
//! Many client libraries deliver an empty message for each empty line without data before it. The layer's
//! own writes have no empty line. An id-only block has one. It is written only if the source returns one
//! ([`Events::position`], `EventLogSource::id_only_blocks`).

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

pub use body::{End, SseBody};
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
pub use negotiation::LAST_EVENT_IDS;
pub use parser::{Item, Message, Parser};
pub use service::Sse;
pub use stream::{FromStream, from_stream};
pub use subscription::Subscription;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
