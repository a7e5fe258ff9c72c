//! What a path of names finds in the claims, and what it is worth as text.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// The member that a dotted path names. At each object a member whose name is the whole rest of
/// the path comes first (`https://example.com/roles` is a usual name of a claim), then the one whose
/// name ends at the next dot.
pub(crate) fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut object = claims;
    let mut rest = path;
    loop {
        if let Some(value) = object.get(rest) {
            return Some(value);
        }
        let (name, after) = rest.split_once('.')?;
        object = object.get(name)?.as_object()?;
        rest = after;
    }
}

/// Text as it is, numbers and booleans as JSON writes them; nothing for null, lists and objects.
pub(crate) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(_) | Value::Bool(_) => Some(Cow::Owned(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The texts of a list, or of a text that is split at white space. Anything else holds no role.
pub(crate) fn roles(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// Milliseconds since 1970 of a NumericDate (RFC 7519, 2), rounded down; `None` if it is no number.
/// What is too large is the end of time.
pub(crate) fn milliseconds(value: &Value) -> Option<i64> {
    let number = value.as_number()?;
    Some(match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(seconds), ..) => seconds.saturating_mul(1000),
        (None, Some(_), _) => i64::MAX,
        // A cast from a float saturates.
        (None, None, Some(seconds)) => (seconds * 1000.0).floor() as i64,
        (None, None, None) => return None,
    })
}
