//! Schemas of data: bytes and a model in, bytes or a typed rejection out.

pub mod catalog;
mod limits;

pub use limits::{MAX_DEPTH, MAX_JSON_BYTES, MAX_REFERENCES, MAX_SCHEMA_BYTES, MAX_SCHEMAS};
