//! A tape as the validator reads it.

use std::borrow::Cow;

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, JsonNumber, Node, NodeIdentity, Object, cmp};
use serde_json::{Number, Value};

use super::steps;
use super::tape::{Document, Item, Members, is_integer};

/// JSON as a [`Tape`](super::tape::Tape).
#[derive(Debug)]
pub(super) enum Parsed {}

impl Json for Parsed {
    type Node<'a> = JsonNode<'a>;
    type PreparedKey = Box<str>;
    type StringBuffer = ();

    // A look-up compares with each name of a small object.
    const KEYS_PER_LOOKUP: usize = 4;
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> Box<str> {
        key.into()
    }

    fn with_string_node<T>((): &mut (), string: &str, f: impl FnOnce(JsonNode<'_>) -> T) -> T {
        f(JsonNode::Name(string))
    }
}

/// A value of a document, or the name of a member as a string of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum JsonNode<'a> {
    At(Document<'a>, u32),
    Name(&'a str),
}

impl<'a> JsonNode<'a> {
    fn item(&self) -> Option<Item> {
        match self {
            Self::At(document, at) => {
                steps::look();
                Some(document.item(*at))
            }
            Self::Name(_) => None,
        }
    }

    fn text(&self) -> Option<&'a str> {
        let text = match self {
            Self::At(document, _) => match self.item()? {
                item @ (Item::String(_) | Item::Unescaped(_)) => document.text(item),
                _ => return None,
            },
            Self::Name(name) => name,
        };
        steps::read(text);
        Some(text)
    }
}

impl<'a> Node<'a, Parsed> for JsonNode<'a> {
    type Object = JsonObject<'a>;
    type Array = JsonArray<'a>;
    type Number = JsonText<'a>;

    fn as_object(&self) -> Option<JsonObject<'a>> {
        match self {
            Self::At(document, at) => match self.item()? {
                Item::Object { count, .. } => {
                    Some(JsonObject { document: *document, at: *at, count })
                }
                _ => None,
            },
            Self::Name(_) => None,
        }
    }

    fn as_array(&self) -> Option<JsonArray<'a>> {
        match self {
            Self::At(document, at) => match self.item()? {
                Item::Array { count, end } => {
                    Some(JsonArray { document: *document, at: at + 1, end, count })
                }
                _ => None,
            },
            Self::Name(_) => None,
        }
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        self.text().map(Cow::Borrowed)
    }

    fn as_number(&self) -> Option<JsonText<'a>> {
        match self {
            Self::At(document, _) => match self.item()? {
                item @ Item::Number(_) => Some(JsonText(document.text(item))),
                _ => None,
            },
            Self::Name(_) => None,
        }
    }

    fn as_boolean(&self) -> Option<bool> {
        match self.item() {
            Some(Item::Boolean(value)) => Some(value),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        self.item() == Some(Item::Null)
    }

    fn is_number(&self) -> bool {
        matches!(self.item(), Some(Item::Number(_)))
    }

    fn json_type(&self) -> JsonType {
        match self.item() {
            Some(Item::Null | Item::Replaced) => JsonType::Null,
            Some(Item::Boolean(_)) => JsonType::Boolean,
            Some(Item::Number(_)) => JsonType::Number,
            Some(Item::String(_) | Item::Unescaped(_)) | None => JsonType::String,
            Some(Item::Array { .. }) => JsonType::Array,
            Some(Item::Object { .. }) => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match (self.text(), expected) {
            (Some(text), Value::String(expected)) => text == expected,
            (Some(_), _) | (_, Value::String(_)) => false,
            _ => cmp::equal(&self.to_value(), expected),
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(match self {
            Self::Name(name) => Value::String((*name).to_owned()),
            Self::At(document, at) => match self.item().unwrap_or(Item::Null) {
                Item::Null | Item::Replaced => Value::Null,
                Item::Boolean(value) => Value::Bool(value),
                item @ Item::Number(_) => {
                    Value::Number(JsonText(document.text(item)).to_number().into_owned())
                }
                item @ (Item::String(_) | Item::Unescaped(_)) => {
                    Value::String(document.text(item).to_owned())
                }
                // As deep as the parser allows.
                Item::Array { .. } => Value::Array(
                    self.as_array()
                        .map(|array| {
                            array
                                .elements()
                                .map(|element| element.to_value().into_owned())
                                .collect()
                        })
                        .unwrap_or_default(),
                ),
                Item::Object { .. } => Value::Object(
                    document
                        .members(*at)
                        .map(|(name, at)| {
                            (name.to_owned(), Self::At(*document, at).to_value().into_owned())
                        })
                        .collect(),
                ),
            },
        })
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(match self {
            Self::At(document, at) => {
                // References that go around in circles ask for nothing else.
                steps::look();
                NodeIdentity::tagged(std::ptr::from_ref(document.tape) as usize, *at)
            }
            Self::Name(name) => NodeIdentity::new(name.as_ptr() as usize),
        })
    }
}

#[derive(Clone, Debug)]
pub(super) struct JsonObject<'a> {
    document: Document<'a>,
    at: u32,
    count: u32,
}

impl<'a> Object<'a, Parsed> for JsonObject<'a> {
    type Node = JsonNode<'a>;
    type MemberName = &'a str;
    type MembersIter = JsonMembers<'a>;

    fn len(&self) -> usize {
        self.count as usize
    }

    fn get(&self, key: &Box<str>) -> Option<JsonNode<'a>> {
        steps::look();
        self.document.member(self.at, key).map(|at| JsonNode::At(self.document, at))
    }

    fn members(&self) -> JsonMembers<'a> {
        JsonMembers { document: self.document, members: self.document.members(self.at) }
    }
}

#[derive(Clone, Debug)]
pub(super) struct JsonMembers<'a> {
    document: Document<'a>,
    members: Members<'a>,
}

impl<'a> Iterator for JsonMembers<'a> {
    type Item = (&'a str, JsonNode<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        steps::look();
        self.members.next().map(|(name, at)| (name, JsonNode::At(self.document, at)))
    }
}

#[derive(Clone, Debug)]
pub(super) struct JsonArray<'a> {
    document: Document<'a>,
    at: u32,
    end: u32,
    count: u32,
}

impl<'a> Array<'a, Parsed> for JsonArray<'a> {
    type Node = JsonNode<'a>;
    type ElementsIter = Self;

    fn len(&self) -> usize {
        self.count as usize
    }

    fn elements(&self) -> Self {
        self.clone()
    }
}

impl<'a> Iterator for JsonArray<'a> {
    type Item = JsonNode<'a>;

    fn next(&mut self) -> Option<JsonNode<'a>> {
        if self.at >= self.end {
            return None;
        }
        steps::look();
        let at = self.at;
        self.at = self.document.after(at);
        Some(JsonNode::At(self.document, at))
    }
}

/// A number as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct JsonText<'a>(&'a str);

impl JsonNumber for JsonText<'_> {
    fn as_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }

    fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    fn as_f64(&self) -> Option<f64> {
        self.0.parse().ok().filter(|number: &f64| number.is_finite())
    }

    fn as_str(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.0)
    }

    fn to_number(&self) -> Cow<'_, Number> {
        // The greatest double stands for what is greater: this is compared and never delivered.
        let nearest = || {
            let greatest = if self.0.starts_with('-') { f64::MIN } else { f64::MAX };
            Number::from_f64(greatest).unwrap_or_else(|| Number::from(0))
        };
        Cow::Owned(serde_json::from_str(self.0).unwrap_or_else(|_| nearest()))
    }

    fn is_integer(&self) -> bool {
        is_integer(self.0)
    }
}
