//! Models of topics: records are validated and converted before a stream gets them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{
    FreePort, Get, Kafka, LOOK, Record, Registry, Stream, field, id, kafka, real_kafka, run,
    server, soon,
};

const S1: &str = r#"{"type":"record","name":"Reading","fields":[{"name":"id","type":"string"},{"name":"n","type":"int"},{"name":"l","type":"long"},{"name":"ok","type":"boolean"}]}"#;
const R9: &str = r#"{"type":"record","name":"R9","fields":[{"name":"id","type":"string"},{"name":"n","type":"int"}]}"#;
const R10: &str = r#"{"type":"record","name":"R10","fields":[{"name":"id","type":"string"},{"name":"n","type":"int"},{"name":"extra","type":"string"}]}"#;
const OBJECT: &str = r#"{"type":"object","properties":{"id":{"type":"string"},"n":{"type":"integer"}},"required":["id"],"additionalProperties":false}"#;
const OUTAGE: &str = "schemas cannot be fetched, trying again";
const RECOVERED: &str = "schemas are fetched again";

const PROTO: &str = r#"
syntax = "proto3";
package tw;
message First { string device_id = 1; int32 count = 2; int64 big = 3; repeated int32 nums = 9; }
message Second { string b = 1; message Deep { int32 c = 1; } }
"#;

fn hex(text: &str) -> Vec<u8> {
    let digits = |pair: &[u8]| {
        pair.iter().try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
    };
    let byte = |pair| digits(pair).and_then(|byte| u8::try_from(byte).ok()).expect("hex");
    text.as_bytes().chunks(2).map(byte).collect()
}

/// Writes a value, given as hex.
fn write(kafka: &Kafka, topic: &str, value: &str) -> i64 {
    kafka.produce(topic, Record::value(&hex(value))).1
}

fn data(block: &str) -> &str {
    field(block, "data").expect("data")
}

fn json_of(block: &str) -> Value {
    serde_json::from_str(data(block)).expect("JSON")
}

/// A line of the log, if it is about a left-out record of a topic.
fn rejection(line: &str, topic: &str) -> Option<Value> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["message"] == "a record was rejected" && line["topic"] == topic).then_some(line)
}

async fn open(get: Get) -> Stream {
    get.open().await
}

/// The next event of a record that has a value.
async fn next_value(stream: &mut Stream) -> String {
    loop {
        let event = stream.next().await;
        if field(&event, "data").is_some() && field(&event, "event").is_none() {
            return event;
        }
    }
}

