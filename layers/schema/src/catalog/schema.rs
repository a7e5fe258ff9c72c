use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use crate::{avro, json, protobuf};

/// The name of one schema text within a catalog. What an id names never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SchemaId {
    /// Of a Confluent or Karapace registry.
    Confluent(u32),
    /// Of a Confluent registry, as serializers write it into a header.
    Guid([u8; 16]),
    /// Of an Apicurio registry: one for each version of an artifact.
    GlobalId(u64),
    /// Of an Apicurio registry: one for each text.
    ContentId(u64),
    /// Of an inline or a filesystem catalog: the CRC-32C of the text, as a signed number.
    Checksum(i32),
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Confluent(id) => write!(f, "id {id}"),
            Self::Guid(guid) => {
                f.write_str("guid ")?;
                for (at, byte) in guid.iter().enumerate() {
                    if matches!(at, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
            Self::GlobalId(id) => write!(f, "globalId {id}"),
            Self::ContentId(id) => write!(f, "contentId {id}"),
            Self::Checksum(id) => write!(f, "id {id}"),
        }
    }
}

/// What a schema is asked for by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SchemaRef {
    /// By its id.
    Id(SchemaId),
    /// By a subject (Apicurio: an artifact of the catalog's group) and a version of it.
    Subject {
        /// The subject.
        subject: Arc<str>,
        /// The version: `latest`, or what the catalog calls its versions.
        version: Arc<str>,
    },
}

impl SchemaRef {
    /// A version of a subject.
    #[must_use]
    pub fn subject(subject: impl Into<Arc<str>>, version: impl Into<Arc<str>>) -> Self {
        Self::Subject { subject: subject.into(), version: version.into() }
    }
}

impl fmt::Display for SchemaRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Subject { subject, version } => {
                write!(f, "subject {} version {}", subject.escape_debug(), version.escape_debug())
            }
        }
    }
}

/// The language of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SchemaKind {
    /// Avro, in JSON.
    Avro,
    /// Protocol buffers: a `.proto` file, or its `FileDescriptorProto` in base64.
    Protobuf,
    /// JSON Schema.
    Json,
}

impl SchemaKind {
    /// The name as in a configuration: `avro`, `protobuf`, `json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Avro => "avro",
            Self::Protobuf => "protobuf",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for SchemaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text of a schema and of all that it refers to.
///
/// The form that values are read with is made at the first use, and lives as long as the text: a catalog that keeps
/// an `Arc<SchemaText>` keeps both, and one that makes the text anew compiles it anew.
#[derive(Debug)]
pub struct SchemaText {
    id: SchemaId,
    kind: Option<SchemaKind>,
    text: Arc<str>,
    references: Vec<Reference>,
    compiled: Compiled,
}

impl SchemaText {
    /// A schema that refers to no other.
    #[must_use]
    pub fn new(id: SchemaId, text: impl Into<Arc<str>>) -> Self {
        Self {
            id,
            kind: None,
            text: text.into(),
            references: Vec::new(),
            compiled: Compiled::default(),
        }
    }

