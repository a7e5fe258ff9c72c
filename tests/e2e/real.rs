//! What librdkafka's mock cluster cannot do: on a real Kafka only.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

use crate::support::{
    Kafka, LOOK, Record, SOON, config, field, id, real_kafka, sasl_servers, server, server_of, soon,
};

#[tokio::test]
async fn a_partition_added_while_the_client_was_away_starts_at_its_beginning() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(1).await;
    let server = server(&kafka).bootstrap(&topic).run().await;
    let path = format!("/all/{topic}");
    kafka.produce(&topic, Record::value("a"));
    let mut staying = server.get(&path).open().await;
    let mut leaving = server.get(&path).open().await;
    for stream in [&mut staying, &mut leaving] {
        assert_eq!(stream.next().await, "data:a\nid:AQIAAg==\n");
    }
    leaving.cut();
    kafka.grow(&topic, 3).await;
    // By a producer that knows of the partition.
    kafka.produce_with(&[], &topic, [Record::value("b").partition(2)]);
    // Under a running stream as well.
    let expected = format!("data:b\nid:{}\n", id(&[(0, 1), (1, 0), (2, 1)]));
    assert_eq!(staying.next().await, expected);
    let mut resumed = server.get(&path).last_event_id("AQIAAg==").open().await;
    assert_eq!(resumed.next().await, expected);
}

async fn delete_records(kafka: &Kafka, topic: &str, before: i64) {
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, 0, Offset::Offset(before)).expect("a partition");
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    kafka.admin().delete_records(&offsets, &options).await.expect("they are deleted");
}

#[tokio::test]
async fn records_that_retention_took_are_a_gap() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(1).await;
    kafka.produce_values(&topic, (0..10).map(|number| number.to_string()));
    delete_records(&kafka, &topic, 6).await;
    let server = server(&kafka).run().await;
    let path = format!("/all/{topic}");
    let mut resumed = server.get(&path).last_event_id(id(&[(0, 2)])).open().await;
    let expected = json!({"partition": 0, "from": 2, "to": 6, "reason": "retention"});
    assert_eq!(resumed.gap().await, (expected, id(&[(0, 6)])));
    assert_eq!(field(&resumed.next().await, "data"), Some("6"));
    // Who asks for no place misses nothing, and neither does who stands at the first record.
    for get in [server.get(&path), server.get(&path).last_event_id(id(&[(0, 6)]))] {
        assert_eq!(field(&get.open().await.next().await, "data"), Some("6"));
    }
}

#[tokio::test]
async fn a_topic_that_is_created_anew_is_a_truncation_for_running_streams() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(1).await;
    let server = server(&kafka).bootstrap(&topic).run().await;
    let path = format!("/all/{topic}");
    kafka.produce_values(&topic, (0..3).map(|number| number.to_string()));
    let mut stream = server.get(&path).open().await;
    stream.take(3).await;
    kafka.delete(&topic).await;
    server.stderr().says("topic is gone").await;
    kafka.create(&topic, 1, &[]).await;
    kafka.produce(&topic, Record::value("anew"));
    let expected = json!({"partition": 0, "from": 3, "to": 0, "reason": "truncation"});
    assert_eq!(stream.gap().await, (expected, id(&[(0, 0)])));
    assert_eq!(stream.next().await, "data:anew\nid:AQIAAg==\n");
}

/// Records before the old offsets of the partitions that remain were lost without a word.
#[tokio::test]
async fn a_topic_that_is_created_anew_with_fewer_partitions_is_one_gap_from_the_beginning() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(3).await;
    let path = format!("/all/{topic}");
    for number in 0..9 {
        let value = format!("old {number}");
        kafka.produce(&topic, Record::value(&value).partition(number % 3));
    }
    let running = server(&kafka).bootstrap(&topic).run().await;
    let mut stays = running.get(&path).open().await;
    let last = stays.take(9).await.pop().expect("an event");
    let place = field(&last, "id").expect("an id").to_owned();
    assert_eq!(place, id(&[(0, 3), (1, 3), (2, 3)]));
    kafka.delete(&topic).await;
    running.stderr().says("topic is gone").await;
    kafka.create(&topic, 2, &[]).await;
    // The new one is longer than the old offsets.
    for number in 0..10 {
        let value = format!("new {number}");
        kafka.produce_with(&[], &topic, [Record::value(&value).partition(number % 2)]);
    }
    let fresh = server(&kafka).run().await;
    let resumed = |server: &crate::support::Server| server.get(&path).last_event_id(&place);
    let streams = [stays, resumed(&running).open().await, resumed(&fresh).open().await];
    for mut stream in streams {
        let expected = json!({"partition": null, "from": null, "to": null, "reason": "truncation"});
        assert_eq!(stream.gap().await, (expected, id(&[(0, 0), (1, 0)])));
        let mut values: Vec<_> = stream.take(10).await;
        values.iter_mut().for_each(|value| *value = field(value, "data").expect("data").to_owned());
        values.sort();
        let all: Vec<_> = (0..10).map(|number| format!("new {number}")).collect();
        assert_eq!(values, all);
    }
}

