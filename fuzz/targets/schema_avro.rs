//! A value of any schema becomes JSON that others read, or is rejected; and it is avro where it becomes JSON.
//! Input: the text of a schema, a byte 00, and a value.
#![no_main]

mod schema_input;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tailwater_schema::model::{AvroModel, Check, View};
use tailwater_schema::{Class, Extracted, Input, MAX_JSON_BYTES, Model, Outcome};

// The parsers of schemas may panic: the crate catches that. What it does not catch ends the fuzzer without a hook, too.
fuzz_target!(init: drop(std::panic::take_hook()), |input: &[u8]| {
    let Some((text, value)) = schema_input::split(input) else { return };
    let avro = AvroModel::new(schema_input::source(text)).view(View::None);
    let unchanged = Model::from(avro.clone());
    let usable = match unchanged.check() {
        Check::Ready => true,
        Check::Failed(_) => false,
        other => panic!("{other:?}"),
    };
    let value = Input::value(value);
    let passes = match unchanged.convert(&value, &mut Vec::new()) {
        Outcome::Unchanged(bytes) => {
            assert_eq!(bytes, value.bytes());
            true
        }
        Outcome::Rejected(rejection) => {
            assert_eq!(rejection.class() == Class::SchemaUnusable, !usable, "{rejection}");
            false
        }
        other => panic!("{other:?}"),
    };
    assert!(usable || !passes);
    for logical_text in [false, true] {
        let model = Model::from(avro.clone().view(View::Json).logical_text(logical_text));
        let mut out = b"before".to_vec();
        match model.convert(&value, &mut out) {
            Outcome::Converted => {
                let json = out.strip_prefix(b"before").expect("the buffer keeps what it had");
                assert!(json.len() <= MAX_JSON_BYTES);
                serde_json::from_slice::<Value>(json).expect("JSON");
                assert!(passes, "it is no avro, and becomes JSON");
            }
            Outcome::Rejected(_) => assert_eq!(out, b"before"),
            other => panic!("{other:?}"),
        }
    }
    match unchanged.extract(&value, &["id", "n", "kids", ""]) {
        Extracted::Fields(fields) => assert_eq!(fields.len(), 4),
        Extracted::Rejected(_) => assert!(!passes, "it has no fields"),
        other => panic!("{other:?}"),
    }
});
