//! Compacted topics: the latest record of each key, and then what comes.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

use super::*;
use crate::broker::model::Call;

mod schedules;

fn compacted(partitions: usize) -> Model {
    let model = kafka(partitions);
    model.compacted(TOPIC, vec![0; 3]);
    model
}

fn tombstone(key: &str) -> Message<'_> {
    Message { key: Some(key.as_bytes()), ..Message::default() }
}

/// The event of a tombstone.
fn deleted(key: &str) -> String {
    format!("delete {}", URL_SAFE.encode(key))
}

/// Writes `key=number` for these keys in turn.
fn write(model: &Model, partition: i32, keys: &[&str], numbers: std::ops::Range<usize>) {
    for number in numbers {
        let key = keys[number % keys.len()];
        model.produce(TOPIC, partition, keyed(key, &format!("{key}={number}")));
    }
}

/// Events in the order of their partitions: those of each are in order already.
fn by_partition(mut events: Vec<String>) -> Vec<String> {
    events.sort_by_key(|event| event.as_bytes().first().copied());
    events
}

#[tokio::test]
async fn each_key_comes_once_and_then_what_is_new() {
    let model = compacted(2);
    write(&model, 0, &["0a", "0b", "0c"], 0..100);
    write(&model, 1, &["1a", "1d"], 0..10);
    model.produce(TOPIC, 0, tombstone("0b"));
    model.produce(TOPIC, 0, tombstone("never"));
    let cluster = instance().of(&model);
    let mut first = open(&cluster, query()).await;
    let expected = ["0c=98", "0a=99", "1a=8", "1d=9"];
    assert_eq!(by_partition(first.events(4).await), expected);
    eventually(|| first.is_idle() && model.assigned_history() == 0).await;
    let served = model.served_history();
    let mut second = open(&cluster, query()).await;
    assert_eq!(by_partition(second.events(4).await), expected);
    assert_eq!(model.served_history(), served, "the topic is read once");

    model.produce(TOPIC, 0, keyed("0a", "0a=100"));
    model.produce(TOPIC, 0, tombstone("0c"));
    for client in [&mut first, &mut second] {
        assert_eq!(client.events(2).await, ["0a=100".to_owned(), deleted("0c")]);
    }
    // The snapshot may be given to new streams for a while, and longer if making it took longer.
    let since = tokio::time::Instant::now();
    let mut third = loop {
        let mut third = open(&cluster, query()).await;
        let events = by_partition(third.events(3).await);
        if events == ["0a=100", "1a=8", "1d=9"] {
            break third;
        }
        assert!(!events.iter().any(|event| event.starts_with("delete")), "{events:?}");
        assert!(since.elapsed() < IN_VAIN, "an old snapshot is kept");
    };
    write(&model, 1, &["1e"], 0..1);
    assert_eq!(third.data().await, "1e=0");
}

#[tokio::test]
async fn a_topic_of_which_nothing_but_holes_is_left_goes_live() {
    // Its snapshot has no record, so it had no position for a stream, which requested it again for ever.
    let model = compacted(2);
    model.skip(TOPIC, 1, 3);
    let cluster = instance().of(&model);
    for from in [query(), after(&[0, 0])] {
        let mut client = open(&cluster, from).await;
        eventually(|| client.is_idle() && client.stream.is_following()).await;
        model.produce(TOPIC, 1, keyed("a", "a"));
        assert_eq!(client.events(1).await, ["a"]);
        let next = model.high(TOPIC, 1);
        model.remove(TOPIC, 1, |offset| offset < next);
    }
}

/// A stream whose snapshot was replaced by a newer one continued in the log, which has every tombstone.
#[tokio::test]
async fn a_stream_whose_snapshot_ends_gets_no_tombstone_of_a_key_that_it_never_saw() {
    let model = compacted(1);
    let start = || {
        let mut instance = instance().options(|options| options.preload_topic(TOPIC));
        instance.options.timing.snapshot_times = 0;
        instance
    };
    let cluster = start().of(&model);
    let mut live = open(&cluster, query()).await;
    eventually(|| live.is_idle() && model.calls(Call::Fetch) > 1).await;
    // A chunk of its own.
    model.produce(TOPIC, 0, keyed("a", &format!("a=0{}", " ".repeat(100_000))));
    model.produce(TOPIC, 0, tombstone("never"));
    write(&model, 0, &["b"], 1..2);
    live.events(3).await;
    let mut slow = open(&cluster, query()).await;
    slow.limit = 1;
    assert_eq!(slow.data().await, "a=0");
    write(&model, 0, &["c"], 2..3);
    live.events(1).await;
    // A snapshot of its own: the one before ends.
    assert_eq!(open(&cluster, query()).await.events(3).await, ["a=0", "b=1", "c=2"]);
    assert_eq!(slow.events(2).await, ["b=1", "c=2"]);
}

