//! What a value costs as Avro, as Protobuf, and as JSON by schema: a record of five fields and 45 bytes, and one of
//! 1 KiB with records in records, arrays and maps. Beside it, the crates that read the same formats into their own
//! types of values.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;
use tailwater_schema::catalog::registry::{Confluent, Registry, RegistryOptions};
use tailwater_schema::catalog::{Catalog, InlineCatalog, SchemaRef};
use tailwater_schema::model::{AvroModel, JsonModel, ProtobufModel, SchemaSource, View};
use tailwater_schema::{Input, Model, Outcome};

/// A record, and its schemas.
struct Record {
    name: &'static str,
    /// The bytes that it takes as Avro and as Protobuf.
    sizes: RangeInclusive<usize>,
    value: &'static str,
    avro: &'static str,
    protobuf: &'static str,
    json: &'static str,
}

const SMALL: Record = Record {
    name: "45 bytes",
    sizes: 45..=45,
    value: r#"{"device":"device-000000017","room":"hall-east-2","at":1700000000123,"celsius":21.375,"ok":true}"#,
    avro: r#"{"type":"record","name":"Root","fields":[
        {"name":"device","type":"string"},{"name":"room","type":["null","string"]},{"name":"at","type":"long"},
        {"name":"celsius","type":"double"},{"name":"ok","type":"boolean"}]}"#,
    protobuf: r#"syntax = "proto3";
        message Root { string device = 1; string room = 2; int64 at = 3; double celsius = 4; bool ok = 5; }"#,
    json: r#"{"type":"object","required":["device","at"],"additionalProperties":false,"properties":{
        "device":{"type":"string","maxLength":40},"room":{"type":["string","null"]},"at":{"type":"integer"},
        "celsius":{"type":"number"},"ok":{"type":"boolean"}}}"#,
};

const LARGE: Record = Record {
    name: "1 KiB",
    sizes: 980..=1060,
    value: r#"{"id":"order-2026-11-29-000000017","placed":1700000000123,
        "customer":{"id":81723,"name":"Zo\u00eb \"Z\" Müller-Lüdenscheidt","email":"zoe.mueller@example.com",
            "address":{"street":"Unter den Linden 77, second courtyard","city":"Berlin","code":"10117"}},
        "items":[
            {"sku":"lamp-brass-0042","title":"Desk lamp of brass, with a shade of green glass","count":2,"price":129.9},
            {"sku":"bulb-e27-0007","title":"Light bulb E27, 806 lm, warm white, in a box of four","count":3,"price":11.95},
            {"sku":"cord-textile-0003","title":"Textile cord, 3 m, with a switch in the middle","count":1,"price":24.5},
            {"sku":"shade-linen-0011","title":"Shade of linen for a floor lamp, washable","count":1,"price":59.0},
            {"sku":"plug-eu-0001","title":"Plug, two poles, white","count":10,"price":0.99},
            {"sku":"wax-bees-0120","title":"Beeswax for wooden feet of lamps, in a tin of 120 ml, without scent","count":1,"price":7.25},
            {"sku":"cloth-cotton-0006","title":"Cloth of cotton for brass and glass, pack of six, may be boiled","count":2,"price":4.8}],
        "labels":{"channel":"web","campaign":"advent-2026","language":"de-DE","warehouse":"leipzig-2","priority":"normal"},
        "seconds":[12,305,4711,86400,604800,2592000,31536000,1,2,3],
        "note":"Please ring twice. The bell of the second courtyard is the small one on the left, below the mail boxes. If nobody is there, the bakery at the corner takes parcels until seven in the evening, but not on Sundays.",
        "paid":true}"#,
    avro: r#"{"type":"record","name":"Root","fields":[
        {"name":"id","type":"string"},{"name":"placed","type":"long"},
        {"name":"customer","type":{"type":"record","name":"Customer","fields":[
            {"name":"id","type":"int"},{"name":"name","type":"string"},{"name":"email","type":"string"},
            {"name":"address","type":{"type":"record","name":"Address","fields":[
                {"name":"street","type":"string"},{"name":"city","type":"string"},{"name":"code","type":"string"}]}}]}},
        {"name":"items","type":{"type":"array","items":{"type":"record","name":"Item","fields":[
            {"name":"sku","type":"string"},{"name":"title","type":"string"},{"name":"count","type":"int"},
            {"name":"price","type":"double"}]}}},
        {"name":"labels","type":{"type":"map","values":"string"}},
        {"name":"seconds","type":{"type":"array","items":"long"}},
        {"name":"note","type":["null","string"]},{"name":"paid","type":"boolean"}]}"#,
    protobuf: r#"syntax = "proto3";
        message Root {
            string id = 1; int64 placed = 2; Customer customer = 3; repeated Item items = 4;
            map<string, string> labels = 5; repeated int64 seconds = 6; optional string note = 7; bool paid = 8;
            message Customer { int32 id = 1; string name = 2; string email = 3; Address address = 4; }
            message Address { string street = 1; string city = 2; string code = 3; }
            message Item { string sku = 1; string title = 2; int32 count = 3; double price = 4; }
        }"#,
    json: r##"{"type":"object","required":["id","placed","customer","items"],"additionalProperties":false,"properties":{
        "id":{"type":"string","pattern":"^order-[0-9-]+$"},"placed":{"type":"integer","minimum":0},
        "customer":{"type":"object","required":["id","name"],"properties":{
            "id":{"type":"integer"},"name":{"type":"string","minLength":1},"email":{"type":"string"},
            "address":{"$ref":"#/definitions/address"}}},
        "items":{"type":"array","minItems":1,"items":{"type":"object","required":["sku","count"],"properties":{
            "sku":{"type":"string"},"title":{"type":"string"},"count":{"type":"integer","minimum":1},
            "price":{"type":"number"}}}},
        "labels":{"type":"object","additionalProperties":{"type":"string"}},
        "seconds":{"type":"array","items":{"type":"integer"}},
        "note":{"type":["string","null"]},"paid":{"type":"boolean"}},
        "definitions":{"address":{"type":"object","properties":{
            "street":{"type":"string"},"city":{"type":"string"},"code":{"type":"string"}}}}}"##,
};

