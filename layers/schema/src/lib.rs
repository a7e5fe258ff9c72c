//! Validates and converts keys and values by schema: bytes and a [`Model`] in, bytes or a typed [`Rejection`] out.
//!
//! ```rust
//! use std::sync::Arc;
//!
//! use tailwater_schema::catalog::{InlineCatalog, SchemaRef};
//! use tailwater_schema::model::{AvroModel, SchemaSource, View};
//! use tailwater_schema::{Class, Input, Model, Outcome};
//!
//! let catalog = InlineCatalog::new().schema(
//!     "readings-value",
//!     "latest",
//!     r#"{"type":"record","name":"Reading","fields":[{"name":"id","type":"string"},{"name":"n","type":"int"}]}"#,
//! );
//! let source = SchemaSource::new(Arc::new(catalog), SchemaRef::subject("readings-value", "latest"));
//! let model = Model::from(AvroModel::new(source).view(View::Json));
//!
//! let mut out = Vec::new();
//! assert!(matches!(model.convert(&Input::value(b"\x02a\x05"), &mut out), Outcome::Converted));
//! assert_eq!(out, br#"{"id":"a","n":-3}"#);
//!
//! match model.convert(&Input::value(b"\x02"), &mut out) {
//!     Outcome::Rejected(rejection) => assert_eq!(rejection.class(), Class::Malformed),
//!     other => panic!("{other:?}"),
//! }
//! ```
//!
//! Use this crate where records are passed on, to browsers or to logs, and no record may stop the program. It knows
//! neither Kafka nor servers of HTTP. For typed records in Rust, use apache-avro, prost or serde_json.
//!
//! The schemas come from a [`Catalog`](catalog::Catalog): texts, files, or a registry. A catalog that has to ask a peer
//! answers [`Outcome::Pending`] with a future in place of waiting.
//!
//! Each value and each schema has bounds, which the constants of this crate name. Memory that a value needs is kept by
//! its thread for the next one, up to some 100 KiB.

mod avro;
mod calendar;
pub mod catalog;
mod extract;
mod framing;
mod input;
mod json;
mod limits;
pub mod model;
mod parse;
mod protobuf;
mod reject;
mod write;

pub use extract::Extracted;
pub use input::{Headers, Input, Part};
pub use limits::{MAX_DEPTH, MAX_JSON_BYTES, MAX_REFERENCES, MAX_SCHEMA_BYTES};
pub use model::{Model, Outcome, Range, RangeError};
pub use reject::{Class, Rejection};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
