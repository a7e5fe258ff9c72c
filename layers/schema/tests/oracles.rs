//! The transcoders against others': apache-avro writes values of random schemas, and prost-reflect reads random and
//! damaged messages.

use std::fmt::Write;
use std::sync::Arc;

use apache_avro::types::Value as Avro;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use proptest::prelude::*;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Map, Value, json};
use tailwater_schema::catalog::{InlineCatalog, SchemaRef};
use tailwater_schema::model::{AvroModel, ProtobufModel, SchemaSource, View};
use tailwater_schema::{Input, Model, Outcome};

fn inline(text: &str) -> SchemaSource {
    let catalog = InlineCatalog::new().schema("subject", "latest", text);
    SchemaSource::new(Arc::new(catalog), SchemaRef::subject("subject", "latest"))
}

fn convert(model: &Model, value: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    match model.convert(&Input::value(value), &mut out) {
        Outcome::Converted => Ok(out),
        Outcome::Unchanged(bytes) => Ok(bytes.to_vec()),
        Outcome::Rejected(rejection) => Err(rejection.reason().to_owned()),
        other => panic!("{other:?}"),
    }
}

/// A random schema of Avro.
struct Schemas {
    rng: Rng,
    /// The names that are defined, with how many are.
    named: usize,
}

impl Schemas {
    fn schema(&mut self, depth: usize) -> Value {
        let simple = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
        match self.rng.usize(..if depth > 3 { 10 } else { 16 }) {
            kind @ 0..8 => json!(simple[kind]),
            8 => json!({ "type": "enum", "name": self.name(), "symbols": ["A", "B", "C"] }),
            9 => json!({ "type": "fixed", "name": self.name(), "size": self.rng.usize(..5) }),
            10 => json!({ "type": "array", "items": self.schema(depth + 1) }),
            11 => json!({ "type": "map", "values": self.schema(depth + 1) }),
            12 | 13 => self.union(depth),
            _ => {
                let name = self.name();
                let fields = (0..self.rng.usize(..5))
                    .map(|number| json!({ "name": format!("f{number}"), "type": self.schema(depth + 1) }))
                    .collect::<Vec<_>>();
                json!({ "type": "record", "name": name, "namespace": "n.s", "fields": fields })
            }
        }
    }

    fn name(&mut self) -> String {
        self.named += 1;
        format!("T{}", self.named)
    }

    fn union(&mut self, depth: usize) -> Value {
        let mut kinds = vec![
            "null", "boolean", "int", "long", "float", "double", "bytes", "string", "array", "map",
            "record",
        ];
        self.rng.shuffle(&mut kinds);
        kinds.truncate(self.rng.usize(1..4));
        let branches = kinds.into_iter().map(|kind| match kind {
            "array" => json!({ "type": "array", "items": self.schema(depth + 2) }),
            "map" => json!({ "type": "map", "values": self.schema(depth + 2) }),
            "record" => json!({ "type": "record", "name": self.name(), "fields": [] }),
            simple => json!(simple),
        });
        Value::Array(branches.collect())
    }

    fn text(&mut self) -> String {
        let characters = ['a', 'é', '"', '\\', '\n', '\u{1}', '/', '😀', '\u{7f}'];
        (0..self.rng.usize(..6)).map(|_| characters[self.rng.usize(..characters.len())]).collect()
    }

    fn long(&mut self) -> i64 {
        [0, -1, 1, i64::MIN, i64::MAX, 64, -65, 9_007_199_254_740_993][self.rng.usize(..8)]
            >> self.rng.u32(..63)
    }

