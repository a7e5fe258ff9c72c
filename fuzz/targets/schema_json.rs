//! What passes is the JSON that came, whatever the schema; and all that is JSON passes the schema `true`.
//! Input: the text of a schema, a byte 00, and a value.
#![no_main]

mod schema_input;

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;
use tailwater_schema::model::{Check, JsonModel, Validate};
use tailwater_schema::{Class, Extracted, Input, MAX_DEPTH, Model, Outcome};

// The compiler of schemas may panic: the crate catches that. What it does not catch ends the fuzzer without a hook,
// too.
fuzz_target!(init: drop(std::panic::take_hook()), |input: &[u8]| {
    let Some((text, value)) = schema_input::split(input) else { return };
    let any = convert(&Model::from(model("true")), value);
    if any.is_ok() {
        std::str::from_utf8(value).expect("UTF-8");
        // A number too large for `Value` is JSON, too.
        serde_json::from_slice::<IgnoredAny>(value).expect("JSON");
    } else if let Ok(json) = serde_json::from_slice::<Value>(value) {
        assert!(depth(&json) > MAX_DEPTH, "it is JSON");
    }

    let strict = Model::from(model(text));
    let lenient = Model::from(model(text).validate(Validate::Lenient));
    let strictly = convert(&strict, value);
    let leniently = convert(&lenient, value);
    match strict.check() {
        Check::Ready => {
            assert_ne!(strictly, Err(Class::SchemaUnusable));
            assert_eq!(strictly == Err(Class::Malformed), any.is_err());
            assert_eq!(leniently.is_err(), any.is_err());
        }
        Check::Failed(_) => {
            assert_eq!(strictly, Err(Class::SchemaUnusable));
            assert_eq!(leniently, Err(Class::SchemaUnusable));
        }
        other => panic!("{other:?}"),
    }
    match strict.extract(&Input::value(value), &["id", "n", "a", ""]) {
        Extracted::Fields(fields) => assert_eq!(fields.len(), 4),
        Extracted::Rejected(_) => assert!(any.is_err(), "it has no fields"),
        other => panic!("{other:?}"),
    }
});

fn model(text: &str) -> JsonModel {
    JsonModel::new(schema_input::source(text))
}

fn convert(model: &Model, value: &[u8]) -> Result<(), Class> {
    let mut out = b"before".to_vec();
    let outcome = model.convert(&Input::value(value), &mut out);
    assert_eq!(out, b"before");
    match outcome {
        Outcome::Unchanged(bytes) | Outcome::Tolerated(Some(bytes), _) => {
            assert_eq!(bytes, value);
            Ok(())
        }
        Outcome::Rejected(rejection) => Err(rejection.class()),
        other => panic!("{other:?}"),
    }
}

fn depth(json: &Value) -> usize {
    match json {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