/// It was taken for today's end, and what came since was lost without a word.
#[tokio::test]
async fn an_id_of_zilla_at_the_end_of_an_empty_partition_loses_nothing() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(1).await;
    let server = server(&kafka).live(&topic).run().await;
    let path = format!("/all/{topic}");
    kafka.produce_values(&topic, (0..4).map(|number| number.to_string()));
    let zilla = id(&[(0, -1)]);
    let mut resumed = server.get(&path).last_event_id(&zilla).open().await;
    assert_eq!(resumed.next().await, format!("data:0\nid:{}\n", id(&[(0, 1)])));
    delete_records(&kafka, &topic, 2).await;
    let mut resumed = server.get(&path).last_event_id(&zilla).open().await;
    let expected = json!({"partition": 0, "from": 0, "to": 2, "reason": "retention"});
    assert_eq!(resumed.gap().await, (expected, id(&[(0, 2)])));
    assert_eq!(field(&resumed.next().await, "data"), Some("2"));
}

/// The offsets of what a partition still has, by a consumer that is not ours.
fn offsets(kafka: &Kafka, topic: &str) -> Vec<i64> {
    let mut config = config(kafka.servers());
    config
        .set("group.id", "e2e")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning).expect("a partition");
    consumer.assign(&from).expect("it is assigned");
    let mut offsets = Vec::new();
    loop {
        match consumer.poll(SOON).expect("an answer") {
            Ok(message) => offsets.push(message.offset()),
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => return offsets,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_compacted_topic_shows_what_is_left_and_its_holes_are_no_gap() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.name();
    let compact = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("min.compaction.lag.ms", "0"),
        ("max.compaction.lag.ms", "1000"),
    ];
    kafka.create(&topic, 1, &compact).await;
    // It stays, and says that what follows is young: an id after it misses no tombstone.
    kafka.produce(&topic, Record::value("0").key("stays"));
    for number in 1..20 {
        let key = (number % 2).to_string();
        kafka.produce(&topic, Record::value(&number.to_string()).key(&key));
    }
    // The last segment is not compacted: roll it until the others are.
    let mut extra = 0;
    let compacted = async {
        while offsets(&kafka, &topic).iter().any(|offset| (1..18).contains(offset)) {
            tokio::time::sleep(Duration::from_millis(200)).await;
            kafka.produce(&topic, Record::value("roll").key("roll"));
            extra += 1;
        }
    };
    soon("the topic is compacted", compacted).await;
    let left = offsets(&kafka, &topic);
    assert!(extra > 0 && left.starts_with(&[0, 18, 19]), "{left:?}");

    let server = server(&kafka).run().await;
    let path = format!("/all/{topic}");
    let mut all = server.get(&path).open().await;
    assert_eq!(all.next().await, format!("data:0\nid:{}\n", id(&[(0, 1)])));
    let resumed = server.get(&path).last_event_id(id(&[(0, 3)])).open().await;
    for mut stream in [all, resumed] {
        assert_eq!(stream.next().await, format!("data:18\nid:{}\n", id(&[(0, 19)])));
        assert_eq!(stream.next().await, format!("data:19\nid:{}\n", id(&[(0, 20)])));
    }
}

#[tokio::test]
async fn a_replay_of_a_compacted_topic_is_the_latest_record_of_each_key() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.name();
    kafka.create(&topic, 2, &[("cleanup.policy", "compact")]).await;
    let write = |partition: i32, key: &str, value: &str| {
        kafka.produce(&topic, Record::value(value).key(key).partition(partition))
    };
    for number in 0..50 {
        for partition in 0..2 {
            write(partition, &format!("{partition}{}", number % 3), &number.to_string());
        }
    }
    kafka.produce(&topic, Record::tombstone().key("00").partition(0));
    let servers = [server(&kafka).run().await, server(&kafka).run().await];
    let path = format!("/all/{topic}");
    // The second comes to a table that is there already.
    let mut cut = None;
    for _ in 0..2 {
        let mut stream = servers[0].get(&path).open().await;
        let mut events = stream.take(5).await;
        events.sort();
        let data: Vec<_> = events.iter().map(|event| field(event, "data").expect("data")).collect();
        assert_eq!(data, ["47", "47", "48", "49", "49"]);
        cut = Some(stream);
    }
    let mut live = cut.expect("two streams were opened");
    write(1, "12", "new");
    let event = live.next().await;
    assert_eq!(field(&event, "data"), Some("new"));
    // What comes of it since that id is nothing, and then what is written.
    let resumed = servers[1].get(&path).last_event_id(field(&event, "id").expect("an id"));
    let mut resumed = resumed.open().await;
    write(0, "01", "last");
    for stream in [&mut live, &mut resumed] {
        assert_eq!(field(&stream.next().await, "data"), Some("last"));
    }
}

