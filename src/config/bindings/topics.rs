//! `topics` of `kafka` bindings: the options of topics.

use std::fmt;

use regex::Regex;
use tailwater_kafka_types::check_topic_name;

use crate::config::bindings::kafka::DefaultOffset;
use crate::config::check::support::Ignored;
use crate::config::decode::{Map, Value};
use crate::config::report::diagnostic::Span;
use crate::config::sections::models::Model;

/// An entry of `topics`: options of a topic. Of several entries that match a topic the first one counts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Topic {
    /// Where it stands.
    pub span: Span,
    /// `name`: the name of the topic, or a regular expression that matches the whole name. `{NAME}` in it
    /// stands for any text. Required.
    pub name: TopicName,
    /// `defaultOffset`: where a stream without an event id begins. Default: `historical`, as
    /// in Zilla.
    pub default_offset: Option<DefaultOffset>,
    /// `key`: the model of keys. A record whose key does not fit is left out. A null key fits. Default: any
    /// key. At a cache_client it has no effect.
    pub key: Option<Model>,
    /// `value`: the model of values. A record whose value does not fit is left out. A null value fits. Default:
    /// any value. At a cache_client it has no effect.
    pub value: Option<Model>,
    /// `transforms`: a list of one or two maps with these keys. Default: none.
    pub transforms: Option<Transforms>,
}

/// The name of a topic, or a regular expression for the names of several.
#[derive(Clone, Debug)]
pub struct TopicName {
    text: String,
    /// None where each character stands for itself.
    regex: Option<Regex>,
}

/// What becomes of fields of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transforms {
    /// `extract-key`: the field whose text becomes the key, `${message.key.NAME}` or `${message.value.NAME}`. A
    /// record without it keeps its key. Default: the key stays.
    pub key: Option<MessageField>,
    /// `extract-headers`: a map from names of headers to fields, whose texts are added to the headers of the
    /// record. It stands after `extract-key`. Default: none.
    pub headers: Vec<(String, MessageField)>,
}

/// A field of a record, for example `${message.value.id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageField {
    /// Whether it is in the key. Else it is in the value.
    pub in_key: bool,
    /// Its name in the outermost object, record or message.
    pub name: String,
}

/// Two names are the same if their texts are.
impl PartialEq for TopicName {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TopicName {}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TopicName {
    /// Whether it matches the whole name of a topic.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.text == topic || self.regex.as_ref().is_some_and(|regex| regex.is_match(topic))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text, if it can be the name of a topic.
    #[must_use]
    pub fn as_literal(&self) -> Option<&str> {
        check_topic_name(&self.text).is_ok().then_some(&*self.text)
    }

    fn decode(value: &Value<'_>) -> Option<Self> {
        let text = value.text_as("the name of a topic")?;
        let is_expression = text.contains(|char: char| r"\^$|?*+()[]{}".contains(char));
        if !is_expression && let Err(error) = check_topic_name(&text) {
            value.error(format!("the topic name `{}` {error}", text.escape_debug()));
            return None;
        }
        if !is_expression && !text.contains('.') {
            return Some(Self { text, regex: None });
        }
        // By itself first: `a)|(b` closes the group.
        let expression = without_parameters(&text);
        let whole =
            Regex::new(&expression).and_then(|_| Regex::new(&format!("\\A(?:{expression})\\z")));
        match whole {
            Ok(regex) => Some(Self { text, regex: Some(regex) }),
            Err(_) => {
                value.error(format!(
                    "`{}` is no regular expression that can be matched in linear time",
                    text.escape_debug()
                ));
                None
            }
        }
    }
}

/// An expression with `.+` in place of each `{NAME}`.
fn without_parameters(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((_, after)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(".+");
        rest = after;
    }
    out + rest
}

impl fmt::Display for MessageField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = if self.in_key { "key" } else { "value" };
        write!(f, "${{message.{part}.{}}}", self.name)
    }
}

