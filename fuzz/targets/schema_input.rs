//! The input of a target: the text of a schema, a byte 00, and a value.

use std::sync::Arc;

use tailwater_schema::catalog::{InlineCatalog, SchemaRef};
use tailwater_schema::model::SchemaSource;

pub(crate) fn split(input: &[u8]) -> Option<(&str, &[u8])> {
    let end = input.iter().position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(&input[..end]).ok()?;
    Some((text, &input[end + 1..]))
}

pub(crate) fn source(text: &str) -> SchemaSource {
    let catalog = InlineCatalog::new().schema("subject", "latest", text);
    SchemaSource::new(Arc::new(catalog), SchemaRef::subject("subject", "latest"))
}