/// The schema's id in the registry.
const PREFIX: [u8; 5] = [0, 0, 0, 0, 9];

impl Record {
    fn value(&self) -> Value {
        serde_json::from_str(self.value).expect("JSON")
    }

    fn avro(&self, schema: &apache_avro::Schema) -> Vec<u8> {
        let value = avro_value(self.value()).resolve(schema).expect("it fits");
        let writer = GenericDatumWriter::builder(schema).build().expect("a writer");
        writer.write_value_to_vec(value).expect("it can be written")
    }

    fn message(&self) -> MessageDescriptor {
        let file = protox::file::File::from_source("schema.proto", self.protobuf).expect("a file");
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_proto(file.file_descriptor_proto().clone()).expect("a schema");
        pool.get_message_by_name("Root").expect("a message")
    }

    fn protobuf(&self, message: &MessageDescriptor) -> Vec<u8> {
        // Shorter by the tags, which Avro does not have.
        let text = self.value.replace("hall-east-2", "hall-02");
        let mut reader = serde_json::Deserializer::from_str(&text);
        DynamicMessage::deserialize(message.clone(), &mut reader).expect("it fits").encode_to_vec()
    }
}

fn avro_value(json: Value) -> Avro {
    match json {
        Value::Null => Avro::Null,
        Value::Bool(value) => Avro::Boolean(value),
        Value::Number(number) => {
            number.as_i64().map_or(Avro::Double(number.as_f64().unwrap_or(f64::NAN)), Avro::Long)
        }
        Value::String(text) => Avro::String(text),
        Value::Array(items) => Avro::Array(items.into_iter().map(avro_value).collect()),
        Value::Object(members) => {
            Avro::Map(members.into_iter().map(|(name, value)| (name, avro_value(value))).collect())
        }
    }
}

fn inline(text: &str) -> Arc<dyn Catalog> {
    Arc::new(InlineCatalog::new().schema("root", "latest", text))
}

/// A registry that has this schema under all ids. Its answer is in the cache.
fn registry(kind: &str, text: &str) -> Arc<dyn Catalog> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let body = serde_json::json!({ "schema": text, "schemaType": kind }).to_string();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.expect("a client");
            let _ = socket.read(&mut [0; 4096]).expect("a request");
            let head = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            socket.write_all((head + &body).as_bytes()).expect("it reads");
        }
    });
    let options = RegistryOptions::new(url.parse().expect("a url"), Confluent::new());
    Arc::new(Registry::new(options).expect("a thread"))
}

