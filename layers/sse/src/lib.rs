//! Server-Sent Events for tower: framing, encoder, parser, leases and draining.

mod encoder;
mod error;
mod events;
mod lease;
mod parser;
mod subscription;

pub use encoder::{Event, encode_comment, encode_event, encode_id};
pub use error::{BoxError, Error, Refusal};
pub use events::{Encoded, Events};
pub use lease::{Due, Lease};
pub use parser::{Item, Message, Parser};
pub use subscription::Subscription;
