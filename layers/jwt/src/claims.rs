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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_at_a_path_is_found_there(names in prop::collection::vec("[a-c]{1,2}", 1..5), value in 0..9_i64) {
            let nested = names.iter().rev().fold(json!(value), |inner, name| json!({ name.as_str(): inner }));
            let claims = nested.as_object().unwrap();
            prop_assert_eq!(find(claims, &names.join(".")), Some(&json!(value)));
            prop_assert_eq!(find(claims, &format!("{}.x", names.join("."))), None);
        }

        #[test]
        fn any_path_finds_what_a_search_of_all_splits_finds_first(
            path in "[ab.]{0,6}",
            names in prop::collection::vec("[ab.]{0,3}", 0..4),
            inner in prop::collection::vec("[ab.]{0,3}", 0..4),
        ) {
            let inner: Map<_, _> = inner.into_iter().map(|name| (name, json!(1))).collect();
            let claims: Map<_, _> =
                names.into_iter().map(|name| (name, json!(inner))).collect();
            let naive = claims.get(&path).or_else(|| {
                let (first, rest) = path.split_once('.')?;
                let inner = claims.get(first)?.as_object()?;
                inner.get(rest)
            });
            prop_assert_eq!(find(&claims, &path), naive);
        }

        #[test]
        fn a_date_is_its_number_of_milliseconds(seconds in -1_000_000_i64..10_000_000_000, thousandths in 0..1000_i64) {
            prop_assert_eq!(milliseconds(&json!(seconds)), Some(seconds * 1000));
            let date = json!(seconds as f64 + thousandths as f64 / 1000.0);
            let exact = seconds * 1000 + thousandths;
            let read = milliseconds(&date).unwrap();
            prop_assert!((exact - 1..=exact).contains(&read), "{} is {}", date, read);
        }
    }

    #[test]
    fn dates_that_no_clock_reaches_are_the_ends_of_time() {
        let rows = [
            (json!(u64::MAX), Some(i64::MAX)),
            (json!(i64::MAX), Some(i64::MAX)),
            (json!(1e300), Some(i64::MAX)),
            (json!(i64::MIN), Some(i64::MIN)),
            (json!(-1e300), Some(i64::MIN)),
            (json!("1"), None),
            (json!(null), None),
            (json!([1]), None),
        ];
        for (date, expected) in rows {
            assert_eq!(milliseconds(&date), expected, "{date}");
        }
    }
}
