//! A Kafka in memory that does on demand what a real one does some day.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::{Backend, Consumer, End, Fetched};
use crate::Error;
use crate::gap::Extent;
use crate::record::Record;

/// The model. A clone is another handle to the same cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    /// Somebody asked. Not for consumers: they would wake each other for ever.
    called: Condvar,
}

#[derive(Debug, Default)]
struct State {
    topics: HashMap<String, Topic>,
    unreachable: bool,
    /// Readers of history get nothing.
    history_held: bool,
    /// Grows with each loss of the connection: consumers that see it read a little once more.
    reconnects: u64,
    failures: HashMap<Call, usize>,
    panics: HashSet<Call>,
    calls: HashMap<Call, usize>,
    served_history: usize,
    assigned_history: usize,
    consumers: usize,
    /// How long it takes to find that a partition has no leader.
    failure: Duration,
    /// So many looks find no topics.
    forgotten: usize,
    /// Calls take up to so long.
    slowness: Duration,
    counted: u64,
    /// Partitions of which the tail gets nothing, without a word.
    deaf: Vec<(String, i32, Deaf)>,
}

#[derive(Debug, Default)]
struct Topic {
    partitions: Vec<Partition>,
    tombstones_kept: Option<Vec<i64>>,
    /// Looks find it with an error.
    unreadable: bool,
}

#[derive(Debug, Default)]
struct Partition {
    low: i64,
    high: i64,
    records: Vec<Record>,
    leaderless: bool,
    /// Where it ends for the readers of a new leader.
    lagging: Option<i64>,
    /// Where the open transaction began, and what belongs to it.
    transaction: Option<(i64, BTreeSet<i64>)>,
}

/// How long the tail gets nothing of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deaf {
    /// Until the partition is assigned anew.
    Assignment,
    /// Until there is another consumer.
    Consumer,
    Always,
}

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    Consumer,
    Topics,
    Extent,
    /// For the first offsets since a time.
    Times,
    Ends,
    /// By the tail.
    Fetch,
    /// By a reader of history.
    FetchHistory,
}

/// A record to produce.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Message<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a str, Option<&'a [u8]>)],
    pub(crate) timestamp: Option<i64>,
}

impl Partition {
    fn stable(&self) -> i64 {
        self.transaction.as_ref().map_or(self.high, |(start, _)| *start)
    }

    /// Where reading ends.
    fn end(&self) -> i64 {
        self.stable().min(self.lagging.unwrap_or(i64::MAX))
    }

