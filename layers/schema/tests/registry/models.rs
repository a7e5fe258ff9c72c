//! Values that are converted by the schemas of a registry.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tailwater_schema::catalog::registry::{Apicurio, Registry};
use tailwater_schema::catalog::{Catalog, IdEncoding, SchemaId, SchemaKind, SchemaRef, UseId};
use tailwater_schema::model::{AvroModel, JsonModel, ProtobufModel, SchemaSource, View};
use tailwater_schema::{Class, Input, Model, Outcome};
use tokio::time::timeout;

use crate::stub::{Answer, Stub};
use crate::{confluent, options};

const R9: &str = r#"{"type":"record","name":"R9","fields":[{"name":"id","type":"string"},{"name":"n","type":"int"}]}"#;
const R10: &str = r#"{"type":"record","name":"R10","fields":[{"name":"id","type":"string"},{"name":"n","type":"int"},{"name":"extra","type":"string"}]}"#;

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).expect("ASCII"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}

/// Converts until there is a result: the data, or the class of the rejection.
async fn convert(model: &Model, value: &[u8]) -> Result<String, Class> {
    convert_input(model, Input::value(value)).await
}

async fn convert_input(model: &Model, input: Input<'_>) -> Result<String, Class> {
    let converting = async {
        let mut out = Vec::new();
        loop {
            let data = match model.convert(&input, &mut out) {
                Outcome::Unchanged(bytes) => bytes,
                Outcome::Converted => &out,
                Outcome::Rejected(rejection) => return Err(rejection.class()),
                Outcome::Pending(waiter) => {
                    waiter.await;
                    continue;
                }
                other => panic!("{other:?}"),
            };
            return Ok(String::from_utf8(data.to_vec()).expect("text"));
        }
    };
    timeout(Duration::from_secs(60), converting).await.expect("a result within a minute")
}

fn source(registry: &Registry, schema: SchemaRef) -> SchemaSource {
    SchemaSource::new(Arc::new(registry.clone()), schema)
}

fn avro(registry: &Registry, schema: SchemaRef) -> Model {
    AvroModel::new(source(registry, schema)).view(View::Json).into()
}

