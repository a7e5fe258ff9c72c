//! Schemas from `.proto` files.

use std::cell::Cell;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumOptions, FileDescriptorProto, MessageOptions,
    UninterpretedOption,
};
use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, Kind as Reflected, MessageDescriptor, Value,
};
use protox::file::{File, FileResolver, GoogleFileResolver};

use super::{Enum, Field, Kind, Message, MessageId, Schema, WellKnown};
use crate::catalog::SchemaText;
use crate::limits::{MAX_COMPILED_BYTES, MAX_NAME_BYTES, MAX_REFERENCES, MAX_SCHEMA_BYTES};
use crate::write;

/// How deep messages may be nested in each other: as deep as the parser of texts allows.
const MAX_NESTING: usize = 31;

/// How many ranges of numbers a message or an enum may reserve.
const MAX_RANGES: usize = 1000;

/// How many fields, messages, enums and values of enums a file and all that it imports may have. Each takes up to 2.5 kB
/// for a moment. Before it is parsed, the characters of a text are counted that each part of it has at least one of.
const MAX_PARTS: usize = 50_000;

/// How long the full names of all parts may be together. The library keeps several copies of each.
const MAX_NAMES_BYTES: usize = 8 << 20;

/// The largest descriptor. A message of it takes two bytes, and 250 once it is read.
const MAX_DESCRIPTOR_BYTES: usize = 1 << 20;

const TOO_LARGE: &str = "it has too many parts";

/// Compiles a file and all that it imports. What google calls well-known is built in.
pub(crate) fn compile(schema: &SchemaText) -> Result<Schema, String> {
    let mut files = Files::default();
    files.add(schema)?;
    let mut main = "schema.proto".to_owned();
    while files.texts.contains_key(&main) {
        main.insert(0, '_');
    }
    files.check(schema.text())?;
    files.texts.insert(main.clone(), schema.text().to_owned());
    let mut compiler = protox::Compiler::with_file_resolver(files);
    compiler.include_imports(true).open_file(&main).map_err(|error| describe(&error))?;
    let pool = compiler.descriptor_pool();
    let file = pool.get_file_by_name(&main).ok_or("it has no file")?;
    let counts_entries = descriptor(schema.text()).is_some();
    let built = Builder { counts_entries, ..Builder::default() }.build(&pool, file.messages())?;
    if built.bytes() > MAX_COMPILED_BYTES {
        return Err(TOO_LARGE.to_owned());
    }
    Ok(built)
}

/// The error with its causes, on one line.
fn describe(error: &protox::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The files that a schema can import.
#[derive(Debug, Default)]
struct Files {
    texts: HashMap<String, String>,
    /// What the texts may have, counted before they are parsed.
    counted: usize,
    parts: Parts,
}

/// The parts of the files that have been parsed.
#[derive(Debug, Default)]
struct Parts {
    count: Cell<usize>,
    names: Cell<usize>,
}

impl Parts {
    /// Counts a part with a name below another, whose full name has so many bytes. Returns the length of its own.
    fn add(&self, outer: usize, name: Option<&str>) -> Result<usize, protox::Error> {
        let length = outer + 1 + name.unwrap_or_default().len();
        if length > MAX_NAME_BYTES {
            return Err(protox::Error::new("it has a name that is too long"));
        }
        self.count.set(self.count.get() + 1);
        self.names.set(self.names.get() + length);
        if self.count.get() > MAX_PARTS || self.names.get() > MAX_NAMES_BYTES {
            return Err(protox::Error::new(TOO_LARGE));
        }
        Ok(length)
    }
}

impl Files {
    /// Checks a text that is to be parsed beside the others.
    fn check(&mut self, text: &str) -> Result<(), String> {
        if text.len() > MAX_SCHEMA_BYTES {
            return Err(format!("it has more than {MAX_SCHEMA_BYTES} bytes"));
        }
        let parts = text.bytes().filter(|byte| matches!(byte, b';' | b'{' | b',' | b'[' | b'<'));
        self.counted += parts.count();
        if self.counted > MAX_PARTS {
            return Err(TOO_LARGE.to_owned());
        }
        Ok(())
    }

    fn add(&mut self, schema: &SchemaText) -> Result<(), String> {
        for reference in schema.references() {
            if self.texts.contains_key(reference.name()) {
                continue;
            }
            if self.texts.len() == MAX_REFERENCES {
                return Err(format!("it refers to more than {MAX_REFERENCES} schemas"));
            }
            let text = reference.schema().text();
            self.check(text).map_err(|error| {
                format!("reference `{}`: {error}", reference.name().escape_debug())
            })?;
            self.texts.insert(reference.name().to_owned(), text.to_owned());
            self.add(reference.schema())?;
        }
        Ok(())
    }
}

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match GoogleFileResolver::new().open_file(name) {
            Err(error) if error.is_file_not_found() => {}
            found => return found,
        }
        let text = self.texts.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        let mut file = file(name, text)?;
        strip(&mut file, &self.parts)?;
        Ok(File::from(file))
    }
}

