//! `event:live`: it comes once, and after all records that the topic had.

use std::time::UNIX_EPOCH;

use super::*;
use crate::Start;
use crate::broker::model::{Call, Stall};

fn telling() -> Query {
    query().options(StreamOptions::new().live_event(true))
}

fn live(offsets: &[i64]) -> String {
    format!("event:live\ndata:{{}}\nid:{}\n\n", id_of(offsets))
}

/// The events before the live event, and the position of that.
async fn until_live(client: &mut Client) -> Vec<String> {
    client.until(&["live {}"]).await.split_last().unwrap().1.to_vec()
}

/// Asserts that the live event does not come again: the next record is the next event.
async fn assert_once(client: &mut Client, model: &Model, partition: i32) {
    let offset = fill_one(model, partition, None, 0);
    assert_eq!(client.data().await, format!("{partition}:{offset}"));
}

#[tokio::test]
async fn a_stream_that_did_not_ask_gets_no_live_event() {
    let model = kafka(1);
    fill(&model, 0, 2);
    let mut client = open(&instance().of(&model), query()).await;
    assert_eq!(client.events(2).await, ["0:0", "0:1"]);
    assert_once(&mut client, &model, 0).await;
}

#[tokio::test]
async fn a_live_start_sends_its_id_at_once() {
    let model = kafka(2);
    fill(&model, 0, 3);
    let mut client = open(&instance().live().of(&model), telling()).await;
    assert_eq!(client.write().await, format!("id:{}\n\n", id_of(&[3, 0])));
    assert_eq!(client.write().await, live(&[3, 0]));
    client.data().await;
    assert_once(&mut client, &model, 1).await;
}

#[tokio::test]
async fn a_topic_that_is_empty_is_live() {
    let model = kafka(2);
    let mut client = open(&instance().of(&model), telling()).await;
    assert_eq!(client.write().await, live(&[0, 0]));
}

#[tokio::test]
async fn it_comes_after_the_last_of_what_was_there_wherever_the_stream_begins() {
    let model = kafka(2);
    fill(&model, 0, 30);
    fill(&model, 1, 20);
    // From a backfill, from the log, and from both; and from a position of another instance's order.
    for id in [None, Some([0, 0]), Some([28, 3]), Some([30, 0]), Some([30, 20])] {
        let warm = instance().of(&model);
        let mut other = open(&warm, query()).await;
        other.events(50).await;
        for cluster in [instance().of(&model), warm] {
            let last = id.map(|id| id_of(&id).into());
            let [from0, from1] = id.unwrap_or_default();
            let mut client = open(&cluster, telling().last_event_id(last)).await;
            let events = until_live(&mut client).await;
            assert_each_once(&events, &[values(0, from0..30), values(1, from1..20)]);
            assert_eq!(client.last_event_id().unwrap(), id_of(&[30, 20]));
        }
    }
}

#[tokio::test]
async fn it_comes_once_over_a_reseat() {
    let model = kafka(1);
    fill(&model, 0, 20);
    let cluster = instance().options(|options| options.memory_bytes(0)).of(&model);
    let mut client = open(&cluster, telling()).await;
    client.limit = 1;
    let events = until_live(&mut client).await;
    assert_eq!(events, values(0, 0..20));
    // It falls off the log, which keeps nothing.
    for _ in 0..50 {
        fill(&model, 0, 1);
    }
    assert_eq!(client.events(50).await, values(0, 20..70));
}

#[tokio::test]
async fn a_filter_that_nothing_matches_is_live_too() {
    let model = kafka(2);
    fill(&model, 0, 40);
    fill(&model, 1, 3);
    let unindexed = || query().filter(Filter::any().header("colour", "red"));
    for query in [|| key("none"), unindexed] {
        for last in [None, Some(id_of(&[7, 0])), Some(id_of(&[40, 3]))] {
            let last = last.map(Into::into);
            let query = query().options(StreamOptions::new().live_event(true)).last_event_id(last);
            let mut client = open(&instance().of(&model), query).await;
            assert_eq!(client.write().await, live(&[40, 3]));
            assert_eq!(client.idle(), None, "the place was told");
        }
    }
}

#[tokio::test]
async fn a_start_since_a_time_is_live_after_what_followed() {
    let model = kafka(1);
    for time in [100, 200, 300] {
        let timestamp = Some(time);
        let value = format!("0:{}", model.high(TOPIC, 0));
        model.produce(TOPIC, 0, Message { timestamp, ..text(&value) });
    }
    for (time, expected) in [(150, values(0, 1..3)), (1000, Vec::new())] {
        let start = Start::Since(UNIX_EPOCH + Duration::from_millis(time));
        let mut client = open(&instance().of(&model), telling().start(start)).await;
        assert_eq!(until_live(&mut client).await, expected);
    }
}

/// The marker of a transaction has an offset without a record. The head of the log stayed before it until the
/// next record, and the stream was not live.
#[tokio::test]
async fn the_marker_of_a_transaction_at_the_end_holds_up_nobody() {
    let model = kafka(2);
    fill(&model, 1, 1);
    let cluster = instance().of(&model);
    let mut other = open(&cluster, query()).await;
    other.events(1).await;
    // Under a log that is open, so that it reads up to the marker.
    for commit in [true, false] {
        model.begin(TOPIC, 0);
        model.produce_in(TOPIC, 0, text("0:x"));
        model.end(TOPIC, 0, commit);
    }
    let mut client = open(&cluster, telling()).await;
    let events = until_live(&mut client).await;
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(client.last_event_id().unwrap(), id_of(&[4, 1]));
    let mut client =
        open(&cluster, key("none").options(StreamOptions::new().live_event(true))).await;
    assert_eq!(client.write().await, live(&[4, 1]));
    assert_eq!(other.data().await, "0:x");
    assert_once(&mut other, &model, 1).await;
    fill(&model, 0, 1);
    assert_eq!(other.data().await, "0:4");
}

