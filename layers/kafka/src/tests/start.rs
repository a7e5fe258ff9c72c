//! Where a stream begins: at an offset, an id, a timestamp or the end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::broker::model::Call;
use crate::{EventId, Start};

/// `partition:offset` at this time.
fn at(model: &Model, partition: i32, epoch_ms: i64) {
    let value = format!("{partition}:{}", model.high(TOPIC, partition));
    let timestamp = Some(epoch_ms);
    model.produce(TOPIC, partition, Message { timestamp, ..text(&value) });
}

fn since(epoch_ms: u64) -> Query {
    query().start(Start::Since(UNIX_EPOCH + Duration::from_millis(epoch_ms)))
}

fn id_block(offsets: &[i64]) -> String {
    format!("id:{}\n\n", id_of(offsets))
}

#[tokio::test]
async fn earliest_and_live_win_over_the_default_and_an_id_over_both() {
    let model = kafka(2);
    fill(&model, 0, 3);
    fill(&model, 1, 1);
    let live = instance().live().of(&model);
    let mut client = open(&live, query().start(Start::Earliest)).await;
    assert_each_once(&client.events(4).await, &[values(0, 0..3), values(1, 0..1)]);
    let historical = instance().of(&model);
    let mut client = open(&historical, query().start(Start::Live)).await;
    assert_eq!(client.write().await, id_block(&[3, 1]));
    fill(&model, 0, 1);
    assert_eq!(client.data().await, "0:3");

    for start in [Start::Earliest, Start::Live, Start::Since(SystemTime::now())] {
        let mut client = open(&historical, after(&[2, 1]).start(start)).await;
        assert_each_once(&client.events(2).await, &[values(0, 2..4)]);
    }
    // An id that does not decode counts as none.
    let broken = query().last_event_id(Some("yesterday".into())).start(Start::Live);
    let mut client = open(&historical, broken).await;
    let gaps = client.write().await;
    assert!(gaps.starts_with(b"event:gap\n") && gaps.ends_with(id_block(&[4, 1]).as_bytes()));
}

#[tokio::test]
async fn an_id_to_begin_at_is_as_one_of_the_clients() {
    let model = kafka(1);
    fill(&model, 0, 6);
    model.expire(TOPIC, 0, 4);
    let begin = |next: i64| {
        let id = EventId::decode(id_of(&[next]).as_bytes()).unwrap();
        query().start(Start::Id(id))
    };
    let mut client = open(&instance().of(&model), begin(5)).await;
    assert_eq!(client.data().await, "0:5", "no block before it: the id is in the client's hands");
    let mut client = open(&instance().of(&model), begin(2)).await;
    assert!(client.data().await.contains("retention"));
    assert_eq!(client.events(2).await, ["0:4", "0:5"]);
}

#[tokio::test]
async fn since_begins_in_each_partition_with_the_first_record_of_that_time() {
    let model = kafka(4);
    for time in [100, 200, 150, 300] {
        at(&model, 0, time);
    }
    at(&model, 1, 500);
    at(&model, 2, 10);
    // Timestamps follow the producers' clocks: 0:2 is older than 0:1 and comes after it.
    for (time, offsets, expected) in [
        (0, [0, 0, 0, 0], vec![values(0, 0..4), values(1, 0..1), values(2, 0..1)]),
        (100, [0, 0, 1, 0], vec![values(0, 0..4), values(1, 0..1)]),
        (151, [1, 0, 1, 0], vec![values(0, 1..4), values(1, 0..1)]),
        (301, [4, 0, 1, 0], vec![values(1, 0..1)]),
        (501, [4, 1, 1, 0], vec![]),
    ] {
        let mut client = open(&instance().of(&model), since(time)).await;
        assert_eq!(client.write().await, id_block(&offsets), "{time}");
        let count = expected.iter().map(Vec::len).sum();
        assert_each_once(&client.events(count).await, &expected);
        assert!(client.is_idle(), "{time}");
    }
}

#[tokio::test]
async fn since_a_time_to_come_begins_at_the_end() {
    let model = kafka(1);
    at(&model, 0, 100);
    let mut client = open(&instance().of(&model), since(1000)).await;
    assert_eq!(client.write().await, id_block(&[1]));
    at(&model, 0, 200);
    assert_eq!(client.data().await, "0:1", "it is at the end that is there now");
}

#[tokio::test]
async fn since_within_an_open_transaction_begins_with_it() {
    let model = kafka(1);
    at(&model, 0, 100);
    model.begin(TOPIC, 0);
    let timestamp = Some(200);
    model.produce_in(TOPIC, 0, Message { timestamp, ..text("0:1") });
    let mut client = open(&instance().of(&model), since(150)).await;
    assert_eq!(client.write().await, id_block(&[1]));
    model.end(TOPIC, 0, true);
    assert_eq!(client.data().await, "0:1");
}

#[tokio::test]
async fn a_stream_that_ends_after_the_first_block_resumes_from_there() {
    let model = kafka(1);
    for time in [100, 200, 300] {
        at(&model, 0, time);
    }
    let cluster = instance().of(&model);
    let mut client = open(&cluster, since(200)).await;
    client.write().await;
    assert!(matches!(client.item().await, Item::Id(_)));
    // EventSource reconnects with the same URL.
    let mut resumed = client.resume(&cluster, since(0)).await;
    assert_eq!(resumed.events(2).await, ["0:1", "0:2"]);
}

#[tokio::test]
async fn a_time_that_can_not_be_looked_up_is_waited_for() {
    let model = kafka(1);
    at(&model, 0, 100);
    at(&model, 0, 200);
    let cluster = instance().of(&model);
    model.fail(Call::Times, 3);
    let mut client = open(&cluster, since(200)).await;
    assert_eq!(client.write().await, id_block(&[1]));
    assert_eq!(client.data().await, "0:1");
    assert!(model.calls(Call::Times) >= 4);
}

#[tokio::test]
async fn a_topic_that_comes_later_is_looked_up_then() {
    let model = Model::default();
    let cluster = instance().of(&model);
    let mut client = open(&cluster, since(200)).await;
    assert!(client.write().await.starts_with(b":"), "the topic does not exist yet");
    model.create(TOPIC, 1);
    at(&model, 0, 100);
    at(&model, 0, 200);
    let mut events = client.until(&["0:1"]).await;
    // It may be seen before its first record is there.
    events.retain(|event| event != "0:0");
    assert_eq!(events, ["0:1"]);
}

/// Each timestamp is a query of its own, and a turn has few of them.
#[tokio::test]
async fn more_times_than_a_turn_has_are_all_looked_up() {
    let model = kafka(1);
    for time in 0..200 {
        at(&model, 0, time);
    }
    let cluster = instance().of(&model);
    let mut clients = Vec::new();
    for time in (0..100).chain(0..100) {
        clients.push((time, open(&cluster, since(time)).await));
    }
    for (time, client) in &mut clients {
        assert_eq!(client.data().await, format!("0:{time}"));
    }
}
