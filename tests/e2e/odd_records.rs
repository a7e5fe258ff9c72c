//! Records as nobody expects them.

use crate::support::{Kafka, RawRecord, batch, field, kafka, produce, records, server};

/// Writes a batch of these records.
fn write(kafka: &Kafka, topic: &str, of: &[RawRecord<'_>]) -> i64 {
    let now = 1_767_225_600_000;
    produce(kafka.servers(), topic, 0, &batch(of.len(), 0, now, &records(of)))
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
