//! Kafka topics as a source of Server-Sent Events.

mod backend;
mod cluster;
mod control;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
mod filter;
mod gap;
mod history;
mod id;
mod layer;
mod positions;
mod record;
mod records;
mod seat;
mod service;
mod stream;
mod tail;
mod template;
#[cfg(test)]
mod tests;
mod topic;

pub use cluster::{Cluster, ClusterOptions, DefaultOffset, Query, SaslMechanism};
pub use error::Error;
pub use filter::Filter;
pub use id::{EventId, IdForm};
pub use layer::{FilterTemplate, KafkaSourceLayer, Mapping};
pub use service::{KafkaSource, ResponseFuture};
pub use stream::Stream;
pub use template::{Lookup, Part, Place, Template, TemplateError};
