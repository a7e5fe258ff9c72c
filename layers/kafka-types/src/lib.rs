//! Plain types of tailwater-kafka: templates that a request fills, event ids, and the memory budget of a
//! cluster. They need neither librdkafka nor a C compiler.
//!
//! Use this crate in a program that reads event ids or checks a configuration, but consumes no topic. A program
//! that consumes topics uses tailwater-kafka, which re-exports all of these types.
//!
//! ```
//! use tailwater_kafka_types::{EventId, Template, Variable};
//!
//! let topic: Template = "orders-${params.region}".parse()?;
//! assert!(topic.variables().eq([&Variable::Parameter("region".to_owned())]));
//!
//! let id = EventId::decode(b"AQQABAIC").expect("a well-formed id");
//! assert_eq!(id.offsets(), [(0, 2), (1, 1)]);
//! # Ok::<(), tailwater_kafka_types::TemplateError>(())
//! ```

mod budget;
mod id;
mod progress;
mod sasl;
mod template;
mod topic;

pub use budget::{Budget, Limits};
pub use id::{EventId, EventIdFormat};
pub use progress::encode_progress;
pub use sasl::SaslMechanism;
pub use template::{Part, Template, TemplateError, Variable, Variables};
pub use topic::{TopicNameError, check_topic_name};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
