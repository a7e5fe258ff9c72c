//! Partitions that are held up, since their next record can't be converted yet.

use std::collections::HashSet;
use std::sync::Mutex;

use tokio::sync::watch;

use super::*;
use crate::broker::model::Call;
use crate::{Changes, Conversion, RecordRef};

/// A registry that is away or back. While it is away no value that begins with `0` can be converted.
#[derive(Clone)]
struct Registry(watch::Sender<bool>);

impl Registry {
    fn away() -> Self {
        Self(watch::Sender::new(false))
    }

    fn set(&self, back: bool) {
        self.0.send_replace(back);
    }

    fn converter(&self) -> impl crate::ConvertRecord {
        let registry = self.0.clone();
        move |record: &RecordRef<'_>, changes: &mut Changes| {
            let needs = record.value().is_some_and(|value| value.starts_with(b"0"));
            if needs && !*registry.borrow() {
                let mut registry = registry.subscribe();
                return Conversion::NotYet(Box::pin(async move {
                    let _ = registry.wait_for(|back| *back).await;
                }));
            }
            if let Some(value) = record.value() {
                changes.value_mut().extend_from_slice(value);
            }
            Conversion::Accepted
        }
    }

    fn instance(&self) -> Instance {
        instance().options(|options| options.converter(TOPIC, self.converter()))
    }
}

fn held_up(cluster: &Cluster) -> Vec<i32> {
    let health = cluster.health();
    health.topics.into_iter().flat_map(|topic| topic.held_up).collect()
}

#[tokio::test]
async fn a_record_that_can_not_be_converted_yet_holds_up_its_partition_alone() {
    let model = kafka(2);
    model.create("others", 1);
    let registry = Registry::away();
    let cluster = registry.instance().watched().of(&model);
    let mut client = open(&cluster, query()).await;
    let mut other = open(&cluster, Query::new("others")).await;
    eventually(|| client.is_idle() && model.calls(Call::Fetch) > 1).await;
    for round in 0..2 {
        registry.set(false);
        for offset in 3 * round..3 * (round + 1) {
            fill(&model, 0, 1);
            fill(&model, 1, 1);
            model.produce("others", 0, text(&format!("other {offset}")));
            assert_eq!(client.data().await, format!("1:{offset}"));
            assert_eq!(other.data().await, format!("other {offset}"));
        }
        eventually(|| held_up(&cluster) == [0]).await;
        // The watchdog knows why the log does not advance.
        let looks = model.calls(Call::Ends);
        eventually(|| model.calls(Call::Ends) > looks + 5).await;
        let health = cluster.health();
        let topic = health.topics.iter().find(|topic| *topic.name == *TOPIC).unwrap();
        assert_eq!((topic.advances, topic.stuck, health.restarts), (false, false, 0));
        assert!(client.is_idle());
        registry.set(true);
        let offsets = 3 * round..3 * (round + 1);
        assert_eq!(client.events(3).await, values(0, offsets));
        eventually(|| held_up(&cluster).is_empty()).await;
    }
    eventually(|| cluster.health().topics.iter().all(|topic| topic.advances)).await;
    assert_eq!(cluster.health().restarts, 0);
}

#[tokio::test]
async fn a_reader_of_history_goes_on_with_what_can_be_converted() {
    let model = kafka(2);
    model.create("others", 1);
    fill(&model, 0, 50);
    fill(&model, 1, 50);
    for offset in 0..50 {
        model.produce("others", 0, text(&format!("other {offset}")));
    }
    let registry = Registry::away();
    let cluster = registry.instance().options(|options| options.history_readers(1)).of(&model);
    let mut client = open(&cluster, query()).await;
    assert_eq!(client.events(50).await, values(1, 0..50));
    assert!(client.is_idle());
    let mut other = open(&cluster, Query::new("others")).await;
    other.until(&["other 49"]).await;
    let calls = model.calls(Call::FetchHistory);
    registry.set(true);
    assert_eq!(client.events(50).await, values(0, 0..50));
    eventually(|| client.is_idle() && model.assigned_history() == 0).await;
    assert!(model.calls(Call::FetchHistory) > calls);
    fill(&model, 0, 1);
    assert_eq!(client.data().await, "0:50");
}

