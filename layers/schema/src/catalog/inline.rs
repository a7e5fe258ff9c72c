use std::collections::HashMap;
use std::sync::Arc;

use crate::catalog::{Catalog, Framing, Lookup, SchemaId, SchemaKind, SchemaRef, SchemaText};

/// A catalog of texts that are at hand.
///
/// The id of a schema is the CRC-32C of its text, as a signed number.
///
/// ```
/// use tailwater_schema::catalog::{Catalog, InlineCatalog, Lookup, SchemaKind, SchemaRef};
///
/// let catalog = InlineCatalog::new().schema("ids", "latest", r#""string""#);
/// let look_up = |version| catalog.look_up(&SchemaRef::subject("ids", version), SchemaKind::Avro);
/// assert!(matches!(look_up("latest"), Lookup::Known(_)));
/// assert!(matches!(look_up("1"), Lookup::Missing));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct InlineCatalog {
    subjects: HashMap<SchemaRef, Arc<SchemaText>>,
}

impl InlineCatalog {
    /// A catalog without schemas.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the text of a version of a subject, in place of one that has been added before. A schema is found by
    /// exactly these two texts, or by its id.
    pub fn schema(
        mut self,
        subject: impl Into<Arc<str>>,
        version: impl Into<Arc<str>>,
        text: impl Into<Arc<str>>,
    ) -> Self {
        let schema = numbered(text.into());
        self.subjects.insert(SchemaRef::Id(schema.id()), Arc::clone(&schema));
        self.subjects.insert(SchemaRef::subject(subject, version), schema);
        self
    }
}

/// A text with its checksum as the id.
pub(super) fn numbered(text: Arc<str>) -> Arc<SchemaText> {
    let id = SchemaId::Checksum(crc32c::crc32c(text.as_bytes()) as i32);
    Arc::new(SchemaText::new(id, text))
}

impl Catalog for InlineCatalog {
    fn look_up(&self, schema: &SchemaRef, _: SchemaKind) -> Lookup {
        match self.subjects.get(schema) {
            Some(schema) => Lookup::Known(Arc::clone(schema)),
            None => Lookup::Missing,
        }
    }

    fn framing(&self) -> Framing {
        Framing::None
    }
}