/// A file from its text. Serializers that know no text register the `FileDescriptorProto` in base64, and some
/// registries keep it so.
fn file(name: &str, text: &str) -> Result<FileDescriptorProto, protox::Error> {
    match descriptor(text) {
        Some(mut descriptor) => {
            descriptor.name = Some(name.to_owned());
            Ok(descriptor)
        }
        None => Ok(File::from_source(name, text)?.into()),
    }
}

fn descriptor(text: &str) -> Option<FileDescriptorProto> {
    // No text of a file is base64, but for an empty one.
    let bytes = STANDARD.decode(text).ok().filter(|bytes| !bytes.is_empty())?;
    if bytes.len() > MAX_DESCRIPTOR_BYTES {
        return None;
    }
    FileDescriptorProto::decode(bytes.as_slice()).ok()
}

/// Takes away what values are not read by, and what the library would recur for or compare each with each.
fn strip(file: &mut FileDescriptorProto, parts: &Parts) -> Result<(), protox::Error> {
    // Places in the text, which the text of an error does not have. They are looked for one after the other.
    file.source_code_info = None;
    file.options = None;
    file.service.clear();
    file.extension.clear();
    let package = file.package.as_ref().map_or(0, String::len);
    file.enum_type.iter_mut().try_for_each(|descriptor| strip_enum(descriptor, package, parts))?;
    strip_messages(&mut file.message_type, package, 0, parts)
}

/// `outer` is the length of the name around the messages.
fn strip_messages(
    messages: &mut [DescriptorProto],
    outer: usize,
    depth: usize,
    parts: &Parts,
) -> Result<(), protox::Error> {
    for message in messages {
        let name = parts.add(outer, message.name.as_deref())?;
        for field in &message.field {
            parts.add(name, field.name.as_deref())?;
        }
        for oneof in &message.oneof_decl {
            parts.add(name, oneof.name.as_deref())?;
        }
        if depth > MAX_NESTING {
            return Err(protox::Error::new("its messages are nested too deeply"));
        }
        // Apicurio's serializer registers the text of a file whose entries of maps are messages with the option.
        let is_entry = message.options.as_ref().is_some_and(|options| {
            options.map_entry()
                || options.uninterpreted_option.iter().any(|option| is_set(option, "map_entry"))
        });
        message.options =
            is_entry.then(|| MessageOptions { map_entry: Some(true), ..MessageOptions::default() });
        message.field.iter_mut().for_each(|field| field.options = None);
        message.oneof_decl.iter_mut().for_each(|oneof| oneof.options = None);
        message.extension.clear();
        message.extension_range.clear();
        check_ranges(message.reserved_range.len())?;
        let enums = &mut message.enum_type;
        enums.iter_mut().try_for_each(|descriptor| strip_enum(descriptor, name, parts))?;
        strip_messages(&mut message.nested_type, name, depth + 1, parts)?;
    }
    Ok(())
}

fn strip_enum(
    descriptor: &mut EnumDescriptorProto,
    outer: usize,
    parts: &Parts,
) -> Result<(), protox::Error> {
    parts.add(outer, descriptor.name.as_deref())?;
    for value in &descriptor.value {
        parts.add(outer, value.name.as_deref())?;
    }
    let aliases = descriptor.options.as_ref().is_some_and(|options| {
        options.allow_alias()
            || options.uninterpreted_option.iter().any(|option| is_set(option, "allow_alias"))
    });
    descriptor.options =
        aliases.then(|| EnumOptions { allow_alias: Some(true), ..EnumOptions::default() });
    descriptor.value.iter_mut().for_each(|value| value.options = None);
    check_ranges(descriptor.reserved_range.len())
}