    fn push(&mut self, partition: i32, message: &Message<'_>) -> i64 {
        let place = (partition, self.high, message.timestamp);
        let headers = message.headers.iter().map(|(name, value)| (name.as_bytes(), *value));
        let record = Record::new(place, message.key, message.value, headers, &mut BytesMut::new());
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
        self.0.changed.notify_all();
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

    /// This cluster as one instance sees it: the seed chooses sizes and order of what it fetches.
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

    /// More partitions.
    pub(crate) fn grow(&self, topic: &str, partitions: usize) {
        self.change(|state| {
            let topic = state.topics.get_mut(topic).expect("the topic exists");
            topic.partitions.resize_with(partitions, Partition::default);
        });
    }

    pub(crate) fn produce(&self, topic: &str, partition: i32, message: Message<'_>) -> i64 {
        self.partition(topic, partition, |log| log.push(partition, &message))
    }

    /// So many offsets hold nothing: transaction markers, what compaction took.
    pub(crate) fn skip(&self, topic: &str, partition: i32, offsets: i64) {
        self.partition(topic, partition, |log| log.high += offsets);
    }

    /// The offset that is written next.
    pub(crate) fn high(&self, topic: &str, partition: i32) -> i64 {
        self.partition(topic, partition, |log| log.high)
    }

    /// Takes these offsets out of the log.
    pub(crate) fn remove(&self, topic: &str, partition: i32, gone: impl Fn(i64) -> bool) {
        self.partition(topic, partition, |log| log.records.retain(|record| !gone(record.offset)));
    }

    /// Moves the low watermark.
    pub(crate) fn expire(&self, topic: &str, partition: i32, low: i64) {
        self.partition(topic, partition, |log| {
            log.low = low.clamp(log.low, log.high);
            let low = log.low;
            log.records.retain(|record| record.offset >= low);
        });
    }

    /// Cuts the end of the log.
    pub(crate) fn cut(&self, topic: &str, partition: i32, high: i64) {
        self.partition(topic, partition, |log| {
            log.high = high;
            log.records.retain(|record| record.offset < high);
        });
    }

    /// Opens a transaction. What is produced by `produce_in` belongs to it.
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

    /// The topic is compacted, and from these offsets on its tombstones are all there.
    pub(crate) fn compacted(&self, topic: &str, tombstones_kept: Vec<i64>) {
        self.change(|state| {
            let topic = state.topics.get_mut(topic).expect("the topic exists");
            topic.tombstones_kept = Some(tombstones_kept);
        });
    }

    pub(crate) fn set_reachable(&self, reachable: bool) {
        self.change(|state| {
            state.unreachable = !reachable;
            state.reconnects += 1;
        });
    }

    /// Readers of history wait, or go on.
    pub(crate) fn hold_history(&self, held: bool) {
        self.change(|state| state.history_held = held);
    }

    /// Nobody serves this partition, or somebody does again.
    pub(crate) fn set_leaderless(&self, topic: &str, partition: i32, leaderless: bool) {
        self.partition(topic, partition, |log| log.leaderless = leaderless);
    }

    /// A new leader that does not know yet what was committed shows this partition up to here, and does
    /// not tell its offsets; `None`: it knows.
    pub(crate) fn lag(&self, topic: &str, partition: i32, end: Option<i64>) {
        self.partition(topic, partition, |log| log.lagging = end);
    }

    /// The tail gets nothing of this partition any more, as if nothing were written.
    pub(crate) fn deafen(&self, topic: &str, partition: i32, deaf: Deaf) {
        self.change(|state| state.deaf.push((topic.to_owned(), partition, deaf)));
    }

    /// Questions for offsets of partitions without a leader fail after this long.
    pub(crate) fn fail_after(&self, failure: Duration) {
        self.change(|state| state.failure = failure);
    }

    /// The next `times` calls of this kind fail.
    pub(crate) fn fail(&self, call: Call, times: usize) {
        self.change(|state| state.failures.insert(call, times));
    }

    /// The next call of this kind panics.
    pub(crate) fn panic_at(&self, call: Call) {
        self.change(|state| state.panics.insert(call));
    }

    /// Whether a call that was to panic has not come yet.
    pub(crate) fn will_panic(&self) -> bool {
        !self.lock().panics.is_empty()
    }

    /// Whether a call that was to fail has not come yet.
    pub(crate) fn will_fail(&self, call: Call) -> bool {
        self.lock().failures.get(&call).is_some_and(|times| *times > 0)
    }

    /// The next looks find no topics.
    pub(crate) fn forget_topics(&self, looks: usize) {
        self.change(|state| state.forgotten = looks);
    }

    /// Looks find an error in place of the topic's partitions, or its partitions again.
    pub(crate) fn set_unreadable(&self, topic: &str, unreadable: bool) {
        self.change(|state| {
            state.topics.get_mut(topic).expect("the topic exists").unreadable = unreadable;
        });
    }

    /// Waits until no consumer is left.
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

    /// How many records were given to readers of history.
    pub(crate) fn served_history(&self) -> usize {
        self.lock().served_history
    }

    /// How many partitions readers of history are reading.
    pub(crate) fn assigned_history(&self) -> usize {
        self.lock().assigned_history
    }

    /// Each call takes up to so long before anything comes of it.
    pub(crate) fn slow(&self, slowness: Duration) {
        self.change(|state| state.slowness = slowness);
    }

    /// How long the call that begins now takes.
    fn delay(&self) -> Duration {
        let mut state = self.lock();
        state.counted += 1;
        state.slowness.mul_f64(Random(state.counted).below(1000) as f64 / 1000.0)
    }

    /// Counts a call and says whether it works.
    fn call(&self, call: Call) -> Result<MutexGuard<'_, State>, Error> {
        let delay = self.delay();
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        let mut state = self.lock();
        *state.calls.entry(call).or_default() += 1;
        self.0.called.notify_all();
        if state.panics.remove(&call) {
            drop(state);
            panic!("the model was told to panic");
        }
        let failures = state.failures.entry(call).or_default();
        let fails = *failures > 0;
        *failures = failures.saturating_sub(1);
        if fails || state.unreachable {
            return Err(Error::kafka(std::io::Error::other("the model was told to fail")));
        }
        Ok(state)
    }
}

#[derive(Debug)]
struct Seen {
    model: Model,
    seed: u64,
    batch: usize,
}

