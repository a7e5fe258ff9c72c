//! Finds claims by their path, and converts them.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// The member at a dotted path. A name may contain dots itself, at any level
/// (`https://example.com/roles`, or the role `admin` of the client `my.client`). If several members of an
/// object lead to a value, the one with the longest name is taken. `null` is no value.
///
/// There is only one way to each object, so that the search visits each object at most once.
pub(crate) fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    claims.get(path).filter(|value| !value.is_null()).or_else(|| {
        path.rmatch_indices('.').find_map(|(dot, _)| {
            let name = path.get(..dot)?;
            let rest = path.get(dot + 1..)?;
            find(claims.get(name)?.as_object()?, rest)
        })
    })
}

/// A string as it is, the JSON text of a number or boolean, `None` for null, lists and objects.
pub(crate) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(_) | Value::Bool(_) => Some(Cow::Owned(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The strings of a list, or the words of a string. Any other value contains no role.
pub(crate) fn roles(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// Milliseconds since 1970 of a NumericDate (RFC 7519, 2), rounded down and saturated. `None` if the value
/// is not a number.
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
        fn any_path_finds_what_the_first_of_all_splits_finds(
            path in "[ab.]{0,7}",
            claims in members(),
        ) {
            let claims = claims.as_object().unwrap();
            // Each way to cut the path at some of its dots, the longest first names first.
            let parts: Vec<_> = path.split('.').collect();
            let mut splits: Vec<Vec<String>> = (0..1_usize << (parts.len() - 1))
                .map(|cuts| {
                    let mut names = Vec::new();
                    for (index, part) in parts.iter().enumerate() {
                        match names.last_mut() {
                            Some(last) if cuts >> (index - 1) & 1 == 0 => *last = format!("{last}.{part}"),
                            _ => names.push((*part).to_owned()),
                        }
                    }
                    names
                })
                .collect();
            splits.sort_by_key(|names| {
                names.iter().map(|name| std::cmp::Reverse(name.len())).collect::<Vec<_>>()
            });
            let found = splits.iter().find_map(|names| {
                let (first, rest) = names.split_first()?;
                rest.iter().try_fold(claims.get(first)?, |value, name| value.get(name))
            });
            prop_assert_eq!(find(claims, &path), found);
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

    /// Objects of objects, whose names have dots.
    fn members() -> impl Strategy<Value = Value> {
        let leaf = (0..9_i64).prop_map(|number| json!(number));
        leaf.prop_recursive(3, 40, 4, |inner| {
            prop::collection::btree_map("[ab]?\\.?[ab]{0,2}", inner, 0..4)
                .prop_map(|members| json!(members))
        })
        .prop_filter("an object", Value::is_object)
    }

    #[test]
    fn names_may_have_dots_at_any_level() {
        let claims = json!({
            "resource_access": {
                "account": { "roles": ["view"] },
                "my.client": { "roles": ["admin"] },
                "my": { "other": { "roles": ["other"] } },
            },
            "https://example.com/roles": ["whole"],
            "https://example.com/app": { "v1.0": { "roles": ["deep"] } },
            "n.m": null, "n": { "m": 5, "o": null },
            "a.b": { "x": 1 }, "a": { "b": { "c": 2 }, "b.c": 3, "b.d": 4 },
        });
        let claims = claims.as_object().unwrap();
        for (path, found) in [
            ("resource_access.account.roles", Some(json!(["view"]))),
            ("resource_access.my.client.roles", Some(json!(["admin"]))),
            ("resource_access.my.other.roles", Some(json!(["other"]))),
            ("https://example.com/roles", Some(json!(["whole"]))),
            ("https://example.com/app.v1.0.roles", Some(json!(["deep"]))),
            ("a.b.x", Some(json!(1))),
            // A longer name that leads nowhere is no obstacle, and of two the longer one counts.
            ("a.b.c", Some(json!(3))),
            ("a.b.d", Some(json!(4))),
            ("a.b.y", None),
            ("n.m", Some(json!(5))),
            ("n.o", None),
            ("resource_access.client.roles", None),
            ("a.", None),
            (".", None),
            ("", None),
        ] {
            assert_eq!(find(claims, path), found.as_ref(), "{path}");
        }
    }

    #[test]
    fn a_path_of_many_dots_in_claims_of_many_objects_is_found_at_once() {
        // Both "a" and "a.a" lead on from each object, as deep as JSON goes.
        let mut claims = json!({ "a": 1 });
        for _ in 0..60 {
            claims = json!({ "a": claims, "a.a.a": { "a": { "a": {} } } });
        }
        let path = vec!["a"; 120].join(".");
        assert_eq!(find(claims.as_object().unwrap(), &path), None);
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