fn source(catalog: Arc<dyn Catalog>) -> SchemaSource {
    SchemaSource::new(catalog, SchemaRef::subject("root", "latest"))
}

/// What a model makes of a value, into a buffer that is used again.
fn model(c: &mut Criterion, group: &str, name: &str, model: impl Into<Model>, value: &[u8]) {
    let model = model.into();
    let mut out = Vec::new();
    let mut convert = || {
        out.clear();
        match model.convert(&Input::value(black_box(value)), &mut out) {
            Outcome::Converted => Some(black_box(&out).len()),
            Outcome::Unchanged(bytes) => Some(black_box(bytes).len()),
            Outcome::Pending(_) => None,
            other => panic!("{other:?}"),
        }
    };
    while convert().is_none() {
        thread::yield_now();
    }
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |b| b.iter(|| convert().expect("the schema is known")));
}

fn other<T>(c: &mut Criterion, group: &str, name: &str, mut convert: impl FnMut() -> T) {
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |b| b.iter(&mut convert));
}

fn framed(value: &[u8]) -> Vec<u8> {
    [&PREFIX, value].concat()
}

fn avro(c: &mut Criterion) {
    for record in [SMALL, LARGE] {
        let group = format!("avro to json, {}", record.name);
        let schema = apache_avro::Schema::parse_str(record.avro).expect("a schema");
        let value = record.avro(&schema);
        assert!(record.sizes.contains(&value.len()), "{group}: {}", value.len());
        let ours = |catalog| AvroModel::new(source(catalog)).view(View::Json);
        model(c, &group, "inline", ours(inline(record.avro)), &value);
        model(c, &group, "registry", ours(registry("AVRO", record.avro)), &framed(&value));
        let reader = GenericDatumReader::builder(&schema).build().expect("a reader");
        let mut out = Vec::new();
        other(c, &group, "apache-avro and serde_json", || {
            out.clear();
            let value = reader.read_value(&mut black_box(&*value)).expect("avro");
            let value = Value::try_from(value).expect("JSON");
            serde_json::to_writer(&mut out, &value).expect("it can be written");
            black_box(&out).len()
        });
    }
}

fn protobuf(c: &mut Criterion) {
    for record in [SMALL, LARGE] {
        let group = format!("protobuf to json, {}", record.name);
        let message = record.message();
        let value = record.protobuf(&message);
        assert!(record.sizes.contains(&value.len()), "{group}: {}", value.len());
        let ours = |catalog| ProtobufModel::new(source(catalog), "Root").view(View::Json);
        model(c, &group, "inline", ours(inline(record.protobuf)), &value);
        // 0: the first message of the schema.
        let indexed = framed(&[&[0], &*value].concat());
        model(c, &group, "registry", ours(registry("PROTOBUF", record.protobuf)), &indexed);
        let options = SerializeOptions::new().skip_default_fields(false).use_proto_field_name(true);
        let mut out = Vec::new();
        other(c, &group, "prost-reflect and serde_json", || {
            out.clear();
            let value =
                DynamicMessage::decode(message.clone(), black_box(&*value)).expect("a message");
            let mut json = serde_json::Serializer::new(&mut out);
            value.serialize_with_options(&mut json, &options).expect("it can be written");
            black_box(&out).len()
        });
    }
}

fn json(c: &mut Criterion) {
    for record in [SMALL, LARGE] {
        let group = format!("json by schema, {}", record.name);
        let value = record.value().to_string().into_bytes();
        let ours = |catalog| JsonModel::new(source(catalog));
        model(c, &group, "inline", ours(inline(record.json)), &value);
        model(c, &group, "registry", ours(registry("JSON", record.json)), &framed(&value));
        let schema = serde_json::from_str(record.json).expect("JSON");
        let validator = jsonschema::draft7::new(&schema).expect("a schema");
        other(c, &group, "serde_json and jsonschema", || {
            let value: Value = serde_json::from_slice(black_box(&value)).expect("JSON");
            assert!(validator.is_valid(&value));
        });
    }
}

criterion_group!(benches, avro, protobuf, json);
criterion_main!(benches);