#[tokio::test]
async fn an_id_older_than_the_tombstones_of_a_compacted_topic_is_a_gap() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.name();
    let hour = [("cleanup.policy", "compact"), ("delete.retention.ms", "3600000")];
    kafka.create(&topic, 1, &hour).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let now = i64::try_from(now).expect("in time");
    let day = 24 * 3600 * 1000;
    for (value, age) in [("0", 3 * day), ("1", 2 * day), ("2", day), ("3", 0)] {
        kafka.produce(&topic, Record::value(value).key(value).timestamp(now - age));
    }
    let server = server(&kafka).run().await;
    let path = format!("/all/{topic}");
    let mut stream = server.get(&path).last_event_id(id(&[(0, 1)])).open().await;
    let expected = json!({"partition": 0, "from": 1, "to": 3, "reason": "tombstones"});
    // It goes on where it was: what is left after the id is still to come.
    let (gap, at) = stream.gap().await;
    assert_eq!((gap, at), (expected, id(&[(0, 1)])));
    assert_eq!(field(&stream.next().await, "data"), Some("1"));
    // A younger id, and none, miss nothing.
    let mut younger = server.get(&path).last_event_id(id(&[(0, 3)])).open().await;
    assert_eq!(field(&younger.next().await, "data"), Some("3"));
    assert_eq!(field(&server.get(&path).open().await.next().await, "data"), Some("0"));
}

#[tokio::test]
async fn transactions_are_seen_when_they_are_committed_and_never_when_aborted() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(1).await;
    let server = server(&kafka).bootstrap(&topic).run().await;
    let path = format!("/all/{topic}");
    let mut stream = server.get(&path).open().await;
    let producer = kafka.transactional(&topic);
    let write = |value: &str| {
        producer.send(BaseRecord::<(), str>::to(&topic).partition(0).payload(value)).expect("sent");
        producer.flush(SOON).expect("written");
    };

    // 0: before, 1: aborted, 2 and 3: marker and after in either order, 4: committed
    kafka.produce(&topic, Record::value("before"));
    assert_eq!(stream.next().await, "data:before\nid:AQIAAg==\n");
    producer.begin_transaction().expect("begun");
    write("aborted");
    producer.abort_transaction(SOON).expect("aborted");
    let (_, offset) = kafka.produce(&topic, Record::value("after"));
    let after = format!("data:after\nid:{}\n", id(&[(0, offset + 1)]));
    assert_eq!(stream.next().await, after);

    producer.begin_transaction().expect("begun");
    write("committed");
    kafka.produce(&topic, Record::value("last"));
    // While it is open nothing after it is shown, to whoever comes neither.
    let mut meanwhile = server.get(&path).last_event_id(id(&[(0, 2)])).open().await;
    assert_eq!(meanwhile.next().await, after);
    assert_eq!((stream.seen(), meanwhile.seen()), (0, 0));
    producer.commit_transaction(SOON).expect("committed");
    for stream in [&mut stream, &mut meanwhile] {
        assert_eq!(stream.next().await, format!("data:committed\nid:{}\n", id(&[(0, 5)])));
        assert_eq!(field(&stream.next().await, "data"), Some("last"));
    }
    // Before and after the aborted record there is no gap.
    for at in [1, 2] {
        let mut resumed = server.get(&path).last_event_id(id(&[(0, at)])).open().await;
        assert_eq!(resumed.next().await, after, "{at}");
    }
}