/// Decodes the list of a binding.
pub(crate) fn decode_all(options: &Map<'_>) -> Vec<Topic> {
    let Some(value) = options.get("topics") else { return Vec::new() };
    let mut names: Vec<TopicName> = Vec::new();
    value.each(|item| {
        let topic = topic(&item)?;
        if names.contains(&topic.name) {
            item.error(format!("the topic `{}` is listed twice", topic.name));
        }
        names.push(topic.name.clone());
        Some(topic)
    })
}

fn topic(value: &Value<'_>) -> Option<Topic> {
    let map = value.map()?;
    let name = map.require("name").and_then(|value| TopicName::decode(&value));
    let offsets = [("live", DefaultOffset::Live), ("historical", DefaultOffset::Historical)];
    let default_offset = map.get("defaultOffset").and_then(|value| value.one_of(&offsets));
    if let Some(value) = map.get("deltaType")
        && value.one_of(&[("none", false), ("json_patch", true)]) == Some(true)
    {
        value.ignored(Ignored::KafkaDeltaType);
    }
    let key = map.get("key").map(|value| Model::decode(&value));
    let model = map.get("value").map(|value| Model::decode(&value));
    let transforms = map.get("transforms").and_then(|value| {
        let has_fields = |model: &Option<Option<Model>>| match model {
            // A model with a mistake is reported where it stands.
            Some(model) => model.as_ref().is_none_or(|model| model.schema().is_some()),
            None => false,
        };
        transforms(&value, has_fields(&key), has_fields(&model))
    });
    map.deny_unknown();
    Some(Topic {
        span: value.span(),
        name: name?,
        default_offset,
        key: key.flatten(),
        value: model.flatten(),
        transforms,
    })
}

/// Decodes `transforms` of a topic.
fn transforms(
    value: &Value<'_>,
    key_has_fields: bool,
    value_has_fields: bool,
) -> Option<Transforms> {
    let field = |value: &Value<'_>| {
        let field = field(value)?;
        if !(if field.in_key { key_has_fields } else { value_has_fields }) {
            value.ignored(Ignored::TransformWithoutModel);
        }
        Some(field)
    };
    let mut transforms = Transforms::default();
    let mut has_headers = false;
    let items = value.list_as("a list of `extract-key` and `extract-headers`")?;
    for item in items {
        let Some(map) = item.map() else { continue };
        let key = map.get("extract-key");
        if let Some(value) = &key {
            if has_headers {
                value.error("expected `extract-key` before `extract-headers`");
            }
            if transforms.key.is_some() {
                value.error("`extract-key` is listed twice");
            }
            transforms.key = field(value);
        }
        let headers = map.get("extract-headers");
        if let Some(value) = &headers {
            if has_headers {
                value.error("`extract-headers` is listed twice");
            }
            has_headers = true;
            for (name, value) in value.map().iter().flat_map(Map::entries) {
                if name.is_empty() {
                    value.error("expected the name of a header, found an empty text");
                }
                let field = field(&value);
                transforms.headers.extend(field.map(|field| (name.to_owned(), field)));
            }
        }
        if key.is_none() && headers.is_none() {
            map.missing("expected `extract-key` or `extract-headers`");
        }
        map.deny_unknown();
    }
    Some(transforms)
}

fn field(value: &Value<'_>) -> Option<MessageField> {
    let parse = |text: &str| {
        let field = text.strip_prefix("${message.")?.strip_suffix('}')?;
        let (part, name) = field.split_once('.')?;
        let in_key = match part {
            "key" => true,
            "value" => false,
            _ => return None,
        };
        let is_name = !name.is_empty() && !name.contains(['{', '}', '.']);
        is_name.then(|| MessageField { in_key, name: name.to_owned() })
    };
    let what = "a field of the value or the key, as `${message.value.id}` or `${message.key.id}`";
    value.parsed(what, parse)
}
