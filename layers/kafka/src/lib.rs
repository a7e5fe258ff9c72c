//! Kafka topics as a source of Server-Sent Events: each topic is consumed once, and event ids resume.
//!
//! A [`Cluster`] consumes each topic once, no matter how many clients are connected, and keeps its newest
//! records in memory. A [`Query`] names a topic, filters and the last event id of a client. The cluster
//! answers it with a [`Stream`], a cursor in the log of the topic, which the sse crate serves
//! ([`tailwater_sse::Events`]). [`KafkaSourceLayer`] turns requests into queries: it fills templates for
//! topic, key and headers.
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
//! // A browser that has seen the first record sends this id.
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
//! # Guarantees
//!
//! A client gets each record that passes its filters once and in the order of its partition. This holds
//! across reconnects, and on each instance: an event id is a position in every partition, and instances share
//! nothing but Kafka. An `event:gap` tells the client which records it can't get any more, before the
//! stream continues: their offsets are past retention, the topic was created anew, or the id does not decode.
//! A partition that is added is read from its beginning. Records that are not in memory any more are read
//! from Kafka for the clients that need them, once for clients with near positions. No client is dropped
//! because it is slow.
//!
//! From a compacted topic, a client that begins at the beginning gets the latest record of each key once. A
//! client that resumes gets the records that changed since.
//!
//! # Limits
//!
//! There is no consumer group and no commit: the event id of a client has its offsets. The crate writes
//! nothing to Kafka. It knows no schemas; a [`ConvertRecord`] can convert or reject records. It does no
//! authorization: an event id is a position, not a permission, and filters are applied anew to each query.
//! While Kafka is not available, or the topic does not exist, a stream stays open and waits.
//!
//! # Costs
//!
//! Threads: one for the live ends of all topics, one for queries to Kafka, one for the latest records of
//! compacted topics, and [`ClusterOptions::history_readers`] for history. librdkafka has a client for the
//! live ends, one for each reader of history, and three for queries. They connect at the start. With two
//! readers there are 29 threads and 51 descriptors in all, and a MiB or two of memory.
//!
//! Memory: [`ClusterOptions::memory_bytes`] for the logs, and the records that librdkafka fetches ahead.
//! [`ClusterOptions::budget`] has the sum. A filter by key, or by an indexed header
//! ([`ClusterOptions::index_header`]), costs nothing for records that do not match.
//!
//! # Panics
//!
//! rust-rdkafka panics at a header whose name is not UTF-8. This crate catches the panic, and delivers the
//! record without the header. With `panic = "abort"` such a record would end the process. The first record
//! with headers installs a panic hook that ignores these panics and passes all others to the hook before it.

mod broker;
mod cluster;
mod data;
mod engine;
mod error;
mod options;
#[cfg(test)]
mod simulation;
mod source;
mod stream;
#[cfg(test)]
mod tests;
mod threads;
mod timing;
mod topic;

pub use broker::contact::Contact;
#[cfg(feature = "embedded")]
pub use broker::embedded;
pub use broker::security::TlsOptions;
pub use cluster::{Closing, Cluster, Opening, Query};
pub use data::convert::{Changes, Conversion, ConvertRecord, RecordRef};
pub use data::filter::Filter;
pub use data::histogram::Histogram;
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
pub use topic::counts::{Counts, StreamCounts, StreamLag, StreamStart, StreamState, TopicCounts};
pub use topic::health::{Health, Lost, TopicHealth};
pub use topic::streams::StreamProbe;

#[cfg(all(doctest, feature = "embedded"))]
#[doc = include_str!("../README.md")]
struct Readme;
