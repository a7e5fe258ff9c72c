//! Forwards the event streams of an upstream server: one stream of the server for each client.

mod events;
mod forward;
mod future;
mod layer;
mod service;
mod settings;

pub use events::UpstreamEvents;
pub use future::UpstreamFuture;
pub use layer::UpstreamLayer;
pub use service::Upstream;
