//! Models: what a key, a value or an event must look like. Ignored for now.

use super::decode::{Map, Value, any_of, suggestion};

/// What a text, a number or a document must look like.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Model {
    /// `model`, or the text that stands for it.
    pub kind: ModelKind,
    /// `catalog`: where the schemas of `json`, `avro` and `protobuf` are. Default: none.
    pub catalog: Vec<CatalogSchema>,
    /// `view: json`: whether `avro` and `protobuf` are turned into JSON. Default: no.
    pub view_json: bool,
    /// `validate`, when a record is read: whether what does not fit is dropped. Default: strict.
    pub decode: Validate,
    /// `validate`, when a record is written. Default: strict.
    pub encode: Validate,
}

/// The kind of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelKind {
    /// `string`
    String {
        /// `encoding: utf_16`. Default: `utf_8`.
        utf_16: bool,
        /// `minLength`, in characters. Default: none.
        min_length: Option<u32>,
        /// `maxLength`, in characters. Default: none.
        max_length: Option<u32>,
        /// `pattern`: a regular expression. Default: any text.
        pattern: Option<String>,
    },
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `float`
    Float,
    /// `double`
    Double,
    /// `boolean`
    Boolean,
    /// `bytes`
    Bytes,
    /// `json`
    Json,
    /// `avro`
    Avro,
    /// `protobuf`
    Protobuf,
}

/// How strictly a model is held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Validate {
    /// What does not fit is dropped.
    #[default]
    Strict,
    /// What does not fit is passed on.
    Lenient,
}

/// Where a schema is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CatalogSchema {
    /// The name of the catalog.
    pub catalog: String,
    /// Which of its schemas.
    pub schema: SchemaId,
    /// `record`: the name of the message, for `protobuf`.
    pub record: Option<String>,
}

/// Which schema of a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaId {
    /// `id`
    Id(u32),
    /// `strategy: topic`: the subject is named after the topic.
    Topic {
        /// `version`. Default: `latest`.
        version: Option<String>,
    },
    /// `strategy: encoded`: the id stands before each value.
    Encoded {
        /// `version`. Default: `latest`.
        version: Option<String>,
    },
    /// `subject`
    Subject {
        /// The name of the subject.
        subject: String,
        /// `version`. Default: `latest`.
        version: Option<String>,
    },
}

const NAMES: &[&str] = &[
    "string", "int32", "int64", "float", "double", "boolean", "bytes", "json", "avro", "protobuf",
];

impl Model {
    pub(super) fn decode(value: &Value<'_>) -> Option<Model> {
        if let Some(name) = value.scalar() {
            let kind = kind(value, name, None)?;
            if matches!(kind, ModelKind::Json | ModelKind::Avro | ModelKind::Protobuf) {
                value.error(format!("the model `{name}` needs a `catalog`"));
            }
            return Some(Model::new(kind));
        }
        if !value.is_map() {
            value.expected("a model");
            return None;
        }
        let map = value.map()?;
        let name_value = map.require("model")?;
        let kind = kind(&name_value, &name_value.text()?, Some(&map))?;
        let mut model = Model::new(kind);
        if matches!(model.kind, ModelKind::Json | ModelKind::Avro | ModelKind::Protobuf) {
            let protobuf = model.kind == ModelKind::Protobuf;
            let catalogs = map.require("catalog").and_then(|value| value.map());
            for (name, value) in catalogs.iter().flat_map(Map::entries) {
                value.reference("catalogs", name);
                model.catalog.extend(value.each(|item| catalog_schema(name, &item, protobuf)));
            }
            if model.kind != ModelKind::Json
                && let Some(view) = map.get("view")
            {
                model.view_json = view.one_of(&[("json", true)]).unwrap_or(false);
            }
        }
        if let Some(value) = map.get("validate") {
            let words = [("strict", Validate::Strict), ("lenient", Validate::Lenient)];
            if value.is_map() {
                let both = value.map()?;
                let read =
                    |key| both.get(key).and_then(|value| value.one_of(&words)).unwrap_or_default();
                (model.decode, model.encode) = (read("decode"), read("encode"));
                both.deny_unknown();
            } else {
                let validate = value.one_of(&words).unwrap_or_default();
                (model.decode, model.encode) = (validate, validate);
            }
        }
        map.deny_unknown();
        Some(model)
    }

    fn new(kind: ModelKind) -> Model {
        let decode = Validate::Strict;
        let encode = Validate::Strict;
        Model { kind, catalog: Vec::new(), view_json: false, decode, encode }
    }
}

fn kind(value: &Value<'_>, name: &str, map: Option<&Map<'_>>) -> Option<ModelKind> {
    Some(match name {
        "string" => {
            let length = |key| {
                let value = map?.get(key)?;
                value.number("a number of characters", 0..=u32::MAX)
            };
            let encoding = map.and_then(|value| value.get("encoding"));
            ModelKind::String {
                utf_16: encoding
                    .and_then(|encoding| encoding.one_of(&[("utf_8", false), ("utf_16", true)]))
                    .unwrap_or(false),
                min_length: length("minLength"),
                max_length: length("maxLength"),
                pattern: map.and_then(|value| value.text("pattern")),
            }
        }
        "int32" => numeric(ModelKind::Int32, map),
        "int64" => numeric(ModelKind::Int64, map),
        "float" => numeric(ModelKind::Float, map),
        "double" => numeric(ModelKind::Double, map),
        "boolean" => ModelKind::Boolean,
        "bytes" => ModelKind::Bytes,
        "json" => ModelKind::Json,
        "avro" => ModelKind::Avro,
        "protobuf" => ModelKind::Protobuf,
        _ => {
            let meant = suggestion(name, NAMES).map(|word| format!("did you mean `{word}`?"));
            let known = any_of(NAMES);
            let message = format!("unknown model `{}`: expected {known}", name.escape_debug());
            value.error_help(message, meant);
            return None;
        }
    })
}

/// Zilla's numbers have a format and bounds, which only its validation looks at.
fn numeric(kind: ModelKind, map: Option<&Map<'_>>) -> ModelKind {
    if let Some(map) = map {
        for key in ["format", "max", "min", "exclusiveMax", "exclusiveMin", "multiple"] {
            map.text(key);
        }
    }
    kind
}

fn catalog_schema(catalog: &str, value: &Value<'_>, protobuf: bool) -> Option<CatalogSchema> {
    let map = value.map()?;
    let id = map.get("id").map(|value| value.number("the number of a schema", 0..=u32::MAX));
    let strategy =
        map.get("strategy").map(|value| value.one_of(&[("topic", false), ("encoded", true)]));
    let subject = map.text("subject");
    let version = map.text("version");
    let record = if protobuf { map.text("record") } else { None };
    map.deny_unknown();
    let schema = match (id, strategy, subject) {
        (Some(id), None, None) => SchemaId::Id(id?),
        (None, Some(encoded), None) => match encoded? {
            true => SchemaId::Encoded { version },
            false => SchemaId::Topic { version },
        },
        (None, None, Some(subject)) => SchemaId::Subject { subject, version },
        _ => {
            map.missing("expected one of `id`, `strategy` and `subject`");
            return None;
        }
    };
    Some(CatalogSchema { catalog: catalog.to_owned(), schema, record })
}