/// A partition of a backfill had ended, and the live log passed a hole there while another partition was held up. The
/// backfill was read until the partition had a record.
#[tokio::test]
async fn a_backfill_ends_where_the_live_log_has_passed_a_hole_since() {
    let model = kafka(2);
    fill(&model, 0, 5);
    fill(&model, 1, 5);
    let registry = Registry::away();
    let cluster = registry.instance().watched().of(&model);
    let mut client = open(&cluster, query()).await;
    assert_eq!(client.events(5).await, values(1, 0..5));
    let fetches = model.calls(Call::FetchHistory);
    model.skip(TOPIC, 1, 3);
    eventually(|| model.calls(Call::FetchHistory) > fetches + 1).await;
    eventually(|| cluster.head(TOPIC).is_some_and(|head| head.next(1) == 8)).await;
    registry.set(true);
    assert_eq!(client.events(5).await, values(0, 0..5));
    eventually(|| client.is_idle() && model.assigned_history() == 0).await;
}

/// Each of them kept the reader for as long as a backfill may get no records.
#[tokio::test]
async fn backfills_that_wait_for_conversions_leave_their_reader_to_others() {
    const RECORDS: i64 = 20;
    let model = kafka(1);
    fill(&model, 0, 50);
    let registry = Registry::away();
    let names: Vec<_> = (0..4).map(|number| format!("held-up-{number}")).collect();
    let mut start = instance().options(|options| options.history_readers(1));
    (start.options.timing.retry, start.options.timing.stalled_read) = (IN_VAIN, IN_VAIN);
    for name in &names {
        model.create(name, 2);
        for offset in 0..RECORDS {
            model.produce(name, 0, text(&format!("0:{offset}")));
            model.produce(name, 1, text(&format!("0.1:{offset}")));
        }
        start = start.options(|options| options.converter(name.as_str(), registry.converter()));
    }
    let cluster = start.of(&model);
    let mut waiting = Vec::new();
    for name in &names {
        waiting.push(open(&cluster, Query::new(name.as_str())).await);
    }
    eventually(|| {
        waiting.iter_mut().for_each(|client| assert!(client.is_idle()));
        cluster.carried() == names.len()
    })
    .await;
    let mut bystander = open(&cluster, query()).await;
    assert_eq!(bystander.events(50).await, values(0, 0..50));
    // No turn is given to those that wait in vain.
    eventually(|| model.assigned_history() == 0).await;
    let calls = model.calls(Call::FetchHistory);
    model.wait_calls(Call::DrainEventsHistory, 5);
    assert_eq!(model.calls(Call::FetchHistory), calls);
    registry.set(true);
    for client in &mut waiting {
        let events = client.events(2 * RECORDS as usize).await;
        let second = (0..RECORDS).map(|offset| format!("0.1:{offset}")).collect();
        assert_each_once(&events, &[values(0, 0..RECORDS), second]);
    }
    eventually(|| !cluster.is_read()).await;
}

/// Later records of the same poll were taken for the next ones when conversion made the batch too long for them.
#[tokio::test]
async fn no_later_record_is_taken_before_one_that_can_not_be_converted_yet() {
    const RECORDS: i64 = 40;
    const LONG: usize = 400_000;
    let model = kafka(2);
    fill(&model, 0, RECORDS as usize);
    fill(&model, 1, RECORDS as usize);
    let refused = Mutex::new(HashSet::new());
    let convert = move |record: &RecordRef<'_>, changes: &mut Changes| {
        let first = refused.lock().unwrap().insert((record.partition(), record.offset()));
        if first && record.offset() % 3 == 0 {
            return Conversion::NotYet(Box::pin(std::future::ready(())));
        }
        changes.value_mut().extend_from_slice(record.value().unwrap_or_default());
        changes.value_mut().resize(LONG, b' ');
        Conversion::Accepted
    };
    let options =
        |options: ClusterOptions| options.converter(TOPIC, convert).memory_bytes(8 * LONG);
    let mut start = instance().batch(20).options(options);
    start.options.timing.stall = IN_VAIN;
    let mut client = open(&start.of(&model), query()).await;
    let mut next = [0, 0];
    for _ in 0..2 * RECORDS {
        let data = client.data().await;
        let (partition, offset) = data.trim_end().split_once(':').unwrap();
        let next = &mut next[partition.parse::<usize>().unwrap()];
        assert_eq!(offset.parse::<i64>().unwrap(), *next, "partition {partition}");
        *next += 1;
    }
}

