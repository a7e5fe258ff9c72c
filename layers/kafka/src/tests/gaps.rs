//! Gaps: a client gets a gap event for records that it can't have any more, before its stream resumes, and no
//! other gap.

use super::*;
use crate::broker::model::{Call, Stall};

fn gap(partition: i32, from: i64, to: i64, reason: &str, id: &[i64]) -> String {
    format!(
        "event:gap\ndata:{{\"from\":{from},\"partition\":{partition},\"reason\":\"{reason}\",\"to\":{to}}}\nid:{}\n\n",
        id_of(id)
    )
}

/// Asserts that the stream begins with these bytes and continues with these events.
async fn assert_begins(mut client: Client, wire: &str, events: &[&str]) -> Client {
    while client.wire.len() < wire.len() {
        client.write().await;
    }
    assert!(client.wire.starts_with(wire.as_bytes()), "{}", String::from_utf8_lossy(&client.wire));
    let mut got = Vec::new();
    while got.len() < events.len() {
        let data = client.data().await;
        if !data.starts_with("gap ") {
            got.push(data);
        }
    }
    assert_eq!(got, events);
    client
}

#[tokio::test]
async fn an_id_that_does_not_decode_is_a_gap_and_the_stream_begins_as_without_one() {
    let model = kafka(1);
    fill(&model, 0, 2);
    let data = r#"{"from":null,"partition":null,"reason":"id","to":null}"#;
    for id in ["yesterday", "AQQABA", "[null]"] {
        let query = || query().last_event_id(Some(id.into()));
        let client = open(&instance().of(&model), query()).await;
        let expected = format!("event:gap\ndata:{data}\nid:AQIAAA==\n\n");
        assert_begins(client, &expected, &["0:0", "0:1"]).await;

        let live = instance().live().of(&model);
        let mut client = open(&live, query()).await;
        let expected = format!("event:gap\ndata:{data}\nid:AQIABA==\n\n");
        assert_eq!(client.write().await, expected);
        assert!(client.is_idle(), "the gap says the place already");
    }
}

#[tokio::test]
async fn a_position_before_the_low_watermark_is_a_gap() {
    let model = kafka(2);
    fill(&model, 0, 10);
    fill(&model, 1, 2);
    model.expire(TOPIC, 0, 7);
    let client = open(&instance().of(&model), after(&[3, 1])).await;
    let expected = gap(0, 3, 7, "retention", &[7, 1]);
    let mut client = assert_begins(client, &expected, &[]).await;
    let events = client.until(&["0:9", "1:1"]).await;
    let events: Vec<_> = events.into_iter().filter(|event| !event.starts_with("gap ")).collect();
    assert_each_once(&events, &[values(0, 7..10), values(1, 1..2)]);
}

/// A client that asked for the position between two gaps got the one behind the second, and no gap.
#[tokio::test]
async fn no_position_is_sent_between_two_gaps() {
    let model = kafka(2);
    for partition in 0..2 {
        fill(&model, partition, 5);
        model.expire(TOPIC, partition, 3);
    }
    let query = after(&[1, 1]).filter(Filter::any().key("none"));
    let mut client = open(&instance().of(&model), query).await;
    assert_eq!(client.write().await, gap(0, 1, 3, "retention", &[3, 1]));
    // The position moves on: no record that is read is for this client.
    eventually(|| model.served_history() == 4 && model.assigned_history() == 0).await;
    assert_eq!(client.idle(), None);
    assert_eq!(client.write().await, gap(1, 1, 3, "retention", &[3, 3]));
}

