//! The measured behaviour that existing clients and configurations rely on, value by value.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use tailwater_schema::catalog::{
    Catalog, Framing, IdEncoding, InlineCatalog, Lookup, Reference, SchemaId, SchemaKind,
    SchemaRef, SchemaText, UseId,
};
use tailwater_schema::model::{AvroModel, JsonModel, ProtobufModel, SchemaSource, Validate, View};
use tailwater_schema::{Class, Extracted, Input, Model, Outcome};

fn bytes(hex: &str) -> Vec<u8> {
    let byte =
        |digits| u8::from_str_radix(std::str::from_utf8(digits).expect("hex"), 16).expect("hex");
    hex.as_bytes().chunks(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string");
        text
    })
}

/// What passes as text, or what is rejected as its class.
fn convert(model: &Model, value: &[u8]) -> Result<String, Class> {
    let mut out = b"before".to_vec();
    let passed = match model.convert(&Input::value(value), &mut out) {
        Outcome::Unchanged(bytes) | Outcome::Tolerated(Some(bytes), _) => bytes.to_vec(),
        Outcome::Converted | Outcome::Tolerated(None, _) => out.split_off(6),
        Outcome::Rejected(rejection) => {
            assert_eq!(out, b"before");
            return Err(rejection.class());
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(out, b"before");
    Ok(String::from_utf8(passed).expect("UTF-8"))
}

/// A schema that is at hand.
fn inline(text: &str) -> SchemaSource {
    let catalog = InlineCatalog::new().schema("subject", "latest", text);
    SchemaSource::new(Arc::new(catalog), SchemaRef::subject("subject", "latest"))
}

fn avro(text: &str) -> Model {
    AvroModel::new(inline(text)).view(View::Json).into()
}

/// A registry that has answered already.
#[derive(Debug)]
struct Answered {
    framing: Framing,
    schemas: HashMap<SchemaRef, Arc<SchemaText>>,
}

impl Answered {
    fn new(framing: Framing) -> Self {
        Self { framing, schemas: HashMap::new() }
    }

    fn with(mut self, id: SchemaId, text: &str) -> Self {
        self.schemas.insert(SchemaRef::Id(id), Arc::new(SchemaText::new(id, text)));
        self
    }

    fn subject(mut self, subject: &str, id: SchemaId) -> Self {
        let schema = Arc::clone(&self.schemas[&SchemaRef::Id(id)]);
        self.schemas.insert(SchemaRef::subject(subject, "latest"), schema);
        self
    }

    fn source(self) -> SchemaSource {
        SchemaSource::new(Arc::new(self), SchemaRef::subject("t-value", "latest"))
    }
}

impl Catalog for Answered {
    fn look_up(&self, schema: &SchemaRef, _: SchemaKind) -> Lookup {
        self.schemas.get(schema).map_or(Lookup::Missing, |schema| Lookup::Known(Arc::clone(schema)))
    }

    fn framing(&self) -> Framing {
        self.framing
    }
}

const R9: &str = r#"{"type":"record","name":"R9","fields":[{"name":"id","type":"string"},{"name":"n","type":"int"}]}"#;
const R10: &str = r#"{"type":"record","name":"R10","fields":[{"name":"id","type":"string"},{"name":"n","type":"int"},{"name":"extra","type":"string"}]}"#;

#[test]
fn the_id_in_a_record_names_its_schema() {
    let registry = || {
        let confluent = Answered::new(Framing::Confluent);
        confluent.with(SchemaId::Confluent(9), R9).with(SchemaId::Confluent(10), R10)
    };
    let topic = Model::from(
        AvroModel::new(registry().subject("t-value", SchemaId::Confluent(9)).source())
            .view(View::Json),
    );
    let encoded = Model::from(AvroModel::new(registry().source()).view(View::Json));
    let rows = [
        ("0000000009026102", Ok(r#"{"id":"a","n":1}"#)),
        ("000000000a04763206086d6f7265", Ok(r#"{"id":"v2","n":3,"extra":"more"}"#)),
        ("000000004d06756e6b02", Err(Class::SchemaMissing)),
        ("0000000009", Err(Class::Malformed)),
        ("00", Err(Class::Malformed)),
        ("0000", Err(Class::Malformed)),
    ];
    for (value, data) in rows {
        for model in [&topic, &encoded] {
            assert_eq!(convert(model, &bytes(value)).as_deref(), data.as_deref(), "{value}");
        }
    }
    assert_eq!(convert(&topic, &bytes("0a6e6f70667804")).as_deref(), Ok(r#"{"id":"nopfx","n":2}"#));
    assert_eq!(convert(&topic, b""), Err(Class::Malformed));
    assert_eq!(convert(&encoded, &bytes("0a6e6f70667804")), Err(Class::SchemaMissing));
    assert_eq!(convert(&encoded, b""), Err(Class::SchemaMissing));
}

#[test]
fn the_prefix_of_apicurio_is_cut_off() {
    let framing = Framing::Apicurio { use_id: UseId::GlobalId, encoding: IdEncoding::Default };
    let registry = Answered::new(framing).with(SchemaId::GlobalId(9), R9);
    let model = Model::from(AvroModel::new(registry.source()).view(View::Json));
    assert_eq!(
        convert(&model, &bytes("000000000000000009026102")).as_deref(),
        Ok(r#"{"id":"a","n":1}"#)
    );
    assert_eq!(convert(&model, &bytes("0000000009026102")), Err(Class::Malformed));
}

#[test]
fn json_is_delivered_as_it_came() {
    let closed = r#"{"type":"object","properties":{"id":{"type":"string"},"n":{"type":"integer"}},"required":["id"],"additionalProperties":false}"#;
    let strict = Model::from(JsonModel::new(inline(closed)));
    let lenient = Model::from(JsonModel::new(inline(closed)).validate(Validate::Lenient));
    assert_eq!(convert(&strict, br#"{"id":"a","n":1}"#).as_deref(), Ok(r#"{"id":"a","n":1}"#));
    for value in [r#"{"n":1}"#, r#"{"id":1}"#, r#"{"id":"c","x":1}"#, "[]"] {
        assert_eq!(convert(&strict, value.as_bytes()), Err(Class::Invalid), "{value}");
        assert_eq!(convert(&lenient, value.as_bytes()).as_deref(), Ok(value));
    }
    for value in ["not json", "", "{\"id\":\"a\"", "{\"id\":\"a\"} x", "\u{feff}{\"id\":\"a\"}"] {
        for model in [&strict, &lenient] {
            assert_eq!(convert(model, value.as_bytes()), Err(Class::Malformed), "{value}");
        }
    }
    assert_eq!(convert(&strict, b"{\"id\":\"\xff\"}"), Err(Class::Malformed));

    let any = Model::from(JsonModel::new(inline("true")));
    for value in ["{ \"n\":9007199254740993,\n\"d\":1e400 ,\"d\":\"\\u0061\"}", "7", "null", " [] "]
    {
        assert_eq!(convert(&any, value.as_bytes()).as_deref(), Ok(value));
    }
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(200_000));
    assert_eq!(convert(&any, large.as_bytes()).as_deref(), Ok(large.as_str()));
}

#[test]
fn json_schemas_are_of_their_draft() {
    let fits = |schema: &str, value: &str| {
        convert(&JsonModel::new(inline(schema)).into(), value.as_bytes()).is_ok()
    };
    let rows = [
        (r#"{"type":"integer"}"#, "1.0", true),
        (r#"{"type":"integer"}"#, "1.5", false),
        (r#"{"type":"integer"}"#, "1e400", true),
        (r#"{"type":"number","maximum":10}"#, "1e400", false),
        (r#"{"format":"date-time"}"#, r#""no date""#, true),
        (
            r##"{"definitions":{"s":{"type":"string"}},"properties":{"a":{"$ref":"#/definitions/s","maxLength":1}}}"##,
            r#"{"a":"long"}"#,
            true,
        ),
        (
            r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","$defs":{"s":{"type":"string"}},"properties":{"a":{"$ref":"#/$defs/s","maxLength":1}}}"##,
            r#"{"a":"long"}"#,
            false,
        ),
        (r#"{"prefixItems":[{"type":"string"}]}"#, "[1]", false),
        (
            r#"{"properties":{"a":{"not":{"prefixItems":[{"type":"string"}]}}}}"#,
            r#"{"a":[1]}"#,
            true,
        ),
        (r#"{"properties":{"a":{"prefixItems":[{"type":"string"}]}}}"#, r#"{"a":[1]}"#, false),
        // A property of this name is no keyword: this is draft 7.
        (
            r##"{"definitions":{"s":{"type":"string"}},"properties":{"prefixItems":true,"a":{"$ref":"#/definitions/s","maxLength":1}},"default":{"prefixItems":[]}}"##,
            r#"{"a":"long"}"#,
            true,
        ),
        (r#"{"items":[{"type":"string"}],"additionalItems":false}"#, r#"["a",1]"#, false),
        (
            r#"{"$schema":"http://json-schema.org/draft-04/schema#","minimum":1,"exclusiveMinimum":true}"#,
            "1",
            false,
        ),
        (
            r#"{"$schema":"http://json-schema.org/draft-06/schema#","exclusiveMinimum":1}"#,
            "1",
            false,
        ),
        (
            r#"{"$schema":"https://json-schema.org/draft/2019-09/schema","dependentRequired":{"a":["b"]}}"#,
            r#"{"a":1}"#,
            false,
        ),
        (r#"{"properties":{"a":{"const":1}},"required":["a"]}"#, r#"{"a":2,"a":1.0}"#, true),
        (r#"{"properties":{"a":{"const":1}},"required":["a"]}"#, r#"{"a":1,"a":2}"#, false),
        (r#"{"propertyNames":{"pattern":"^[a-z]+$"}}"#, r#"{"a":1,"B":2}"#, false),
        (r#"{"uniqueItems":true}"#, "[1,1.0]", false),
        ("false", "1", false),
    ];
    for (schema, value, expected) in rows {
        assert_eq!(fits(schema, value), expected, "{schema} {value}");
    }
    let long = format!("\"{}!\"", "a".repeat(100_000));
    assert!(!fits(r#"{"pattern":"^(a+)+$"}"#, &long));
}

#[test]
fn json_refers_to_named_schemas_only() {
    let unnamed = r#"{"$ref":"http://127.0.0.1:1/other.json"}"#;
    assert_eq!(convert(&JsonModel::new(inline(unnamed)).into(), b"1"), Err(Class::SchemaUnusable));
    let other = Arc::new(SchemaText::new(SchemaId::Confluent(2), r#"{"type":"string"}"#));
    for (name, text) in [
        ("other.json", r#"{"$ref":"other.json"}"#),
        ("other.json", r#"{"$id":"http://example.com/a.json","allOf":[{"$ref":"other.json"}]}"#),
        ("http://example.com/other.json", r#"{"$ref":"http://example.com/other.json"}"#),
    ] {
        let reference = tailwater_schema::catalog::Reference::new(name, Arc::clone(&other));
        let schema = SchemaText::new(SchemaId::Confluent(1), text).with_references(vec![reference]);
        let mut registry = Answered::new(Framing::Confluent);
        registry.schemas.insert(SchemaRef::subject("t-value", "latest"), Arc::new(schema));
        let model = Model::from(JsonModel::new(registry.source()));
        assert_eq!(convert(&model, b"\"a\"").as_deref(), Ok("\"a\""), "{text}");
        assert_eq!(convert(&model, b"1"), Err(Class::Invalid), "{text}");
    }
}

const S1: &str = r#"{"type":"record","name":"Reading","fields":[{"name":"id","type":"string"},{"name":"n","type":"int"},{"name":"l","type":"long"},{"name":"ok","type":"boolean"}]}"#;
const S2: &str = r#"{"type":"record","name":"S2","fields":[{"name":"e","type":{"type":"enum","name":"Color","symbols":["RED","GREEN"]}},{"name":"m","type":{"type":"map","values":"long"}},{"name":"a","type":{"type":"array","items":"string"}},{"name":"b","type":"bytes"},{"name":"fx","type":{"type":"fixed","name":"Fx","size":4}}]}"#;
const S3: &str = r#"{"type":"record","name":"S3","fields":[{"name":"dec","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},{"name":"decf","type":{"type":"fixed","name":"DecF","size":4,"logicalType":"decimal","precision":9,"scale":2}},{"name":"ms","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"us","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"tm","type":{"type":"int","logicalType":"time-millis"}},{"name":"d","type":{"type":"int","logicalType":"date"}},{"name":"u","type":{"type":"string","logicalType":"uuid"}},{"name":"dur","type":{"type":"fixed","name":"Dur","size":12,"logicalType":"duration"}}]}"#;
const S4: &str = r#"{"type":"record","name":"Tree","fields":[{"name":"v","type":"int"},{"name":"kids","type":{"type":"array","items":"Tree"}}]}"#;
const S5: &str = r#"{"type":"record","name":"S5","fields":[{"name":"f","type":"float"},{"name":"d","type":"double"}]}"#;

#[test]
fn avro_becomes_json() {
    let rows = [
        (S1, "026105828080808080802001", r#"{"id":"a","n":-3,"l":9007199254740993,"ok":true}"#),
        (
            S1,
            "026dfeffffff0fffffffffffffffffff0101",
            r#"{"id":"m","n":2147483647,"l":-9223372036854775808,"ok":true}"#,
        ),
        (
            S1,
            "1a71225c0a09012fc3a9f09f9880000001",
            r#"{"id":"q\"\\\n\t\u0001/é😀","n":0,"l":0,"ok":true}"#,
        ),
        (S1, "0a747261696c0202015858", r#"{"id":"trail","n":1,"l":1,"ok":true}"#),
        (
            S2,
            "020402610204622204000402780279000800ff7f4101020304",
            r#"{"e":"GREEN","m":{"a":1,"b\"":2},"a":["x","y"],"b":"AP9/QQ==","fx":"AQIDBA=="}"#,
        ),
        (
            S2,
            "000106026b0a0003080270027102027200024141424344",
            r#"{"e":"RED","m":{"k":5},"a":["p","q","r"],"b":"QQ==","fx":"QUJDRA=="}"#,
        ),
        (
            S3,
            "04303900003039f6a1abfef962808981828389850680bab703b6b3024835653266326630612d346135632d346335392d396230642d316331663561306633663231010000000200000003000000",
            r#"{"dec":"MDk=","decf":"AAAwOQ==","ms":1700000000123,"us":1700000000123456,"tm":3600000,"d":19675,"u":"5e2f2f0a-4a5c-4c59-9b0d-1c1f5a0f3f21","dur":"AQAAAAIAAAADAAAA"}"#,
        ),
        (S4, "02040400060000", r#"{"v":1,"kids":[{"v":2,"kids":[]},{"v":3,"kids":[]}]}"#),
        (S5, "cdcccc3d9a9999999999b93f", r#"{"f":0.1,"d":0.1}"#),
        (S5, "0000c07f000000000000f0ff", r#"{"f":"NaN","d":"-Infinity"}"#),
        (r#""string""#, "0278", r#""x""#),
        (r#"["null","string"]"#, "00", "null"),
        (r#"["null","string"]"#, "020278", r#""x""#),
        (r#"["string","null"]"#, "000278", r#""x""#),
        (
            r#"{"type":"array","items":"double"}"#,
            "04000000000000f03f000000000000d03f00",
            "[1.0,0.25]",
        ),
        (
            r#"["null",{"type":"record","name":"In","fields":[{"name":"s","type":"string"}]}]"#,
            "0204696e",
            r#"{"s":"in"}"#,
        ),
        (r#"["null","string","long"]"#, "00", "null"),
        (r#"["null","string","long"]"#, "020278", r#"{"string":"x"}"#),
        (r#"["null","string","long"]"#, "0412", r#"{"long":9}"#),
        (r#"["int",{"type":"array","items":"int"}]"#, "020402040000", r#"{"array":[1,2]}"#),
        (r#"["int",{"type":"map","values":"int"}]"#, "02020261020000", r#"{"map":{"a":1}}"#),
        (r#"["int","bytes"]"#, "0204ff00", r#"{"bytes":"/wA="}"#),
        (r#"["string"]"#, "000278", r#"{"string":"x"}"#),
        (
            r#"["int",{"type":"record","name":"x.y.In","fields":[{"name":"a","type":"int"}]}]"#,
            "0208",
            r#"{"In":{"a":4}}"#,
        ),
        (
            r#"["int",{"type":"enum","name":"En","namespace":"z","symbols":["A","B"]}]"#,
            "0202",
            r#"{"En":"B"}"#,
        ),
        (r#"["int",{"type":"fixed","name":"Fx","size":2}]"#, "020102", r#"{"Fx":"AQI="}"#),
        (
            r#"[{"type":"fixed","name":"a.Fx","size":1},{"type":"fixed","name":"b.Fx","size":1}]"#,
            "0202",
            r#"{"b.Fx":"Ag=="}"#,
        ),
        (r#"{"type":"map","values":"int"}"#, "0402610202610400", r#"{"a":1,"a":2}"#),
        (r#"{"type":"record","name":"Empty","fields":[]}"#, "", "{}"),
    ];
    for (schema, value, data) in rows {
        let model = avro(schema);
        assert_eq!(convert(&model, &bytes(value)).as_deref(), Ok(data), "{schema} {value}");
        // Nothing is left of one value in the next.
        assert!(convert(&model, b"\x01").is_err() || schema.contains("Empty"), "{schema}");
        assert_eq!(convert(&model, &bytes(value)).as_deref(), Ok(data), "{schema} {value}");
        let unchanged = Model::from(AvroModel::new(inline(schema)));
        let value = bytes(value);
        assert!(
            matches!(unchanged.convert(&Input::value(&value), &mut Vec::new()), Outcome::Unchanged(same) if same == value)
        );
    }
}

#[test]
fn avro_that_cannot_be_read_is_malformed() {
    let rows = [
        (S1, "027402"),
        (S1, "046232020202"),
        (S1, "076f76668080808080400201"),
        (S1, "076162020201"),
        (S1, "146162"),
        (S1, ""),
        (S1, "02ff000001"),
        (S2, "0400000000000000"),
        (r#"["null","string"]"#, "04"),
        (r#"["null","string"]"#, "01"),
        (r#""long""#, "ffffffffffffffffffff01"),
        (r#"{"type":"array","items":"int"}"#, "0101"),
    ];
    for (schema, value) in rows {
        for view in [View::Json, View::None] {
            let model = Model::from(AvroModel::new(inline(schema)).view(view));
            let result = match model.convert(&Input::value(&bytes(value)), &mut Vec::new()) {
                Outcome::Rejected(rejection) => rejection.class(),
                other => panic!("{schema} {value} {other:?}"),
            };
            assert_eq!(result, Class::Malformed, "{schema} {value}");
        }
    }
}

#[test]
fn avro_names_have_the_namespace_of_what_they_stand_in() {
    let by_dots = r#"{"type":"record","name":"c.d.Outer","fields":[{"name":"a","type":{"type":"record","name":"Inner","fields":[{"name":"n","type":"int"}]}},{"name":"b","type":"c.d.Inner"},{"name":"c","type":"Inner"}]}"#;
    let by_attribute =
        by_dots.replace(r#""name":"c.d.Outer""#, r#""name":"Outer","namespace":"c.d""#);
    for schema in [by_dots, &by_attribute] {
        assert_eq!(
            convert(&avro(schema), &bytes("020406")).as_deref(),
            Ok(r#"{"a":{"n":1},"b":{"n":2},"c":{"n":3}}"#)
        );
    }
    for schema in [
        "string",
        "",
        "{}",
        r#""unknown""#,
        r#"{"type":"record","name":"R"}"#,
        r#"[["null"]]"#,
        r#"["int","int"]"#,
        "null",
        "1",
    ] {
        assert_eq!(convert(&avro(schema), b"\x02a"), Err(Class::SchemaUnusable), "{schema}");
    }
}

#[test]
fn logical_types_are_text_where_the_model_says_so() {
    let model = Model::from(AvroModel::new(inline(S3)).view(View::Json).logical_text(true));
    let value = bytes(
        "04303900003039f6a1abfef962808981828389850680bab703b6b3024835653266326630612d346135632d346335392d396230642d316331663561306633663231010000000200000003000000",
    );
    assert_eq!(
        convert(&model, &value).as_deref(),
        Ok(
            r#"{"dec":"123.45","decf":"123.45","ms":"2023-11-14T22:13:20.123Z","us":"2023-11-14T22:13:20.123456Z","tm":"01:00:00.000","d":"2023-11-14","u":"5e2f2f0a-4a5c-4c59-9b0d-1c1f5a0f3f21","dur":"AQAAAAIAAAADAAAA"}"#
        )
    );
}

const P: &str = r#"syntax = "proto3";
package tw;
enum Color { COLOR_UNSET = 0; COLOR_RED = 1; }
message Reading {
  string device_id = 1; int32 count = 2; int64 big = 3; double temp = 4; float ratio = 5; bool ok = 6; bytes raw = 7;
  Color color = 8; repeated int32 nums = 9; repeated string tags = 10; map<string, int64> attrs = 11; Inner inner = 12;
  oneof pick { string a_text = 13; int32 a_num = 14; }
  optional int32 opt = 15; uint32 u32 = 16; uint64 u64 = 17; sint64 s64 = 18; fixed32 f32 = 19; sfixed64 sf64 = 20;
  message Inner { string name = 1; Inner child = 2; }
  string custom = 21 [json_name = "renamed"];
}
message Second { string b = 1; message Deep { int32 c = 1; } }
"#;

fn protobuf(text: &str, record: &str) -> Model {
    ProtobufModel::new(inline(text), record).view(View::Json).into()
}

/// JSON with other values of some members.
fn with(base: &str, members: &[(&str, &str)]) -> serde_json::Value {
    let mut value: serde_json::Value = serde_json::from_str(base).expect("JSON");
    for (name, member) in members {
        value[*name] = serde_json::from_str(member).expect("JSON");
    }
    value
}

const DEFAULTS: &str = r#"{"device_id":"","count":0,"big":"0","temp":0.0,"ratio":0.0,"ok":false,"raw":"","color":"COLOR_UNSET","nums":[],"tags":[],"attrs":{},"u32":0,"u64":"0","s64":"0","f32":0,"sf64":"0","custom":""}"#;

#[test]
fn protobuf_becomes_json() {
    let inner = r#"{"name":"a","child":{"name":"b"}}"#;
    let rows = [
        ("000a0364657610f9ffffffffffffffff0118818080808080801021000000000000f83f2dcdcccc3d30013a0200ff40014a040102ac025201785201795a050a016b1005620a0a02696e12040a0263686a0374787478008001ffffffff0f8801ffffffffffffffffff019001099d0107000000a101f8ffffffffffffffaa01026375", serde_json::from_str(r#"{"device_id":"dev","count":-7,"big":"9007199254740993","temp":1.5,"ratio":0.1,"ok":true,"raw":"AP8=","color":"COLOR_RED","nums":[1,2,300],"tags":["x","y"],"attrs":{"k":"5"},"inner":{"name":"in","child":{"name":"ch"}},"a_text":"txt","opt":0,"u32":4294967295,"u64":"18446744073709551615","s64":"-5","f32":7,"sf64":"-8","custom":"cu"}"#).expect("JSON")),
        ("00", with(DEFAULTS, &[])),
        ("", with(DEFAULTS, &[])),
        ("02020a067365636f6e64", with(r#"{"b":"second"}"#, &[])),
        ("0402000803", with(r#"{"c":3}"#, &[])),
        ("004007", with(DEFAULTS, &[("color", "7")])),
        ("0021000000000000f87f2d000080ff", with(DEFAULTS, &[("temp", r#""NaN""#), ("ratio", r#""-Infinity""#)])),
        // A message without indexes is the configured one.
        ("0a0164", with(DEFAULTS, &[("device_id", r#""d""#)])),
        // The last one wins, messages merge, runs are joined, a map entry without a value has the default.
        ("0010011002", with(DEFAULTS, &[("count", "2")])),
        ("0062030a0161620512030a0162", with(DEFAULTS, &[("inner", inner)])),
        ("0048015201784802", with(DEFAULTS, &[("nums", "[1,2]"), ("tags", r#"["x"]"#)])),
        ("005a050a016b10055a030a016a", with(DEFAULTS, &[("attrs", r#"{"k":"5","j":"0"}"#)])),
        ("005a050a016b10055a050a016b1006", with(DEFAULTS, &[("attrs", r#"{"k":"6"}"#)])),
        ("006a01787001", with(DEFAULTS, &[("a_num", "1")])),
        ("0070016a0178", with(DEFAULTS, &[("a_text", r#""x""#)])),
        // Unknown fields are dropped, groups among them.
        ("00c03e01c33e0801c43e", with(DEFAULTS, &[])),
    ];
    let model = protobuf(P, "Reading");
    for (value, data) in rows {
        let written = convert(&model, &bytes(value)).expect(value);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&written).expect("JSON"),
            data,
            "{value}"
        );
    }
    // Names come once, in the order of their numbers.
    assert_eq!(convert(&model, b"\0").as_deref(), Ok(DEFAULTS));

    let registry = Answered::new(Framing::Confluent).with(SchemaId::Confluent(20), P);
    let model = Model::from(ProtobufModel::new(registry.source(), "tw.Reading").view(View::Json));
    let written = convert(&model, &bytes("0000000014000a0161")).expect("a message");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&written).expect("JSON"),
        with(DEFAULTS, &[("device_id", r#""a""#)])
    );
}

#[test]
fn protobuf_that_cannot_be_read_is_malformed() {
    let rows = [
        "000a056162",
        "000805",
        "02100a0178",
        // Indexes: too long, negative, too many.
        "80010a0178",
        "0280020a0178",
        "02030a0178",
        "04",
        "02ffffffffffffffffffffff",
        // Not UTF-8.
        "000a01ff",
        "00520161520180",
        // Field number 0, unknown wire type, a group that does not end, one that ends where none began.
        "000001",
        "000f",
        "00c33e0801",
        "00c43e",
        "000affffffffffffffffff01",
        "0010ffffffffffffffffffff01",
    ];
    for value in rows {
        for view in [View::Json, View::None] {
            let model = Model::from(ProtobufModel::new(inline(P), "Reading").view(view));
            match model.convert(&Input::value(&bytes(value)), &mut Vec::new()) {
                Outcome::Rejected(rejection) => {
                    assert_eq!(rejection.class(), Class::Malformed, "{value}")
                }
                other => panic!("{value} {other:?}"),
            }
        }
    }
    assert_eq!(convert(&protobuf(P, "Third"), &bytes("0a0164")), Err(Class::SchemaUnusable));
}

#[test]
fn protobuf_without_a_view_loses_prefix_and_unknown_fields() {
    let model = Model::from(ProtobufModel::new(inline(P), "Reading"));
    for (value, written) in [
        ("000a0164c03e01", "0a0164"),
        ("0a0164", "0a0164"),
        ("62070a0161c03e011201", ""),
        ("62060a0161c03e01", "62030a0161"),
        ("4a020102", "4a020102"),
    ] {
        let mut out = Vec::new();
        match model.convert(&Input::value(&bytes(value)), &mut out) {
            Outcome::Converted => assert_eq!(hex(&out), written, "{value}"),
            outcome => {
                assert!(written.is_empty() && matches!(outcome, Outcome::Rejected(_)), "{value}")
            }
        }
    }
}

#[test]
fn protobuf_imports_and_well_known_types() {
    let schema = r#"syntax = "proto3";
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/any.proto";
import "google/protobuf/empty.proto";
import "common/other.proto";
import "google/protobuf/of_the_registry.proto";
message M {
  google.protobuf.Timestamp at = 1; google.protobuf.Duration took = 2; google.protobuf.StringValue s = 3;
  google.protobuf.Int64Value n = 4; google.protobuf.Struct free = 5; google.protobuf.FieldMask mask = 6;
  google.protobuf.Any any = 7; google.protobuf.Empty none = 8; other.Other o = 9; google.protobuf.Value v = 10;
  google.protobuf.NullValue nil = 11; map<string, google.protobuf.Timestamp> times = 12;
  mine.Mine mine = 13;
}"#;
    let other = r#"syntax = "proto3"; package other; message Other { int32 x = 1; }"#;
    let other = Arc::new(SchemaText::new(SchemaId::Confluent(2), other));
    let reference = Reference::new("common/other.proto", other);
    // What the library does not have comes from the references, and nothing else of these names.
    let mine = r#"syntax = "proto3"; package mine; message Mine { int32 x = 1; }"#;
    let mine = Arc::new(SchemaText::new(SchemaId::Confluent(3), mine));
    let timestamp = Reference::new("google/protobuf/timestamp.proto", Arc::clone(&mine));
    let mine = Reference::new("google/protobuf/of_the_registry.proto", mine);
    let references = vec![reference, mine, timestamp];
    let schema = SchemaText::new(SchemaId::Confluent(1), schema).with_references(references);
    let mut registry = Answered::new(Framing::Confluent);
    registry.schemas.insert(SchemaRef::subject("t-value", "latest"), Arc::new(schema));
    let model = Model::from(ProtobufModel::new(registry.source(), "M").view(View::Json));
    let rows = [
        ("0a0b0880e2cfaa0610c096b102", r#""at":"2023-11-14T22:13:20.005Z""#),
        ("0a00", r#""at":"1970-01-01T00:00:00Z""#),
        ("120b10ffffffffffffffffff01", r#""took":"-0.000000001s""#),
        ("12020803", r#""took":"3s""#),
        ("1a030a0178", r#""s":"x""#),
        ("1a00", r#""s":"""#),
        ("22020805", r#""n":"5""#),
        ("2a0b0a090a0161120432020a00", r#""free":{"a":[null]}"#),
        ("32090a07612e625f632e64", r#""mask":"a.bC.d""#),
        ("3a130a0d782f6f746865722e4f7468657212020801", r#""any":{"@type":"x/other.Other","x":1}"#),
        ("3a080a02782f12020801", r#""any":{"@type":"x/","value":"CAE="}"#),
        ("4200", r#""none":{}"#),
        ("4a020807", r#""o":{"x":7}"#),
        ("6a020807", r#""mine":{"x":7}"#),
        ("5209110000000000000440", r#""v":2.5"#),
        ("5200", r#""v":null"#),
        ("5202080052022001", r#""v":true"#),
        ("62050a01611200", r#""times":{"a":"1970-01-01T00:00:00Z"}"#),
        ("62030a0161", r#""times":{"a":"1970-01-01T00:00:00Z"}"#),
    ];
    for (value, member) in rows {
        let written = convert(&model, &bytes(value)).expect(value);
        assert!(written.contains(member), "{value} {written}");
        serde_json::from_str::<serde_json::Value>(&written).expect("JSON");
        assert!(written.contains(r#""nil":null"#));
    }
    for value in
        ["0a0b08ffffffffffffffff7f", "0a0210ff", "12040801 10ff", "0a0b10ffffffffffffffffff01"]
    {
        assert!(convert(&model, &bytes(&value.replace(' ', ""))).is_err(), "{value}");
    }
}

/// As Confluent's serializer in Python registers them. Apicurio Registry answers the same text.
#[test]
fn a_file_of_protobuf_may_be_its_descriptor_in_base64() {
    let inner = "Cgtpbm5lci5wcm90bxICdHciEgoFSW5uZXISCQoBcxgBIAEoCWIGcHJvdG8z";
    let outer = "CgtvdXRlci5wcm90bxICdHcaC2lubmVyLnByb3RvGh9nb29nbGUvcHJvdG9idWYvdGltZXN0YW1wLnByb3RvIhIKBUZpcnN0EgkKAWEYASABKAkiXAoFT3V0ZXISGAoFaW5uZXIYASABKAsyCS50dy5Jbm5lchImCgJhdBgCIAEoCzIaLmdvb2dsZS5wcm90b2J1Zi5UaW1lc3RhbXAaEQoERGVlcBIJCgFjGAEgASgFYgZwcm90bzM=";
    let inner = Arc::new(SchemaText::new(SchemaId::Confluent(1), inner));
    let reference = tailwater_schema::catalog::Reference::new("inner.proto", inner);
    let schema = SchemaText::new(SchemaId::Confluent(2), outer).with_references(vec![reference]);
    let mut registry = Answered::new(Framing::Confluent);
    registry.schemas.insert(SchemaRef::Id(SchemaId::Confluent(2)), Arc::new(schema));
    let model = Model::from(ProtobufModel::new(registry.source(), "tw.Outer").view(View::Json));
    let rows = [
        ("000000000202020a030a017812020805", r#"{"inner":{"s":"x"},"at":"1970-01-01T00:00:05Z"}"#),
        ("00000000020402000803", r#"{"c":3}"#),
        ("0000000002000a017a", r#"{"a":"z"}"#),
    ];
    for (value, data) in rows {
        assert_eq!(convert(&model, &bytes(value)).as_deref(), Ok(data), "{value}");
    }
    // Indexes are those of the descriptor, where the entry of a map is a message before `Deep`.
    let text = "CgF4IlYKAUESFAoBbRgBIAMoCzIJLkEuTUVudHJ5GigKBk1FbnRyeRILCgNrZXkYASABKAkSDQoFdmFsdWUYAiABKAU6AjgBGhEKBERlZXASCQoBYxgBIAEoBWIGcHJvdG8z";
    assert_eq!(convert(&protobuf(text, "A"), &bytes("0400020803")).as_deref(), Ok(r#"{"c":3}"#));
    let text = r#"syntax = "proto3"; message A { map<string, int32> m = 1; message Deep { int32 c = 1; } }"#;
    assert_eq!(convert(&protobuf(text, "A"), &bytes("0400000803")).as_deref(), Ok(r#"{"c":3}"#));
    // Base64 that is no descriptor.
    for text in ["AAAA", "string", "Egj/"] {
        let model = protobuf(text, "M");
        assert_eq!(convert(&model, &bytes("00")), Err(Class::SchemaUnusable), "{text}");
    }
}

#[test]
fn fields_are_extracted_as_text() {
    let fields = |model: &Model, value: &[u8], names: &[&str]| match model
        .extract(&Input::value(value), names)
    {
        Extracted::Fields(texts) => texts
            .into_iter()
            .map(|text| text.map(|text| String::from_utf8_lossy(&text).into_owned()))
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let json = Model::from(JsonModel::new(inline("true")));
    let value = br#"{"s":"\u0061","n":1.50,"t":true,"z":null,"o":{},"d":1,"d":"two","l":[1]}"#;
    let texts = fields(&json, value, &["s", "n", "t", "z", "o", "d", "l", "absent"]);
    assert_eq!(
        texts.iter().map(Option::as_deref).collect::<Vec<_>>(),
        [Some("a"), Some("1.50"), Some("true"), None, None, Some("two"), None, None]
    );

    let schema = r#"{"type":"record","name":"R","fields":[{"name":"i","type":"int"},{"name":"b","type":"boolean"},{"name":"f","type":"float"},{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},{"name":"y","type":"bytes"},{"name":"u","type":["null","string"]},{"name":"z","type":["null","string"]},{"name":"r","type":{"type":"array","items":"int"}}]}"#;
    let value = bytes("0501cdcccc3d0204004102026100020200");
    let texts = fields(&avro(schema), &value, &["i", "b", "f", "e", "y", "u", "z", "r"]);
    assert_eq!(
        texts.iter().map(Option::as_deref).collect::<Vec<_>>(),
        [Some("-3"), Some("true"), Some("0.1"), Some("B"), Some("\0A"), Some("a"), None, None]
    );

    let value = bytes("000a0364657610f9ffffffffffffffff0118053001400148014802");
    let texts = fields(
        &protobuf(P, "Reading"),
        &value,
        &["device_id", "count", "big", "ok", "color", "nums", "inner", "opt"],
    );
    assert_eq!(
        texts.iter().map(Option::as_deref).collect::<Vec<_>>(),
        [
            Some("dev"),
            Some("-7"),
            Some("5"),
            Some("true"),
            Some("COLOR_RED"),
            Some("2"),
            None,
            None
        ]
    );
}