impl Seen {
    fn offsets(&self, call: Call, topic: &str, partitions: usize) -> Result<Extent, Error> {
        let state = self.model.call(call)?;
        let no_offset = || Error::NoOffset { topic: topic.to_owned() };
        let topic = state.topics.get(topic).ok_or_else(no_offset)?;
        let logs = topic.partitions.get(..partitions).ok_or_else(no_offset)?;
        if logs.iter().any(|log| log.leaderless || log.lagging.is_some()) {
            let failure = state.failure;
            drop(state);
            std::thread::sleep(failure);
            return Err(no_offset());
        }
        Ok(Extent {
            low: logs.iter().map(|log| log.low).collect(),
            stable: logs.iter().map(Partition::stable).collect(),
            high: logs.iter().map(|log| log.high).collect(),
            tombstones_kept: topic.tombstones_kept.clone(),
            since: None,
        })
    }
}

impl Backend for Seen {
    fn consumer(&self, history: bool) -> Result<Box<dyn Consumer>, Error> {
        // librdkafka makes a consumer whether Kafka is there or not.
        let (fails, reconnects) = {
            let state = self.model.lock();
            let fails = state.failures.contains_key(&Call::Consumer)
                || state.panics.contains(&Call::Consumer);
            (history && fails, state.reconnects)
        };
        if fails {
            drop(self.model.call(Call::Consumer)?);
        }
        self.model.change(|state| state.consumers += 1);
        Ok(Box::new(Reader {
            model: self.model.clone(),
            history,
            random: Random(self.seed ^ u64::from(history)),
            batch: self.batch,
            assigned: Vec::new(),
            deaf: Vec::new(),
            reconnects,
        }))
    }

    fn topics(&self) -> Result<HashMap<String, usize>, Error> {
        let mut state = self.model.call(Call::Topics)?;
        if state.forgotten > 0 {
            state.forgotten -= 1;
            return Ok(HashMap::new());
        }
        let count = |(name, topic): (&String, &Topic)| {
            (name.clone(), if topic.unreadable { 0 } else { topic.partitions.len() })
        };
        Ok(state.topics.iter().map(count).collect())
    }

    fn extent(
        &self,
        topic: &str,
        partitions: usize,
        retention: Option<Duration>,
    ) -> Result<Extent, Error> {
        let mut extent = self.offsets(Call::Extent, topic, partitions)?;
        extent.tombstones_kept = extent.tombstones_kept.filter(|_| retention.is_some());
        Ok(extent)
    }

    fn ends(&self, topic: &str, partitions: usize) -> Result<Vec<End>, Error> {
        let Extent { stable, high, .. } = self.offsets(Call::Ends, topic, partitions)?;
        Ok(stable.into_iter().zip(high).map(|(stable, high)| End { stable, high }).collect())
    }

    fn first_since(
        &self,
        topic: &str,
        partitions: usize,
        time: i64,
    ) -> Result<Vec<Option<i64>>, Error> {
        let state = self.model.call(Call::Times)?;
        let logs = state.topics.get(topic).and_then(|topic| topic.partitions.get(..partitions));
        let logs = logs.ok_or_else(|| Error::NoOffset { topic: topic.to_owned() })?;
        let first = |log: &Partition| {
            let mut readable = log.records.iter().filter(|record| record.offset < log.stable());
            let first = readable.find(|record| record.timestamp.is_some_and(|at| at >= time));
            first.map(|record| record.offset)
        };
        Ok(logs.iter().map(first).collect())
    }

    fn tombstone_retention(&self, topic: &str) -> Result<Option<Duration>, Error> {
        let state = self.model.lock();
        let compacted =
            state.topics.get(topic).is_some_and(|topic| topic.tombstones_kept.is_some());
        Ok(compacted.then_some(Duration::from_secs(86_400)))
    }
}

struct Reader {
    model: Model,
    history: bool,
    random: Random,
    /// About so many records come at once.
    batch: usize,
    assigned: Vec<Assigned>,
    /// Of these nothing comes, however often they are assigned.
    deaf: Vec<(Arc<str>, i32)>,
    reconnects: u64,
}

#[derive(Debug)]
struct Assigned {
    topic: Arc<str>,
    partition: i32,
    start: i64,
    next: i64,
    /// The end that was told last.
    ended: Option<i64>,
    /// As librdkafka with `auto.offset.reset=error`: told once, and read no more.
    broken: bool,
    /// Nothing comes of it.
    deaf: bool,
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) as usize) % limit.max(1)
    }
}

impl Consumer for Reader {
    fn assign(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), Error> {
        let (topic, start) = (topic.into(), offset);
        let same = |old: &Assigned| old.topic == topic && old.partition == partition;
        assert!(!self.assigned.iter().any(same), "librdkafka refuses to assign twice");
        let deaf = self.deaf.iter().any(|(of, at)| *of == topic && *at == partition);
        let (ended, broken) = (None, false);
        let assigned = Assigned { topic, partition, start, next: offset, ended, broken, deaf };
        self.assigned.push(assigned);
        if self.history {
            self.model.change(|state| state.assigned_history += 1);
        }
        Ok(())
    }