#[tokio::test]
async fn a_log_that_ends_with_markers_only_is_not_opened_anew() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(1).await;
    let levels = ["--log-level", "info,tailwater_kafka=debug"];
    let server = server(&kafka).arguments(&levels).run().await;
    let mut stream = server.get(&format!("/all/{topic}")).open().await;
    server.stderr().says("topic is open").await;
    let producer = kafka.transactional(&topic);
    for (value, next) in [("aborted", None), ("committed", Some(3))] {
        producer.begin_transaction().expect("begun");
        let record = BaseRecord::<(), str>::to(&topic).partition(0).payload(value);
        producer.send(record).expect("sent");
        producer.flush(SOON).expect("written");
        match next {
            None => producer.abort_transaction(SOON).expect("aborted"),
            Some(_) => producer.commit_transaction(SOON).expect("committed"),
        }
        if let Some(next) = next {
            let expected = format!("data:{value}\nid:{}\n", id(&[(0, next)]));
            assert_eq!(stream.next().await, expected);
        }
    }
    // What is left is the marker of the commit, at offset 3.
    let looked = |line: &str| line.contains("no record is left") && line.contains(r#""due":4"#);
    server.stderr().find(|line| looked(line).then_some(())).await;
    kafka.produce(&topic, Record::value("last"));
    assert_eq!(field(&stream.next().await, "data"), Some("last"));
    assert!(!server.stderr().text().contains("opening it anew"));
}

#[tokio::test]
async fn a_live_stream_that_begins_within_a_transaction_loses_nothing_of_it() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(1).await;
    let producer = kafka.transactional(&topic);
    producer.begin_transaction().expect("begun");
    producer.send(BaseRecord::<(), str>::to(&topic).partition(0).payload("open")).expect("sent");
    producer.flush(SOON).expect("written");
    let server = server(&kafka).live(&topic).run().await;
    let mut stream = server.get(&format!("/all/{topic}")).open().await;
    // Its records become visible after the stream has begun.
    assert_eq!(stream.next().await, "id:AQIAAA==\n");
    producer.commit_transaction(SOON).expect("committed");
    assert_eq!(stream.next().await, "data:open\nid:AQIAAg==\n");
}

#[tokio::test]
async fn the_time_of_the_log_is_shown_where_the_topic_has_it() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.name();
    kafka.create(&topic, 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let before = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    kafka.produce(&topic, Record::value("a").timestamp(5));
    let server = server(&kafka).run().await;
    let get = server.get(&format!("/all/{topic}"));
    let event = get.header("accept", "text/event-stream;ext=timestamp").open().await.next().await;
    let time =
        field(&event, "timestamp").and_then(|value| value.strip_prefix("0x")).expect("a time");
    let time = u128::from_str_radix(time, 16).expect("in hex");
    assert!((before..before + 60_000).contains(&time), "{event}");
}

#[tokio::test]
async fn passwords_of_both_forms_of_the_configuration_are_given_to_kafka() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(1).await;
    kafka.produce(&topic, Record::value("a"));
    for mechanism in ["plain", "scram-sha-256", "scram-sha-512"] {
        let keys =
            format!("mechanism: {mechanism}, username: tailwater, password: tailwater-secret");
        for options in [
            format!("sasl: {{ {keys} }}"),
            format!("authorization: {{ kafka: {{ credentials: {{ {keys} }} }} }}"),
        ] {
            let server = server_of(&sasl_servers()).sasl(&options).run().await;
            let mut stream = server.get(&format!("/all/{topic}")).open().await;
            assert_eq!(stream.next().await, "data:a\nid:AQIAAg==\n", "{options}");
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_in_the_log_and_streams_wait() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(1).await;
    let sasl = "sasl: { mechanism: scram-sha-256, username: tailwater, password: wrong-secret }";
    let server = server_of(&sasl_servers()).sasl(sasl).run().await;
    let mut stream = server.get(&format!("/all/{topic}")).open().await;
    assert_eq!(stream.comment().await, "");
    server.stderr().says("SASL authentication error").await;
    assert!(!server.stderr().text().contains("wrong-secret"));
}

#[tokio::test]
async fn a_broker_that_restarts_cleanly_loses_nothing() {
    if real_kafka().await.is_none() {
        return;
    }
    let kafka = crate::support::kafka_alone().await;
    let topic = kafka.topic(2).await;
    let server = server(&kafka).bootstrap(&topic).run().await;
    let mut stream = server.get(&format!("/all/{topic}")).open().await;
    for round in 0..2 {
        let value = round.to_string();
        kafka.produce(&topic, Record::value(&value).partition(round));
        assert_eq!(field(&stream.next().await, "data"), Some(&*value));
        kafka.restart();
    }
    kafka.produce(&topic, Record::value("last"));
    assert_eq!(field(&stream.next().await, "data"), Some("last"));
    tokio::time::timeout(LOOK, stream.next()).await.expect_err("nothing twice");
}
