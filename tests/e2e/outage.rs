//! Kafka that is not there, and topics that are not.

use crate::support::{Record, Version, field, kafka, kafka_alone, server};

#[tokio::test]
async fn kafka_absent_at_start_is_waited_for() {
    let kafka = kafka_alone().await;
    let history = kafka.topic(2).await;
    let live = kafka.topic(1).await;
    kafka.produce(&history, Record::value("a").partition(1));
    kafka.take_away();
    let server = server(&kafka).bootstrap(&history).live(&live).run().await;
    let mut streams = Vec::new();
    for version in Version::BOTH {
        let mut stream = server.get(&format!("/all/{history}")).over(version).open().await;
        // Open, and told so at once.
        assert_eq!(stream.comment().await, "");
        streams.push(stream);
    }
    let mut waiting = server.get(&format!("/all/{live}")).open().await;
    server.stderr().says("Kafka is away").await;
    kafka.bring_back();
    for mut stream in streams {
        assert_eq!(stream.next().await, "data:a\nid:AQQAAAIC\n");
    }
    // It starts where the end is once Kafka can tell.
    assert_eq!(waiting.next().await, "id:AQIAAA==\n");
    kafka.produce(&live, Record::value("b"));
    assert_eq!(waiting.next().await, "data:b\nid:AQIAAg==\n");
}

#[tokio::test]
async fn kafka_that_goes_and_comes_back_loses_nothing() {
    let kafka = kafka_alone().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).bootstrap(&topic).run().await;
    let path = format!("/all/{topic}");
    let mut before = server.get(&path).open().await;
    kafka.produce(&topic, Record::value("1"));
    assert_eq!(before.next().await, "data:1\nid:AQIAAg==\n");
    kafka.take_away();
    let mut resumed = server.get(&path).last_event_id("AQIAAg==").over(Version::Http2).open().await;
    let mut anew = server.get(&path).open().await;
    assert_eq!(anew.comment().await, "");
    kafka.bring_back();
    kafka.produce(&topic, Record::value("2"));
    for stream in [&mut before, &mut resumed] {
        assert_eq!(stream.next().await, "data:2\nid:AQIABA==\n");
    }
    assert_eq!(anew.take(2).await, ["data:1\nid:AQIAAg==\n", "data:2\nid:AQIABA==\n"]);
}

#[tokio::test]
async fn a_topic_that_does_not_exist_yet_says_so_and_starts_with_its_first_record() {
    let kafka = kafka().await;
    let history = kafka.name();
    let live = kafka.name();
    let server = server(&kafka).live(&live).run().await;
    for topic in [&history, &live] {
        let mut streams = Vec::new();
        for version in Version::BOTH {
            let mut stream = server.get(&format!("/all/{topic}")).over(version).open().await;
            assert_eq!(stream.comment().await, "");
            assert_eq!(
                stream.comment().await,
                format!("topic {topic} does not exist yet or is not permitted")
            );
            streams.push(stream);
        }
        kafka.create(topic, 1, &[]).await;
        kafka.produce(topic, Record::value("first"));
        for stream in &mut streams {
            let mut block = stream.next().await;
            // A live stream is told where it begins.
            if field(&block, "data").is_none() {
                assert_eq!(block, "id:AQIAAA==\n", "{topic}");
                block = stream.next().await;
            }
            assert_eq!(block, "data:first\nid:AQIAAg==\n");
        }
    }
}

#[tokio::test]
async fn compressed_records_are_read() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).run().await;
    let values: Vec<String> =
        (0..50).map(|number| format!("{number} {}", "ab".repeat(500))).collect();
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let records = values.iter().map(Record::value);
        kafka.produce_with(&[("compression.codec", codec), ("linger.ms", "50")], &topic, records);
    }
    let mut stream = server.get(&format!("/all/{topic}")).open().await;
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        for value in &values {
            assert_eq!(field(&stream.next().await, "data"), Some(&**value), "{codec}");
        }
    }
}
