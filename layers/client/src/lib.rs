//! Event streams of other servers: [`EventSource`] reads one and connects again whenever it is lost, and
//! [`UpstreamLayer`] makes a source for the sse crate of a server that has them.

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
pub use event_source::EventSource;
pub use options::{Options, Version};
pub use upstream::{Upstream, UpstreamEvents, UpstreamFuture, UpstreamLayer};
