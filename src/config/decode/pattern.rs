//! Patterns of paths, names of topics, and names of entries.

use tailwater_kafka_types::check_topic_name;
use tailwater_route::{Error, Pattern};

use crate::config::decode::Value;

/// A pattern of paths.
pub(crate) fn path(value: &Value<'_>) -> Option<Pattern> {
    read(value, Pattern::new)
}

/// A pattern of paths of files, in which `{name}` may contain `/`.
pub(crate) fn file_path(value: &Value<'_>) -> Option<Pattern> {
    read(value, Pattern::multi_segment)
}

fn read(value: &Value<'_>, new: impl Fn(&str) -> Result<Pattern, Error>) -> Option<Pattern> {
    let text = value.text_as("a path pattern, as `/events/{key}` or `/events/*`")?;
    match new(&text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            value.error(match error {
                // Its text contains the pattern.
                Error::Start(_) => error.to_string(),
                _ => format!("bad path pattern `{}`: {error}", text.escape_debug()),
            });
            None
        }
    }
}

/// Whether a text can be the name of a binding, guard, vault or catalog.
pub(crate) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// The literal name of a topic.
pub(crate) fn topic(value: &Value<'_>) -> Option<String> {
    let name = value.text_as("the name of a topic")?;
    match check_topic_name(&name) {
        Ok(()) => Some(name),
        Err(error) => {
            value.error(format!("the topic name `{}` {error}", name.escape_debug()));
            None
        }
    }
}
