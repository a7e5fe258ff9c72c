//! A real Apicurio Registry: `tests/registry/registry.sh run cargo test -p tailwater-schema --test registry apicurio`.
//! Without `TAILWATER_TEST_APICURIO`, its URL, these tests say so and pass, unless `TAILWATER_TEST_REAL_REQUIRED` is 1.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tailwater_schema::catalog::registry::{Apicurio, Confluent, Registry};
use tailwater_schema::catalog::{SchemaId, SchemaKind, SchemaRef, UseId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{options, result, text};

const INNER: &str =
    r#"{"type":"record","name":"Inner","namespace":"x","fields":[{"name":"s","type":"string"}]}"#;
const OUTER: &str =
    r#"{"type":"record","name":"Outer","namespace":"x","fields":[{"name":"i","type":"x.Inner"}]}"#;
const PROTO: &str = "syntax = \"proto3\"; message A { string a = 1; }";

/// The URL of the registry, and a text that no other run has in its names.
fn registry() -> Option<(String, String)> {
    let url = env::var("TAILWATER_TEST_APICURIO").ok();
    if url.is_none() {
        let demanded = env::var("TAILWATER_TEST_REAL_REQUIRED").is_ok_and(|value| value == "1");
        assert!(!demanded, "there is no TAILWATER_TEST_APICURIO");
        eprintln!("not tested: TAILWATER_TEST_APICURIO is not set");
    }
    let time = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Some((url?, format!("run-{}-{}", std::process::id(), time.as_nanos())))
}

/// The JSON that the registry answers to a POST request.
async fn post(url: &str, path: &str, body: &Value) -> Value {
    let address = url.strip_prefix("http://").expect("an http URL").trim_end_matches('/');
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut socket = TcpStream::connect(address).await.expect("the registry listens");
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.split(' ').nth(1) == Some("200"), "{path}: {answer}");
    serde_json::from_str(body).expect("JSON")
}

/// Registers a version of a subject under Confluent's API, and returns its id.
async fn register(url: &str, subject: &str, schema: Value) -> u32 {
    let path = format!("/apis/ccompat/v7/subjects/{subject}/versions");
    let answer = post(url, &path, &schema).await;
    answer["id"].as_u64().and_then(|id| id.try_into().ok()).expect("an id")
}

/// An Avro schema that refers to another, and a protobuf schema.
async fn register_all(url: &str, run: &str) -> (u32, u32) {
    register(url, &format!("{run}-inner"), json!({ "schema": INNER })).await;
    let references =
        json!([{ "name": "x.Inner", "subject": format!("{run}-inner"), "version": 1 }]);
    let avro = json!({ "schema": OUTER, "references": references });
    let avro = register(url, &format!("{run}-value"), avro).await;
    let protobuf = json!({ "schema": PROTO, "schemaType": "PROTOBUF" });
    (avro, register(url, &format!("{run}-proto"), protobuf).await)
}

#[tokio::test]
async fn the_api_of_confluent_has_schemas_with_references() {
    let Some((url, run)) = registry() else { return };
    let (avro, protobuf) = register_all(&url, &run).await;
    let base = format!("{url}/apis/ccompat/v7");
    let registry = Registry::new(options(&base, Confluent::new())).unwrap();
    let subject = SchemaRef::subject(format!("{run}-value"), "latest");
    let outer = registry.fetch(&subject).await.unwrap();
    assert_eq!(outer.version.as_deref(), Some("1"));
    assert_eq!(outer.schema.text(), OUTER);
    assert_eq!(outer.schema.id(), SchemaId::Confluent(avro));
    let [inner] = outer.schema.references() else { panic!("one reference") };
    assert_eq!((inner.name(), inner.schema().text()), ("x.Inner", INNER));
    let id = SchemaRef::Id(SchemaId::Confluent(protobuf));
    let proto = result(&registry, &id).await.unwrap();
    assert_eq!((proto.text(), proto.kind()), (PROTO, Some(SchemaKind::Protobuf)));
    for missing in [
        SchemaRef::Id(SchemaId::Confluent(2_000_000_000)),
        // Beyond the number that the registry reads.
        SchemaRef::Id(SchemaId::Confluent(u32::MAX)),
        SchemaRef::Id(SchemaId::Guid([7; 16])),
        SchemaRef::subject(format!("{run}-no"), "latest"),
        SchemaRef::subject(format!("{run}-value"), "9"),
    ] {
        let error = registry.fetch(&missing).await.unwrap_err();
        assert!(!error.is_transient(), "{missing}: {error}");
    }
    // A wrong path holds records up, and loses none.
    let wrong = Registry::new(options(&format!("{url}/wrong"), Confluent::new())).unwrap();
    assert!(wrong.fetch(&subject).await.unwrap_err().is_transient());
}

#[tokio::test]
async fn the_api_of_apicurio_has_schemas_with_references() {
    let Some((url, run)) = registry() else { return };
    register_all(&url, &run).await;
    let global = Registry::new(options(&url, Apicurio::new())).unwrap();
    let content = Registry::new(options(&url, Apicurio::new().use_id(UseId::ContentId))).unwrap();
    for registry in [&global, &content] {
        let subject = format!("{run}-value");
        let outer = registry.fetch(&SchemaRef::subject(&*subject, "latest")).await.unwrap();
        assert_eq!((outer.version.as_deref(), outer.schema.text()), (Some("1"), OUTER));
        let [inner] = outer.schema.references() else { panic!("one reference") };
        assert_eq!((inner.name(), inner.schema().text()), ("x.Inner", INNER));
        assert_eq!(text(registry, &SchemaRef::subject(subject, "1")).await, OUTER);
        assert_eq!(text(registry, &SchemaRef::Id(outer.schema.id())).await, OUTER);
        for missing in [
            SchemaRef::Id(SchemaId::GlobalId(2_000_000_000)),
            SchemaRef::Id(SchemaId::GlobalId(u64::MAX)),
            SchemaRef::Id(SchemaId::ContentId(2_000_000_000)),
            SchemaRef::Id(SchemaId::ContentId(u64::MAX)),
            SchemaRef::subject(format!("{run}-no"), "latest"),
            SchemaRef::subject(format!("{run}-value"), "9"),
        ] {
            let error = registry.fetch(&missing).await.unwrap_err();
            assert!(!error.is_transient(), "{missing}: {error}");
        }
    }
    let proto = SchemaRef::subject(format!("{run}-proto"), "latest");
    let proto = result(&global, &proto).await.unwrap();
    assert_eq!((proto.text(), proto.kind()), (PROTO, Some(SchemaKind::Protobuf)));
}
