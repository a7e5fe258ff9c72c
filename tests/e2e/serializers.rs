//! Records of serializers that are not ours, by a real registry: on a real Kafka only. `tests/serializers/cases.json`
//! has the values and what a stream has to show of them.

use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use crate::support::{Kafka, field, real_kafka, real_registry, server, spawn};

const CASES: &str = include_str!("../serializers/cases.json");

/// Writes the records of all cases.
async fn write(serializers: &str, kafka: &Kafka, registry: &str, run: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serializers/serializers.sh");
    let mut command = Command::new(script);
    command.args([serializers, kafka.servers(), registry, run]);
    let mut process = spawn(command);
    let said = process.stderr.all().await;
    let status = process.ended().await;
    assert!(status.success(), "{serializers}: {status}\n{said}");
}

/// The model of a format: the catalog has the schema.
fn model(format: &str) -> String {
    let (view, record) = match format {
        "avro" => ("view: json, ", ""),
        "protobuf" => ("view: json, ", ", record: Reading"),
        _ => ("", ""),
    };
    format!(
        "value: {{ model: {format}, {view}catalog: {{ reg: [{{ strategy: topic{record} }}] }} }}"
    )
}

/// The records of each format that are in a topic, those after which a predicate asks.
fn cases(is_written: impl Fn(&Value) -> bool) -> Vec<(String, Vec<Value>)> {
    let cases: Value = serde_json::from_str(CASES).expect("JSON");
    let topics = cases["topics"].as_object().expect("topics");
    let written = |records: &Value| {
        let records = records.as_array().expect("records").iter();
        records.filter(|record| is_written(record)).map(|record| record["json"].clone()).collect()
    };
    topics.iter().map(|(format, records)| (format.clone(), written(records))).collect()
}

/// A stream of each topic shows what is expected, and nothing else before a record that comes later.
async fn shows(kafka: &Kafka, catalog: &str, prefix: &str, cases: &[(String, Vec<Value>)]) {
    let mut server = server(kafka).catalog(catalog);
    for (format, _) in cases {
        server = server.topic(&format!("{prefix}-{format}"), &model(format));
    }
    let server = server.run().await;
    for (format, expected) in cases {
        let mut stream = server.get(&format!("/all/{prefix}-{format}")).open().await;
        for expected in expected {
            let event = stream.next().await;
            let data = field(&event, "data").unwrap_or_else(|| panic!("{format}: {event}"));
            let data: Value = serde_json::from_str(data).expect("JSON");
            assert_eq!(&data, expected, "{prefix}-{format}");
        }
    }
    let log = server.stderr().text();
    assert!(!log.contains("a record was rejected"), "{log}");
}

#[tokio::test]
async fn a_record_of_confluents_serializers_is_its_json() {
    let Some(kafka) = real_kafka().await else { return };
    let Some(registry) = real_registry() else { return };
    let run = kafka.name();
    let cases = cases(|_| true);
    for (format, _) in &cases {
        kafka.create(&format!("{run}-{format}"), 1, &[]).await;
    }
    let url = format!("{registry}/apis/ccompat/v7");
    write("confluent", &kafka, &url, &run).await;
    let catalog = format!("reg: {{ type: schema-registry, options: {{ url: \"{url}\" }} }}");
    shows(&kafka, &catalog, &run, &cases).await;
}

#[tokio::test]
async fn a_record_of_apicurios_serializers_is_its_json() {
    let Some(kafka) = real_kafka().await else { return };
    let Some(registry) = real_registry() else { return };
    let run = kafka.name();
    // Their serializer finds no message that is nested in another.
    let cases = cases(|record| !record["message"].as_str().is_some_and(|name| name.contains('.')));
    let modes = [("headers", "default"), ("prefix", "default"), ("legacy", "legacy")];
    for (mode, _) in modes {
        for (format, _) in &cases {
            kafka.create(&format!("{run}-{mode}-{format}"), 1, &[]).await;
        }
    }
    write("apicurio", &kafka, &registry, &run).await;
    for (mode, encoding) in modes {
        let catalog = format!(
            "reg: {{ type: apicurio, options: {{ url: \"{registry}\", id-encoding: {encoding} }} }}"
        );
        shows(&kafka, &catalog, &format!("{run}-{mode}"), &cases).await;
    }
}
