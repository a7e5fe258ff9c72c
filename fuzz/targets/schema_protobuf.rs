//! A message of any schema becomes JSON that others read, or is rejected; and it is the same message without the
//! fields that the schema lacks.
//! Input: the text of a schema with a message `M`, a byte 00, and a value.
#![no_main]

mod schema_input;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tailwater_schema::model::{Check, ProtobufModel, View};
use tailwater_schema::{Class, Extracted, Input, MAX_JSON_BYTES, Model, Outcome};

// The parser of schemas may panic: the crate catches that. What it does not catch ends the fuzzer without a hook, too.
fuzz_target!(init: drop(std::panic::take_hook()), |input: &[u8]| {
    let Some((text, value)) = schema_input::split(input) else { return };
    let protobuf = ProtobufModel::new(schema_input::source(text), "M");
    let known = Model::from(protobuf.clone());
    let as_json = Model::from(protobuf.view(View::Json));
    let usable = matches!(known.check(), Check::Ready);

    let json = convert(&as_json, value);
    if let Ok(json) = &json {
        serde_json::from_slice::<Value>(json).expect("JSON");
    }
    let message = convert(&known, value);
    if let (Ok(_), Err(class)) = (&json, &message) {
        panic!("it is JSON, and no message: {class:?}");
    }
    if let Extracted::Rejected(rejection) = known.extract(&Input::value(value), &["id", "b", "n"]) {
        assert!(message.is_err(), "it has no fields: {rejection}");
    }
    // Other first bytes are the indexes of a message.
    if let Ok(message) = message
        && !starts_with_indexes(value)
    {
        assert!(usable);
        assert!(!starts_with_indexes(&message), "{message:02x?}");
        assert_eq!(convert(&known, &message).as_ref(), Ok(&message));
        assert_eq!(convert(&as_json, &message), json);
    }
});

fn starts_with_indexes(value: &[u8]) -> bool {
    matches!(value.first(), Some(0 | 2 | 4 | 6))
}

fn convert(model: &Model, value: &[u8]) -> Result<Vec<u8>, Class> {
    let mut out = b"before".to_vec();
    match model.convert(&Input::value(value), &mut out) {
        Outcome::Converted => {
            assert!(out.starts_with(b"before"));
            out.drain(.."before".len());
            assert!(out.len() <= MAX_JSON_BYTES);
            Ok(out)
        }
        Outcome::Rejected(rejection) => {
            assert_eq!(out, b"before");
            Err(rejection.class())
        }
        other => panic!("{other:?}"),
    }
}