    fn unassign(&mut self, topic: &str, partition: i32) -> Result<(), Error> {
        let before = self.assigned.len();
        self.assigned.retain(|old| *old.topic != *topic || old.partition != partition);
        assert_eq!(self.assigned.len() + 1, before, "librdkafka refuses what is not assigned");
        if self.history {
            self.model.change(|state| state.assigned_history -= 1);
        }
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, limit_bytes: usize, into: &mut Vec<Fetched>) {
        let deadline = Instant::now() + timeout;
        let model = self.model.clone();
        let before = into.len();
        let call = if self.history { Call::FetchHistory } else { Call::Fetch };
        let failed = model.call(call).is_err();
        let mut state = model.lock();
        if failed || state.reconnects != self.reconnects {
            self.reconnects = state.reconnects;
            self.repeat(&state);
        }
        loop {
            let held = self.history && state.history_held;
            if !failed && !state.unreachable && !held {
                self.fetch(&mut state, limit_bytes, into);
                if self.history {
                    let records = into[before..].iter();
                    state.served_history +=
                        records.filter(|fetched| matches!(fetched, Fetched::Record(..))).count();
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if into.len() > before || left.is_zero() {
                return;
            }
            (state, _) = model.0.changed.wait_timeout(state, left).unwrap();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.model.change(|state| {
            state.consumers -= 1;
            state.assigned_history -= if self.history { self.assigned.len() } else { 0 };
        });
    }
}

impl Reader {
    /// What was fetched may come once more after the connection was lost.
    fn repeat(&mut self, state: &State) {
        for assigned in &mut self.assigned {
            let Some(log) = state.log(assigned) else { continue };
            let again = i64::try_from(self.random.below(4)).unwrap();
            let least = assigned.start.max(log.low).min(assigned.next);
            if assigned.next <= log.high {
                assigned.next = (assigned.next - again).max(least);
            }
        }
    }

    fn fetch(&mut self, state: &mut State, limit_bytes: usize, into: &mut Vec<Fetched>) {
        let mut bytes = 0;
        let mut left = 1 + self.random.below(2 * self.batch);
        let mut first = self.random.below(self.assigned.len());
        // Partitions take turns, as the answers of brokers come.
        let mut idle = 0;
        while idle < self.assigned.len() && left > 0 && bytes < limit_bytes {
            let count = self.assigned.len();
            let assigned = &mut self.assigned[first % count];
            first += 1;
            idle += 1;
            if !self.history {
                let of = |(topic, partition, _): &(String, i32, Deaf)| {
                    **topic == *assigned.topic && *partition == assigned.partition
                };
                if let Some(at) = state.deaf.iter().position(of) {
                    assigned.deaf = true;
                    match state.deaf[at].2 {
                        Deaf::Always => {}
                        Deaf::Assignment => drop(state.deaf.remove(at)),
                        Deaf::Consumer => {
                            state.deaf.remove(at);
                            self.deaf.push((Arc::clone(&assigned.topic), assigned.partition));
                        }
                    }
                }
            }
            if assigned.deaf {
                continue;
            }
            let Some(log) = state.log(assigned).filter(|_| !assigned.broken) else { continue };
            if assigned.next < log.low || assigned.next > log.high {
                assigned.broken = true;
                into.push(Fetched::OutOfRange);
                idle = 0;
                continue;
            }
            let at = log.records.partition_point(|record| record.offset < assigned.next);
            let most = left.min(1 + self.random.below(self.batch));
            let stable = log.end();
            let readable = log.records[at..].iter().take_while(|record| record.offset < stable);
            for record in readable.take(most) {
                assigned.next = record.offset + 1;
                bytes += record.weight();
                left -= 1;
                idle = 0;
                into.push(Fetched::Record(Arc::clone(&assigned.topic), record.clone()));
                if bytes >= limit_bytes {
                    break;
                }
            }
            let more = log.records[at..]
                .iter()
                .any(|record| record.offset >= assigned.next && record.offset < stable);
            if !more && assigned.next <= stable {
                assigned.next = stable;
                if self.history && assigned.ended != Some(stable) {
                    assigned.ended = Some(stable);
                    into.push(Fetched::End(assigned.partition));
                }
            }
        }
    }
}

impl State {
    /// What can be read of a partition.
    fn log(&self, assigned: &Assigned) -> Option<&Partition> {
        let topic = self.topics.get(&*assigned.topic)?;
        let log = topic.partitions.get(usize::try_from(assigned.partition).ok()?)?;
        (!log.leaderless).then_some(log)
    }
}