#[tokio::test]
async fn the_schema_in_the_record_wins_over_the_configured_one() {
    let stub = Stub::start(|target, _| match target {
        "/subjects/t-value/versions/latest" => Answer::json(r#"{"id":9}"#),
        "/schemas/ids/9" => Answer::schema(R9),
        "/schemas/ids/10" => Answer::schema(R10),
        _ => Answer::error(404, 40403),
    })
    .await;
    let registry = confluent(&stub.url());
    let by_subject = avro(&registry, SchemaRef::subject("t-value", "latest"));
    let by_id = avro(&registry, SchemaRef::Id(SchemaId::Confluent(9)));
    let encoded = avro(&registry, SchemaRef::subject("u-value", "latest"));
    let v2 = "000000000a04763206086d6f7265";
    for (model, value, data) in [
        (&by_subject, "0000000009026102", Ok(r#"{"id":"a","n":1}"#)),
        (&by_subject, "0a6e6f70667804", Ok(r#"{"id":"nopfx","n":2}"#)),
        (&encoded, "0a6e6f70667804", Err(Class::SchemaMissing)),
        (&encoded, "0000000009026102", Ok(r#"{"id":"a","n":1}"#)),
        (&by_subject, v2, Ok(r#"{"id":"v2","n":3,"extra":"more"}"#)),
        (&by_id, v2, Ok(r#"{"id":"v2","n":3,"extra":"more"}"#)),
        (&by_subject, "000000004d06756e6b02", Err(Class::SchemaMissing)),
        (&by_subject, "0000000009", Err(Class::Malformed)),
        (&by_subject, "00", Err(Class::Malformed)),
        (&by_subject, "0000", Err(Class::Malformed)),
        (&by_subject, "", Err(Class::Malformed)),
    ] {
        let found = convert(model, &bytes(value)).await;
        assert_eq!(found, data.map(str::to_owned), "{value}");
    }
}

#[tokio::test]
async fn the_prefix_of_apicurio_is_found_and_cut_off() {
    let stub = Stub::start(|target, _| match target {
        "/apis/registry/v2/ids/globalIds/9" | "/apis/registry/v2/ids/contentIds/9" => {
            Answer::json(R9)
        }
        _ => Answer::error(404, 404),
    })
    .await;
    let none = SchemaRef::subject("t-value", "latest");
    let content = Apicurio::new().use_id(UseId::ContentId).id_encoding(IdEncoding::Legacy);
    for (api, value) in
        [(Apicurio::new(), "000000000000000009026102"), (content, "0000000009026102")]
    {
        let registry = Registry::new(options(&stub.url(), api)).unwrap();
        let found = convert(&avro(&registry, none.clone()), &bytes(value)).await;
        assert_eq!(found, Ok(r#"{"id":"a","n":1}"#.to_owned()));
    }
}

/// By Apicurio's serializers, whose default is the header. A second message of the file was read as the configured one.
#[tokio::test]
async fn a_message_of_apicurio_is_the_one_that_its_record_names() {
    let text =
        "syntax = \"proto3\"; message First { string a = 1; } message Second { string b = 1; }";
    let stub = Stub::start(move |target, _| match target {
        "/apis/registry/v2/ids/globalIds/9" => Answer::json(text),
        _ => Answer::error(404, 404),
    })
    .await;
    let registry = Registry::new(options(&stub.url(), Apicurio::new())).unwrap();
    let schema = SchemaRef::subject("t-value", "latest");
    let model = ProtobufModel::new(source(&registry, schema), "First").view(View::Json).into();
    let id = bytes("0000000000000009");
    type Headers<'a> = &'a [(&'a str, &'a [u8])];
    let rows: [(Headers<'_>, &str, _); 9] = [
        (&[], "000000000000000009080a065365636f6e640a0178", Ok(r#"{"b":"x"}"#)),
        (&[], "00000000000000000902020a0178", Ok(r#"{"b":"x"}"#)),
        (&[("apicurio.value.globalId", &id)], "0a0178", Ok(r#"{"a":"x"}"#)),
        (
            &[("apicurio.value.globalId", &id), ("apicurio.protobuf.type", b"Second")],
            "0a0178",
            Ok(r#"{"b":"x"}"#),
        ),
        (
            &[("apicurio.value.globalId", &id), ("apicurio.protobuf.type", b"Second")],
            "",
            Ok(r#"{"b":""}"#),
        ),
        (
            &[("apicurio.value.globalId", &id), ("apicurio.protobuf.type.key", b"Second")],
            "0a0178",
            Ok(r#"{"a":"x"}"#),
        ),
        (
            &[("apicurio.value.globalId", &id), ("apicurio.protobuf.type", b"Third")],
            "0a0178",
            Err(Class::Malformed),
        ),
        (
            &[("apicurio.value.globalId", &id), ("apicurio.protobuf.type", b"\xff")],
            "0a0178",
            Err(Class::Malformed),
        ),
        // Without an id it says nothing.
        (&[("apicurio.protobuf.type", b"Second")], "0a0178", Err(Class::SchemaMissing)),
    ];
    for (headers, value, data) in rows {
        let found =
            convert_input(&model, Input::value(&bytes(value)).headers(&headers.to_vec())).await;
        assert_eq!(found, data.map(str::to_owned), "{headers:?} {value}");
    }
}

#[tokio::test]
async fn references_are_used_in_each_language() {
    let stub = Stub::start(|target, _| {
        let referring = |kind: &str, text: &str, name: &str, subject: &str| {
            let reference = json!({ "name": name, "subject": subject, "version": 1 });
            let schema = json!({ "schemaType": kind, "schema": text, "references": [reference] });
            Answer::json(schema.to_string())
        };
        let plain = |kind: &str, text: &str| {
            Answer::json(json!({ "schemaType": kind, "schema": text }).to_string())
        };
        match target {
            "/schemas/ids/1" => referring(
                "AVRO",
                r#"{"type":"record","name":"Outer","namespace":"x","fields":[{"name":"i","type":"y.Inner"}]}"#,
                "y.Inner",
                "inner",
            ),
            "/subjects/inner/versions/1" => Answer::json(r#"{"id":2}"#),
            "/schemas/ids/2" => plain(
                "AVRO",
                r#"{"type":"record","name":"Inner","namespace":"y","fields":[{"name":"s","type":"string"}]}"#,
            ),
            "/schemas/ids/3" => referring(
                "PROTOBUF",
                r#"syntax = "proto3"; import "common/inner.proto"; message Outer { x.Inner i = 1; }"#,
                "common/inner.proto",
                "proto",
            ),
            "/subjects/proto/versions/1" => Answer::json(r#"{"id":4}"#),
            "/schemas/ids/4" => plain(
                "PROTOBUF",
                r#"syntax = "proto3"; package x; message Inner { string s = 1; }"#,
            ),
            "/schemas/ids/5" => referring(
                "JSON",
                r#"{"type":"object","properties":{"i":{"$ref":"http://example.com/inner.json"}}}"#,
                "http://example.com/inner.json",
                "json",
            ),
            "/subjects/json/versions/1" => Answer::json(r#"{"id":6}"#),
            "/schemas/ids/6" => plain(
                "JSON",
                r#"{"type":"object","properties":{"s":{"type":"string"}},"required":["s"]}"#,
            ),
            // A `$ref` that no reference names.
            "/schemas/ids/7" => plain("JSON", r#"{"$ref":"http://127.0.0.1:9/secret.json"}"#),
            _ => Answer::error(404, 40403),
        }
    })
    .await;
    let registry = confluent(&stub.url());
    let id = |id| SchemaRef::Id(SchemaId::Confluent(id));
    let data = r#"{"i":{"s":"a"}}"#;
    let found = convert(&avro(&registry, id(1)), &bytes("00000000010261")).await;
    assert_eq!(found, Ok(data.to_owned()));
    let protobuf = ProtobufModel::new(source(&registry, id(3)), "Outer").view(View::Json);
    let found = convert(&protobuf.into(), &bytes("0000000003000a030a0161")).await;
    assert_eq!(found, Ok(data.to_owned()));
    let model = Model::from(JsonModel::new(source(&registry, id(5))));
    let found = convert(&model, &[&[0, 0, 0, 0, 5], data.as_bytes()].concat()).await;
    assert_eq!(found, Ok(data.to_owned()));
    let found = convert(&model, &[&[0, 0, 0, 0, 5], &br#"{"i":{}}"#[..]].concat()).await;
    assert_eq!(found, Err(Class::Invalid));
    let found = convert(&model, &[&[0, 0, 0, 0, 7], &b"{}"[..]].concat()).await;
    assert_eq!(found, Err(Class::SchemaUnusable));
}

#[tokio::test]
async fn a_value_waits_for_a_registry_that_is_away_and_is_converted_then() {
    let stub = Stub::start(|_, _| Answer::schema(R9)).await;
    let address = stub.address;
    drop(stub);
    let registry = confluent(&format!("http://{address}"));
    let model = avro(&registry, SchemaRef::Id(SchemaId::Confluent(9)));
    let value = bytes("0000000009026102");
    let restarted = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(registry.status().outage.is_some());
        Stub::at(address, None, |_, _| Answer::schema(R9)).await
    };
    let (found, _stub) = tokio::join!(convert(&model, &value), restarted);
    assert_eq!(found, Ok(r#"{"id":"a","n":1}"#.to_owned()));
    // What is known is converted without a wait.
    let known = registry.look_up(&SchemaRef::Id(SchemaId::Confluent(9)), SchemaKind::Avro);
    assert!(matches!(known, tailwater_schema::catalog::Lookup::Known(_)));
}
