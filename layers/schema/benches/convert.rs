//! What a value costs: a record of five fields and some 45 bytes, as Avro, as Protobuf, and as JSON by schema.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tailwater_schema::catalog::{InlineCatalog, SchemaRef};
use tailwater_schema::model::{AvroModel, JsonModel, ProtobufModel, SchemaSource, View};
use tailwater_schema::{Input, Model, Outcome};

fn source(text: &str) -> SchemaSource {
    let catalog = InlineCatalog::new().schema("reading", "latest", text);
    SchemaSource::new(Arc::new(catalog), SchemaRef::subject("reading", "latest"))
}

const AVRO: &str = r#"{"type":"record","name":"Reading","fields":[
    {"name":"device","type":"string"},{"name":"room","type":["null","string"]},{"name":"at","type":"long"},
    {"name":"celsius","type":"double"},{"name":"ok","type":"boolean"}]}"#;
const PROTOBUF: &str = r#"syntax = "proto3";
    message Reading { string device = 1; string room = 2; int64 at = 3; double celsius = 4; bool ok = 5; }"#;
const JSON: &str = r#"{"type":"object","required":["device","at"],"additionalProperties":false,"properties":{
    "device":{"type":"string","maxLength":40},"room":{"type":["string","null"]},"at":{"type":"integer"},
    "celsius":{"type":"number"},"ok":{"type":"boolean"}}}"#;

fn avro_value() -> Vec<u8> {
    let mut value = b"\x20device-000000017\x02\x12hall-east".to_vec();
    value.extend([0xf6, 0xa1, 0xab, 0xfe, 0xf9, 0x62]);
    value.extend(21.375f64.to_le_bytes());
    value.push(1);
    value
}

fn protobuf_value() -> Vec<u8> {
    let mut value = b"\x0a\x10device-000000017\x12\x09hall-east\x18".to_vec();
    value.extend([0xfb, 0xd0, 0x95, 0xff, 0xbc, 0x31, 0x21]);
    value.extend(21.375f64.to_le_bytes());
    value.extend([0x28, 1]);
    value
}

const JSON_VALUE: &[u8] =
    br#"{"device":"device-000000017","room":"hall-east","at":1700000000123,"celsius":21.375,"ok":true}"#;

fn convert(c: &mut Criterion) {
    let rows: [(&str, Model, Vec<u8>); 4] = [
        ("avro to json", AvroModel::new(source(AVRO)).view(View::Json).into(), avro_value()),
        (
            "protobuf to json",
            ProtobufModel::new(source(PROTOBUF), "Reading").view(View::Json).into(),
            protobuf_value(),
        ),
        ("json by schema", JsonModel::new(source(JSON)).into(), JSON_VALUE.to_vec()),
        ("avro unchanged", AvroModel::new(source(AVRO)).into(), avro_value()),
    ];
    let mut group = c.benchmark_group("convert");
    group.throughput(Throughput::Elements(1));
    for (name, model, value) in rows {
        group.bench_function(name, |b| {
            let mut out = Vec::new();
            b.iter(|| {
                out.clear();
                match model.convert(&Input::value(black_box(&value)), &mut out) {
                    Outcome::Converted => black_box(out.len()),
                    Outcome::Unchanged(bytes) => black_box(bytes.len()),
                    other => panic!("{other:?}"),
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, convert);
criterion_main!(benches);