    /// A random value of a schema, and the JSON that it becomes.
    fn value(&mut self, schema: &Value) -> (Avro, Value) {
        match schema {
            Value::Array(branches) => {
                let at = self.rng.usize(..branches.len());
                let (value, json) = self.value(&branches[at]);
                let is_null = branches[at] == "null";
                let bare = branches.len() == 2 && branches.iter().any(|branch| branch == "null");
                let json = if is_null || bare {
                    json
                } else {
                    json!({ branch_name(&branches[at]): json })
                };
                (Avro::Union(at as u32, Box::new(value)), json)
            }
            Value::Object(object) => self.complex(object),
            simple => match simple.as_str().expect("a name") {
                "null" => (Avro::Null, Value::Null),
                "boolean" => {
                    let value = self.rng.bool();
                    (Avro::Boolean(value), json!(value))
                }
                "int" => {
                    let value = self.long() as i32;
                    (Avro::Int(value), json!(value))
                }
                "long" => {
                    let value = self.long();
                    (Avro::Long(value), json!(value))
                }
                "float" => {
                    let value = f32::from_bits(self.rng.u32(..));
                    // The shortest digits of the float, as a number.
                    let json = if value.is_finite() {
                        serde_json::from_str(&format!("{value:e}")).expect("a number")
                    } else {
                        unusual(value.into())
                    };
                    (Avro::Float(value), json)
                }
                "double" => {
                    let value = f64::from_bits(self.rng.u64(..));
                    (
                        Avro::Double(value),
                        if value.is_finite() { json!(value) } else { unusual(value) },
                    )
                }
                "bytes" => {
                    let value: Vec<u8> =
                        (0..self.rng.usize(..6)).map(|_| self.rng.u8(..)).collect();
                    let json = json!(STANDARD.encode(&value));
                    (Avro::Bytes(value), json)
                }
                "string" => {
                    let value = self.text();
                    (Avro::String(value.clone()), json!(value))
                }
                other => panic!("{other}"),
            },
        }
    }

    fn complex(&mut self, object: &Map<String, Value>) -> (Avro, Value) {
        match object["type"].as_str().expect("a kind") {
            "enum" => {
                let at = self.rng.usize(..3);
                let symbol = ["A", "B", "C"][at];
                (Avro::Enum(at as u32, symbol.to_owned()), json!(symbol))
            }
            "fixed" => {
                let size = object["size"].as_u64().expect("a size") as usize;
                let value: Vec<u8> = (0..size).map(|_| self.rng.u8(..)).collect();
                let json = json!(STANDARD.encode(&value));
                (Avro::Fixed(size, value), json)
            }
            "array" => {
                let (values, json): (Vec<Avro>, Vec<Value>) =
                    (0..self.rng.usize(..4)).map(|_| self.value(&object["items"])).unzip();
                (Avro::Array(values), json.into())
            }
            "map" => {
                let members: Vec<_> = (0..self.rng.usize(..4))
                    .map(|number| {
                        (format!("{number}{}", self.text()), self.value(&object["values"]))
                    })
                    .collect();
                let values =
                    members.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect();
                (
                    Avro::Map(values),
                    members
                        .into_iter()
                        .map(|(key, (_, json))| (key, json))
                        .collect::<Map<_, _>>()
                        .into(),
                )
            }
            _ => {
                let mut fields = Vec::new();
                let mut json = Map::new();
                for field in object["fields"].as_array().expect("fields") {
                    let name = field["name"].as_str().expect("a name").to_owned();
                    let (value, member) = self.value(&field["type"]);
                    fields.push((name.clone(), value));
                    json.insert(name, member);
                }
                (Avro::Record(fields), json.into())
            }
        }
    }
}

fn unusual(number: f64) -> Value {
    json!(if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    })
}

fn branch_name(schema: &Value) -> String {
    let name = match schema {
        Value::Object(object) => object.get("name").unwrap_or(&object["type"]),
        name => name,
    };
    name.as_str().expect("a name").to_owned()
}

/// A random file of protocol buffers.
fn proto(rng: &mut Rng) -> String {
    let scalars = [
        "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32",
        "fixed64", "sfixed32", "sfixed64", "bool", "string", "bytes", "E", "M", "Other",
    ];
    let keys = [
        "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32",
        "sfixed64", "bool", "string",
    ];
    let mut number = 0;
    let mut message = |rng: &mut Rng, name: &str| {
        let mut text = format!("message {name} {{ ");
        for _ in 0..rng.usize(1..12) {
            number += 1 + if rng.u8(..8) == 0 { 300 } else { 0 };
            let kind = scalars[rng.usize(..scalars.len())];
            match rng.usize(..5) {
                0 => write!(text, "repeated {kind} f{number} = {number}; "),
                1 => write!(text, "optional {kind} f{number} = {number}; "),
                2 => write!(
                    text,
                    "map<{}, {kind}> f{number} = {number}; ",
                    keys[rng.usize(..keys.len())]
                ),
                _ => write!(text, "{kind} f{number} = {number}; "),
            }
            .expect("a string");
        }
        writeln!(
            text,
            "oneof o {{ {} a = {}; string b = {}; bool c = {}; }} }}",
            scalars[rng.usize(..16)],
            number + 1,
            number + 2,
            number + 3
        )
        .expect("a string");
        number = 0;
        text
    };
    format!(
        "syntax = \"proto3\"; enum E {{ ZERO = 0; ONE = 1; TWO = 2; NEGATIVE = -1; }}\n{}{}",
        message(rng, "M"),
        message(rng, "Other")
    )
}

