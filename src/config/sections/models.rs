//! Models: what a key, a value or the data of an event must be, and what it becomes.

use std::str::FromStr;

use tailwater_schema::Range;
use tailwater_schema::model::{Encoding, NumberFormat, StringModel, Validate, View};

use crate::config::check::support::Ignored;
use crate::config::decode::{Map, Section, Value, any_of, suggestion};
use crate::config::report::diagnostic::Span;

/// What a key, a value or the data of an event must be, and what it becomes. The name of a model alone, as
/// `value: string`, stands for `value: { model: string }`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Model {
    /// Where it stands.
    pub span: Span,
    /// The keys that lead to it.
    pub(crate) path: String,
    /// `model`: the kind of the model, whose options stand beside it. Required.
    pub kind: ModelKind,
    /// `validate`: `strict` leaves data out that violates the schema or an option, `lenient` passes it on as
    /// it is, with a line in the log. Data that cannot be read is left out by both. A map with `decode` and
    /// `encode` names one for each direction; only `decode` has an effect. Default: `strict`.
    pub validate: Validate,
}

/// The kind of a model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ModelKind {
    /// `string`: a text.
    String(StringOptions),
    /// `int32`: an integer of 32 bits.
    Int32(NumberOptions<i32>),
    /// `int64`: an integer of 64 bits.
    Int64(NumberOptions<i64>),
    /// `float`: a number of single precision.
    Float(NumberOptions<f32>),
    /// `double`: a number of double precision.
    Double(NumberOptions<f64>),
    /// `boolean`: one byte, 0 or 1.
    Boolean,
    /// `bytes`: anything.
    Bytes,
    /// `json`: JSON that a JSON Schema accepts. It stays as it is.
    Json(SchemaChoice),
    /// `avro`: Avro.
    Avro(AvroOptions),
    /// `protobuf`: a message of Protocol Buffers.
    Protobuf(ProtobufOptions),
}

/// The options of the model `string`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StringOptions {
    /// `encoding`: `utf_8` or `utf_16` (big-endian), which becomes UTF-8. Default: `utf_8`.
    pub encoding: Encoding,
    /// `minLength`: the least number of characters. Default: 0.
    pub min_length: usize,
    /// `maxLength`: the greatest number of characters. Default: any.
    pub max_length: Option<usize>,
    /// `pattern`: a regular expression that matches the whole text. Default: any text.
    pub pattern: Option<String>,
}

/// The options of the models `int32`, `int64`, `float` and `double`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NumberOptions<T> {
    /// `format`: `text` (digits) or `binary` (big-endian). Default: `text`.
    pub format: NumberFormat,
    /// `range`: the numbers that are accepted, as `"[0,10)"`: from 0 to below 10. Either bound may be absent. Default:
    /// all.
    pub range: Option<Range<T>>,
    /// `multiple`: a number that divides those that are accepted. Default: any.
    pub multiple: Option<T>,
}

/// The options of the model `avro`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AvroOptions {
    /// `catalog`: the schema. Required.
    pub schema: SchemaChoice,
    /// `view`: `json` converts to JSON. Default: Avro without the id of its schema.
    pub view: View,
    /// `logical-types`: `text` writes decimals as text, and dates and times as in RFC 3339, in JSON. Default:
    /// `none`, as in Zilla. (Not in Zilla.)
    pub logical_text: bool,
}

/// The options of the model `protobuf`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProtobufOptions {
    /// `catalog`: the schema. Required.
    pub schema: SchemaChoice,
    /// `record`, beside the schema: the short or full name of the message, for data that does not say which
    /// message it is. Required.
    pub record: String,
    /// `view`: `json` converts to JSON. Default: Protocol Buffers, without the id of the schema and without
    /// unknown fields.
    pub view: View,
}

/// The schema of a model: `catalog: { NAME: [ENTRY] }`, with the name of one catalog and one entry with these
/// keys. Data that carries the id of its schema is read with that one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaChoice {
    /// Where the entry stands.
    pub span: Span,
    /// The keys that lead to the entry.
    pub(crate) path: String,
    /// The name of the catalog.
    pub catalog: String,
    /// `NAME[0]`: which schema of the catalog. Of a list only the first entry counts. Required.
    pub schema: SchemaName,
}

