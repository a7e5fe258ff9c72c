//! Records as nobody expects them.

use serde_json::{Value, json};

use crate::support::{
    Get, Kafka, RawRecord, Record, batch, field, health_address, id, kafka, produce, real_kafka,
    records, server, zeros, zstd,
};

const ZSTD: i16 = 4;
const NOW: i64 = 1_767_225_600_000;

/// Writes a batch of these records.
fn write(kafka: &Kafka, topic: &str, of: &[RawRecord<'_>]) -> i64 {
    produce(kafka.servers(), topic, 0, &batch(of.len(), 0, NOW, &records(of)))
}

fn value(value: &str) -> RawRecord<'_> {
    RawRecord { value: Some(value.as_bytes()), ..RawRecord::default() }
}

#[tokio::test]
async fn a_header_name_that_is_not_utf_8_silences_no_topic() {
    // The reader panicked, was begun anew, and panicked: nobody was given anything of the topic any more.
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).bootstrap(&topic).run().await;
    let mut live = server.get(&format!("/all/{topic}")).open().await;
    let mut tagged = server.get(&format!("/tags/{topic}/x")).open().await;
    let headers: [(&[u8], Option<&[u8]>); 4] =
        [(b"\xff\xfe", Some(b"x")), (b"tag", Some(b"x")), (b"\xc3(", None), (b"", Some(b""))];
    let odd = RawRecord { key: Some(b"\xff"), headers: &headers, ..value("odd") };
    for round in 0..2 {
        write(&kafka, &topic, &[value("before"), odd, odd, value("after")]);
        for expected in ["before", "odd", "odd", "after"] {
            assert_eq!(field(&live.next().await, "data"), Some(expected), "round {round}");
        }
        for _ in 0..2 {
            assert_eq!(field(&tagged.next().await, "data"), Some("odd"), "round {round}");
        }
    }
    let mut late = server.get(&format!("/all/{topic}")).open().await;
    assert_eq!(late.take(8).await.len(), 8);
    let log = server.stderr().text();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn records_of_every_shape_that_kafka_takes_are_delivered() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).run().await;
    let many: Vec<(&[u8], Option<&[u8]>)> = vec![(b"tag", Some(b"many")); 10_000];
    let nul: [(&[u8], Option<&[u8]>); 3] = [(b"a\0b", Some(b"\0")), (b"\0", None), (b"", None)];
    let shapes = [
        ("", RawRecord { value: Some(b""), ..RawRecord::default() }),
        ("nul", RawRecord { headers: &nul, ..value("nul") }),
        ("many", RawRecord { headers: &many, ..value("many") }),
        ("empty key", RawRecord { key: Some(b""), ..value("empty key") }),
        ("", RawRecord::default()),
        ("last", value("last")),
    ];
    for (index, (_, record)) in shapes.iter().enumerate() {
        // Times that nobody's clock shows.
        let times = [-1, 0, 1, i64::from(i32::MAX), 2, 3];
        let of = batch(1, 0, times[index], &records(&[*record]));
        produce(kafka.servers(), &topic, 0, &of);
    }
    let mut stream = server.get(&format!("/all/{topic}?ext=timestamp")).open().await;
    for (expected, _) in shapes {
        assert_eq!(field(&stream.next().await, "data"), Some(expected));
    }
    let mut tagged = server.get(&format!("/tags/{topic}/many")).open().await;
    assert_eq!(field(&tagged.next().await, "data"), Some("many"));
}

/// Batches of three records that librdkafka refuses. A real Kafka takes the first only.
fn broken(kafka: &Kafka) -> Vec<Vec<u8>> {
    const TOO_MUCH: usize = 40 * 1024 * 1024;
    let bomb = batch(3, ZSTD, NOW, &zstd((0..3).flat_map(|index| zeros(index, None, TOO_MUCH))));
    let three = records(&[value("x"); 3]);
    let unknown = batch(3, 6, NOW, &three);
    let mut changed = batch(3, 0, NOW, &three);
    changed.last_mut().into_iter().for_each(|last| *last ^= 1);
    // After a wrong checksum librdkafka reads on within the batch, where these say that the size is 0.
    let end = RawRecord { value: Some(&[0; 1024]), ..RawRecord::default() };
    let mut ends_in_zeros = batch(3, 0, NOW, &records(&[value("x"), value("x"), end]));
    ends_in_zeros.get_mut(64).into_iter().for_each(|byte| *byte ^= 1);
    let all = vec![bomb, unknown, changed, ends_in_zeros];
    if kafka.is_real() { all.into_iter().take(1).collect() } else { all }
}

fn gap(from: i64, to: i64, reason: &str) -> (Value, String) {
    let data = json!({"partition": 0, "from": from, "to": to, "reason": reason});
    (data, id(&[(0, to)]))
}