/// Random fields of a message, most of them known.
fn message(rng: &mut Rng, descriptor: &MessageDescriptor, depth: usize) -> Vec<u8> {
    let varint = |out: &mut Vec<u8>, mut number: u64| {
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    };
    let mut out = Vec::new();
    let fields: Vec<_> = descriptor.fields().collect();
    for _ in 0..rng.usize(..if depth > 3 { 2 } else { 8 }) {
        let field = &fields[rng.usize(..fields.len())];
        let wire = match field.kind().wire_type() {
            _ if rng.u8(..20) == 0 => rng.u64(..6),
            _ if field.is_packed() && rng.bool() => 2,
            wire_type => wire_type as u64,
        };
        let number = if rng.u8(..20) == 0 { rng.u32(1..400) } else { field.number() };
        varint(&mut out, u64::from(number) << 3 | wire);
        match wire {
            0 => varint(
                &mut out,
                if rng.bool() { rng.u64(..4) } else { rng.u64(..) >> rng.u32(..64) },
            ),
            1 => out.extend(rng.u64(..).to_le_bytes()),
            5 => out.extend(rng.u32(..).to_le_bytes()),
            2 => {
                let inner = match field.kind().as_message() {
                    Some(inner) => message(rng, inner, depth + 1),
                    None if field.is_packed() => {
                        (0..rng.usize(..4) * 8).map(|_| rng.u8(..128)).collect()
                    }
                    None => (0..rng.usize(..6))
                        .map(|_| if rng.u8(..30) == 0 { 0xff } else { rng.u8(..128) })
                        .collect::<Vec<u8>>(),
                };
                varint(&mut out, inner.len() as u64);
                out.extend(inner);
            }
            _ => {}
        }
    }
    out
}

/// The fields of a message that are still to be read.
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    /// Whether there is a map with a wire type that maps do not have. False where the message ends early.
    fn reaches_misread_map(mut self, descriptor: &MessageDescriptor) -> bool {
        self.find_misread_map(descriptor).unwrap_or(false)
    }

    fn find_misread_map(&mut self, descriptor: &MessageDescriptor) -> Option<bool> {
        while !self.0.is_empty() {
            let (number, wire_type) = self.tag()?;
            let field = descriptor.get_field(number);
            if field.as_ref().is_some_and(|field| field.is_map()) && wire_type != 2 {
                return Some(true);
            }
            let payload = self.payload(wire_type)?;
            // The entry of a map is a message, too.
            let kind = field.map(|field| field.kind());
            if let Some(inner) = kind.as_ref().and_then(|kind| kind.as_message())
                && wire_type == 2
                && Wire(payload).find_misread_map(inner)?
            {
                return Some(true);
            }
        }
        Some(false)
    }

    fn tag(&mut self) -> Option<(u32, u64)> {
        let tag = self.varint()?;
        Some((u32::try_from(tag >> 3).ok()?, tag & 7))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = *self.take(1)? else { return None };
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        self.0.split_off(..count)
    }

    fn payload(&mut self, wire_type: u64) -> Option<&'a [u8]> {
        match wire_type {
            0 => self.varint().map(|_| &[][..]),
            1 => self.take(8),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.take(length)
            }
            3 => loop {
                let (_, wire_type) = self.tag()?;
                if wire_type == 4 {
                    return Some(&[]);
                }
                self.payload(wire_type)?;
            },
            5 => self.take(4),
            _ => None,
        }
    }
}

#[test]
fn only_a_map_of_another_wire_type_is_misread() {
    let text =
        "syntax = \"proto3\"; message M { map<int32, M> m = 1; repeated M r = 2; int32 n = 3; }";
    let file = protox::file::File::from_source("schema.proto", text).expect("a file");
    let mut pool = prost_reflect::DescriptorPool::new();
    pool.add_file_descriptor_proto(file.file_descriptor_proto().clone()).expect("a file");
    let descriptor = pool.get_message_by_name("M").expect("a message");
    let rows: [(&[u8], bool); 9] = [
        (b"", false),
        (b"\x0a\x02\x08\x01", false),
        (b"\x08\x00", true),
        (b"\x18\x07\x0d\0\0\0\0", true),
        (b"\x12\x02\x08\x00", true),
        (b"\x0a\x04\x12\x02\x08\x00", true),
        (b"\x10\x07", false),
        (b"\x1a\x02\x08\x00", false),
        (b"\x12\x03\x08\x00", false),
    ];
    for (bytes, misread) in rows {
        assert_eq!(Wire(bytes).reaches_misread_map(&descriptor), misread, "{bytes:02x?}");
    }
}