#[tokio::test]
async fn a_log_that_has_everything_is_not_replayed_as_it_is() {
    let model = compacted(1);
    let cluster = instance().options(|options| options.preload_topic(TOPIC)).of(&model);
    let mut live = open(&cluster, query()).await;
    assert!(live.is_idle());
    eventually(|| live.is_idle() && model.calls(Call::Fetch) > 1).await;
    write(&model, 0, &["a", "b"], 0..100);
    live.events(100).await;
    let mut late = open(&cluster, query()).await;
    assert_eq!(late.events(2).await, ["a=98", "b=99"]);
    eventually(|| late.is_idle()).await;
    assert_eq!(model.served_history(), 0);
}

#[tokio::test]
async fn resuming_gives_what_changed_since() {
    let model = compacted(1);
    write(&model, 0, &["a", "b", "c"], 0..30);
    let mut client = open(&instance().of(&model), query()).await;
    assert_eq!(client.events(3).await, ["a=27", "b=28", "c=29"]);
    write(&model, 0, &["a", "b"], 30..50);
    model.produce(TOPIC, 0, tombstone("b"));
    // Another instance, whose log begins after all of this.
    let mut client = client.resume(&instance().seed(2).of(&model), query()).await;
    assert_eq!(client.events(2).await, ["a=48".to_owned(), deleted("b")]);
}

#[tokio::test]
async fn a_replay_that_is_interrupted_resumes() {
    let model = compacted(2);
    for partition in 0..2 {
        for key in 0..50 {
            let key = format!("{partition}{key:02}");
            model.produce(TOPIC, partition, keyed(&key, &key));
            model.produce(TOPIC, partition, keyed(&key, &key));
        }
    }
    let instances = [instance().of(&model), instance().seed(7).batch(50).of(&model)];
    let mut client = open(&instances[0], query()).await;
    client.limit = 100;
    let mut events = Vec::new();
    for round in 1..=20 {
        events.extend(client.events(5).await);
        client = client.resume(&instances[round % 2], query()).await;
        client.limit = 100;
    }
    let of = |partition: usize| (0..50).map(|key| format!("{partition}{key:02}")).collect();
    let expected: [Vec<String>; 2] = [of(0), of(1)];
    assert_eq!(by_partition(events), expected.concat());
}

#[tokio::test]
async fn filters_are_looked_up_in_the_snapshot_too() {
    let model = compacted(1);
    for number in 0..1000 {
        let key = format!("{}", number % 100);
        let owner = format!("{}", number % 10);
        let headers = [("owner", Some(owner.as_bytes()))];
        let value = format!("{key}={number}");
        model.produce(TOPIC, 0, Message { headers: &headers, ..keyed(&key, &value) });
    }
    model.produce(TOPIC, 0, tombstone("7"));
    // All values have the same hash, so records found by it are compared.
    let index = Index::colliding([Bytes::from("owner")]);
    let cluster = instance().batch(100).index(index).of(&model);
    let mut client = open(&cluster, key("42")).await;
    assert_eq!(client.data().await, "42=942");
    let mut gone = open(&cluster, key("7")).await;
    let mut owned = open(&cluster, query().filter(Filter::any().header("owner", "3"))).await;
    let expected: Vec<_> = (0..10).map(|at| format!("{}={}", 10 * at + 3, 903 + 10 * at)).collect();
    assert_eq!(owned.events(10).await, expected);
    assert!(gone.is_idle());
    model.produce(TOPIC, 0, keyed("7", "7=again"));
    assert_eq!(gone.data().await, "7=again");
    assert!(client.is_idle());
}

#[tokio::test]
async fn tombstones_that_may_be_gone_are_one_gap_though_the_table_is_given_up() {
    let model = kafka(1);
    for number in 0..200 {
        model.produce(TOPIC, 0, keyed(&number.to_string(), &number.to_string()));
    }
    model.compacted(TOPIC, vec![150]);
    let cluster = instance().options(|options| options.memory_bytes(40 * 1024)).of(&model);
    let mut client = open(&cluster, after(&[3])).await;
    let events = client.until(&["199"]).await;
    assert!(cluster.is_given_up(TOPIC));
    assert!(events[0].starts_with("gap "), "{events:?}");
    let rest: Vec<_> = (3..200).map(|number| number.to_string()).collect();
    assert_eq!(events[1..], rest);
}

#[tokio::test]
async fn too_many_keys_are_replayed_as_kafka_has_them() {
    let model = compacted(1);
    for number in 0..200 {
        let key = format!("{}", number % 100);
        model.produce(TOPIC, 0, keyed(&key, &number.to_string()));
    }
    let all: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    let some = |bytes| instance().options(move |options| options.memory_bytes(bytes)).of(&model);
    // A hundred keys take some 400 bytes each, and a quarter of the memory is for them.
    let enough = some(400 * 1024);
    let scarce = some(40 * 1024);
    assert_eq!(open(&enough, query()).await.events(100).await, all[100..]);
    assert_eq!(open(&scarce, query()).await.events(200).await, all);
    // The table may grow too large later: streams that read a snapshot then continue as well.
    let mut slow = open(&enough, query()).await;
    slow.limit = 1;
    assert_eq!(slow.data().await, "100");
    for number in 0..2000 {
        model.produce(TOPIC, 0, keyed(&format!("more {number}"), "more"));
    }
    eventually(|| enough.is_given_up(TOPIC)).await;
    let counted = enough.counts().topics.remove(0);
    assert_eq!((counted.snapshots > 0, counted.snapshots_given_up), (true, 1));
    slow.limit = 64 * 1024;
    assert_eq!(slow.events(99 + 2000).await[..99], all[101..]);
    assert_eq!(open(&enough, query()).await.events(200).await, all);
}