/// Whether it is `option NAME = true;`, as the parser leaves it.
fn is_set(option: &UninterpretedOption, name: &str) -> bool {
    matches!(&*option.name, [part] if part.name_part == name && !part.is_extension)
        && option.identifier_value.as_deref() == Some("true")
}

/// Each field is compared with each range.
fn check_ranges(count: usize) -> Result<(), protox::Error> {
    if count > MAX_RANGES {
        return Err(protox::Error::new("it reserves too many ranges of numbers"));
    }
    Ok(())
}

#[derive(Default)]
struct Builder {
    /// Whether indexes count the messages of map entries. A serializer that registers a descriptor finds the index of
    /// a message in it. Others count what the text of the file declares.
    counts_entries: bool,
    messages: HashMap<String, MessageId>,
    enums: HashMap<String, usize>,
    built: Vec<Enum>,
}

impl Builder {
    fn build(
        mut self,
        pool: &DescriptorPool,
        roots: impl Iterator<Item = MessageDescriptor>,
    ) -> Result<Schema, String> {
        let all: Vec<MessageDescriptor> = pool.all_messages().collect();
        for (id, message) in all.iter().enumerate() {
            self.messages.insert(message.full_name().to_owned(), id);
        }
        let messages =
            all.iter().map(|message| self.message(message)).collect::<Result<Vec<_>, String>>()?;
        let roots =
            roots.filter_map(|message| self.messages.get(message.full_name()).copied()).collect();
        Ok(Schema::new(messages, self.built, roots))
    }

    fn message(&mut self, message: &MessageDescriptor) -> Result<Message, String> {
        let mut descriptors: Vec<FieldDescriptor> = message.fields().collect();
        descriptors.sort_by_key(FieldDescriptor::number);
        let oneofs: Vec<_> = message.oneofs().filter(|oneof| !oneof.is_synthetic()).collect();
        let mut fields = Vec::with_capacity(descriptors.len());
        for field in &descriptors {
            let kind = self.kind(field)?;
            let mut key = Vec::new();
            write::string(&mut key, field.name());
            key.push(b':');
            let oneof = field
                .containing_oneof()
                .and_then(|oneof| oneofs.iter().position(|other| *other == oneof));
            let mut default = Vec::new();
            let implicit = !field.supports_presence()
                || message.is_map_entry() && !matches!(kind, Kind::Message(_));
            if !field.is_list() && !field.is_map() && implicit {
                self.default_json(&mut default, field, kind);
            }
            fields.push(Field {
                number: field.number(),
                name: field.name().into(),
                key: key.into(),
                kind,
                repeated: field.is_list(),
                map: field.is_map(),
                required: field.is_required(),
                oneof,
                default: default.into(),
            });
        }
        let counts_entries = self.counts_entries;
        let children =
            message.child_messages().filter(|child| counts_entries || !child.is_map_entry());
        let children =
            children.filter_map(|child| self.messages.get(child.full_name()).copied()).collect();
        Ok(Message::new(
            message.full_name().into(),
            fields,
            oneofs.len(),
            children,
            well_known(message),
        ))
    }

    fn kind(&mut self, field: &FieldDescriptor) -> Result<Kind, String> {
        let place = || format!("the type of field `{}` is not known", field.full_name());
        Ok(match field.kind() {
            Reflected::Double => Kind::Double,
            Reflected::Float => Kind::Float,
            Reflected::Int32 => Kind::Int32,
            Reflected::Int64 => Kind::Int64,
            Reflected::Uint32 => Kind::Uint32,
            Reflected::Uint64 => Kind::Uint64,
            Reflected::Sint32 => Kind::Sint32,
            Reflected::Sint64 => Kind::Sint64,
            Reflected::Fixed32 => Kind::Fixed32,
            Reflected::Fixed64 => Kind::Fixed64,
            Reflected::Sfixed32 => Kind::Sfixed32,
            Reflected::Sfixed64 => Kind::Sfixed64,
            Reflected::Bool => Kind::Bool,
            Reflected::String => Kind::String,
            Reflected::Bytes => Kind::Bytes,
            Reflected::Enum(descriptor) => Kind::Enum(self.enumeration(&descriptor)),
            Reflected::Message(message) => {
                let id = self.messages.get(message.full_name()).copied().ok_or_else(place)?;
                if field.is_group() { Kind::Group(id) } else { Kind::Message(id) }
            }
        })
    }