/// Numbers that are the same have different texts.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right
                || left.as_f64().map(|number| number as f32)
                    == right.as_f64().map(|number| number as f32)
                    && (left.is_f64() || right.is_f64())
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(name, left)| right.get(name).is_some_and(|right| same(left, right)))
        }
        _ => left == right,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn avro_is_read_as_apache_avro_writes_it(seed in any::<u64>()) {
        let mut schemas = Schemas { rng: Rng::with_seed(seed), named: 0 };
        let schema = schemas.schema(0);
        let text = schema.to_string();
        let parsed = apache_avro::Schema::parse_str(&text).expect("a schema");
        let as_json = Model::from(AvroModel::new(inline(&text)).view(View::Json));
        let unchanged = Model::from(AvroModel::new(inline(&text)));
        let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&parsed).build().expect("a writer");
        for _ in 0..4 {
            let (value, json) = schemas.value(&schema);
            let bytes = writer.write_value_to_vec(value).expect("a value");
            let written = convert(&as_json, &bytes).expect("JSON");
            let written: Value = serde_json::from_slice(&written).expect("JSON");
            prop_assert!(same(&written, &json), "{text}\n{written}\n{json}");
            prop_assert_eq!(convert(&unchanged, &bytes), Ok(bytes.clone()));
            // Each shorter one is refused in both views, or is whole without what is cut off.
            for length in 0..bytes.len() {
                let short = &bytes[..length];
                prop_assert_eq!(convert(&as_json, short).is_ok(), convert(&unchanged, short).is_ok());
            }
        }
    }

    #[test]
    fn protobuf_is_read_as_prost_reflect_reads_it(seed in any::<u64>()) {
        let mut rng = Rng::with_seed(seed);
        let text = proto(&mut rng);
        let file = protox::file::File::from_source("schema.proto", &text).expect("a file");
        let mut pool = prost_reflect::DescriptorPool::new();
        pool.add_file_descriptor_proto(file.file_descriptor_proto().clone()).expect("a file");
        let descriptor = pool.get_message_by_name("M").expect("a message");
        let model = Model::from(ProtobufModel::new(inline(&text), "M").view(View::Json));
        let known = Model::from(ProtobufModel::new(inline(&text), "M"));
        let options = SerializeOptions::new().skip_default_fields(false).use_proto_field_name(true);
        for _ in 0..8 {
            let mut bytes = message(&mut rng, &descriptor, 0);
            if rng.u8(..4) == 0 && !bytes.is_empty() {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            // Other first bytes are indexes.
            if matches!(bytes.first(), Some(0 | 2 | 4 | 6)) {
                continue;
            }
            let theirs = DynamicMessage::decode(descriptor.clone(), bytes.as_slice());
            let ours = convert(&model, &bytes);
            match (&theirs, &ours) {
                (Ok(theirs), Ok(ours)) => {
                    let theirs = theirs.serialize_with_options(serde_json::value::Serializer, &options).expect("JSON");
                    let ours: Value = serde_json::from_slice(ours).expect("JSON");
                    prop_assert!(same(&ours, &theirs), "{text}\n{bytes:02x?}\n{ours}\n{theirs}");
                    // Without unknown fields it is the same message.
                    let again = convert(&model, &convert(&known, &bytes).expect("a message"));
                    if !matches!(convert(&known, &bytes).expect("a message").first(), Some(0 | 2 | 4 | 6)) {
                        prop_assert_eq!(again.expect("JSON"), convert(&model, &bytes).expect("JSON"));
                    }
                }
                (Err(_), Err(_)) => {}
                // prost-reflect does not check the wire type of a map.
                (Ok(_), Err(_)) if Wire(&bytes).reaches_misread_map(&descriptor) => {}
                (theirs, ours) => {
                    // A message has no `Debug` that ends where its type contains itself.
                    let theirs = theirs.as_ref().map(drop);
                    prop_assert!(false, "{text}\n{bytes:02x?}\n{theirs:?}\n{ours:?}");
                }
            }
        }
    }
}