/// How an entry names a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaName {
    /// By its id.
    Id {
        /// `id`: the id of the schema in a registry; in other catalogs the CRC-32C of its text, as a signed number.
        id: i64,
    },
    /// By the name of the topic.
    Topic {
        /// `strategy`: `topic` or `encoded`: the subject is the name of the topic with `-key` or `-value`
        /// behind it. Its `version` may stand beside it. Events have no topic: of them only data that carries the id
        /// of its schema can be read.
        version: String,
    },
    /// By a subject.
    Subject {
        /// `subject`: the subject.
        subject: String,
        /// `version`: the version of the subject. Default: `latest`.
        version: String,
    },
}

impl Model {
    /// The schema, if the model has one.
    #[must_use]
    pub fn schema(&self) -> Option<&SchemaChoice> {
        match &self.kind {
            ModelKind::Json(schema) => Some(schema),
            ModelKind::Avro(avro) => Some(&avro.schema),
            ModelKind::Protobuf(protobuf) => Some(&protobuf.schema),
            _ => None,
        }
    }

    /// The name of its kind.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match &self.kind {
            ModelKind::String(_) => "string",
            ModelKind::Int32(_) => "int32",
            ModelKind::Int64(_) => "int64",
            ModelKind::Float(_) => "float",
            ModelKind::Double(_) => "double",
            ModelKind::Boolean => "boolean",
            ModelKind::Bytes => "bytes",
            ModelKind::Json(_) => "json",
            ModelKind::Avro(_) => "avro",
            ModelKind::Protobuf(_) => "protobuf",
        }
    }

    /// Decodes a model, or the name of one.
    pub(crate) fn decode(value: &Value<'_>) -> Option<Model> {
        if let Some(name) = value.scalar() {
            let kind = match known(value, name)? {
                Known::Number(number) => number.without_options(),
                Known::String => ModelKind::String(StringOptions::default()),
                Known::Boolean => ModelKind::Boolean,
                Known::Bytes => ModelKind::Bytes,
                Known::Json | Known::Avro | Known::Protobuf => {
                    value.error(format!("the model `{name}` needs a `catalog`"));
                    return None;
                }
            };
            let validate = Validate::Strict;
            return Some(Model { span: value.key, path: value.path.clone(), kind, validate });
        }
        if !value.is_map() {
            value.expected("a model");
            return None;
        }
        let map = value.map()?;
        let known = map.require("model").and_then(|value| known(&value, &value.text()?))?;
        let kind = match known {
            Known::String => string(&map).map(ModelKind::String),
            Known::Number(number) => number.decode(&map),
            Known::Boolean => Some(ModelKind::Boolean),
            Known::Bytes => Some(ModelKind::Bytes),
            Known::Json => schema(&map, false).map(|(schema, _)| ModelKind::Json(schema)),
            Known::Avro => avro(&map).map(ModelKind::Avro),
            Known::Protobuf => protobuf(&map).map(ModelKind::Protobuf),
        };
        let validate = map.get("validate").map(|value| validate(&value));
        map.deny_unknown();
        Some(Model {
            span: value.key,
            path: value.path.clone(),
            kind: kind?,
            validate: validate.unwrap_or_default(),
        })
    }
}

#[derive(Clone, Copy)]
enum Known {
    String,
    Number(Number),
    Boolean,
    Bytes,
    Json,
    Avro,
    Protobuf,
}

#[derive(Clone, Copy)]
enum Number {
    Int32,
    Int64,
    Float,
    Double,
}

const MODELS: &[(&str, Known)] = &[
    ("string", Known::String),
    ("int32", Known::Number(Number::Int32)),
    ("int64", Known::Number(Number::Int64)),
    ("float", Known::Number(Number::Float)),
    ("double", Known::Number(Number::Double)),
    ("boolean", Known::Boolean),
    ("bytes", Known::Bytes),
    ("json", Known::Json),
    ("avro", Known::Avro),
    ("protobuf", Known::Protobuf),
];