#[tokio::test]
async fn a_first_start_on_a_topic_that_lost_its_beginning_is_no_gap() {
    let model = kafka(2);
    for partition in 0..2 {
        fill(&model, partition, 10);
        model.expire(TOPIC, partition, 8);
    }
    let cluster = instance().of(&model);
    // No id, the ids that Zilla gives for the beginning, and one that names no partition.
    for id in [None, Some(id_of(&[-2, -2])), Some("AQA=".to_owned())] {
        let query = query().last_event_id(id.clone().map(Into::into));
        let events = open(&cluster, query).await.events(4).await;
        assert_each_once(&events, &[values(0, 8..10), values(1, 8..10)]);
    }
    let mut client = open(&cluster, after(&[0, -2])).await;
    assert_eq!(client.write().await, gap(0, 0, 8, "retention", &[8, 8]), "0 is a place in the log");
}

#[tokio::test]
async fn retention_that_overtakes_a_backfill_is_a_gap() {
    // Live: Kafka is unreachable, and comes back without records that the log had not read.
    let model = kafka(1);
    fill(&model, 0, 3);
    let cluster = instance().of(&model);
    let mut client = open(&cluster, query()).await;
    client.events(3).await;
    model.set_reachable(false);
    fill(&model, 0, 5);
    model.expire(TOPIC, 0, 6);
    model.set_reachable(true);
    assert_eq!(client.write().await, gap(0, 3, 6, "retention", &[6]));
    client.data().await;
    assert_eq!(client.events(2).await, ["0:6", "0:7"]);
}