#[tokio::test]
async fn a_batch_that_nobody_can_read_is_told_and_passed() {
    // It held up its partition for ever, and nobody was told.
    let kafka = kafka().await;
    for broken in broken(&kafka) {
        let topic = kafka.topic(1).await;
        let other = kafka.topic(1).await;
        let arguments = ["--health", "127.0.0.1:0"];
        let server = server(&kafka).bootstrap(&topic).bootstrap(&other).arguments(&arguments);
        let server = server.run().await;
        let mut live = server.get(&format!("/all/{topic}")).open().await;
        let mut tagged = server.get(&format!("/tags/{topic}/none")).open().await;
        let mut other_topic = server.get(&format!("/all/{other}")).open().await;
        kafka.produce(&topic, Record::value("before"));
        assert_eq!(field(&live.next().await, "data"), Some("before"));
        produce(kafka.servers(), &topic, 0, &broken);
        kafka.produce(&topic, Record::value("after"));
        kafka.produce(&other, Record::value("other"));
        assert_eq!(field(&other_topic.next().await, "data"), Some("other"));
        assert_eq!(live.gap().await, gap(1, 4, "unreadable"));
        assert_eq!(field(&live.next().await, "data"), Some("after"));
        assert_eq!(tagged.gap().await, gap(1, 4, "unreadable"));
        // Of the past, by another instance that has not met it, too.
        let another = self::server(&kafka).run().await;
        for server in [&server, &another] {
            let mut late = server.get(&format!("/all/{topic}")).open().await;
            assert_eq!(field(&late.next().await, "data"), Some("before"));
            assert_eq!(late.gap().await, gap(1, 4, "unreadable"));
            assert_eq!(field(&late.next().await, "data"), Some("after"));
        }
        let ready = Get::new(health_address(&server).await, "/ready").send().await;
        assert_eq!(ready.status, 200);
        let ready: Value = serde_json::from_str(&ready.text().await).expect("JSON");
        let told = &ready["clusters"][0]["topics"][0];
        let lost = json!([{"partition": 0, "from": 1, "to": 4, "reason": "unreadable"}]);
        assert_eq!((&told["name"], &told["unreadable"]), (&json!(topic), &json!(1)));
        assert_eq!(told["lost"], lost);
        server.stderr().says("records can't be delivered").await;
    }
}

#[tokio::test]
async fn a_record_that_is_too_large_is_told_and_passed() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let mut server = server(&kafka).bootstrap(&topic).run().await;
    let mut live = server.get(&format!("/all/{topic}")).open().await;
    let large = batch(1, ZSTD, NOW, &zstd(zeros(0, None, 16 * 1024 * 1024 + 1)));
    let fits = batch(1, ZSTD, NOW, &zstd(zeros(0, None, 3 * 1024 * 1024)));
    kafka.produce(&topic, Record::value("before"));
    produce(kafka.servers(), &topic, 0, &large);
    produce(kafka.servers(), &topic, 0, &fits);
    kafka.produce(&topic, Record::value("after"));
    let mut late = server.get(&format!("/all/{topic}")).last_event_id(id(&[(0, 1)])).open().await;
    assert_eq!(field(&live.next().await, "data"), Some("before"));
    for stream in [&mut live, &mut late] {
        assert_eq!(stream.gap().await, gap(1, 2, "too_large"));
        assert_eq!(stream.next_bytes().await.len(), "data:\nid:AQIABg==\n".len() + 3 * 1024 * 1024);
        assert_eq!(field(&stream.next().await, "data"), Some("after"));
    }
    let mut tagged = server.get(&format!("/tags/{topic}/none")).open().await;
    assert_eq!(tagged.gap().await, gap(1, 2, "too_large"));
    assert!(server.process().is_running());
}

#[tokio::test]
async fn a_compacted_topic_shows_no_older_record_for_one_that_is_too_large() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.name();
    kafka.create(&topic, 1, &[("cleanup.policy", "compact"), ("retention.ms", "-1")]).await;
    kafka.produce(&topic, Record::value("old").key("a"));
    kafka.produce(&topic, Record::value("other").key("b"));
    let large = zstd(zeros(0, Some(b"a"), 17 * 1024 * 1024));
    produce(kafka.servers(), &topic, 0, &batch(1, ZSTD, NOW, &large));
    let server = server(&kafka).run().await;
    let mut stream = server.get(&format!("/all/{topic}")).open().await;
    assert_eq!(field(&stream.next().await, "data"), Some("other"));
    assert_eq!(stream.gap().await, gap(2, 3, "too_large"));
    kafka.produce(&topic, Record::value("new").key("a"));
    assert_eq!(field(&stream.next().await, "data"), Some("new"));
}