fn known(value: &Value<'_>, name: &str) -> Option<Known> {
    let found = MODELS.iter().find(|(known, _)| *known == name);
    if found.is_none() {
        let names: Vec<&str> = MODELS.iter().map(|(name, _)| *name).collect();
        let meant = suggestion(name, &names).map(|word| format!("did you mean `{word}`?"));
        let known = any_of(&names);
        let message = format!("unknown model `{}`: expected {known}", name.escape_debug());
        value.error_help(message, meant);
    }
    found.map(|(_, known)| *known)
}

fn validate(value: &Value<'_>) -> Validate {
    let words = [("strict", Validate::Strict), ("lenient", Validate::Lenient)];
    if !value.is_map() {
        return value.one_of(&words).unwrap_or_default();
    }
    let Some(map) = value.map() else { return Validate::default() };
    let mode = |key| map.get(key).and_then(|value| value.one_of(&words)).unwrap_or_default();
    let decode = mode("decode");
    mode("encode");
    map.deny_unknown();
    decode
}

impl Default for StringOptions {
    fn default() -> Self {
        Self { encoding: Encoding::Utf8, min_length: 0, max_length: None, pattern: None }
    }
}

fn string(map: &Map<'_>) -> Option<StringOptions> {
    let encodings = [("utf_8", Encoding::Utf8), ("utf_16", Encoding::Utf16)];
    let encoding = map.get("encoding").and_then(|value| value.one_of(&encodings));
    let length = |key| {
        let value = map.get(key)?;
        value
            .number("a number of characters", 0..=u32::MAX)
            .and_then(|length| length.try_into().ok())
    };
    let min_length = length("minLength").unwrap_or(0);
    let max_length = length("maxLength");
    if max_length.is_some_and(|most| min_length > most) {
        map.missing("`minLength` is greater than `maxLength`");
    }
    let pattern = map.get("pattern").map(|value| {
        let pattern = value.text_as("a regular expression")?;
        if let Err(error) = StringModel::new().pattern(&pattern) {
            value.error(format!("{error}: `{}`", pattern.escape_debug()));
            return None;
        }
        Some(pattern)
    });
    let pattern = match pattern {
        Some(pattern) => Some(pattern?),
        None => None,
    };
    Some(StringOptions { encoding: encoding.unwrap_or_default(), min_length, max_length, pattern })
}

impl Number {
    fn without_options(self) -> ModelKind {
        match self {
            Self::Int32 => ModelKind::Int32(NumberOptions::default()),
            Self::Int64 => ModelKind::Int64(NumberOptions::default()),
            Self::Float => ModelKind::Float(NumberOptions::default()),
            Self::Double => ModelKind::Double(NumberOptions::default()),
        }
    }

    fn decode(self, map: &Map<'_>) -> Option<ModelKind> {
        match self {
            Self::Int32 => number(map, "int32").map(ModelKind::Int32),
            Self::Int64 => number(map, "int64").map(ModelKind::Int64),
            Self::Float => number(map, "float").map(ModelKind::Float),
            Self::Double => number(map, "double").map(ModelKind::Double),
        }
    }
}

impl<T> Default for NumberOptions<T> {
    fn default() -> Self {
        Self { format: NumberFormat::Text, range: None, multiple: None }
    }
}

fn number<T: FromStr + PartialOrd + Default>(
    map: &Map<'_>,
    model: &str,
) -> Option<NumberOptions<T>> {
    let formats = [("text", NumberFormat::Text), ("binary", NumberFormat::Binary)];
    let format = map.get("format").and_then(|value| value.one_of(&formats));
    let range = map.get("range").map(|value| {
        let what = format!("a range of the model `{model}`, as `[0,10)` or `(,5]`");
        value.parsed(&what, |text| text.parse::<Range<T>>().ok())
    });
    let multiple = map.get("multiple").map(|value| {
        let what = format!("a number of the model `{model}` greater than 0");
        value.parsed(&what, |text| {
            // What the parser of numbers takes beside digits: `inf`, `NaN`, an exponent.
            let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            text.parse::<T>().ok().filter(|number| plain && *number > T::default())
        })
    });
    let range = match range {
        Some(range) => Some(range?),
        None => None,
    };
    let multiple = match multiple {
        Some(multiple) => Some(multiple?),
        None => None,
    };
    Some(NumberOptions { format: format.unwrap_or_default(), range, multiple })
}

