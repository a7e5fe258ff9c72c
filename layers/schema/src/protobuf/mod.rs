//! Protocol buffers: compiled schemas, and their messages as JSON.

mod compile;
mod json;
mod known;
mod scan;
mod select;
mod wire;

pub(crate) use compile::compile;
pub(crate) use select::{no_message, select};

use std::collections::HashMap;

use crate::extract::Fields;
use crate::limits::ALLOCATION;
use wire::{Reason, WireType};

type MessageId = usize;

const TOO_DEEP: Reason = "the protobuf value is nested too deeply";
const TOO_LARGE: Reason = "the protobuf value would be more than 16 MiB";
const NO_MESSAGE: Reason = "the schema is incomplete";
const NOT_UTF8: Reason = "a protobuf string is not UTF-8";
const REQUIRED: Reason = "the protobuf value lacks a required field";

/// What an entry of a table takes, about.
const ENTRY: usize = 32 + ALLOCATION;

const TOO_LONG: Reason = "it takes too long to read the protobuf value";

/// How many fields of its messages the schema may have for one value in all, those that are not there included: each
/// message is compared with all of its fields.
const MAX_STEPS: usize = 1 << 26;

/// A file with all that it imports, as values are read with it.
#[derive(Debug)]
pub(crate) struct Schema {
    messages: Vec<Message>,
    enums: Vec<Enum>,
    /// The messages of the file itself that are not nested.
    roots: Vec<MessageId>,
    by_name: HashMap<Box<str>, MessageId>,
}

#[derive(Debug)]
struct Message {
    name: Box<str>,
    /// In the order of their numbers.
    fields: Vec<Field>,
    /// The place of a field plus one, by its number, for small numbers.
    index: Vec<u16>,
    oneofs: usize,
    has_required: bool,
    children: Vec<MessageId>,
    well_known: Option<WellKnown>,
}

#[derive(Debug)]
struct Field {
    number: u32,
    name: Box<str>,
    /// `"name":`
    key: Box<[u8]>,
    kind: Kind,
    repeated: bool,
    map: bool,
    required: bool,
    oneof: Option<usize>,
    /// What stands for a field that is not there. Empty: nothing.
    default: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Message(MessageId),
    Group(MessageId),
    Enum(usize),
}

#[derive(Debug)]
struct Enum {
    /// The name, and the same as JSON.
    symbols: HashMap<i32, (Box<str>, Box<[u8]>)>,
}

/// The messages that have a form of their own in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WellKnown {
    Timestamp,
    Duration,
    FieldMask,
    Any,
    Value,
    /// The value of the only field.
    Bare,
}

impl Kind {
    fn wire_type(self) -> WireType {
        match self {
            Self::Double | Self::Fixed64 | Self::Sfixed64 => WireType::Fixed64,
            Self::Float | Self::Fixed32 | Self::Sfixed32 => WireType::Fixed32,
            Self::String | Self::Bytes | Self::Message(_) => WireType::Length,
            Self::Group(_) => WireType::Start,
            Self::Int32
            | Self::Int64
            | Self::Uint32
            | Self::Uint64
            | Self::Sint32
            | Self::Sint64
            | Self::Bool
            | Self::Enum(_) => WireType::Varint,
        }
    }
}

impl Message {
    fn new(
        name: Box<str>,
        fields: Vec<Field>,
        oneofs: usize,
        children: Vec<MessageId>,
        well_known: Option<WellKnown>,
    ) -> Self {
        const INDEXED: u32 = 256;
        let mut index = Vec::new();
        for (place, field) in
            fields.iter().enumerate().take_while(|(_, field)| field.number < INDEXED)
        {
            index.resize(field.number as usize + 1, 0);
            if let Some(slot) = index.last_mut() {
                *slot = place as u16 + 1;
            }
        }
        let has_required = fields.iter().any(|field| field.required);
        Self { name, fields, index, oneofs, has_required, children, well_known }
    }

    fn find(&self, number: u32) -> Option<(usize, &Field)> {
        let place = match self.index.get(number as usize) {
            Some(0) => return None,
            Some(place) => usize::from(*place) - 1,
            None => self.fields.binary_search_by_key(&number, |field| field.number).ok()?,
        };
        self.fields.get(place).map(|field| (place, field))
    }
}

impl Schema {
    fn new(messages: Vec<Message>, enums: Vec<Enum>, roots: Vec<MessageId>) -> Self {
        let mut by_name = HashMap::new();
        for (id, message) in messages.iter().enumerate() {
            by_name.insert(message.name.clone(), id);
        }
        // By short names as well: those of the file itself first, the outer before the nested.
        let mut level = roots.clone();
        while !level.is_empty() {
            let mut nested = Vec::new();
            for id in level {
                if let Some(message) = messages.get(id) {
                    by_name.entry(short_name(&message.name).into()).or_insert(id);
                    nested.extend_from_slice(&message.children);
                }
            }
            level = nested;
        }
        for (id, message) in messages.iter().enumerate() {
            by_name.entry(short_name(&message.name).into()).or_insert(id);
        }
        Self { messages, enums, roots, by_name }
    }

    /// A message by its short or its full name.
    pub(crate) fn find(&self, name: &str) -> Option<MessageId> {
        self.by_name.get(name).copied()
    }

    fn roots(&self) -> &[MessageId] {
        &self.roots
    }

    fn children(&self, message: MessageId) -> &[MessageId] {
        self.messages.get(message).map(|message| message.children.as_slice()).unwrap_or_default()
    }

    /// The memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let messages = self.messages.iter().map(|message| {
            let fields = message.fields.iter().map(|field| {
                let texts = field.name.len() + field.key.len() + field.default.len();
                size_of::<Field>() + texts + 3 * ALLOCATION
            });
            let index = size_of_val(&*message.index) + size_of_val(&*message.children);
            // Its name is a key of the table, too, and so may be the end of it.
            size_of::<Message>() + 3 * (message.name.len() + ENTRY) + index + fields.sum::<usize>()
        });
        let symbols = self.enums.iter().flat_map(|known| known.symbols.values());
        let symbols = symbols.map(|(name, json)| name.len() + json.len() + 2 * ENTRY);
        messages.sum::<usize>() + symbols.sum::<usize>()
    }

    /// Appends a message as JSON.
    pub(crate) fn write_json(
        &self,
        message: MessageId,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        json::write(self, message, bytes, out)
    }

    /// Appends a message without the fields that the schema does not know.
    pub(crate) fn write_known(
        &self,
        message: MessageId,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        known::write(self, message, bytes, out)
    }
}

fn short_name(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, short)| short)
}

/// Reads the text of a message's fields.
pub(crate) fn extract(
    schema: &Schema,
    message: MessageId,
    bytes: &[u8],
    fields: &mut Fields<'_>,
) -> Result<(), Reason> {
    json::extract(schema, message, bytes, fields)
}
