//! Conversions that take long, as those of a hostile schema may.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;

use super::*;
use crate::{Changes, Conversion, ConvertRecord, RecordRef};

/// As many as one poll brings.
const RECORDS: usize = 300;
/// How many of them are converted before somebody else has a turn; a few more on a busy machine.
const FEW: usize = 100;

/// Counts the conversions, each of which takes a while.
#[derive(Clone, Default)]
struct Slow(Arc<AtomicUsize>);

impl Slow {
    fn converter(&self) -> impl ConvertRecord + use<> {
        let count = Arc::clone(&self.0);
        move |_: &RecordRef<'_>, _: &mut Changes| {
            thread::sleep(Duration::from_millis(10));
            count.fetch_add(1, Ordering::Relaxed);
            Conversion::Accepted
        }
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

async fn live(cluster: &Cluster, topic: &str) -> Client {
    let mut client = open(cluster, Query::new(topic)).await;
    eventually(|| client.is_idle() && client.stream.is_following()).await;
    client
}

/// All records of a poll were converted before another topic, a command or a retry had its turn.
#[tokio::test]
async fn other_topics_advance_while_conversions_of_one_take_long() {
    let model = kafka(2);
    model.create("others", 1);
    let slow = Slow::default();
    let convert = slow.converter();
    let mut start = instance().live().batch(2 * RECORDS);
    // Often enough to find that a partition does not advance until those before it are converted.
    start.options.timing.watch = Duration::from_millis(500);
    let live_too = |options: ClusterOptions| {
        options.converter(TOPIC, convert).default_offset("others", DefaultOffset::Live)
    };
    let cluster = start.options(live_too).of(&model);
    let mut client = live(&cluster, TOPIC).await;
    let mut other = live(&cluster, "others").await;
    fill(&model, 0, RECORDS / 2);
    fill(&model, 1, RECORDS / 2);
    eventually(|| slow.count() > 0).await;
    for round in 0..5 {
        let before = slow.count();
        model.produce("others", 0, text(&round.to_string()));
        assert_eq!(other.data().await, round.to_string());
        assert!(slow.count() < before + FEW, "{} after {before}", slow.count());
    }
    assert!(slow.count() < RECORDS, "all were converted before");
    // Commands have their turn, too.
    let before = slow.count();
    model.create("new", 1);
    model.produce("new", 0, text("1"));
    assert_eq!(open(&cluster, Query::new("new")).await.data().await, "1");
    assert!(slow.count() < before + FEW, "{} after {before}", slow.count());
    let events = client.events(RECORDS).await;
    let offsets = 0..RECORDS as i64 / 2;
    assert_each_once(&events, &[values(0, offsets.clone()), values(1, offsets)]);
    assert_eq!(slow.count(), RECORDS, "what was fetched is kept");
    // The watchdog knows why a partition does not advance for long.
    assert_eq!(cluster.health().restarts, 0);
    fill(&model, 1, 1);
    assert_eq!(client.data().await, format!("1:{}", RECORDS / 2));
}

#[tokio::test]
async fn what_has_no_room_while_conversions_take_long_is_fetched_again() {
    let model = kafka(2);
    let slow = Slow::default();
    let convert = slow.converter();
    let mut start = instance().live().options(|options| options.converter(TOPIC, convert));
    start.options.timing.poll_bytes = 4000;
    start.batch = 20;
    let cluster = start.of(&model);
    let mut client = live(&cluster, TOPIC).await;
    // One that has room may follow one that has none.
    for padding in (0..50).map(|number| 37 * number % 200) {
        fill_one(&model, 0, None, padding);
        fill_one(&model, 1, None, padding);
    }
    let events = client.events(100).await;
    assert_each_once(&events, &[values(0, 0..50), values(1, 0..50)]);
    assert_eq!(slow.count(), 100);
}

/// Later records that were deferred were taken for the next ones.
#[tokio::test]
async fn no_deferred_record_is_taken_before_one_that_can_not_be_converted_yet() {
    const RECORDS: i64 = 60;
    let model = kafka(2);
    let refused = Mutex::new(HashSet::new());
    let convert = move |record: &RecordRef<'_>, _: &mut Changes| {
        thread::sleep(Duration::from_millis(2));
        let first = refused.lock().unwrap().insert((record.partition(), record.offset()));
        match first && record.offset() % 3 == 0 {
            true => Conversion::NotYet(Box::pin(std::future::ready(()))),
            false => Conversion::Accepted,
        }
    };
    let mut start =
        instance().live().batch(20).options(|options| options.converter(TOPIC, convert));
    start.options.timing.share = Duration::ZERO;
    let cluster = start.of(&model);
    let mut client = live(&cluster, TOPIC).await;
    fill(&model, 0, RECORDS as usize);
    fill(&model, 1, RECORDS as usize);
    let events = client.events(2 * RECORDS as usize).await;
    assert_each_once(&events, &[values(0, 0..RECORDS), values(1, 0..RECORDS)]);
}

#[tokio::test]
async fn history_of_other_topics_is_read_while_conversions_of_one_take_long() {
    let model = kafka(1);
    model.create("others", 1);
    fill(&model, 0, RECORDS);
    for number in 0..5 {
        model.produce("others", 0, text(&number.to_string()));
    }
    let slow = Slow::default();
    let convert = slow.converter();
    let options = |options: ClusterOptions| options.converter(TOPIC, convert).history_readers(1);
    let cluster = instance().batch(2 * RECORDS).options(options).of(&model);
    let mut client = open(&cluster, query()).await;
    eventually(|| client.is_idle() && slow.count() > 0).await;
    let before = slow.count();
    let mut other = open(&cluster, Query::new("others")).await;
    assert_eq!(other.events(5).await, ["0", "1", "2", "3", "4"]);
    assert!(slow.count() < before + FEW, "{} after {before}", slow.count());
    assert_eq!(client.events(RECORDS).await, values(0, 0..RECORDS as i64));
}

/// A poll converted a thousand records.
#[tokio::test]
async fn a_poll_of_a_stream_ends_while_its_conversions_take_long() {
    let model = kafka(1);
    fill(&model, 0, 50);
    let cluster = instance().batch(100).of(&model);
    let slow = Slow::default();
    let mut client = open(&cluster, query().converter(Arc::new(slow.converter()))).await;
    let mut most = 0;
    let mut events: Vec<String> = Vec::new();
    while events.len() < 50 {
        let write = poll_fn(|cx| {
            let before = slow.count();
            let polled = client.stream.as_mut().poll_events(cx, client.limit);
            most = most.max(slow.count() - before);
            match polled {
                Poll::Ready(write) => Poll::Ready(write.unwrap().unwrap()),
                Poll::Pending => Poll::Pending,
            }
        });
        let write = tokio::time::timeout(IN_VAIN, write).await.expect("it wakes itself");
        client.take(&write.into_bytes());
        while let Some(item) = client.parser.pull().unwrap() {
            let Item::Message(message) = item else { continue };
            events.push(String::from_utf8_lossy(&message.data).trim_end_matches([':', ' ']).into());
        }
    }
    assert_eq!(events, values(0, 0..50));
    assert_eq!(most, 1, "each takes the whole share of a poll");
}
