//! Schemas of data: bytes and a model in, bytes or a typed rejection out.

mod avro;
mod calendar;
pub mod catalog;
mod extract;
mod framing;
mod input;
mod json;
mod limits;
pub mod model;
mod protobuf;
mod reject;
mod write;

pub use extract::Extracted;
pub use input::{Headers, Input, Part};
pub use limits::{MAX_DEPTH, MAX_JSON_BYTES, MAX_REFERENCES, MAX_SCHEMA_BYTES, MAX_SCHEMAS};
pub use model::{Model, Outcome, Range, RangeError};
pub use reject::{Class, Rejection};
