//! One stream of a server above for each stream below.

mod events;
mod forward;
mod future;
mod layer;
mod service;

pub use events::UpstreamEvents;
pub use future::UpstreamFuture;
pub use layer::UpstreamLayer;
pub use service::Upstream;
