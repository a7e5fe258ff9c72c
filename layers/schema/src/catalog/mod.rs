//! Catalogs: where the text of a schema comes from.

mod filesystem;
mod inline;
mod schema;
mod waiter;

#[cfg(feature = "registry")]
pub mod registry;

pub use filesystem::{FileError, FilesystemCatalog};
pub use inline::InlineCatalog;
pub use schema::{Reference, SchemaId, SchemaKind, SchemaRef, SchemaText};
pub use waiter::Waiter;

use std::fmt;
use std::sync::Arc;

/// A source of schemas. A look-up never blocks: a catalog that has to ask a peer does so in the background.
pub trait Catalog: fmt::Debug + Send + Sync {
    /// Looks up a schema that values are read with as `kind`. This is called for each record, so a schema that is known
    /// costs a look-up in a table. A catalog whose schemas come while records do compiles each, by
    /// [`SchemaText::compile`], before it says that it is known: the thread of the records must not do so.
    fn look_up(&self, schema: &SchemaRef, kind: SchemaKind) -> Lookup;

    /// How the values of this catalog's schemas carry the id of their schema.
    fn framing(&self) -> Framing;
}

/// The answer of [`Catalog::look_up`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Lookup {
    /// The schema, with all that it refers to.
    Known(Arc<SchemaText>),
    /// The catalog has no such schema. This is final for now: a registry may have it later.
    Missing,
    /// The catalog does not know yet, and has asked for it.
    Pending(Waiter),
}

/// Where a record's key or value carries the id of its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// Nowhere: the schema is the configured one. Inline and filesystem catalogs.
    None,
    /// `00` and 4 bytes big-endian before the value, or the headers `__key_schema_id` and `__value_schema_id`.
    Confluent,
    /// `00` and 8 or 4 bytes big-endian before the value, or the headers `apicurio.key.globalId`,
    /// `apicurio.value.globalId`, and the same for `contentId`. The headers `apicurio.protobuf.type.key` and
    /// `apicurio.protobuf.type` name a protobuf message then.
    Apicurio {
        /// Which of the registry's ids the prefix holds.
        use_id: UseId,
        /// How many bytes it has.
        encoding: IdEncoding,
    },
}

/// Which of its two ids Apicurio names a schema by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UseId {
    /// `globalId`: one for each version of an artifact. The default.
    #[default]
    GlobalId,
    /// `contentId`: one for each text.
    ContentId,
}

/// The width of an id in Apicurio's prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdEncoding {
    /// 8 bytes. The default.
    #[default]
    Default,
    /// 4 bytes.
    Legacy,
}