#[tokio::test]
async fn avro_is_json_for_a_stream() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let model = "value: { model: avro, view: json, catalog: { here: [{ subject: s1 }] } }";
    let server = server(&kafka).inline("here", "s1", S1).topic(&topic, model).run().await;
    let mut live = open(server.get(&format!("/all/{topic}"))).await;
    let rows = [
        ("026105828080808080802001", Some(r#"{"id":"a","n":-3,"l":9007199254740993,"ok":true}"#)),
        // Cut off, a boolean 2, an int of more than 32 bits, a negative length, a length past the end, nothing.
        ("027402", None),
        ("046232020202", None),
        ("066f76668080808080400201", None),
        ("076162020201", None),
        ("146162", None),
        ("", None),
        (
            "026dfeffffff0fffffffffffffffffff0101",
            Some(r#"{"id":"m","n":2147483647,"l":-9223372036854775808,"ok":true}"#),
        ),
        (
            "1a71225c0a09012fc3a9f09f9880000001",
            Some("{\"id\":\"q\\\"\\\\\\n\\t\\u0001/é😀\",\"n\":0,\"l\":0,\"ok\":true}"),
        ),
        ("0a747261696c0202015858", Some(r#"{"id":"trail","n":1,"l":1,"ok":true}"#)),
    ];
    let assert_row = |event: &str, offset: usize| {
        let (value, expected) = rows[offset];
        let expected: Value = serde_json::from_str(expected.expect("a row of JSON")).expect("JSON");
        assert_eq!(json_of(event), expected, "{value}");
        let behind = i64::try_from(offset).expect("few rows") + 1;
        assert_eq!(field(event, "id"), Some(&*id(&[(0, behind)])), "{value}");
    };
    // Records from before the log of the topic begins are converted when streams read them: not in the
    // order of the topic. The log begins before the second record once the first one has arrived.
    write(&kafka, &topic, rows[0].0);
    assert_row(&live.next().await, 0);
    for (value, _) in &rows[1..] {
        write(&kafka, &topic, value);
    }
    kafka.produce(&topic, Record::tombstone().key("a"));
    // Of the past, by a stream that begins now, too.
    let mut late = open(server.get(&format!("/all/{topic}"))).await;
    for (stream, seen) in [(&mut live, 1), (&mut late, 0)] {
        for (offset, (_, expected)) in rows.iter().enumerate().skip(seen) {
            if expected.is_some() {
                assert_row(&stream.next().await, offset);
            }
        }
        let delete = stream.next().await;
        assert_eq!(field(&delete, "event"), Some("delete"), "{delete}");
    }
    let first = server.stderr().find(|line| rejection(line, &topic)).await;
    assert_eq!(first["partition"], 0, "{first}");
    assert_eq!(first["offset"], 1, "{first}");
    assert_eq!(first["reason"], "malformed", "{first}");
    assert!(
        first["detail"].as_str().is_some_and(|detail| detail.starts_with("value, avro: ")),
        "{first}"
    );
}

#[tokio::test]
async fn protobuf_is_json_for_a_stream() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let model = "value: { model: protobuf, view: json, catalog: { here: [{ subject: p, record: First }] } }";
    let server = server(&kafka).inline("here", "p", PROTO).topic(&topic, model).run().await;
    let empty = json!({"device_id": "", "count": 0, "big": "0", "nums": []});
    let with = |name: &str, value: Value| {
        let mut all = empty.clone();
        all[name] = value;
        all
    };
    let rows = [
        ("00", Some(empty.clone())),
        ("0a0164", Some(with("device_id", json!("d")))),
        ("000a0164", Some(with("device_id", json!("d")))),
        ("00188180808080808010", Some(with("big", json!("9007199254740993")))),
        // A field that comes twice: the last one counts, and repeated ones are joined.
        ("0010011002", Some(with("count", json!(2)))),
        ("0048014802", Some(with("nums", json!([1, 2])))),
        ("02020a067365636f6e64", Some(json!({"b": "second"}))),
        ("0402000803", Some(json!({"c": 3}))),
        // Cut off, of a wrong type, without such a message, an index that never ends.
        ("000a056162", None),
        ("000a01ff", None),
        ("02100a0178", None),
        ("80010a0178", None),
        ("0a0165", Some(with("device_id", json!("e")))),
    ];
    for (value, _) in &rows {
        write(&kafka, &topic, value);
    }
    let mut stream = open(server.get(&format!("/all/{topic}"))).await;
    for (value, expected) in rows {
        if let Some(expected) = expected {
            assert_eq!(json_of(&stream.next().await), expected, "{value}");
        }
    }
}

#[tokio::test]
async fn json_that_does_not_fit_is_left_out_or_told() {
    let kafka = kafka().await;
    let strict = kafka.topic(1).await;
    let lenient = kafka.topic(1).await;
    let model = "model: json, catalog: { here: [{ subject: o }] }";
    let server = server(&kafka)
        .inline("here", "o", OBJECT)
        .topic(&strict, &format!("value: {{ {model} }}"))
        .topic(&lenient, &format!("value: {{ {model}, validate: lenient }}"))
        .run()
        .await;
    let values = [
        r#"{ "id": "a", "n": 1 }"#,
        r#"{"n":1}"#,
        r#"{"id":1}"#,
        r#"{"id":"c","x":1}"#,
        "[]",
        "not json",
        r#"{"id":"b","n":9007199254740993}"#,
    ];
    for topic in [&strict, &lenient] {
        kafka.produce_values(topic, values.map(str::to_owned));
    }
    let mut skipping = open(server.get(&format!("/all/{strict}"))).await;
    assert_eq!(data(&skipping.next().await), values[0]);
    let last = skipping.next().await;
    assert_eq!((data(&last), field(&last, "id")), (values[6], Some(&*id(&[(0, 7)]))));

    let mut told = open(server.get(&format!("/invalid/{strict}"))).await;
    assert_eq!(data(&told.next().await), values[0]);
    // Neighbours that were read together are one gap.
    let mut next = 1;
    while next < 6 {
        let (gap, at) = told.gap().await;
        let to = gap["to"].as_i64().expect("an offset");
        assert_eq!(gap, json!({"partition": 0, "from": next, "to": to, "reason": "invalid"}));
        assert_eq!(at, id(&[(0, to)]));
        next = to;
    }
    assert_eq!(next, 6);
    assert_eq!(data(&told.next().await), values[6]);

    let mut all = open(server.get(&format!("/all/{lenient}"))).await;
    for value in [values[0], values[1], values[2], values[3], values[4], values[6]] {
        assert_eq!(data(&all.next().await), value);
    }
    server.stderr().says("a record violates its model, which is lenient").await;
    // A client that comes back from before them does not get them either.
    let again = server.get(&format!("/all/{strict}")).last_event_id(id(&[(0, 2)]));
    assert_eq!(data(&again.open().await.next().await), values[6]);
}

#[tokio::test]
async fn a_large_value_is_delivered_whole() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let model = "value: { model: json, catalog: { here: [{ subject: o }] } }";
    let server = server(&kafka).inline("here", "o", "true").topic(&topic, model).run().await;
    let value = format!(r#"{{"a":"{}"}}"#, "x".repeat(200_000));
    kafka.produce(&topic, Record::value(&value));
    let mut stream = open(server.get(&format!("/all/{topic}"))).await;
    assert_eq!(data(&stream.next().await), value);
}

#[tokio::test]
async fn a_converted_key_is_the_key() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let model = "key: { model: avro, view: json, catalog: { here: [{ subject: k }] } }";
    let server = server(&kafka).inline("here", "k", R9).topic(&topic, model).run().await;
    let key = r#"{"id":"a","n":2}"#;
    let base64 = STANDARD.encode(key);
    kafka.produce(&topic, Record::value("one").key(&hex("026104")));
    kafka.produce(&topic, Record::tombstone().key(&hex("026104")));
    // Keys that do not fit decide over tombstones, too; no key fits.
    kafka.produce(&topic, Record::tombstone().key(&hex("0261")));
    kafka.produce(&topic, Record::value("no key"));
    kafka.produce(&topic, Record::value("other").key(&hex("026204")));
    let mut stream = open(server.get(&format!("/keyed/{topic}"))).await;
    let one = stream.next().await;
    assert_eq!(data(&one), "one");
    assert_eq!(field(&one, "id"), Some(&*format!(r#"["{base64}","AQIAAg=="]"#)));
    let delete = stream.next().await;
    assert_eq!(field(&delete, "event"), Some("delete"));
    assert_eq!(data(&delete), base64);
    assert_eq!(field(&delete, "id"), Some(&*format!(r#"["{base64}","AQIABA=="]"#)));
    assert_eq!(data(&stream.next().await), "no key");
    assert_eq!(data(&stream.next().await), "other");
    let mut filtered =
        open(server.get(&format!("/keys/{topic}/%7B%22id%22:%22b%22,%22n%22:2%7D"))).await;
    assert_eq!(data(&filtered.next().await), "other");
}

#[tokio::test]
async fn a_pattern_selects_keys() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let model = r#"key: { model: string, pattern: "[a-z]+" }"#;
    let server = server(&kafka).topic(&topic, model).run().await;
    for (key, value) in [("abc", "1"), ("ABC", "2"), ("", "3"), ("abc\n", "4"), ("b", "5")] {
        kafka.produce(&topic, Record::value(value).key(key));
    }
    let mut stream = open(server.get(&format!("/all/{topic}"))).await;
    for expected in ["1", "5"] {
        assert_eq!(data(&stream.next().await), expected);
    }
}

#[tokio::test]
async fn fields_become_keys_and_headers() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let options = r#"
      key: { model: avro, catalog: { here: [{ subject: k }] } },
      value: { model: json, catalog: { any: [{ subject: v }] } },
      transforms: [{ extract-key: "${message.key.n}" }, { extract-headers: { tag: "${message.value.tag}" } }]
    "#;
    let server = server(&kafka)
        .inline("here", "k", R9)
        .inline("any", "v", "true")
        .topic(&topic, &options.replace('\n', " "))
        .run()
        .await;
    let a = hex("026102");
    kafka.produce(&topic, Record::value(r#"{"tag":"x","no":1}"#).key(&a));
    kafka.produce(&topic, Record::value(r#"{"tag":null,"no":2}"#).key(&hex("026204")));
    kafka.produce(&topic, Record::value(r#"{"tag":1.50,"no":3}"#).key(&a));
    let headers: [(&str, Option<&[u8]>); 1] = [("tag", Some(b"own"))];
    kafka.produce(&topic, Record::value(r#"{"tag":"x","no":4}"#).key(&a).headers(&headers));
    kafka.produce(&topic, Record::tombstone().key(&a));
    let numbers = async |path: String, count: usize| {
        let mut stream = open(server.get(&path)).await;
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(json_of(&stream.next().await)["no"].as_i64().expect("a number"));
        }
        numbers
    };
    assert_eq!(numbers(format!("/keys/{topic}/1"), 3).await, [1, 3, 4]);
    assert_eq!(numbers(format!("/keys/{topic}/2"), 1).await, [2]);
    assert_eq!(numbers(format!("/tags/{topic}/x"), 2).await, [1, 4]);
    assert_eq!(numbers(format!("/tags/{topic}/own"), 1).await, [4]);
    assert_eq!(numbers(format!("/tags/{topic}/1.50"), 1).await, [3]);
    let mut keyed = open(server.get(&format!("/keyed/{topic}"))).await;
    let first = keyed.next().await;
    assert_eq!(field(&first, "id"), Some(r#"["MQ==","AQIAAg=="]"#));
    let delete = keyed.take(4).await.pop().expect("four");
    assert_eq!((field(&delete, "event"), data(&delete)), (Some("delete"), "MQ=="));
}

#[tokio::test]
async fn a_deletion_has_a_header_from_its_key_and_none_from_a_value() {
    let kafka = kafka().await;
    let of_key = kafka.topic(1).await;
    let of_value = kafka.topic(1).await;
    let options = |field| {
        format!(
            "key: {{ model: avro, view: json, catalog: {{ here: [{{ subject: k }}] }} }}, \
             value: {{ model: json, catalog: {{ any: [{{ subject: v }}] }} }}, \
             transforms: [{{ extract-headers: {{ tag: \"${{message.{field}.id}}\" }} }}]"
        )
    };
    let server = server(&kafka)
        .inline("here", "k", R9)
        .inline("any", "v", "true")
        .topic(&of_key, &options("key"))
        .topic(&of_value, &options("value"))
        .run()
        .await;
    let key = hex("026102");
    for topic in [&of_key, &of_value] {
        kafka.produce(topic, Record::value(r#"{"id":"a","no":1}"#).key(&key));
        kafka.produce(topic, Record::tombstone().key(&key));
        kafka.produce(topic, Record::value(r#"{"id":"a","no":2}"#).key(&key));
    }
    for (topic, expected) in
        [(of_key, &[None, Some("delete"), None][..]), (of_value, &[None, None])]
    {
        let mut stream = open(server.get(&format!("/tags/{topic}/a"))).await;
        for expected in expected {
            let event = stream.next().await;
            assert_eq!(field(&event, "event"), *expected, "{event:?}");
        }
    }
}

#[tokio::test]
async fn an_expression_names_topics() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let other = kafka.topic(1).await;
    let (start, _) = topic.split_at(topic.len() - 1);
    let server = server(&kafka)
        .topic(&topic, "value: int32")
        .topic(&format!("{start}.*|x"), "value: { model: string, maxLength: 2 }")
        .run()
        .await;
    for value in ["a", "123", "12"] {
        kafka.produce(&topic, Record::value(value));
        kafka.produce(&other, Record::value(value));
    }
    let mut numbers = open(server.get(&format!("/all/{topic}"))).await;
    assert_eq!(data(&numbers.next().await), "123");
    assert_eq!(data(&numbers.next().await), "12");
    if other.starts_with(start) {
        let mut texts = open(server.get(&format!("/all/{other}"))).await;
        assert_eq!(data(&texts.next().await), "a");
        assert_eq!(data(&texts.next().await), "12");
    }
}

#[tokio::test]
async fn an_expression_names_topics_that_begin_live() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    kafka.produce(&topic, Record::value("old"));
    let (start, _) = topic.split_at(topic.len() - 1);
    let server = server(&kafka).topic(&format!("{start}.+"), "defaultOffset: live").run().await;
    let mut stream = open(server.get(&format!("/live/{topic}"))).await;
    assert_eq!(stream.next().await, "id:AQIAAg==\n");
}

#[tokio::test]
async fn a_record_is_read_with_the_schema_that_it_names() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let registry = Registry::new().await;
    registry.subject(&format!("{topic}-value"), 9, R9);
    registry.schema(10, R10);
    let catalog = format!(
        "reg: {{ type: schema-registry, options: {{ url: \"{}\", credentials: {{ headers: {{ authorization: \"Basic c2VjcmV0\" }} }} }} }}",
        registry.url()
    );
    let model = "value: { model: avro, view: json, catalog: { reg: [{ strategy: topic }] } }";
    let server = server(&kafka).catalog(&catalog).topic(&topic, model).run().await;
    for value in [
        "0000000009026102",
        "0a6e6f70667804",
        "000000000a04763206086d6f7265",
        "000000004d06756e6b02",
        "0000000009",
        "00",
        "",
        "0000000009026204",
    ] {
        write(&kafka, &topic, value);
    }
    let mut stream = open(server.get(&format!("/all/{topic}"))).await;
    for (expected, offset) in [
        (r#"{"id":"a","n":1}"#, 0),
        (r#"{"id":"nopfx","n":2}"#, 1),
        (r#"{"id":"v2","n":3,"extra":"more"}"#, 2),
        (r#"{"id":"b","n":2}"#, 7),
    ] {
        let event = stream.next().await;
        assert_eq!(data(&event), expected);
        assert_eq!(field(&event, "id"), Some(&*id(&[(0, offset + 1)])));
    }
    let requests = registry.requests();
    assert!(
        requests.iter().all(|head| head.to_lowercase().contains("authorization: basic c2vjcmv0")),
        "{requests:?}"
    );
    let asked = |path: &str| {
        let begins = format!("GET {path} ");
        requests.iter().filter(|head| head.starts_with(&begins)).count()
    };
    assert_eq!(asked("/schemas/ids/10"), 1, "{requests:?}");
    assert!(asked("/schemas/ids/77") <= 3, "{requests:?}");
    assert!(!server.stderr().text().contains("c2VjcmV0"));
}

#[tokio::test]
async fn a_registry_that_is_away_holds_up_what_needs_it_and_loses_nothing() {
    let kafka = kafka().await;
    let waiting = kafka.topic(1).await;
    let other = kafka.topic(1).await;
    let free = FreePort::new();
    let port = free.number();
    let catalog =
        format!("reg: {{ type: karapace, options: {{ url: \"http://127.0.0.1:{port}\" }} }}");
    let model = "value: { model: avro, view: json, catalog: { reg: [{ strategy: encoded }] } }";
    // Of two schemas by turns: none is known yet.
    let write_from = |first: u8| {
        for index in first..first + 10 {
            let (schema, end) =
                if index % 2 == 0 { ("0000000009", "") } else { ("000000000a", "0278") };
            write(&kafka, &waiting, &format!("{schema}0261{:02x}{end}", index * 2));
        }
    };
    write_from(0);
    let server = server(&kafka)
        .catalog(&catalog)
        .topic(&waiting, model)
        .topic(&other, "value: string")
        .bootstrap(&waiting)
        .run()
        .await;
    let is_open = |line: &str| line.contains("topic is open") && line.contains(&waiting);
    server.stderr().find(|line| is_open(line).then_some(())).await;
    let mut live = open(server.get(&format!("/all/{waiting}"))).await;
    // What is in the log of the topic and what was there before it both begin with the same schema.
    write_from(10);
    let mut others = open(server.get(&format!("/all/{other}"))).await;
    kafka.produce(&other, Record::value("goes on"));
    assert_eq!(data(&others.next().await), "goes on");
    let mut late = open(server.get(&format!("/all/{waiting}"))).await;
    // The outage is logged once at its beginning, however often the registry is asked.
    server.stderr().says(OUTAGE).await;
    let registry = Registry::at(port).await;
    registry.answer("/schemas/ids/9", 503, "");
    let asked = async {
        while !registry.requests().iter().any(|head| head.starts_with("GET /schemas/ids/9 ")) {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("a request", asked).await;
    assert_eq!((live.seen(), late.seen()), (0, 0));
    registry.schema(9, R9);
    registry.schema(10, R10);
    for stream in [&mut live, &mut late] {
        for index in 0..20_i64 {
            let event = stream.next().await;
            assert_eq!(json_of(&event)["n"], index);
            assert_eq!(field(&event, "id"), Some(&*id(&[(0, index + 1)])));
        }
    }
    write(&kafka, &waiting, "0000000009026102");
    assert_eq!(json_of(&live.next().await)["n"], 1);
    server.stderr().says(RECOVERED).await;
    let log = server.stderr().text();
    assert!(log.lines().all(|line| rejection(line, &waiting).is_none()), "{log}");
    assert_eq!(log.matches(OUTAGE).count(), 1, "{log}");
}

#[tokio::test]
async fn a_record_that_does_not_fit_supersedes_its_key_in_a_compacted_topic() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.name();
    kafka.create(&topic, 1, &[("cleanup.policy", "compact"), ("retention.ms", "-1")]).await;
    kafka.produce(&topic, Record::value("1").key("a"));
    kafka.produce(&topic, Record::value("2").key("b"));
    kafka.produce(&topic, Record::value("no number").key("a"));
    let server = server(&kafka).topic(&topic, "value: int32").bootstrap(&topic).run().await;
    let mut stream = open(server.get(&format!("/all/{topic}"))).await;
    assert_eq!(data(&stream.next().await), "2");
    kafka.produce(&topic, Record::value("3").key("a"));
    assert_eq!(data(&stream.next().await), "3");
}

#[tokio::test]
async fn keys_that_are_the_same_after_conversion_are_one_key() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.name();
    kafka.create(&topic, 1, &[("cleanup.policy", "compact"), ("retention.ms", "-1")]).await;
    let registry = Registry::new().await;
    registry.schema(9, R9);
    registry.schema(19, R9);
    let catalog =
        format!("reg: {{ type: schema-registry, options: {{ url: \"{}\" }} }}", registry.url());
    let model = "key: { model: avro, view: json, catalog: { reg: [{ strategy: topic }] } }";
    kafka.produce(&topic, Record::value("old").key(&hex("0000000009026102")));
    kafka.produce(&topic, Record::value("new").key(&hex("0000000013026102")));
    let server =
        server(&kafka).catalog(&catalog).topic(&topic, model).bootstrap(&topic).run().await;
    let mut stream = open(server.get(&format!("/all/{topic}"))).await;
    assert_eq!(data(&stream.next().await), "new");
}

#[tokio::test]
async fn the_data_of_events_is_judged_for_each_path() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let json = "{ model: json, catalog: { here: [{ subject: o }] } }";
    let avro = "{ model: avro, view: json, catalog: { there: [{ subject: a }] } }";
    let list = r#"{"type":"array","items":"int"}"#;
    let server = server(&kafka)
        .inline("here", "o", OBJECT)
        .inline("there", "a", list)
        .events("^/(all|invalid)/{topic}$", json)
        .events("/start/", avro)
        .run()
        .await;
    kafka.produce(&topic, Record::value(r#"{"id":"a"}"#).key("k"));
    kafka.produce(&topic, Record::value("[1]").key("k"));
    kafka.produce(&topic, Record::tombstone().key("k"));
    let many: Vec<u8> = [0xf0, 0x2e].into_iter().chain([2; 3000]).chain([0]).collect();
    kafka.produce(&topic, Record::value(&many).key("k"));
    kafka.produce(&topic, Record::value(r#"{"id":"b"}"#).key("k"));

    let mut judged = open(server.get(&format!("/all/{topic}?x=/start/"))).await;
    let first = judged.next().await;
    assert_eq!((data(&first), field(&first, "id")), (r#"{"id":"a"}"#, Some("AQIAAg==")));
    let delete = judged.next().await;
    assert_eq!((field(&delete, "event"), data(&delete)), (Some("delete"), "aw=="));
    assert_eq!(field(&delete, "id"), Some("AQIABg=="));
    let last = judged.next().await;
    assert_eq!((data(&last), field(&last, "id")), (r#"{"id":"b"}"#, Some("AQIACg==")));
    let left_out = |line: &str| line.contains("an event was left out").then(|| line.to_owned());
    let line = server.stderr().find(left_out).await;
    for expected in [&*format!(r#""topic":"{topic}""#), r#""offset":1"#, r#""reason":"invalid""#] {
        assert!(line.contains(expected), "{expected}: {line}");
    }

    let mut told = open(server.get(&format!("/invalid/{topic}"))).await;
    assert_eq!(data(&told.next().await), r#"{"id":"a"}"#);
    let gap = json!({"partition": 0, "from": 1, "to": 2, "reason": "invalid"});
    assert_eq!(told.gap().await, (gap, "AQIABA==".to_owned()));

    let mut converted = open(server.get(&format!("/start/{topic}"))).await;
    let mut events = Vec::new();
    while events.len() < 2 {
        let event = converted.next().await;
        if field(&event, "data").is_some() {
            events.push(event);
        }
    }
    assert_eq!(field(&events[0], "event"), Some("delete"));
    let ones = format!("[{}]", vec!["1"; 3000].join(","));
    assert_eq!(data(&events[1]), ones);

    let mut plain = open(server.get(&format!("/keys/{topic}/k"))).await;
    assert_eq!(data(&plain.next().await), r#"{"id":"a"}"#);
    assert_eq!(data(&plain.next().await), "[1]");
}

/// A line end of the value became LF when the event was written before it was judged.
#[tokio::test]
async fn the_data_of_events_is_converted_from_the_bytes_of_the_record() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let text = kafka.topic(1).await;
    let framed = kafka.topic(1).await;
    let registry = Registry::new().await;
    registry.schema(9, R9);
    registry.answer("/schemas/ids/13", 200, r#"{"schema":"true","schemaType":"JSON"}"#);
    let catalog =
        format!("reg: {{ type: schema-registry, options: {{ url: \"{}\" }} }}", registry.url());
    let server = server(&kafka)
        .inline("here", "a", r#"{"type":"array","items":"int"}"#)
        .inline("p", "p", PROTO)
        .catalog(&catalog)
        .events(
            &format!("/all/{topic}"),
            "{ model: avro, view: json, catalog: { here: [{ subject: a }] } }",
        )
        .events(
            "/invalid/",
            "{ model: protobuf, view: json, catalog: { p: [{ subject: p, record: First }] } }",
        )
        .events("/live/", "{ model: int32, format: binary, range: \"(168430090,)\" }")
        .events(&format!("/all/{text}"), "{ model: string, encoding: utf_16 }")
        .events(
            &format!("/all/{framed}"),
            "{ model: avro, view: json, catalog: { reg: [{ strategy: encoded }] } }",
        )
        .events("/keys/", "{ model: json, catalog: { reg: [{ strategy: encoded }] } }")
        .run()
        .await;

    // Arrays of -7 and 5, as blocks of one item and of two with their size.
    for value in ["020d00", "020a00", "03040d0a00", "040d0a00"] {
        write(&kafka, &topic, value);
    }
    kafka.produce(&topic, Record::tombstone().key("a\r\n\0"));
    let mut numbers = open(server.get(&format!("/all/{topic}"))).await;
    for expected in ["[-7]", "[5]", "[-7,5]", "[-7,5]"] {
        assert_eq!(data(&numbers.next().await), expected);
    }
    let delete = numbers.next().await;
    assert_eq!((field(&delete, "event"), data(&delete)), (Some("delete"), "YQ0KAA=="));
    // Again with other models: what is no message and no number of 4 bytes is left out.
    write(&kafka, &topic, "0a050d0a000a0d100d");
    write(&kafka, &topic, "0d0a0d0a");
    let mut messages = open(server.get(&format!("/invalid/{topic}"))).await;
    let message = json_of(&next_value(&mut messages).await);
    assert_eq!(message["device_id"], "\r\n\0\n\r");
    assert_eq!(message["count"], 13);
    let mut binary = open(server.get(&format!("/live/{topic}")).last_event_id(id(&[(0, 5)]))).await;
    let number = next_value(&mut binary).await;
    assert_eq!(field(&number, "id"), Some(&*id(&[(0, 7)])), "0d0a0d0a is above 0a0a0a0a: {number}");

    // CR, LF and both in text of 16 bits: U+0D0A is a letter, too.
    write(&kafka, &text, "0061000d0062000a00630d0a");
    let mut texts = open(server.get(&format!("/all/{text}"))).await;
    let lines = "data:a\ndata:b\ndata:c\u{d0a}\n";
    assert!(texts.next().await.starts_with(lines));

    // Without an id there is no schema: events have no topic to find a subject by.
    write(&kafka, &framed, "040d0a0a");
    write(&kafka, &framed, "0000000009040d0a0a");
    write(&kafka, &framed, &format!("000000000d{}", "7b0d0a7d"));
    let mut avro = open(server.get(&format!("/all/{framed}"))).await;
    assert_eq!(json_of(&avro.next().await), json!({"id": "\r\n", "n": 5}));
    kafka.produce(&framed, Record::value(&hex("000000000d7b0d7d")).key("k"));
    let mut json = open(server.get(&format!("/keys/{framed}/k"))).await;
    assert!(json.next().await.starts_with("data:{\ndata:}\n"));
    let requests = registry.requests();
    assert!(requests.iter().all(|head| head.starts_with("GET /schemas/ids/")), "{requests:?}");
}

/// What `check --connect` says of a configuration, and its exit status.
async fn connect(config: &str) -> (String, Option<i32>) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("zilla.yaml");
    std::fs::write(&file, config).expect("the configuration is written");
    let mut process = run(&["check", "--connect", "-c", file.to_str().expect("a path")], &[]);
    let said = process.stdout.all().await;
    let log = process.stderr.all().await;
    assert!(!log.contains("c2VjcmV0") && !log.contains("pa55word"), "{log}");
    assert!(!said.contains("c2VjcmV0") && !said.contains("pa55word"), "{said}");
    (said, process.ended().await.code())
}

#[tokio::test]
async fn check_asks_registries_and_brokers() {
    let kafka = kafka().await;
    let topic = kafka.topic(3).await;
    let registry = Registry::new().await;
    registry.subject(&format!("{topic}-value"), 9, R9);
    let url = registry.url();
    let catalog = format!(
        "reg: {{ type: schema-registry, options: {{ url: \"{url}\", credentials: {{ headers: {{ authorization: c2VjcmV0 }} }} }} }}"
    );
    let avro = "{ model: avro, view: json, catalog: { reg: [{ strategy: topic }] } }";
    let check = async |options: &str| {
        connect(&server(&kafka).catalog(&catalog).topic(&topic, options).config()).await
    };
    let (said, code) = check(&format!("value: {avro}")).await;
    assert_eq!(code, Some(0), "{said}");
    for expected in [
        format!("topic {topic}: 3 partitions"),
        format!("  catalog reg: {url}\n"),
        format!("subject {topic}-value version latest: version 1, id 9, avro\n"),
        format!("values: avro, as JSON, schema of reg: subject {topic}-value, version latest\n"),
    ] {
        assert!(said.contains(&expected), "{expected}\n{said}");
    }
    let (said, code) = check(&format!("key: {avro}, value: {avro}")).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("subject {topic}-key version latest: ")), "{said}");
}

/// A message that the schema lacks was not noticed, and neither were topics that an expression names.
#[tokio::test]
async fn check_says_all_that_registries_lack_at_once() {
    let kafka = kafka().await;
    let name = kafka.name();
    for topic in ["a", "b", "c"] {
        kafka.create(&format!("{name}.{topic}"), 1, &[]).await;
    }
    let registry = Registry::new().await;
    registry.subject(&format!("{name}.a-value"), 9, R9);
    registry.subject(&format!("{name}.b-value"), 10, "no schema");
    let proto =
        json!({"subject": "p", "version": 4, "id": 20, "schema": PROTO, "schemaType": "PROTOBUF"});
    registry.answer("/subjects/p/versions/latest", 200, proto.to_string());
    registry.answer("/schemas/ids/20", 200, proto.to_string());
    let free = FreePort::new();
    let port = free.number();
    let url = registry.url().replace("http://", "http://me:pa55word@");
    let catalogs = format!(
        "reg: {{ type: schema-registry, options: {{ url: \"{url}\" }} }}, away: {{ type: karapace, options: {{ url: \"http://me:pa55word@127.0.0.1:{port}\" }} }}"
    );
    let message = |name: &str| {
        format!("{{ model: protobuf, catalog: {{ reg: [{{ subject: p, record: {name} }}] }} }}")
    };
    let away = |subject: &str| {
        format!("{{ model: json, catalog: {{ away: [{{ subject: {subject} }}] }} }}")
    };
    let avro = "{ model: avro, catalog: { reg: [{ strategy: topic }] } }";
    let config = server(&kafka)
        .catalog(&catalogs)
        .topic(&format!("{name}[.]c"), "key: string")
        .topic(&format!("{name}[.].*"), &format!("value: {avro}"))
        .topic("none-[0-9]+", &format!("key: {avro}"))
        .topic(
            "first-[0-9]+",
            &format!("key: {}, value: {}", message("First"), message("tw.Third")),
        )
        .topic(
            "second-[0-9]+",
            &format!("key: {}, value: {}", message("Second"), message("Fourth")),
        )
        .topic("away-[0-9]+", &format!("key: {}, value: {}", away("one"), away("two")))
        .config();
    let (said, code) = connect(&config).await;
    assert_eq!(code, Some(1), "{said}");
    let topics = "bindings.cache_server.options.topics";
    for expected in [
        format!("    subject {name}.a-value version latest: version 1, id 9, avro\n"),
        format!("    subject {name}.b-value version latest: version 1, id 10: no schema of avro: "),
        "    subject p version latest: version 4, id 20, protobuf\n".to_owned(),
        format!("`tw.Third` ({topics}[3].value.catalog.reg[0])\n"),
        format!("`Fourth` ({topics}[4].value.catalog.reg[0])\n"),
        "    no topic matches none-[0-9]+\n".to_owned(),
        format!(
            "  catalog away: http://127.0.0.1:{port}\n    subject one version latest: no answer: "
        ),
        "    1 more schema: the same\n".to_owned(),
    ] {
        assert!(said.contains(&expected), "{expected}\n{said}");
    }
    assert!(!said.contains(&format!("{name}.c-value")), "an earlier entry matches: {said}");
    assert_eq!(said.matches("id 20, protobuf").count(), 1, "{said}");
}