    /// The language, where the catalog says so. Default: not said, and a model of any language takes it for its own.
    #[must_use]
    pub fn with_kind(mut self, kind: SchemaKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// The schemas that the text refers to. Default: none.
    #[must_use]
    pub fn with_references(mut self, references: Vec<Reference>) -> Self {
        self.references = references;
        self
    }

    /// The name within its catalog.
    #[must_use]
    pub fn id(&self) -> SchemaId {
        self.id
    }

    /// The language, where the catalog says so.
    #[must_use]
    pub fn kind(&self) -> Option<SchemaKind> {
        self.kind
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The schemas that the text refers to, which have their own references.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Compiles the text as `kind`, unless this has been done. A model does so with the first value, unless the catalog
    /// has done it before.
    ///
    /// # Errors
    ///
    /// The text, or one that it refers to, is no schema of this kind. The error says where.
    pub fn compile(&self, kind: SchemaKind) -> Result<(), &str> {
        match kind {
            SchemaKind::Avro => self.compiled.avro(self).map(drop),
            SchemaKind::Protobuf => self.compiled.protobuf(self).map(drop),
            SchemaKind::Json => self.compiled.json(self).map(drop),
        }
    }

    /// Whether a value that is read as `kind` has nothing to compile.
    #[cfg(feature = "registry")]
    pub(crate) fn is_ready(&self, kind: SchemaKind) -> bool {
        // A value of a model of another kind is rejected.
        self.kind.is_some_and(|own| own != kind)
            || match kind {
                SchemaKind::Avro => self.compiled.avro.get().is_some(),
                SchemaKind::Protobuf => self.compiled.protobuf.get().is_some(),
                SchemaKind::Json => self.compiled.json.get().is_some(),
            }
    }

    pub(crate) fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// The memory of the text and of the forms that have been made, without what it refers to.
    #[cfg(feature = "registry")]
    pub(crate) fn bytes(&self) -> usize {
        let Compiled { avro, protobuf, json } = &self.compiled;
        let avro = avro.get().and_then(|schema| schema.as_ref().ok()).map(avro::Schema::bytes);
        let protobuf = protobuf.get().and_then(|schema| schema.as_ref().ok());
        let json = json.get().and_then(|schema| schema.as_ref().ok()).map(json::Schema::bytes);
        let compiled = [avro, protobuf.map(protobuf::Schema::bytes), json];
        self.text.len() + compiled.into_iter().flatten().sum::<usize>()
    }
}

/// The forms that values are read with, each made at its first use.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    avro: OnceLock<Result<avro::Schema, String>>,
    protobuf: OnceLock<Result<protobuf::Schema, String>>,
    json: OnceLock<Result<json::Schema, String>>,
}

impl Compiled {
    pub(crate) fn avro(&self, text: &SchemaText) -> Result<&avro::Schema, &str> {
        once(&self.avro, SchemaKind::Avro, text, avro::compile)
    }

    pub(crate) fn protobuf(&self, text: &SchemaText) -> Result<&protobuf::Schema, &str> {
        once(&self.protobuf, SchemaKind::Protobuf, text, protobuf::compile)
    }

    pub(crate) fn json(&self, text: &SchemaText) -> Result<&json::Schema, &str> {
        once(&self.json, SchemaKind::Json, text, json::compile)
    }
}

fn once<'c, T>(
    cell: &'c OnceLock<Result<T, String>>,
    kind: SchemaKind,
    text: &SchemaText,
    compile: fn(&SchemaText) -> Result<T, String>,
) -> Result<&'c T, &'c str> {
    let compiled = cell.get_or_init(|| {
        // The parsers of schemas are other crates': a panic of theirs is a schema that cannot be used.
        let compiled = std::panic::catch_unwind(AssertUnwindSafe(|| compile(text)))
            .unwrap_or_else(|_| Err("the parser of the schema failed".to_owned()));
        let compiled = compiled.map_err(shortened);
        if let Err(error) = &compiled {
            tracing::warn!(schema = %text.id, kind = %kind, error, "schema cannot be used");
        }
        compiled
    });
    compiled.as_ref().map_err(String::as_str)
}

/// An error that is cut after so many bytes: it may quote names and paths of the schema, each as long as the schema.
/// Each value that needs the schema is rejected with it.
fn shortened(error: String) -> String {
    const MAX_ERROR_BYTES: usize = 300;
    if error.len() <= MAX_ERROR_BYTES {
        return error;
    }
    let end = error.floor_char_boundary(MAX_ERROR_BYTES);
    format!("{}...", error.get(..end).unwrap_or_default())
}

/// A schema that another refers to.
#[derive(Clone, Debug)]
pub struct Reference {
    name: Arc<str>,
    schema: Arc<SchemaText>,
}

impl Reference {
    /// A reference to `schema` by `name`: an Avro full name, the path of a protobuf import, the URI of a `$ref`.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, schema: Arc<SchemaText>) -> Self {
        Self { name: name.into(), schema }
    }

    /// What the text calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &Arc<SchemaText> {
        &self.schema
    }
}