/// What was behind an end that came a second time was taken for a hole, although a record had come with it.
#[tokio::test]
async fn no_hole_is_skipped_behind_a_record_that_can_not_be_converted_yet() {
    let model = kafka(1);
    for offset in 0..10 {
        let needs_schema = if offset == 6 { "0" } else { "1" };
        model.produce(TOPIC, 0, text(&format!("{needs_schema}:{offset}")));
    }
    let registry = Registry::away();
    let cluster = registry.instance().batch(20).of(&model);
    model.end_early(TOPIC, 0, 6, 2);
    let mut client = open(&cluster, query()).await;
    assert_eq!(client.events(6).await, values(1, 0..6));
    eventually(|| registry.0.receiver_count() > 0).await;
    assert!(
        model.calls(Call::Ends) > 0,
        "the first end is confirmed; the second came with the record"
    );
    registry.set(true);
    assert_eq!(client.events(4).await, ["0:6", "1:7", "1:8", "1:9"]);
}

#[tokio::test]
async fn a_snapshot_waits_for_what_can_not_be_converted_yet() {
    let model = kafka(1);
    model.compacted(TOPIC, vec![0]);
    for value in ["0 old", "0 new"] {
        model.produce(TOPIC, 0, keyed("a", value));
    }
    let registry = Registry::away();
    let cluster = registry.instance().of(&model);
    let mut client = open(&cluster, query()).await;
    eventually(|| client.is_idle() && model.calls(Call::FetchHistory) > 0).await;
    registry.set(true);
    assert_eq!(client.data().await, "0 new");
    registry.set(false);
    model.produce(TOPIC, 0, keyed("b", "0 b"));
    eventually(|| held_up(&cluster) == [0]).await;
    registry.set(true);
    assert_eq!(client.data().await, "0 b");
}

#[tokio::test]
async fn a_topic_that_is_cut_while_it_is_held_up_begins_anew() {
    let model = kafka(1);
    fill(&model, 0, 5);
    let registry = Registry::away();
    registry.set(true);
    let cluster = registry.instance().watched().of(&model);
    let mut client = open(&cluster, query()).await;
    client.events(5).await;
    registry.set(false);
    fill(&model, 0, 3);
    eventually(|| held_up(&cluster) == [0]).await;
    model.truncate(TOPIC, 0, 2);
    assert!(client.data().await.contains("truncation"));
    registry.set(true);
    assert_eq!(client.events(2).await, values(0, 0..2));
    fill(&model, 0, 1);
    assert_eq!(client.data().await, "0:2");
    eventually(|| held_up(&cluster).is_empty()).await;
}

#[tokio::test]
async fn a_future_that_panics_counts_as_ready() {
    let model = kafka(1);
    let asked = Arc::new(Mutex::new(0));
    let asks = Arc::clone(&asked);
    let convert = move |_: &RecordRef<'_>, _: &mut Changes| {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        match *asked {
            1..=3 => Conversion::NotYet(Box::pin(async { panic!("it was told to panic") })),
            _ => Conversion::Accepted,
        }
    };
    let cluster = instance().options(|options| options.converter(TOPIC, convert)).of(&model);
    let mut client = open(&cluster, query()).await;
    eventually(|| client.is_idle() && model.calls(Call::Fetch) > 1).await;
    fill(&model, 0, 1);
    assert_eq!(client.data().await, "0:0");
    assert_eq!((*asks.lock().unwrap(), cluster.health().panics), (4, 0));
}
