//! Values and schemas that try to stop the process: each bound is reached.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::uninterpreted_option::NamePart;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FileDescriptorProto,
    FileOptions, UninterpretedOption,
};
use tailwater_schema::catalog::{
    Catalog, Framing, IdEncoding, InlineCatalog, Lookup, Reference, SchemaId, SchemaKind,
    SchemaRef, SchemaText, UseId,
};
use tailwater_schema::model::{
    AvroModel, JsonModel, ProtobufModel, SchemaSource, View, reads_value,
};
use tailwater_schema::{
    Class, Input, MAX_DEPTH, MAX_JSON_BYTES, MAX_REFERENCES, MAX_SCHEMA_BYTES, Model, Outcome,
};

fn inline(text: &str) -> SchemaSource {
    let catalog = InlineCatalog::new().schema("subject", "latest", text);
    SchemaSource::new(Arc::new(catalog), SchemaRef::subject("subject", "latest"))
}

fn avro(text: &str, view: View) -> Model {
    AvroModel::new(inline(text)).view(view).into()
}

fn protobuf(text: &str, view: View) -> Model {
    ProtobufModel::new(inline(text), "M").view(view).into()
}

fn json(text: &str) -> Model {
    JsonModel::new(inline(text)).into()
}

fn class(model: &Model, value: &[u8]) -> Option<Class> {
    match model.convert(&Input::value(value), &mut Vec::new()) {
        Outcome::Unchanged(_) | Outcome::Converted => None,
        Outcome::Rejected(rejection) => Some(rejection.class()),
        other => panic!("{other:?}"),
    }
}

fn schema(text: impl Into<Arc<str>>) -> SchemaText {
    SchemaText::new(SchemaId::Confluent(1), text)
}

const TREE: &str = r#"{"type":"record","name":"Tree","fields":[{"name":"kids","type":{"type":"array","items":"Tree"}}]}"#;

#[test]
fn avro_values_are_as_deep_as_the_limit() {
    // Each level is a record and an array.
    let tree = |levels: usize| [[2].repeat(levels), [0].repeat(levels + 1)].concat();
    for view in [View::Json, View::None] {
        let model = avro(TREE, view);
        assert_eq!(class(&model, &tree(MAX_DEPTH / 2 - 1)), None);
        assert_eq!(class(&model, &tree(MAX_DEPTH / 2 + 1)), Some(Class::Malformed));
        assert_eq!(class(&model, &tree(1_000_000)), Some(Class::Malformed));
        // A record within itself, which no value ends.
        let endless = r#"{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}"#;
        assert_eq!(class(&avro(endless, view), b""), Some(Class::Malformed));
    }
}

