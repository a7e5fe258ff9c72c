//! A model of Kafka in memory. It does on demand what a real cluster does only now and then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::panic;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::Notify;

use crate::Error;
use crate::broker::Backend;
use crate::data::gap::Reason;
use crate::data::record::Record;
use crate::simulation;

mod backend;
mod faults;
mod reader;

use backend::Seen;
use faults::Faults;
pub(crate) use faults::{Call, Stall};

/// The model of a cluster. A clone is another handle to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Wakes consumers that wait for records.
    written: Notify,
    /// The two for tests that wait without a runtime. The second is notified at each call.
    changed: Condvar,
    called: Condvar,
}

#[derive(Debug, Default)]
struct State {
    topics: BTreeMap<String, Topic>,
    faults: Faults,
    calls: HashMap<Call, usize>,
    /// How many fetches have ended, and are not known to those who asked for them yet.
    late_fetches: usize,
    served_history: usize,
    assigned_history: usize,
    consumers: usize,
}

#[derive(Debug, Default)]
struct Topic {
    partitions: Vec<Partition>,
    tombstones_kept: Option<Vec<i64>>,
    /// Metadata have an error for the topic.
    unreadable: bool,
    /// The topic may not be described: it is not in the list.
    hidden: bool,
    /// The topic may not be read.
    forbidden: bool,
}

impl Topic {
    /// The number of partitions in the metadata.
    fn count(&self) -> usize {
        if self.unreadable { 0 } else { self.partitions.len() }
    }
}

#[derive(Debug, Default)]
struct Partition {
    low: i64,
    high: i64,
    records: Vec<Record>,
    leaderless: bool,
    /// The end of the partition for the consumers of a new leader.
    lagging: Option<i64>,
    /// Where consumers of history find an end although Kafka reports another one, and how often.
    early_ends: Option<(i64, usize)>,
    /// Offsets that can't be read, and how that shows.
    spoilt: Vec<(Range<i64>, Spoilt)>,
    /// The first offset of the open transaction, and its records.
    transaction: Option<(i64, BTreeSet<i64>)>,
}

/// A record to produce.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Message<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a str, Option<&'a [u8]>)],
    pub(crate) timestamp: Option<i64>,
}

/// How a record shows that it can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoilt {
    /// The consumer gets a fetch error, and may continue anywhere behind the batch.
    Batch,
    /// As `Batch`, but the consumer continues at an offset that is out of range.
    Checksum,
    /// The consumer panics, and continues behind the record.
    Panics,
    /// The record is larger than the limit.
    TooLarge,
}

impl Partition {
    /// The first unreadable range for a consumer at this offset.
    fn spoilt(&self, next: i64) -> Option<(Range<i64>, Spoilt)> {
        let ahead = self.spoilt.iter().filter(|(range, _)| range.end > next);
        ahead.min_by_key(|(range, _)| range.start).cloned()
    }

    fn stable(&self) -> i64 {
        self.transaction.as_ref().map_or(self.high, |(start, _)| *start)
    }

    /// The offset at which consumers stop.
    fn end(&self) -> i64 {
        let early = self.early_ends.map_or(i64::MAX, |(end, _)| end);
        self.stable().min(self.lagging.unwrap_or(i64::MAX)).min(early)
    }

    /// Takes out one of the early ends, if this is their offset. Returns whether there are more.
    fn take_early_end(&mut self, end: i64) -> Option<bool> {
        let (_, times) = self.early_ends.filter(|(early, _)| *early == end)?;
        self.early_ends = (times > 1).then_some((end, times - 1));
        Some(times > 1)
    }

    fn push(&mut self, partition: i32, message: &Message<'_>) -> i64 {
        let position = (partition, self.high, message.timestamp);
        let headers = message.headers.iter().map(|(name, value)| (name.as_bytes(), *value));
        let record =
            Record::new(position, message.key, message.value, headers, &mut BytesMut::new());
        self.records.push(record);
        self.high += 1;
        self.high - 1
    }
}