/// The log of an instance still had the truncated records, and streams got them again behind the gap.
#[tokio::test]
async fn no_truncated_record_comes_after_its_gap() {
    let model = kafka(1);
    let cluster = instance().of(&model);
    let mut reader = open(&cluster, query()).await;
    assert!(reader.is_idle());
    // The log begins before the records.
    eventually(|| cluster.head(TOPIC).is_some()).await;
    fill(&model, 0, 9);
    reader.events(9).await;
    // The tail gets nothing any more.
    model.stall(TOPIC, 0, Stall::Always);
    model.wait_calls(Call::Fetch, 2);
    model.truncate(TOPIC, 0, 5);
    let client = open(&cluster, after(&[12])).await;
    let expected = gap(0, 12, 0, "truncation", &[0]);
    let mut client = assert_begins(client, &expected, &["0:0", "0:1", "0:2", "0:3", "0:4"]).await;
    assert!(client.is_idle());
    assert!(!String::from_utf8_lossy(&client.wire).contains("data:0:5"), "it was truncated");
    assert_eq!(reader.data().await, r#"gap {"from":9,"partition":0,"reason":"truncation","to":0}"#);
}

#[tokio::test]
async fn a_position_past_the_end_is_a_gap() {
    let model = kafka(2);
    fill(&model, 0, 3);
    fill(&model, 1, 3);
    let cluster = instance().of(&model);
    let client = open(&cluster, after(&[9, 3])).await;
    assert_begins(client, &gap(0, 9, 0, "truncation", &[0, 3]), &["0:0", "0:1", "0:2"]).await;
}

fn gap_of_many(reason: &str, id: &[i64]) -> String {
    format!(
        "event:gap\ndata:{{\"from\":null,\"partition\":null,\"reason\":\"{reason}\",\"to\":null}}\nid:{}\n\n",
        id_of(id)
    )
}

/// The other partitions continued at the old offsets, and the records before them were lost without a gap.
#[tokio::test]
async fn an_id_that_names_a_partition_which_is_not_there_begins_a_new_topic_at_the_beginning() {
    for read in [&[3, 3, 4][..], &[2, 3, 0], &[9, 9, 9], &[0, 0, 0]] {
        let model = kafka(2);
        fill(&model, 0, 3);
        fill(&model, 1, 3);
        for cluster in [instance().of(&model), instance().live().of(&model)] {
            let client = open(&cluster, after(read)).await;
            let expected = gap_of_many("truncation", &[0, 0]);
            let mut client = assert_begins(client, &expected, &[]).await;
            client.data().await;
            assert_each_once(&client.events(6).await, &[values(0, 0..3), values(1, 0..3)]);
            assert!(client.is_idle());
        }
    }
}

#[tokio::test]
async fn gaps_in_thousands_of_partitions_are_one() {
    const MANY: usize = 4000;
    // The stream began with 75 MB: each gap has the id of all positions.
    let model = kafka(MANY);
    for partition in 0..20 {
        fill(&model, partition, 3);
    }
    model.expire(TOPIC, 0, 1);
    let mut begin = vec![0; MANY];
    begin[0] = 1;
    let cluster = instance().of(&model);
    let mut client = open(&cluster, after(&[1_000_000_000_000; MANY])).await;
    assert_eq!(client.write().await, gap_of_many("truncation", &begin));
    assert!(client.wire.len() < 64 * 1024, "{}", client.wire.len());
    client.data().await;
    let events = client.events(59).await;
    let all: Vec<_> =
        (0..20).map(|partition| values(partition, i64::from(partition == 0)..3)).collect();
    assert_each_once(&events, &all);

    // A few gaps come one by one.
    let past: Vec<i64> = (0..MANY).map(|partition| if partition < 16 { 99 } else { 0 }).collect();
    let mut client = open(&cluster, after(&past)).await;
    client.until(&["0:2"]).await;
    let gaps = String::from_utf8(client.wire).unwrap();
    assert_eq!(gaps.matches("event:gap").count(), 16);
    assert!(gaps.len() < 17 * 64 * 1024, "{}", gaps.len());
}

#[tokio::test]
async fn a_truncation_under_a_stream_is_a_gap() {
    let model = kafka(1);
    fill(&model, 0, 5);
    let mut client = open(&instance().of(&model), query()).await;
    client.events(5).await;
    model.truncate(TOPIC, 0, 2);
    assert_eq!(client.write().await, gap(0, 5, 0, "truncation", &[0]));
    client.data().await;
    assert_eq!(client.events(2).await, ["0:0", "0:1"]);
    fill(&model, 0, 1);
    assert_eq!(client.data().await, "0:2");
}

/// A topic was deleted while its log was closed, and its streams went on at their old offsets in the next topic.
#[tokio::test]
async fn a_topic_that_goes_while_its_log_is_closed_is_a_gap_in_each_partition() {
    let model = kafka(2);
    fill(&model, 0, 5);
    fill(&model, 1, 5);
    let cluster = instance().of(&model);
    let mut client = open(&cluster, query()).await;
    client.events(10).await;
    // The log is not opened again.
    model.set_unreadable(TOPIC, true);
    model.truncate(TOPIC, 0, 3);
    eventually(|| cluster.head(TOPIC).is_none()).await;
    model.delete(TOPIC);
    eventually(|| cluster.is_missing(TOPIC)).await;
    model.create(TOPIC, 2);
    fill(&model, 0, 7);
    fill(&model, 1, 7);
    let gaps = client.events(2).await;
    assert!(gaps.iter().all(|gap| gap.contains("truncation")), "{gaps:?}");
    assert_each_once(&client.events(14).await, &[values(0, 0..7), values(1, 0..7)]);
}

#[tokio::test]
async fn a_truncation_that_was_seen_is_a_gap_however_long_the_log_is_when_a_stream_resumes() {
    // A stalled stream asked Kafka when the log was as long as before, and resumed in the middle of it.
    for truncations in [1, 20] {
        let model = kafka(2);
        fill(&model, 0, 5);
        fill(&model, 1, 5);
        let cluster = instance().of(&model);
        let mut past = open(&cluster, query()).await;
        past.events(10).await;
        let id = past.last_event_id();
        for _ in 0..truncations {
            model.truncate(TOPIC, 0, 3);
            eventually(|| cluster.head(TOPIC).is_some_and(|head| head.next(0) == 3)).await;
            fill(&model, 0, 4);
            eventually(|| cluster.head(TOPIC).is_some_and(|head| head.next(0) == 7)).await;
        }
        assert_eq!(past.write().await, gap(0, 5, 0, "truncation", &[0, 5]));
        past.data().await;
        assert_eq!(past.events(7).await, values(0, 0..7));
        // It is not known how old an id is.
        let mut resumed = open(&cluster, query().last_event_id(id)).await;
        assert_eq!(resumed.events(2).await, values(0, 5..7));
    }
}

#[tokio::test]
async fn a_recreated_topic_is_a_gap_whatever_its_length() {
    for new in [0, 2, 5, 8] {
        let model = kafka(1);
        fill(&model, 0, 5);
        let mut client = open(&instance().of(&model), query()).await;
        client.events(5).await;
        model.delete(TOPIC);
        // After so many refreshes the topic is gone.
        model.wait_calls(crate::broker::model::Call::Topics, 4);
        model.create(TOPIC, 1);
        fill(&model, 0, new);
        let mut wire = client.write().await;
        if wire.starts_with(b":") {
            wire = client.write().await;
        }
        assert_eq!(wire, gap(0, 5, 0, "truncation", &[0]), "{new} records");
        client.data().await;
        fill(&model, 0, 1);
        let count = i64::try_from(new).unwrap() + 1;
        assert_eq!(client.events(new + 1).await, values(0, 0..count));
    }
}

#[tokio::test]
async fn a_recreated_topic_with_fewer_partitions_is_a_gap() {
    // The offsets of a partition that does not exist any more can't be queried.
    let model = kafka(3);
    for partition in 0..3 {
        fill(&model, partition, 2);
    }
    let mut client = open(&instance().of(&model), query()).await;
    client.events(6).await;
    model.create(TOPIC, 1);
    fill(&model, 0, 1);
    let mut wire = client.write().await;
    if wire.starts_with(b":") {
        wire = client.write().await;
    }
    assert_eq!(wire, gap_of_many("truncation", &[0]));
    client.data().await;
    assert_eq!(client.data().await, "0:0");
}

#[tokio::test]
async fn tombstones_that_may_be_gone_are_a_gap() {
    let model = kafka(2);
    fill(&model, 0, 6);
    fill(&model, 1, 6);
    model.compacted(TOPIC, vec![4, 2]);
    let cluster = instance().of(&model);
    let expected = gap(0, 3, 4, "tombstones", &[3, 2]);
    let mut client = assert_begins(open(&cluster, after(&[3, 2])).await, &expected, &[]).await;
    client.data().await;
    let events = client.events(7).await;
    assert_each_once(&events, &[values(0, 3..6), values(1, 2..6)]);
    // A client that has read nothing misses no tombstone, nor does one whose id is new enough.
    let mut client = open(&cluster, query()).await;
    assert_each_once(&client.events(12).await, &[values(0, 0..6), values(1, 0..6)]);
    let mut client = open(&cluster, after(&[4, 5])).await;
    assert_each_once(&client.events(3).await, &[values(0, 4..6), values(1, 5..6)]);
}

#[tokio::test]
async fn a_client_disconnected_between_gaps_gets_the_others_again() {
    // Each gap had the id of the position after all gaps: a client that had read the first one skipped the rest.
    let model = kafka(2);
    fill(&model, 0, 6);
    fill(&model, 1, 6);
    model.expire(TOPIC, 0, 5);
    let expected = gap(0, 2, 5, "retention", &[5, 99]) + &gap(1, 99, 0, "truncation", &[5, 0]);
    let mut client = open(&instance().of(&model), after(&[2, 99])).await;
    client.data().await;
    let mut client = client.resume(&instance().of(&model), query()).await;
    assert_eq!(client.write().await, gap(1, 99, 0, "truncation", &[5, 0]));
    let client = open(&instance().of(&model), after(&[2, 99])).await;
    let mut client = assert_begins(client, &expected, &[]).await;
    let events = client.until(&["0:5", "1:5"]).await;
    assert!(events.iter().filter(|event| event.starts_with("gap ")).count() == 2);
    let mut resumed = client.resume(&instance().of(&model), query()).await;
    fill(&model, 0, 1);
    assert_eq!(resumed.data().await, "0:6", "the gaps came before");
}
