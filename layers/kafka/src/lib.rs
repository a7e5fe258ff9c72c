//! Kafka topics as a source of Server-Sent Events: one reading for everybody, ids that resume.
//!
//! A [`Cluster`] consumes each topic once, however many clients listen, and keeps its newest part in
//! memory. A [`Query`] names a topic, filters and the last event id of a client; what it is answered with
//! is a [`Stream`], a place in that log, which the sse crate serves ([`tailwater_sse::Events`]).
//! [`KafkaSourceLayer`] makes queries of requests: it fills templates for topic, key and headers.
#![cfg_attr(not(feature = "embedded"), doc = "```ignore")]
#![cfg_attr(feature = "embedded", doc = "```")]
//! use std::future::poll_fn;
//!
//! use tailwater_kafka::embedded::{EmbeddedKafka, Message};
//! use tailwater_kafka::{Cluster, ClusterOptions, Filter, Query};
//! use tailwater_sse::{BoxError, Events};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let kafka = EmbeddedKafka::start()?;
//! kafka.create_topic("quotes", 1)?;
//! kafka.produce(&Message::new("quotes").key(b"EURUSD").value(b"1.0873"))?;
//! kafka.produce(&Message::new("quotes").key(b"GBPUSD").value(b"1.2710"))?;
//! kafka.produce(&Message::new("quotes").key(b"EURUSD").value(b"1.0875"))?;
//!
//! let cluster = Cluster::new(ClusterOptions::new([kafka.servers()]))?;
//! // What a browser sends that has seen the first record.
//! let query = Query::new("quotes")
//!     .filter(Filter::any().key("EURUSD"))
//!     .last_event_id(Some("AQIAAg==".into()));
//! let mut stream = Box::pin(cluster.oneshot(query).await?);
//! let events = poll_fn(|cx| stream.as_mut().poll_events(cx, 64 * 1024)).await.ok_or("it ended")??;
//! assert_eq!(events.into_bytes(), "data:1.0875\nid:AQIABg==\n\n");
//! # Ok(())
//! # }
//! ```
//!
//! # What holds
//!
//! A client gets each record that passes its filters once and in the order of its partition, across
//! reconnects and on whichever instance it comes back to: an id says the place in every partition, and
//! Kafka is all that instances share. What it can't have any more (its offsets are past retention, the
//! topic was created anew, the id does not decode) is told by an `event:gap` before the stream goes on.
//! A partition that is added is read from its beginning. A client that is slow or begins far back is
//! read to from Kafka at its own pace, in company of those who are near, and nobody is dropped for it.
//!
//! Of a compacted topic a client from the beginning gets the latest record of each key once, and one that
//! comes back what changed since.
//!
//! # What it is not
//!
//! There is no consumer group and nothing is committed: a client's id is its offset. It writes nothing,
//! decodes no schema, and guards nothing: an id is a position and never a permission, filters are applied
//! anew to each query. While Kafka is away, or as long as the topic is missing, a stream stays open and waits.
//!
//! # What it costs
//!
//! Threads: one for the tail, one that asks, one that keeps the latest records of compacted topics, and
//! [`ClusterOptions::history_readers`] for the past. Beside them librdkafka's: a handle for the tail, for each
//! reader, and three that ask, which connect at the start (with two readers 29 threads and 51
//! descriptors in all, and a MiB or two). Memory: [`ClusterOptions::memory_bytes`] for the logs, and
//! what librdkafka fetches ahead; [`ClusterOptions::budget`] has the sum. A filter by key, or by
//! an indexed header ([`ClusterOptions::index_header`]), costs nothing for records that do not match.
//!
//! # Panics
//!
//! rust-rdkafka panics at a header whose name is not UTF-8. That panic is caught, and the record delivered
//! without the header: with `panic = "abort"` it would end the process. The first record with headers
//! puts a panic hook before the one that is there, which says nothing of these panics and passes on all
//! others.

mod broker;
mod cluster;
mod data;
mod engine;
mod error;
mod options;
mod source;
mod stream;
#[cfg(test)]
mod tests;
mod timing;
mod topic;

pub use broker::contact::Contact;
#[cfg(feature = "embedded")]
pub use broker::embedded;
pub use broker::security::TlsOptions;
pub use cluster::{Cluster, Opening, Query};
pub use data::convert::{Changes, Conversion, ConvertRecord, RecordRef};
pub use data::filter::Filter;
pub use data::start::{DefaultOffset, Start};
pub use error::Error;
pub use options::{ClusterOptions, StreamOptions};
pub use source::layer::KafkaSourceLayer;
pub use source::mapping::{FilterTemplate, Mapping};
pub use source::service::{KafkaSource, ResponseFuture};
pub use stream::Stream;
#[doc(inline)]
pub use tailwater_kafka_types::{
    Budget, EventId, EventIdFormat, Limits, Part, SaslMechanism, Template, TemplateError,
    TopicNameError, Variable, Variables, check_topic_name,
};
pub use topic::health::{Health, Lost, TopicHealth};

#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../README.md")]
struct Readme;