impl Model {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        notify(&self.0.changed);
        self.0.written.notify_waiters();
        changed
    }

    fn partition<T>(
        &self,
        topic: &str,
        partition: i32,
        change: impl FnOnce(&mut Partition) -> T,
    ) -> T {
        self.change(|state| {
            let topic = state.topics.get_mut(topic).expect("the topic exists");
            change(&mut topic.partitions[usize::try_from(partition).unwrap()])
        })
    }

    /// The cluster as one instance sees it. The seed determines the sizes and the order of its fetches.
    pub(crate) fn backend(&self, seed: u64, batch: usize) -> Arc<dyn Backend> {
        Arc::new(Seen { model: self.clone(), seed, batch })
    }

    pub(crate) fn create(&self, topic: &str, partitions: usize) {
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        let topic_made = Topic { partitions, ..Topic::default() };
        self.change(|state| state.topics.insert(topic.to_owned(), topic_made));
    }

    pub(crate) fn delete(&self, topic: &str) {
        self.change(|state| state.topics.remove(topic));
    }

    /// Adds partitions.
    pub(crate) fn grow(&self, topic: &str, partitions: usize) {
        self.change(|state| {
            let topic = state.topics.get_mut(topic).expect("the topic exists");
            topic.partitions.resize_with(partitions, Partition::default);
        });
    }

    pub(crate) fn produce(&self, topic: &str, partition: i32, message: Message<'_>) -> i64 {
        self.partition(topic, partition, |log| log.push(partition, &message))
    }

    /// Produces records that can't be read: one batch of them, or each by itself.
    pub(crate) fn spoil(&self, topic: &str, partition: i32, keys: &[&str], how: Spoilt) {
        self.partition(topic, partition, |log| {
            let from = log.high;
            for key in keys {
                let key = Message {
                    key: Some(key.as_bytes()),
                    value: Some(b"spoilt"),
                    ..Message::default()
                };
                let offset = log.push(partition, &key);
                if how == Spoilt::TooLarge {
                    let range = (offset, offset + 1);
                    let gap = Record::gap(partition, range, Reason::TooLarge, key.key);
                    log.records.pop();
                    log.records.push(gap);
                } else if how == Spoilt::Panics {
                    log.spoilt.push((offset..offset + 1, how));
                }
            }
            if matches!(how, Spoilt::Batch | Spoilt::Checksum) {
                log.spoilt.push((from..log.high, how));
            }
        });
    }

    /// Leaves so many offsets without records: control records, or records that compaction removed.
    pub(crate) fn skip(&self, topic: &str, partition: i32, offsets: i64) {
        self.partition(topic, partition, |log| log.high += offsets);
    }

    /// The offset of the next record.
    pub(crate) fn high(&self, topic: &str, partition: i32) -> i64 {
        self.partition(topic, partition, |log| log.high)
    }

    /// Removes the records at these offsets.
    pub(crate) fn remove(&self, topic: &str, partition: i32, gone: impl Fn(i64) -> bool) {
        self.partition(topic, partition, |log| log.records.retain(|record| !gone(record.offset)));
    }

    /// Moves the low watermark.
    pub(crate) fn expire(&self, topic: &str, partition: i32, low: i64) {
        self.partition(topic, partition, |log| {
            log.low = low.clamp(log.low, log.high);
            let low = log.low;
            log.records.retain(|record| record.offset >= low);
            log.spoilt.retain(|(range, _)| range.end > low);
        });
    }

    /// Truncates the log to this high watermark.
    pub(crate) fn truncate(&self, topic: &str, partition: i32, high: i64) {
        self.partition(topic, partition, |log| {
            log.high = high;
            log.records.retain(|record| record.offset < high);
            log.spoilt.retain_mut(|(range, _)| {
                range.end = range.end.min(high);
                !range.is_empty()
            });
        });
    }

    /// Begins a transaction. `produce_in` adds records to it.
    pub(crate) fn begin(&self, topic: &str, partition: i32) {
        self.partition(topic, partition, |log| {
            log.transaction = Some((log.high, BTreeSet::new()));
        });
    }

    pub(crate) fn produce_in(&self, topic: &str, partition: i32, message: Message<'_>) -> i64 {
        self.partition(topic, partition, |log| {
            let offset = log.push(partition, &message);
            log.transaction.as_mut().expect("a transaction is open").1.insert(offset);
            offset
        })
    }

    /// Ends the transaction: its marker takes an offset.
    pub(crate) fn end(&self, topic: &str, partition: i32, commit: bool) {
        self.partition(topic, partition, |log| {
            let (_, offsets) = log.transaction.take().expect("a transaction is open");
            if !commit {
                log.records.retain(|record| !offsets.contains(&record.offset));
            }
            log.high += 1;
        });
    }

    /// Makes the topic compacted. From these offsets on it has all its tombstones.
    pub(crate) fn compacted(&self, topic: &str, tombstones_kept: Vec<i64>) {
        self.change(|state| {
            let topic = state.topics.get_mut(topic).expect("the topic exists");
            topic.tombstones_kept = Some(tombstones_kept);
        });
    }

    /// Waits until all consumers are dropped.
    pub(crate) fn wait_no_consumers(&self) {
        let timeout = Duration::from_secs(20);
        let left = |state: &mut State| state.consumers > 0;
        let waited = self.0.changed.wait_timeout_while(self.lock(), timeout, left);
        assert!(!waited.unwrap().1.timed_out(), "consumers are left");
    }

    /// How many calls of this kind there were.
    pub(crate) fn calls(&self, call: Call) -> usize {
        self.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// Waits until so many more calls of this kind began.
    pub(crate) fn wait_calls(&self, call: Call, more: usize) {
        let until = self.calls(call) + more;
        let missing = |state: &mut State| state.calls.get(&call).is_none_or(|calls| *calls < until);
        let timeout = Duration::from_secs(20);
        let waited = self.0.called.wait_timeout_while(self.lock(), timeout, missing);
        assert!(!waited.unwrap().1.timed_out(), "{call:?} was waited for in vain");
    }

    /// Whether somebody is about to get what was there before.
    pub(crate) fn has_late_fetches(&self) -> bool {
        self.lock().late_fetches > 0
    }

    /// How many records history consumers have fetched.
    pub(crate) fn served_history(&self) -> usize {
        self.lock().served_history
    }

    /// How many partitions are assigned to history consumers.
    pub(crate) fn assigned_history(&self) -> usize {
        self.lock().assigned_history
    }

    /// Counts a call, which takes its time, and returns whether it succeeds.
    async fn call(&self, call: Call) -> Result<(), Error> {
        simulation::turn().await;
        let delay = self.lock().faults.delay();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.note(call)
    }

    fn note(&self, call: Call) -> Result<(), Error> {
        let mut state = self.lock();
        *state.calls.entry(call).or_default() += 1;
        notify(&self.0.called);
        if state.faults.panics(call) {
            drop(state);
            panic::resume_unwind(Box::new("a test made the model panic"));
        }
        if state.faults.fails(call) {
            return Err(Error::kafka(std::io::Error::other("a test made the model fail")));
        }
        Ok(())
    }

    /// Answers a call. The answer may be late.
    async fn answer<T>(
        &self,
        call: Call,
        answer: impl FnOnce(&mut State) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.call(call).await?;
        let answer = answer(&mut self.lock());
        simulation::turn().await;
        answer
    }
}

/// Wakes a test that waits without a runtime. In a simulation there is none, and this would cost a system call.
fn notify(waiting: &Condvar) {
    if !simulation::is_running() {
        waiting.notify_all();
    }
}