#[tokio::test]
async fn what_retention_took_is_not_shown() {
    let model = compacted(1);
    write(&model, 0, &["a"], 0..5);
    write(&model, 0, &["b", "c"], 5..9);
    let cluster = instance().of(&model);
    let mut first = open(&cluster, query()).await;
    assert_eq!(first.events(3).await, ["a=4", "c=7", "b=8"]);
    model.expire(TOPIC, 0, 8);
    let mut late = open(&cluster, query()).await;
    write(&model, 0, &["d"], 9..10);
    assert_eq!(late.events(2).await, ["b=8", "d=9"]);
    let mut behind = open(&cluster, after(&[5])).await;
    let gap = r#"gap {"from":5,"partition":0,"reason":"retention","to":8}"#;
    assert_eq!(behind.events(3).await, [gap, "b=8", "d=9"]);
}

#[tokio::test]
async fn a_hundred_streams_share_one_reading_and_its_slow_ones_hold_up_nobody() {
    let model = compacted(3);
    for number in 0..3000 {
        let key = format!("{}", number % 300);
        model.produce(TOPIC, number % 3, keyed(&key, &format!("{key}={number}")));
    }
    let cluster = instance().batch(100).of(&model);
    model.hold_history(true);
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(open(&cluster, query()).await);
    }
    eventually(|| clients.iter_mut().all(Client::is_idle)).await;
    model.hold_history(false);
    let latest: BTreeSet<_> = (0..300).map(|key| format!("{key}={}", 2700 + key)).collect();
    let (slow, fast) = clients.split_at_mut(50);
    for client in &mut *slow {
        client.limit = 1;
        assert!(latest.contains(&client.data().await));
    }
    for client in fast {
        assert_eq!(client.events(300).await.into_iter().collect::<BTreeSet<_>>(), latest);
    }
    assert_eq!(model.served_history(), 3000);
    // Each makes a snapshot, and the slow ones are in the first.
    for number in 0..5 {
        model.produce(TOPIC, 0, keyed("0", &format!("0={}", 3000 + number)));
        let mut client = open(&cluster, query()).await;
        client.until(&[&format!("0={}", 3000 + number)]).await;
    }
    for client in slow {
        client.limit = 64 * 1024;
        let mut events = client.until(&["0=3004"]).await;
        while !client.is_idle() {
            events.push(client.data().await);
        }
        let events: BTreeSet<_> = events.into_iter().collect();
        assert!(latest.iter().filter(|event| !events.contains(*event)).count() <= 2);
    }
}

#[tokio::test]
async fn a_slow_replay_of_old_records_misses_no_tombstone() {
    // Each record is older than the time for which tombstones are kept.
    let model = kafka(1);
    model.compacted(TOPIC, vec![1_000_000]);
    write(&model, 0, &["a", "b", "c"], 0..3);
    let cluster = instance().of(&model);
    let mut slow = open(&cluster, query()).await;
    slow.limit = 1;
    assert_eq!(slow.data().await, "a=0");
    model.produce(TOPIC, 0, tombstone("a"));
    let mut other = open(&cluster, query()).await;
    other.until(&["c=2"]).await;
    slow.limit = 64 * 1024;
    assert_eq!(slow.events(3).await, ["b=1".to_owned(), "c=2".to_owned(), deleted("a")]);
    // Another instance does not know what became of them.
    let mut resumed = open(&instance().seed(3).of(&model), after(&[1])).await;
    let event = resumed.data().await;
    assert!(event.starts_with("gap ") && event.contains("tombstones"), "{event}");
}

#[tokio::test]
async fn a_recreated_topic_is_read_anew() {
    let model = compacted(1);
    write(&model, 0, &["a", "b"], 0..10);
    let cluster = instance().of(&model);
    let mut first = open(&cluster, query()).await;
    assert_eq!(first.events(2).await, ["a=8", "b=9"]);
    model.delete(TOPIC);
    let topics = model.calls(Call::Topics);
    eventually(|| model.calls(Call::Topics) > topics + 4).await;
    model.create(TOPIC, 1);
    model.compacted(TOPIC, vec![0]);
    write(&model, 0, &["c"], 0..3);
    let events = first.until(&["c=2"]).await;
    assert!(events.iter().any(|event| event.contains("truncation")), "{events:?}");
    let mut late = open(&cluster, query()).await;
    assert_eq!(late.data().await, "c=2");
}