fn view(map: &Map<'_>) -> View {
    map.get("view").and_then(|value| value.one_of(&[("json", View::Json)])).unwrap_or_default()
}

fn avro(map: &Map<'_>) -> Option<AvroOptions> {
    let schema = schema(map, false);
    let view = view(map);
    let logical_text = map
        .get("logical-types")
        .and_then(|value| value.one_of(&[("none", false), ("text", true)]))
        .unwrap_or(false);
    if logical_text
        && view != View::Json
        && let Some(value) = map.get("logical-types")
    {
        value.ignored(Ignored::LogicalTypes);
    }
    Some(AvroOptions { schema: schema?.0, view, logical_text })
}

fn protobuf(map: &Map<'_>) -> Option<ProtobufOptions> {
    let schema = schema(map, true);
    let view = view(map);
    let (schema, record) = schema?;
    Some(ProtobufOptions { schema, record: record?, view })
}

/// The schema in `catalog`, and with `record` the message that stands beside it.
fn schema(map: &Map<'_>, with_record: bool) -> Option<(SchemaChoice, Option<String>)> {
    let catalogs = map.require("catalog")?.map()?;
    let mut chosen = Vec::new();
    for (name, value) in catalogs.entries() {
        value.reference(Section::Catalogs, name);
        let Some(entries) = value.list() else {
            chosen.push(None);
            continue;
        };
        if entries.is_empty() {
            value.error("expected an entry that names a schema, found an empty list");
        }
        let decoded: Vec<_> = entries.iter().map(|value| entry(value, name, with_record)).collect();
        if let Some(second) = entries.get(1) {
            second.ignored(Ignored::FurtherSchemas);
        }
        chosen.push(decoded.into_iter().next().flatten());
    }
    if chosen.len() != 1 {
        catalogs.missing("expected the name of one catalog");
        return None;
    }
    chosen.pop().flatten()
}

/// An entry of the list of a catalog.
fn entry(
    value: &Value<'_>,
    catalog: &str,
    with_record: bool,
) -> Option<(SchemaChoice, Option<String>)> {
    let map = value.map()?;
    let id = map.get("id").map(|value| {
        value.parsed("the id of a schema", |text| {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<i64>().ok().filter(|_| plain)
        })
    });
    let strategies = [("topic", ()), ("encoded", ())];
    let strategy = map.get("strategy").map(|value| value.one_of(&strategies));
    let subject = map.get("subject").map(|value| value.filled("a subject"));
    let version = map.get("version").map(|value| value.filled("a version"));
    let record = match with_record {
        true => map.require("record").and_then(|value| value.filled("the name of a message")),
        false => None,
    };
    if let Some(value) = map.get("overlay") {
        value.error("overlays of a schema are not supported");
    }
    map.deny_unknown();
    if [id.is_some(), strategy.is_some(), subject.is_some()].iter().filter(|is| **is).count() != 1 {
        map.missing("expected one of `id`, `strategy` and `subject`");
        return None;
    }
    let version = match version {
        Some(version) => version?,
        None => "latest".to_owned(),
    };
    let schema = if let Some(id) = id {
        SchemaName::Id { id: id? }
    } else if let Some(subject) = subject {
        SchemaName::Subject { subject: subject?, version }
    } else {
        strategy.flatten()?;
        SchemaName::Topic { version }
    };
    let catalog = catalog.to_owned();
    let choice = SchemaChoice { span: value.span(), path: value.path.clone(), catalog, schema };
    Some((choice, record))
}