    fn enumeration(&mut self, descriptor: &EnumDescriptor) -> usize {
        if let Some(id) = self.enums.get(descriptor.full_name()) {
            return *id;
        }
        let mut symbols = HashMap::new();
        for value in descriptor.values() {
            // Of aliases, the first one.
            symbols.entry(value.number()).or_insert_with(|| {
                let mut json = Vec::new();
                if descriptor.full_name() == "google.protobuf.NullValue" {
                    json.extend_from_slice(b"null");
                } else {
                    write::string(&mut json, value.name());
                }
                (value.name().into(), json.into_boxed_slice())
            });
        }
        let id = self.built.len();
        self.built.push(Enum { symbols });
        self.enums.insert(descriptor.full_name().to_owned(), id);
        id
    }

    /// The JSON of a field that is not there.
    fn default_json(&self, out: &mut Vec<u8>, field: &FieldDescriptor, kind: Kind) {
        match field.default_value() {
            Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            Value::I32(number) => write::integer(out, number),
            Value::U32(number) => write::integer(out, number),
            Value::I64(number) => write::quoted_integer(out, number),
            Value::U64(number) => write::quoted_integer(out, number),
            Value::F32(number) => write::float(out, number),
            Value::F64(number) => write::float(out, number),
            Value::String(text) => write::string(out, &text),
            Value::Bytes(bytes) => write::base64(out, &bytes),
            Value::EnumNumber(number) => {
                let symbols = match kind {
                    Kind::Enum(id) => self.built.get(id).map(|built| &built.symbols),
                    _ => None,
                };
                match symbols.and_then(|symbols| symbols.get(&number)) {
                    Some((_, json)) => out.extend_from_slice(json),
                    None => write::integer(out, number),
                }
            }
            Value::Message(_) | Value::List(_) | Value::Map(_) => out.extend_from_slice(b"null"),
        }
    }
}

/// The form in JSON that the specification gives some messages of google. A schema may declare them itself: their
/// fields are looked at, too.
fn well_known(message: &MessageDescriptor) -> Option<WellKnown> {
    let name = message.full_name().strip_prefix("google.protobuf.")?;
    let has = |number: u32, kind: Reflected, list: bool| {
        message
            .get_field(number)
            .is_some_and(|field| field.kind() == kind && field.is_list() == list)
    };
    let message_of = |number: u32, name: &str| {
        message.get_field(number).is_some_and(|field| {
            field.kind().as_message().is_some_and(|message| {
                message.full_name().strip_prefix("google.protobuf.") == Some(name)
            })
        })
    };
    let found = match name {
        "Timestamp" => (
            has(1, Reflected::Int64, false) && has(2, Reflected::Int32, false),
            WellKnown::Timestamp,
        ),
        "Duration" => (
            has(1, Reflected::Int64, false) && has(2, Reflected::Int32, false),
            WellKnown::Duration,
        ),
        "FieldMask" => (has(1, Reflected::String, true), WellKnown::FieldMask),
        "Any" => {
            (has(1, Reflected::String, false) && has(2, Reflected::Bytes, false), WellKnown::Any)
        }
        "Struct" => (message.get_field(1).is_some_and(|field| field.is_map()), WellKnown::Bare),
        "ListValue" => (message_of(1, "Value"), WellKnown::Bare),
        "Value" => {
            let members = message_of(5, "Struct")
                && message_of(6, "ListValue")
                && has(2, Reflected::Double, false);
            (members, WellKnown::Value)
        }
        "DoubleValue" => (has(1, Reflected::Double, false), WellKnown::Bare),
        "FloatValue" => (has(1, Reflected::Float, false), WellKnown::Bare),
        "Int64Value" => (has(1, Reflected::Int64, false), WellKnown::Bare),
        "UInt64Value" => (has(1, Reflected::Uint64, false), WellKnown::Bare),
        "Int32Value" => (has(1, Reflected::Int32, false), WellKnown::Bare),
        "UInt32Value" => (has(1, Reflected::Uint32, false), WellKnown::Bare),
        "BoolValue" => (has(1, Reflected::Bool, false), WellKnown::Bare),
        "StringValue" => (has(1, Reflected::String, false), WellKnown::Bare),
        "BytesValue" => (has(1, Reflected::Bytes, false), WellKnown::Bare),
        _ => return None,
    };
    let (fits, form) = found;
    (fits && (form != WellKnown::Bare || message.fields().len() == 1)).then_some(form)
}