#[tokio::test]
async fn a_stream_is_not_live_before_what_a_new_leader_does_not_show_yet() {
    let model = kafka(1);
    let cluster = instance().watched().of(&model);
    let mut other = open(&cluster, telling()).await;
    until_live(&mut other).await;
    // The log does not get what is behind the end that Kafka reports.
    model.stall(TOPIC, 0, Stall::Assignment);
    fill(&model, 0, 3);
    let asked = model.calls(Call::Ends);
    let mut client =
        open(&cluster, key("none").options(StreamOptions::new().live_event(true))).await;
    eventually(|| client.is_idle() && model.calls(Call::Ends) > asked).await;
    model.lag(TOPIC, 0, Some(0));
    model.wait_calls(Call::Ends, 5);
    model.lag(TOPIC, 0, None);
    assert_eq!(other.events(3).await, values(0, 0..3));
    assert_eq!(client.write().await, live(&[3]));
}

#[tokio::test]
async fn an_open_transaction_is_not_waited_for() {
    let model = kafka(1);
    fill(&model, 0, 1);
    model.begin(TOPIC, 0);
    model.produce_in(TOPIC, 0, text("0:1"));
    let mut client = open(&instance().of(&model), telling()).await;
    assert_eq!(until_live(&mut client).await, ["0:0"]);
    model.end(TOPIC, 0, true);
    assert_eq!(client.data().await, "0:1");
}

#[tokio::test]
async fn what_kafka_does_not_say_is_waited_for_while_events_go_on() {
    let model = kafka(1);
    let cluster = instance().of(&model);
    let mut other = open(&cluster, telling()).await;
    until_live(&mut other).await;
    fill(&model, 0, 2);
    other.events(2).await;
    model.set_leaderless(TOPIC, 0, true);
    let mut client = open(&cluster, telling().last_event_id(Some(id_of(&[0]).into()))).await;
    assert_eq!(client.events(2).await, ["0:0", "0:1"]);
    model.set_leaderless(TOPIC, 0, false);
    assert_eq!(client.data().await, "live {}");
}

#[tokio::test]
async fn a_topic_that_was_truncated_is_live_at_its_new_end() {
    let model = kafka(1);
    fill(&model, 0, 10);
    let cluster = instance().of(&model);
    let mut other = open(&cluster, query()).await;
    other.events(10).await;
    // The next one has a backfill of its own.
    eventually(|| !cluster.is_read()).await;
    model.hold_history(true);
    let before = model.calls(Call::Ends);
    let mut client = open(&cluster, telling()).await;
    // The end is 10, and nothing was read when the topic is truncated.
    eventually(|| client.is_idle() && model.calls(Call::Ends) > before).await;
    model.truncate(TOPIC, 0, 3);
    assert!(other.data().await.starts_with("gap "), "the log ended");
    // The backfill that would have joined the log that ended is over.
    eventually(|| client.is_idle()).await;
    model.wait_calls(Call::FetchHistory, 2);
    model.hold_history(false);
    assert_eq!(until_live(&mut client).await, values(0, 0..3));
    assert_once(&mut client, &model, 0).await;
}

#[tokio::test]
async fn a_gap_comes_before_it() {
    let model = kafka(1);
    fill(&model, 0, 5);
    model.expire(TOPIC, 0, 3);
    let query = telling().last_event_id(Some(id_of(&[1]).into()));
    let mut client = open(&instance().of(&model), query).await;
    let events = until_live(&mut client).await;
    assert!(events[0].starts_with("gap "), "{events:?}");
    assert_eq!(events[1..], ["0:3", "0:4"]);
}

#[tokio::test]
async fn thousands_that_ask_are_one_question() {
    let model = kafka(1);
    fill(&model, 0, 1);
    let cluster = instance().of(&model);
    open(&cluster, query()).await.events(1).await;
    // No stream is answered before all have asked.
    model.set_leaderless(TOPIC, 0, true);
    let mut clients = Vec::new();
    for _ in 0..1000 {
        let query = key("none")
            .options(StreamOptions::new().live_event(true))
            .last_event_id(Some(id_of(&[1]).into()));
        let mut client = open(&cluster, query).await;
        assert!(client.is_idle());
        clients.push(client);
    }
    let before = model.calls(Call::Ends);
    model.set_leaderless(TOPIC, 0, false);
    for client in &mut clients {
        assert_eq!(client.write().await, live(&[1]));
    }
    let asked = model.calls(Call::Ends) - before;
    assert!(asked <= 5, "{asked} questions");
}

#[tokio::test]
async fn of_a_compacted_topic_it_comes_when_the_state_is_complete() {
    let model = kafka(1);
    model.compacted(TOPIC, vec![0]);
    for (key, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
        model.produce(TOPIC, 0, keyed(key, value));
    }
    let cluster = instance().of(&model);
    for _ in 0..2 {
        let mut client = open(&cluster, telling()).await;
        assert_eq!(until_live(&mut client).await, ["2", "3"]);
        assert_eq!(client.last_event_id().unwrap(), id_of(&[3]));
        let mut client =
            open(&cluster, key("b").options(StreamOptions::new().live_event(true))).await;
        assert_eq!(until_live(&mut client).await, ["2"]);
        let mut client =
            open(&cluster, key("none").options(StreamOptions::new().live_event(true))).await;
        assert_eq!(client.write().await, live(&[3]));
    }
}