#[test]
fn few_bytes_of_avro_do_not_become_much() {
    let long = |number: u64| {
        let mut bytes = Vec::new();
        let mut rest = number << 1;
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes
    };
    let claims = [long(1 << 40), vec![0; 8]].concat();
    let mut wide = r#"{"type":"record","name":"R0","fields":[]}"#.to_owned();
    for level in 1..40 {
        let below = level - 1;
        wide = format!(
            r#"{{"type":"record","name":"R{level}","fields":[{{"name":"a","type":{wide}}},{{"name":"b","type":"R{below}"}}]}}"#
        );
    }
    for view in [View::Json, View::None] {
        for items in [
            r#""null""#,
            r#"{"type":"record","name":"E","fields":[]}"#,
            r#"{"type":"fixed","name":"F","size":0}"#,
        ] {
            let model = avro(&format!(r#"{{"type":"array","items":{items}}}"#), view);
            assert_eq!(class(&model, &claims), Some(Class::Malformed), "{items}");
        }
        assert_eq!(class(&avro(&wide, view), b""), Some(Class::Malformed));
        assert_eq!(class(&avro(r#""bytes""#, view), &claims), Some(Class::Malformed));
        assert_eq!(
            class(&avro(r#"{"type":"map","values":"null"}"#, view), &claims),
            Some(Class::Malformed)
        );
    }
    // The text of one value ends at the limit.
    let nulls = |count: u64| [long(count), vec![0]].concat();
    let model = avro(r#"{"type":"array","items":"null"}"#, View::Json);
    let fit = (MAX_JSON_BYTES as u64 - 1) / 5;
    let mut out = Vec::new();
    assert!(matches!(model.convert(&Input::value(&nulls(fit)), &mut out), Outcome::Converted));
    assert!(out.len() <= MAX_JSON_BYTES && out.len() > MAX_JSON_BYTES - 10);
    assert_eq!(class(&model, &nulls(fit + 2)), Some(Class::Malformed));
    let text = [long(MAX_JSON_BYTES as u64 / 6 + 1), vec![1; MAX_JSON_BYTES / 6 + 1]].concat();
    assert_eq!(class(&avro(r#""string""#, View::Json), &text), Some(Class::Malformed));
    assert_eq!(class(&avro(r#""string""#, View::None), &text), None);
}

#[test]
fn protobuf_values_are_as_deep_as_the_limit() {
    let text = r#"syntax = "proto2"; message M { optional M m = 1; repeated group G = 2 { optional M n = 3; } map<string, M> f = 4; }"#;
    let nested = |levels: usize| {
        let mut value = Vec::new();
        for _ in 0..levels {
            let mut outer = vec![0x0a];
            let mut length = value.len();
            while length >= 0x80 {
                outer.push(length as u8 | 0x80);
                length >>= 7;
            }
            outer.push(length as u8);
            outer.extend(value);
            value = outer;
        }
        value
    };
    for view in [View::Json, View::None] {
        let model = protobuf(text, view);
        assert_eq!(class(&model, &nested(MAX_DEPTH)), None);
        assert_eq!(class(&model, &nested(MAX_DEPTH + 1)), Some(Class::Malformed));
        assert_eq!(class(&model, &nested(2000)), Some(Class::Malformed));
        // Groups, known and unknown.
        for (start, end) in [(0x13, 0x14), (0x2b, 0x2c)] {
            let groups = |count: usize| [[start].repeat(count), [end].repeat(count)].concat();
            assert_eq!(class(&model, &groups(1)), None);
            assert_eq!(class(&model, &groups(1_000_000)), Some(Class::Malformed));
        }
    }
}

#[test]
fn few_bytes_of_protobuf_do_not_become_much() {
    let mut fields = String::new();
    for number in 2..3000 {
        write!(fields, "int32 field_with_a_long_name_{number} = {number};").expect("a string");
    }
    let text = format!(r#"syntax = "proto3"; message M {{ repeated M m = 1; {fields} }}"#);
    let model = protobuf(&text, View::Json);
    // Two bytes each, some 100 kB of defaults each.
    assert_eq!(class(&model, &[0x0a, 0].repeat(1000)), Some(Class::Malformed));
    // The number of fields is bounded.
    let text =
        r#"syntax = "proto3"; message M { repeated bool b = 1 [packed = false]; bool c = 2; }"#;
    for view in [View::Json, View::None] {
        let model = protobuf(text, view);
        assert_eq!(
            class(&model, &[0x08, 1].repeat(1 << 20)),
            if view == View::None { None } else { Some(Class::Malformed) }
        );
        assert_eq!(class(&model, &[0x08, 1].repeat((1 << 20) - 1)), None);
    }
    // Members of a oneof that replace each other take no time that grows with their square.
    let text = r#"syntax = "proto3"; message M { oneof o { bool a = 1; bool b = 2; } map<int32, int32> m = 3; }"#;
    let start = std::time::SystemTime::now();
    assert_eq!(class(&protobuf(text, View::Json), &[0x08, 1, 0x10, 1].repeat(500_000)), None);
    assert_eq!(class(&protobuf(text, View::Json), &[0x1a, 2, 8, 1].repeat(500_000)), None);
    assert!(start.elapsed().expect("a clock") < Duration::from_secs(60));
}

#[test]
fn fields_that_are_not_there_take_no_time_without_end() {
    let start = std::time::SystemTime::now();
    let fields = |label: &str, count: u32| -> String {
        (1..=count).map(|number| format!("{label} int32 f{number} = {number};")).collect()
    };
    let schema = |fields: &str| {
        format!(
            r#"syntax = "proto2"; message M {{ repeated Inner a = 1; }} message Inner {{ {fields} }}"#
        )
    };
    let model = protobuf(&schema(&fields("optional", 2000)), View::Json);
    assert_eq!(class(&model, &[0x0a, 0].repeat(1000)), None);
    assert_eq!(class(&model, &[0x0a, 0].repeat(500_000)), Some(Class::Malformed));
    // One required field among many others.
    let text = schema(&format!("{} required int32 r = 3000;", fields("optional", 2000)));
    let element = [0x0a, 4, 0xc0, 0xbb, 1, 1];
    for view in [View::None, View::Json] {
        let model = protobuf(&text, view);
        assert_eq!(class(&model, &element.repeat(1000)), None);
        assert_eq!(class(&model, &element.repeat(200_000)), Some(Class::Malformed));
    }
    assert!(start.elapsed().expect("a clock") < Duration::from_secs(60));
}

#[test]
fn json_is_as_deep_and_large_as_the_limit() {
    let model = json("true");
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(class(&model, nested(MAX_DEPTH).as_bytes()), None);
    assert_eq!(class(&model, nested(MAX_DEPTH + 1).as_bytes()), Some(Class::Malformed));
    assert_eq!(class(&model, nested(1_000_000).as_bytes()), Some(Class::Malformed));
    let large = format!("\"{}\"", "a".repeat(MAX_JSON_BYTES - 2));
    assert_eq!(class(&model, large.as_bytes()), None);
    assert_eq!(class(&model, format!("{large} ").as_bytes()), Some(Class::Malformed));
}

#[test]
fn chains_of_json_schemas_do_not_exhaust_the_stack() {
    let value = format!("{}1{}", "{\"x\":".repeat(MAX_DEPTH), "}".repeat(MAX_DEPTH));
    let chain = |count: usize, end: &str| {
        let links: String = (0..count)
            .map(|at| format!(r##""a{at}":{{"allOf":[{{"$ref":"#/definitions/a{}"}}]}},"##, at + 1))
            .collect();
        format!(r##"{{"$ref":"#/definitions/a0","definitions":{{{links}"a{count}":{end}}}}}"##)
    };
    // Short ones, at each level of the value.
    let again = r##"{"properties":{"x":{"$ref":"#"}}}"##;
    assert_eq!(class(&json(&chain(10, again)), value.as_bytes()), None);
    assert_eq!(class(&json(&chain(500, again)), value.as_bytes()), Some(Class::Malformed));
    assert_eq!(class(&json(&chain(500, again)), b"{}"), None);
    assert_eq!(class(&json(&chain(100_000, again)), b"1"), Some(Class::SchemaUnusable));
    // Circles, and what would take time that doubles with each level.
    for circle in [
        r##"{"allOf":[{"$ref":"#"}]}"##,
        r##"{"allOf":[{"properties":{"x":{"$ref":"#"}}},{"properties":{"x":{"$ref":"#"}}}]}"##,
        r##"{"anyOf":[{"properties":{"x":{"$ref":"#"}}},{"properties":{"x":{"$ref":"#"}}}]}"##,
    ] {
        let small = format!("{}1{}", "{\"x\":".repeat(40), "}".repeat(40));
        assert_eq!(class(&json(circle), small.as_bytes()), None, "{circle}");
    }
}

#[test]
fn json_schemas_do_not_take_time_without_end() {
    let start = std::time::SystemTime::now();
    let doubling = |keyword: &str, end: &str| {
        let links: String = (0..60)
            .map(|at| {
                let next = format!(r##"{{"$ref":"#/definitions/a{}"}}"##, at + 1);
                format!(r#""a{at}":{{"{keyword}":[{next},{next}]}},"#)
            })
            .collect();
        format!(r##"{{"$ref":"#/definitions/a0","definitions":{{{links}"a60":{end}}}}}"##)
    };
    assert_eq!(
        class(&json(&doubling("anyOf", r#"{"minimum":2}"#)), b"1"),
        Some(Class::SchemaUnusable)
    );
    assert_eq!(class(&json(&doubling("anyOf", "{\"not\":{}}")), b"1"), Some(Class::SchemaUnusable));
    let circle = r##"{"allOf":[{"$ref":"#/definitions/a60"},{"minimum":2}]}"##;
    assert_eq!(class(&json(&doubling("anyOf", circle)), b"1"), Some(Class::SchemaUnusable));
    // Each looks at the value, and is entered again and again.
    let looking: String = (0..60)
        .map(|at| {
            let next = format!(r##"{{"$ref":"#/definitions/a{}"}}"##, at + 1);
            format!(r#""a{at}":{{"type":"integer","anyOf":[{next},{next}]}},"#)
        })
        .collect();
    let looking =
        format!(r##"{{"$ref":"#/definitions/a0","definitions":{{{looking}"a60":false}}}}"##);
    assert_eq!(class(&json(&looking), b"1"), Some(Class::Malformed));
    // Few steps, and between each two of them much that does not look at the value.
    let idle = vec![r#"{"not":{}}"#; 4900].join(",");
    let idle = json(&format!(r#"{{"items":{{"anyOf":[{idle},{{"type":"integer"}}]}}}}"#));
    assert_eq!(class(&idle, format!("[{}1]", "1,".repeat(100)).as_bytes()), None);
    let value = format!("[{}1]", "1,".repeat(1_000_000));
    assert_eq!(class(&idle, value.as_bytes()), Some(Class::Malformed));
    // The first pass is quick, and the one for the reason is not.
    let text = r##"{"allOf":[{"properties":{"x":{"$ref":"#"}}},{"properties":{"x":{"$ref":"#"}}},{"not":{"required":["y"]}}]}"##;
    let value = format!("{}1{}", "{\"x\":".repeat(MAX_DEPTH - 1), "}".repeat(MAX_DEPTH - 1));
    let value = format!("{},\"y\":1}}", value.get(..value.len() - 1).expect("a brace"));
    assert_eq!(class(&json(text), value.as_bytes()), Some(Class::Invalid));
    assert!(start.elapsed().expect("a clock") < Duration::from_secs(300));
    // The thread can go on.
    assert_eq!(class(&json(r#"{"minimum":2}"#), b"2"), None);
    assert_eq!(class(&json(r#"{"minimum":2}"#), b"1"), Some(Class::Invalid));
}

#[test]
fn large_arrays_are_unique_in_time() {
    let items: String = (0..200_000).map(|number| format!("{{\"a\":{number}}},")).collect();
    let start = std::time::SystemTime::now();
    assert_eq!(class(&json(r#"{"uniqueItems":true}"#), format!("[{items}0]").as_bytes()), None);
    assert!(start.elapsed().expect("a clock") < Duration::from_secs(30));
}

#[test]
fn schema_texts_are_bounded() {
    let deep = |open: &str, close: &str, count: usize| {
        format!("{}{}", open.repeat(count), close.repeat(count))
    };
    let rows = [
        (SchemaKind::Avro, deep(r#"{"type":"array","items":"#, "}", 100_000)),
        (SchemaKind::Avro, deep(r#"{"type":"#, "}", 100_000)),
        (SchemaKind::Avro, "[".repeat(100_000)),
        (SchemaKind::Json, deep(r#"{"not":"#, "}", 100_000)),
        (SchemaKind::Json, "[".repeat(100_000)),
        (SchemaKind::Json, r#"{"pattern":"(?:a{1000}){1000}"}"#.to_owned()),
        (
            SchemaKind::Protobuf,
            format!("syntax = \"proto3\"; {}", deep("message M { ", "}", 100_000)),
        ),
        (
            SchemaKind::Protobuf,
            format!(
                "syntax = \"proto3\"; message M {{ int32 a = 1 [(o) = {}]; }}",
                "[".repeat(100_000)
            ),
        ),
        (
            SchemaKind::Protobuf,
            "syntax = \"proto3\"; message M { M.".to_owned() + &"a.".repeat(100_000),
        ),
    ];
    for (kind, text) in rows {
        assert!(
            schema(text.clone()).compile(kind).is_err(),
            "{kind} {}",
            &text.get(..60).unwrap_or(&text)
        );
    }
    for kind in [SchemaKind::Avro, SchemaKind::Json, SchemaKind::Protobuf] {
        let comment = if kind == SchemaKind::Protobuf { "syntax = \"proto3\";" } else { "\"int\"" };
        let comment = if kind == SchemaKind::Json { "true" } else { comment };
        let padded = |length: usize| format!("{comment}{}", " ".repeat(length - comment.len()));
        assert_eq!(schema(padded(MAX_SCHEMA_BYTES)).compile(kind), Ok(()), "{kind}");
        assert!(schema(padded(MAX_SCHEMA_BYTES + 1)).compile(kind).is_err(), "{kind}");
    }
}

/// What a `.proto` file is made of, each as long as a file may be long: the parser takes no stack for it.
#[test]
fn long_parts_of_proto_files_take_no_stack() {
    const COUNT: usize = 200_000;
    let proto3 = |rest: &str| format!("syntax = \"proto3\"; {rest}");
    let aggregate = |text: &str| {
        format!(
            r#"syntax = "proto2"; import "google/protobuf/descriptor.proto";
            message R {{ optional R r = 1; repeated string s = 2; repeated double d = 3; }}
            extend google.protobuf.FileOptions {{ optional R o = 50000; }}
            option (o) = {{ {text} }}; message M {{}}"#
        )
    };
    let strings = ["é", "a", "\\n", "\\u00e9", "\\101", "\\x41", "\u{1f600}", "'"];
    for part in strings {
        let text = part.repeat(COUNT);
        let option = proto3(&format!("option java_package = \"{text}\"; message M {{}}"));
        assert!(schema(option).compile(SchemaKind::Protobuf).is_ok(), "{part}");
        let option = aggregate(&format!("s: \"{text}\""));
        assert!(schema(option).compile(SchemaKind::Protobuf).is_ok(), "{part}");
    }
    for (part, fits) in [
        ("é", true),
        ("*", true),
        ("/ ", true),
        ("\n", true),
        ("\n * a", true),
        ("\n/", true),
        ("/*", false),
    ] {
        let comment = format!("/*{} */ message M {{}}", part.repeat(COUNT));
        let compiled = schema(proto3(&comment)).compile(SchemaKind::Protobuf).is_ok();
        assert_eq!(compiled, fits, "{part:?}");
    }
    for text in [
        format!("//{}\n message M {{}}", "é".repeat(COUNT)),
        format!("{} message M {{}}", "// é\n".repeat(COUNT)),
        format!("{} message M {{}}", "/**/".repeat(COUNT)),
        format!("{} message M {{}}", " \t\r\n".repeat(COUNT)),
        format!("{} message M {{}}", ";".repeat(40_000)),
        format!("message {} {{}}", "a".repeat(900)),
        format!("package {}a; message M {{}}", "a . ".repeat(400)),
    ] {
        assert!(schema(proto3(&text)).compile(SchemaKind::Protobuf).is_ok(), "{text:.40}");
    }
    for text in [
        "s: 'a' ".repeat(COUNT),
        "s: [ 'a', 'b' ] ".repeat(20_000),
        format!("s: {}", "'a' ".repeat(COUNT)),
        format!("d: {}", "1".repeat(COUNT)),
        format!("d: 1.{}", "0".repeat(COUNT)),
        format!("d: .{}e{}", "1".repeat(COUNT), "1".repeat(COUNT)),
        format!("s: 'a' {}", "# é\n".repeat(COUNT)),
    ] {
        // Whether it is in the range of the numbers is another matter.
        let schema = schema(aggregate(&text));
        let compiled = schema.compile(SchemaKind::Protobuf);
        assert!(compiled.is_ok() || text.starts_with("d: "), "{text:.40} {compiled:?}");
    }
    for text in [
        format!("option java_package = \"{}", "é".repeat(COUNT)),
        format!("option java_package = \"{}\";", "\\q".repeat(COUNT)),
        format!("/*{}", "é".repeat(COUNT)),
        "é".repeat(COUNT),
        "@".repeat(COUNT),
        "message ".repeat(COUNT),
        format!("message {} {{}}", "a".repeat(COUNT)),
        format!("message M {{ int32 a = {}; }}", "1".repeat(COUNT)),
        format!("message M {{ int32 a = 0x{}; }}", "f".repeat(COUNT)),
        format!("message M {{ int32 a = 0{}; }}", "7".repeat(COUNT)),
        format!("message M {{ {} a = 1; }}", "a.".repeat(COUNT)),
    ] {
        assert!(schema(proto3(&text)).compile(SchemaKind::Protobuf).is_err(), "{text:.40}");
    }
}

/// Values are not read by options, and their parser recurs.
#[test]
fn options_of_proto_files_take_no_stack() {
    let deep = |count: usize| format!("{}{}", "m { ".repeat(count), "}".repeat(count));
    let text = format!(
        r#"syntax = "proto2"; import "google/protobuf/descriptor.proto";
        message M {{ optional M m = 1; }}
        extend google.protobuf.FileOptions {{ optional M o = 50000; }}
        option (o) = {{ {} }};"#,
        deep(40_000),
    );
    assert_eq!(schema(text).compile(SchemaKind::Protobuf), Ok(()));
    let option = UninterpretedOption {
        name: vec![NamePart { name_part: "o".to_owned(), is_extension: true }],
        aggregate_value: Some(deep(100_000)),
        ..UninterpretedOption::default()
    };
    let options =
        |uninterpreted_option| FileOptions { uninterpreted_option, ..FileOptions::default() };
    let file = FileDescriptorProto {
        message_type: vec![DescriptorProto {
            name: Some("M".to_owned()),
            ..DescriptorProto::default()
        }],
        options: Some(options(vec![option])),
        ..FileDescriptorProto::default()
    };
    let text = STANDARD.encode(file.encode_to_vec());
    assert_eq!(schema(text).compile(SchemaKind::Protobuf), Ok(()));
    // Messages within each other.
    let nested = |depth: usize| {
        let mut message = DescriptorProto::default();
        for _ in 0..depth {
            message.name = Some("M".to_owned());
            let nested_type = vec![message];
            message = DescriptorProto { nested_type, ..DescriptorProto::default() };
        }
        message.name = Some("M".to_owned());
        let file =
            FileDescriptorProto { message_type: vec![message], ..FileDescriptorProto::default() };
        schema(STANDARD.encode(file.encode_to_vec())).compile(SchemaKind::Protobuf).is_ok()
    };
    assert!(nested(31) && !nested(32) && !nested(200));
    // The option that says how an enum may be.
    let aliases = |option: &str| {
        let text = format!("enum E {{ {option} A = 0; B = 0; }}");
        schema(format!("syntax = \"proto3\"; {text}")).compile(SchemaKind::Protobuf).is_ok()
    };
    assert!(aliases("option allow_alias = true;"));
    // Apicurio's serializer registers maps so.
    let map = r#"syntax = "proto3"; message M { repeated E m = 1;
        message E { option map_entry = true; string key = 1; string value = 2; } }"#;
    let mut out = Vec::new();
    let value = [0, 0x0a, 6, 0x0a, 1, b'k', 0x12, 1, b'v'];
    let outcome = protobuf(map, View::Json).convert(&Input::value(&value), &mut out);
    assert!(matches!(outcome, Outcome::Converted), "{outcome:?}");
    assert_eq!(String::from_utf8_lossy(&out), r#"{"m":{"k":"v"}}"#);
    assert!(!aliases("option allow_alias = false;") && !aliases("option (allow_alias) = true;"));
}

#[test]
fn proto_files_do_not_take_time_that_grows_with_their_square() {
    let start = std::time::SystemTime::now();
    let all = |count: u32, part: &dyn Fn(u32) -> String| {
        let parts: String = (1..=count).map(part).collect();
        schema(format!("syntax = \"proto3\"; {parts}")).compile(SchemaKind::Protobuf).is_ok()
    };
    assert!(all(10_000, &|at| format!("message M{at} {{ option deprecated = true; }}")));
    assert!(!all(10_000, &|at| format!("message M{at} {{ Unknown a = 1; }}")));
    assert!(!all(10_000, &|at| format!("message M{at} {{ int32 a = 1; int32 b = 1; }}")));
    assert!(all(10_000, &|at| format!("message M{at} {{ option unknown = {at}; }}")));
    for (count, fits) in [(1000, true), (1001, false)] {
        let reserved: String = (1..=count).map(|at| format!("reserved {at}; ")).collect();
        let inside = format!("message M {{ {reserved} }}");
        assert_eq!(all(1, &|_| inside.clone()), fits);
        assert_eq!(all(1, &|_| format!("message O {{ {inside} }}")), fits);
        let inside = format!("enum E {{ A = 0; {reserved} }}");
        assert_eq!(all(1, &|_| inside.clone()), fits);
        assert_eq!(all(1, &|_| format!("message O {{ {inside} }}")), fits);
    }
    assert!(start.elapsed().expect("a clock") < Duration::from_secs(60));
}

#[test]
fn chains_of_references_take_no_stack_when_they_are_compiled() {
    let chain = |count: usize, link: &str| {
        let links: String = (0..count)
            .map(|at| {
                let next = format!(r##"{{"$ref":"#/definitions/a{}"}}"##, at + 1);
                format!(r#""a{at}":{},"#, link.replace('X', &next))
            })
            .collect();
        format!(r##"{{"$ref":"#/definitions/a0","definitions":{{{links}"a{count}":{{}}}}}}"##)
    };
    for link in [
        "X",
        r#"{"allOf":[X]}"#,
        r#"{"properties":{"a":X}}"#,
        r#"{"patternProperties":{"a":X}}"#,
        r#"{"additionalProperties":X}"#,
        r#"{"items":X}"#,
        r#"{"items":[X]}"#,
        r#"{"contains":X}"#,
        r#"{"if":X}"#,
        r#"{"dependencies":{"a":X}}"#,
        r#"{"unevaluatedProperties":X}"#,
        r#"{"properties":{"a":{"allOf":[{"not":{"oneOf":[X]}}]}}}"#,
    ] {
        assert_eq!(schema(chain(400, link)).compile(SchemaKind::Json), Ok(()), "{link}");
    }
    let long = chain(50_001, r#"{"properties":{"a":X}}"#);
    assert!(schema(long).compile(SchemaKind::Json).is_err());
}

#[test]
fn patterns_of_a_json_schema_are_bounded_together() {
    let with = |pattern: &dyn Fn(usize) -> String, count: usize| {
        let patterns: Vec<_> =
            (0..count).map(|number| format!(r#"{{"pattern":"{}"}}"#, pattern(number))).collect();
        json(&format!(r#"{{"type":"string","anyOf":[{}]}}"#, patterns.join(",")))
    };
    let small = with(&|number| format!("^[a-z]{{1,9}}-{number}$"), 1000);
    assert_eq!(class(&small, br#""ab-999""#), None);
    assert_eq!(class(&small, br#""ab-1000""#), Some(Class::Invalid));
    let equal = with(&|_| "^(ab|.){1,300}c$".to_owned(), 3000);
    assert_eq!(class(&equal, br#""abc""#), None);
    // 10 GB, compiled.
    let large = with(&|number| format!("(?:a{{1000}}){{200}}b{number}"), 1000);
    assert_eq!(class(&large, br#""b1""#), Some(Class::SchemaUnusable));
    let names: Vec<_> =
        (0..1000).map(|number| format!(r#""(?:a{{1000}}){{200}}b{number}":true"#)).collect();
    let large = json(&format!(r#"{{"patternProperties":{{{}}}}}"#, names.join(",")));
    assert_eq!(class(&large, b"{}"), Some(Class::SchemaUnusable));
}

/// A catalog that panics, or looks whether a panic hook would know that a value is read.
#[derive(Debug)]
struct Observes(bool);

impl Catalog for Observes {
    fn look_up(&self, _: &SchemaRef, _: SchemaKind) -> Lookup {
        assert!(!self.0, "it panics");
        assert!(reads_value());
        Lookup::Missing
    }

    fn framing(&self) -> Framing {
        Framing::None
    }
}

#[test]
fn a_panic_hook_knows_that_a_value_is_read() {
    for panics in [false, true] {
        let source = SchemaSource::new(Arc::new(Observes(panics)), SchemaRef::subject("a", "1"));
        let model = Model::from(AvroModel::new(source));
        let input = Input::value(b"value");
        let convert = || drop(model.convert(&input, &mut Vec::new()));
        let extract = || drop(model.extract(&input, &["a"]));
        for read in [&convert as &dyn Fn(), &extract] {
            assert!(!reads_value());
            assert_eq!(catch_unwind(AssertUnwindSafe(read)).is_err(), panics);
            assert!(!reads_value());
        }
    }
}

/// A key is kept once, however often it comes, and no more of keys than the value may have.
#[test]
fn keys_of_maps_are_bounded() {
    let model = protobuf("syntax = \"proto3\"; message M { map<string,bool> m = 1; }", View::Json);
    let field = |tag: u8, bytes: &[u8]| {
        let mut out = vec![tag];
        let mut length = bytes.len();
        while length > 0x7f {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        [out.as_slice(), bytes].concat()
    };
    let entry = |key: &[u8]| field(0x0a, &field(0x0a, key));
    let large = vec![b'a'; MAX_JSON_BYTES / 2 + 10];
    let other = vec![b'b'; MAX_JSON_BYTES / 2 + 10];
    let control = vec![1; MAX_JSON_BYTES / 6 + 1];
    for (value, expected) in [
        ([entry(&large), entry(&large), entry(&large)].concat(), None),
        ([entry(&large), entry(&other)].concat(), Some(Class::Malformed)),
        (entry(&control), Some(Class::Malformed)),
        (entry(&control[7..]), None),
    ] {
        assert_eq!(class(&model, &value), expected);
    }
}

/// Each form of a schema that takes much more memory than its text, with a number that is read, and one that is not.
#[test]
fn compiled_schemas_are_bounded() {
    let list = |count: usize, item: &dyn Fn(usize) -> String| {
        (0..count).map(item).collect::<Vec<_>>().join(",")
    };
    let long = "x".repeat(900);
    let patterns = |count, pattern: &dyn Fn(usize) -> String| {
        let schemas =
            list(count, &|at| format!(r#"{{"type":"string","pattern":"{}"}}"#, pattern(at)));
        format!(r#"{{"type":"string","anyOf":[{schemas}]}}"#)
    };
    let (json, avro, protobuf) = (SchemaKind::Json, SchemaKind::Avro, SchemaKind::Protobuf);
    type Text<'a> = &'a dyn Fn(usize) -> String;
    let rows: [(&str, SchemaKind, [usize; 2], Text<'_>); 18] = [
        ("values", json, [280_000, 320_000], &|count| {
            format!(r#"{{"default":[{}]}}"#, list(count, &|_| "1".to_owned()))
        }),
        ("objects", json, [60_000, 80_000], &|count| {
            format!(r#"{{"default":[{}]}}"#, list(count, &|_| "{}".to_owned()))
        }),
        ("paths", json, [2000, 4000], &|count| {
            let all = list(count, &|_| "true".to_owned());
            format!(r#"{{"properties":{{"{}":{{"anyOf":[{all}]}}}}}}"#, long.repeat(10))
        }),
        ("ids", json, [1000, 1001], &|count| {
            let ids = list(count, &|at| format!(r#""a{at}":{{"$id":"http://h/{at}"}}"#));
            format!(r#"{{"definitions":{{{ids}}}}}"#)
        }),
        ("unevaluated", json, [50, 700], &|count| {
            let names = list(count, &|at| format!(r#""b{at}":true"#));
            let all = list(count, &|at| {
                format!(r##""a{at}":{{"unevaluatedProperties":false,"$ref":"#/$defs/x"}}"##)
            });
            format!(
                r#"{{"$schema":"https://json-schema.org/draft/2020-12/schema","properties":{{{all}}},"$defs":{{"x":{{"properties":{{{names}}}}}}}}}"#
            )
        }),
        ("unevaluated ways", json, [6, 30], &|count| {
            let all = list(count, &|at| {
                let next = format!(r##"{{"$ref":"#/$defs/a{}"}}"##, at + 1);
                format!(r##""a{at}":{{"type":"object","allOf":[{next},{next}]}}"##)
            });
            format!(
                r##"{{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","unevaluatedProperties":false,"$ref":"#/$defs/a0","$defs":{{{all},"a{count}":true}}}}"##
            )
        }),
        ("patterns", json, [1300, 1700], &|count| patterns(count, &|at| format!("^a{at}$"))),
        ("groups", json, [1000, 2000], &|count| patterns(1, &|_| "(a)".repeat(count))),
        ("automata", json, [20, 100], &|count| {
            patterns(count, &|at| format!("^(a)[a-y]{{400}}{at}"))
        }),
        ("fields", avro, [45_000, 60_000], &|count| {
            let fields = list(count, &|at| format!(r#"{{"name":"a{at}","type":"int"}}"#));
            format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
        }),
        ("names", avro, [15_000, 25_000], &|count| {
            let fixed = |at| format!(r#"{{"type":"fixed","size":1,"name":"F{at}"}}"#);
            let fields = format!(r#"{{"name":"a","type":[{}]}}"#, list(count, &fixed));
            format!(r#"{{"type":"record","name":"{long}.R","fields":[{fields}]}}"#)
        }),
        ("members", avro, [15_000, 30_000], &|count| {
            let types = r#"{"name":"a","type":{"type":"fixed","size":1,"name":"X"}},{"name":"b","type":{"type":"fixed","size":1,"name":"b.X"}}"#;
            let fields = list(count, &|at| format!(r#"{{"name":"f{at}","type":["X","b.X"]}}"#));
            format!(r#"{{"type":"record","name":"{long}.R","fields":[{types},{fields}]}}"#)
        }),
        ("length of names", avro, [1000, 1001], &|count| {
            format!(r#"{{"type":"fixed","size":1,"name":"{}"}}"#, "x".repeat(count))
        }),
        ("parts", protobuf, [49_999, 50_000], &|count| {
            format!("syntax=\"proto3\";{}", ";".repeat(count))
        }),
        ("names", protobuf, [9000, 9500], &|count| {
            let values: String = (0..count).map(|at| format!("V{at}={at};")).collect();
            format!("syntax=\"proto3\";message {long}{{enum E{{{values}}}}}")
        }),
        ("length of names", protobuf, [995, 996], &|count| {
            format!("syntax=\"proto3\";package {};message Mess{{}}", "x".repeat(count))
        }),
        ("parts of a descriptor", protobuf, [49_999, 50_000], &|count| {
            let value = |number: usize| EnumValueDescriptorProto {
                name: Some(format!("V{number}")),
                number: Some(number as i32),
                options: None,
            };
            let values = EnumDescriptorProto {
                name: Some("E".to_owned()),
                value: (0..count).map(value).collect(),
                ..EnumDescriptorProto::default()
            };
            let file = FileDescriptorProto {
                name: Some("f.proto".to_owned()),
                syntax: Some("proto3".to_owned()),
                enum_type: vec![values],
                ..FileDescriptorProto::default()
            };
            STANDARD.encode(file.encode_to_vec())
        }),
        ("bytes of a descriptor", protobuf, [1 << 20, (1 << 20) + 1], &|count| {
            let with = |package: usize| FileDescriptorProto {
                options: Some(FileOptions {
                    java_package: Some("x".repeat(package)),
                    ..FileOptions::default()
                }),
                ..FileDescriptorProto::default()
            };
            let around = with(1 << 19).encoded_len() - (1 << 19);
            STANDARD.encode(with(count - around).encode_to_vec())
        }),
    ];
    for (name, kind, [read, refused], text) in rows {
        assert_eq!(schema(text(read)).compile(kind), Ok(()), "{kind} {name}");
        assert!(schema(text(refused)).compile(kind).is_err(), "{kind} {name}");
    }
}

#[test]
fn long_strings_do_not_take_time_without_end() {
    let start = tokio::time::Instant::now();
    let digits: String = (0..1_000_000).map(|_| if fastrand::bool() { '0' } else { '1' }).collect();
    let digits = format!("\"{digits}\"");
    let model = json(r#"{"type":"string","pattern":"1[01]{50000}[2-9a-z]"}"#);
    assert_eq!(class(&model, digits.as_bytes()), Some(Class::Malformed));
    let counted = vec![r#"{"minLength":600000}"#; 9000].join(",");
    let model = json(&format!(r#"{{"allOf":[{counted}]}}"#));
    assert_eq!(class(&model, digits.as_bytes()), Some(Class::Malformed));
    let names: Vec<_> = (0..20_000).map(|number| format!(r#""{number}""#)).collect();
    let model = json(&format!(r#"{{"propertyNames":{{"enum":[1,{}]}}}}"#, names.join(",")));
    let members: Vec<_> = (0..50_000).map(|number| format!(r#""x{number}":1"#)).collect();
    let object = format!("{{{}}}", members.join(","));
    assert!(class(&model, object.as_bytes()).is_some());
    // A long text against a small pattern is nothing unusual.
    let model = json(r#"{"type":"string","pattern":"^[A-Za-z0-9+/]*=*$","minLength":1}"#);
    let text = format!("\"{}\"", "ab+/".repeat(1 << 20));
    assert_eq!(class(&model, text.as_bytes()), None);
    let model =
        json(r#"{"items":{"type":"string","pattern":"^[a-z]{1,63}(\\.[a-z]{1,63}){1,8}$"}}"#);
    let hosts = format!("[{}]", vec![r#""events.example.com""#; 20_000].join(","));
    assert_eq!(class(&model, hosts.as_bytes()), None);
    assert!(start.elapsed() < Duration::from_secs(300), "{:?}", start.elapsed());
}

#[test]
fn errors_of_schemas_are_bounded() {
    let name = "é".repeat(100_000);
    let ascii = "a".repeat(100_000);
    for (kind, text) in [
        (SchemaKind::Avro, format!("\"{name}\"")),
        (SchemaKind::Protobuf, format!("syntax = \"proto3\"; message M {{ {ascii} a = 1; }}")),
        (SchemaKind::Protobuf, format!("import \"{ascii}\";")),
        (SchemaKind::Json, format!(r#"{{"{name}":1,"definitions":{{"{name}":{{"type":7}}}}}}"#)),
        (SchemaKind::Json, format!(r#"{{"$ref":"{name}"}}"#)),
    ] {
        let schema = schema(text);
        let error = schema.compile(kind).expect_err("no schema");
        assert!((1..=303).contains(&error.len()), "{kind} {}", error.len());
    }
}

#[test]
fn references_are_bounded() {
    let text = |kind, number: usize| match kind {
        SchemaKind::Avro => format!(r#"{{"type":"fixed","name":"F{number}","size":1}}"#),
        SchemaKind::Protobuf => format!("syntax = \"proto3\"; message F{number} {{}}"),
        _ => "{}".to_owned(),
    };
    for kind in [SchemaKind::Avro, SchemaKind::Protobuf, SchemaKind::Json] {
        for (count, fits) in [(MAX_REFERENCES, true), (MAX_REFERENCES + 1, false)] {
            let references = (0..count)
                .map(|number| {
                    Reference::new(format!("F{number}"), Arc::new(schema(text(kind, number))))
                })
                .collect();
            let whole = schema(text(kind, count)).with_references(references);
            assert_eq!(whole.compile(kind).is_ok(), fits, "{kind} {count}");
        }
    }
}

/// A registry that answers every question with one schema.
#[derive(Debug)]
struct Any(Framing, Arc<SchemaText>);

impl Catalog for Any {
    fn look_up(&self, _: &SchemaRef, _: SchemaKind) -> Lookup {
        Lookup::Known(Arc::clone(&self.1))
    }

    fn framing(&self) -> Framing {
        self.0
    }
}

const AVRO: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"array","items":["null","R","string","double"]}},{"name":"m","type":{"type":"map","values":"bytes"}},{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},{"name":"t","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"x","type":{"type":"int","logicalType":"date"}}]}"#;
const PROTO: &str = r#"syntax = "proto2";
import "google/protobuf/timestamp.proto"; import "google/protobuf/duration.proto"; import "google/protobuf/struct.proto";
import "google/protobuf/any.proto"; import "google/protobuf/field_mask.proto"; import "google/protobuf/wrappers.proto";
enum E { A = 0; B = 1; }
message M { optional int32 a = 1; optional string b = 2; repeated M c = 3; map<string, M> d = 4; repeated sint64 e = 5 [packed = true];
  optional group G = 6 { optional E f = 7; } oneof o { double h = 8; M i = 9; } optional google.protobuf.Timestamp j = 10;
  optional google.protobuf.Duration k = 11; optional google.protobuf.Struct l = 12; optional google.protobuf.Any m = 13;
  optional google.protobuf.FieldMask n = 14; optional google.protobuf.StringValue p = 15; map<int64, E> q = 16; }"#;
const JSON: &str = r##"{"type":"object","properties":{"a":{"type":"array","uniqueItems":true,"items":{"$ref":"#"}},"b":{"pattern":"^a+$","maxLength":3},"c":{"multipleOf":0.1},"d":{"enum":[1,"a",null]}},"additionalProperties":{"type":["integer","null"]},"propertyNames":{"minLength":1}}"##;

fn models() -> Vec<Model> {
    let framings = [
        Framing::None,
        Framing::Confluent,
        Framing::Apicurio { use_id: UseId::GlobalId, encoding: IdEncoding::Default },
        Framing::Apicurio { use_id: UseId::ContentId, encoding: IdEncoding::Legacy },
    ];
    let source = |framing, text: &str| {
        SchemaSource::new(
            Arc::new(Any(framing, Arc::new(schema(text)))),
            SchemaRef::subject("s", "latest"),
        )
    };
    let mut models = Vec::new();
    for framing in framings {
        for view in [View::None, View::Json] {
            models.push(AvroModel::new(source(framing, AVRO)).view(view).into());
            models.push(AvroModel::new(source(framing, AVRO)).view(view).logical_text(true).into());
            models.push(ProtobufModel::new(source(framing, PROTO), "M").view(view).into());
        }
        models.push(JsonModel::new(source(framing, JSON)).into());
    }
    models
}

/// What becomes JSON is JSON, and nothing panics.
fn survives(models: &[Model], value: &[u8]) {
    for model in models {
        let mut out = Vec::new();
        let outcome = model.convert(&Input::value(value), &mut out);
        if let Outcome::Converted = outcome
            && model.yields_text()
        {
            serde_json::from_slice::<serde::de::IgnoredAny>(&out).expect("JSON");
        }
        if let Outcome::Unchanged(bytes) = outcome
            && model.yields_text()
        {
            std::str::from_utf8(bytes).expect("text");
        }
        let _ = model.extract(&Input::key(value), &["a", "b", "d", "e", "h", "x"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_do_not_panic(value in proptest::collection::vec(any::<u8>(), 0..60), prefix in 0..4usize) {
        thread_local! { static MODELS: Vec<Model> = models(); }
        let prefix: &[u8] = [&b""[..], &[0, 0, 0, 0, 1], &[0, 0, 0, 0, 1, 0], &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0]][prefix];
        MODELS.with(|models| survives(models, &[prefix, &value].concat()));
    }

    #[test]
    fn small_bytes_do_not_panic(value in proptest::collection::vec(prop_oneof![0..24u8, any::<u8>()], 0..200)) {
        thread_local! { static MODELS: Vec<Model> = models(); }
        MODELS.with(|models| survives(models, &value));
    }

    #[test]
    fn json_with_errors_does_not_panic(mut value in r#"\{("[abcd]":(1|-2\.5e3|"a\\u00e9"|\[1,\{\}\]|null|\{"a":\[\]\}),?){0,6}\}"#, at in any::<prop::sample::Index>(), byte in any::<char>()) {
        thread_local! { static MODELS: Vec<Model> = models(); }
        MODELS.with(|models| survives(models, value.as_bytes()));
        let place = at.index(value.len() + 1);
        if value.is_char_boundary(place) {
            value.insert(place, byte);
        }
        MODELS.with(|models| survives(models, value.as_bytes()));
    }

    #[test]
    fn schema_texts_do_not_panic(seed in 0..3usize, cut in any::<prop::sample::Index>(), insert in ".{0,6}", at in any::<prop::sample::Index>()) {
        let (kind, text) = [(SchemaKind::Avro, AVRO), (SchemaKind::Protobuf, PROTO), (SchemaKind::Json, JSON)][seed];
        let mut bytes = text.as_bytes().to_vec();
        let cut = cut.index(bytes.len());
        bytes.drain(cut..(cut + 3).min(bytes.len()));
        let place = at.index(bytes.len() + 1);
        bytes.splice(place..place, insert.bytes());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Err(error) = schema(text).compile(kind) {
            prop_assert_ne!(error, "the parser of the schema failed");
        }
    }
}
