//! The consumer of the model, which behaves as one of librdkafka.

use std::panic;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout_at};

use crate::Error;
use crate::broker::model::{Call, Model, Partition, Spoilt, Stall, State};
use crate::broker::{Consumer, FetchError, Fetched};
use crate::simulation::{self, Random};

/// A consumer of the model.
pub(super) struct Reader {
    model: Model,
    history: bool,
    random: Random,
    /// About so many records come with one poll.
    batch: usize,
    assigned: Vec<Assigned>,
    /// Partitions of which nothing comes, however often they are assigned.
    stall: Vec<(Arc<str>, i32)>,
    reconnects: u64,
    /// How many assignments ended before they reported that they were out of range. They report it all the same.
    out_of_range: usize,
}

#[derive(Debug)]
struct Assigned {
    topic: Arc<str>,
    partition: i32,
    start: i64,
    next: i64,
    /// The last end that was reported.
    ended: Option<i64>,
    /// The position is out of range. As librdkafka with `auto.offset.reset=error`, it is reported once, and the
    /// partition is not read any more.
    broken: bool,
    /// Nothing comes of the partition.
    stall: bool,
    /// When it last had a fetch error.
    failed: Option<Instant>,
    /// It has reported that the topic may not be read.
    denied: bool,
}

/// How long a consumer waits after a fetch error.
const BACKOFF: Duration = Duration::from_millis(5);

impl Reader {
    pub(super) fn new(
        model: Model,
        history: bool,
        random: Random,
        batch: usize,
        reconnects: u64,
    ) -> Self {
        let assigned = Vec::new();
        let stall = Vec::new();
        Self { model, history, random, batch, assigned, stall, reconnects, out_of_range: 0 }
    }
}

impl Consumer for Reader {
    fn cluster(&self) -> &str {
        "model"
    }

    fn assign(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), Error> {
        let topic = topic.into();
        let start = offset;
        let same = |old: &Assigned| old.topic == topic && old.partition == partition;
        assert!(!self.assigned.iter().any(same), "librdkafka refuses to assign twice");
        let stall = self.stall.iter().any(|(of, at)| *of == topic && *at == partition);
        let ended = None;
        let broken = false;
        let failed = None;
        let denied = false;
        let next = offset;
        let assigned =
            Assigned { topic, partition, start, next, ended, broken, stall, failed, denied };
        self.assigned.push(assigned);
        if self.history {
            self.model.change(|state| state.assigned_history += 1);
        }
        Ok(())
    }

    fn unassign(&mut self, topic: &str, partition: i32) -> Result<(), Error> {
        let before = self.assigned.len();
        let is_there = |old: &Assigned| {
            let high = self.model.lock().log(old).map_or(i64::MAX, |log| log.high);
            old.broken || old.next <= high
        };
        let same = |old: &Assigned| *old.topic == *topic && old.partition == partition;
        let is_reported = self.assigned.iter().filter(|old| same(old)).all(is_there);
        self.out_of_range += usize::from(!is_reported);
        self.assigned.retain(|old| *old.topic != *topic || old.partition != partition);
        assert_eq!(self.assigned.len() + 1, before, "librdkafka refuses what is not assigned");
        if self.history {
            self.model.change(|state| state.assigned_history -= 1);
        }
        Ok(())
    }

    fn poll<'a>(
        &'a mut self,
        timeout: Duration,
        limit_bytes: usize,
        into: &'a mut Vec<Fetched>,
    ) -> BoxFuture<'a, ()> {
        self.fetch_until(Instant::now() + timeout, limit_bytes, into).boxed()
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
    /// Waits until something has been fetched.
    async fn fetch_until(
        &mut self,
        deadline: Instant,
        limit_bytes: usize,
        into: &mut Vec<Fetched>,
    ) {
        let model = self.model.clone();
        let before = into.len();
        let call = match self.history {
            true if self.assigned.is_empty() => Call::DrainEventsHistory,
            true => Call::FetchHistory,
            false => Call::Fetch,
        };
        let failed = model.call(call).await.is_err();
        {
            let state = model.lock();
            let reconnects = state.faults.reconnects;
            if failed || reconnects != self.reconnects {
                self.reconnects = reconnects;
                self.repeat(&state);
            }
        }
        for _ in 0..std::mem::take(&mut self.out_of_range) {
            into.push(Fetched::OutOfRange);
        }
        loop {
            let written = model.0.written.notified();
            if !failed {
                self.fetch_now(limit_bytes, into, before);
            }
            if into.len() > before || Instant::now() >= deadline {
                // It may be late.
                let late = usize::from(into.len() > before);
                model.lock().late_fetches += late;
                simulation::turn().await;
                model.lock().late_fetches -= late;
                return;
            }
            let _ = timeout_at(deadline, written).await;
        }
    }

    /// Fetches what there is, behind what was fetched `before`.
    fn fetch_now(&mut self, limit_bytes: usize, into: &mut Vec<Fetched>, before: usize) {
        let model = self.model.clone();
        let mut state = model.lock();
        if state.faults.holds(self.history) {
            return;
        }
        if self.fetch(&mut state, limit_bytes, into) {
            drop(state);
            panic::resume_unwind(Box::new("a record makes the model panic"));
        }
        if self.history {
            let records = into[before..].iter();
            state.served_history +=
                records.filter(|fetched| matches!(fetched, Fetched::Record(..))).count();
        }
    }

    /// Records may come again after the connection was lost.
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

    /// Whether a record makes the consumer panic.
    fn fetch(&mut self, state: &mut State, limit_bytes: usize, into: &mut Vec<Fetched>) -> bool {
        let mut bytes = 0;
        let mut left = 1 + self.random.below(2 * self.batch);
        let mut first = self.random.below(self.assigned.len());
        // Partitions take turns, as with the responses of several brokers.
        let mut idle = 0;
        while idle < self.assigned.len() && left > 0 && bytes < limit_bytes {
            let count = self.assigned.len();
            let assigned = &mut self.assigned[first % count];
            first += 1;
            idle += 1;
            let topic = &assigned.topic;
            let partition = assigned.partition;
            if !self.history
                && let Some(stall) = state.faults.stalls(topic, partition)
            {
                assigned.stall = true;
                if stall == Stall::Consumer {
                    self.stall.push((Arc::clone(topic), partition));
                }
            }
            if assigned.stall {
                continue;
            }
            let forbidden = state.topics.get(&**topic).is_some_and(|topic| topic.forbidden);
            if forbidden {
                if !std::mem::replace(&mut assigned.denied, true) {
                    into.push(Fetched::Denied);
                    idle = 0;
                }
                continue;
            }
            assigned.denied = false;
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
            let spoilt = log.spoilt(assigned.next).filter(|(range, _)| range.start < stable);
            if let Some((range, how)) =
                spoilt.as_ref().filter(|(offsets, _)| offsets.contains(&assigned.next))
            {
                if *how == Spoilt::Panics {
                    assigned.next = range.end;
                    return true;
                }
                if assigned.failed.is_none_or(|at| at.elapsed() >= BACKOFF) {
                    assigned.failed = Some(Instant::now());
                    let reason = "a test made the model refuse it".to_owned();
                    into.push(Fetched::Error(FetchError { batch: Some(range.start), reason }));
                    idle = 0;
                    // As librdkafka after a wrong checksum: it may take any number for an offset.
                    if *how == Spoilt::Checksum {
                        assigned.next = log.high + 33_554_433;
                    } else if self.random.below(3) == 0 {
                        let far = usize::try_from(stable - range.end).unwrap_or(0);
                        let far = i64::try_from(self.random.below(far + 1)).unwrap_or(0);
                        assigned.next = (range.end + far).min(stable).max(assigned.next);
                    }
                }
                continue;
            }
            let stable = spoilt.map_or(stable, |(range, _)| range.start);
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
            let at_end = stable == log.end();
            if !more && assigned.next <= stable {
                assigned.next = stable;
                if self.history && at_end && assigned.ended != Some(stable) {
                    assigned.ended = Some(stable);
                    into.push(Fetched::End(assigned.partition));
                    match state.log_mut(assigned).and_then(|log| log.take_early_end(stable)) {
                        Some(true) => return false,
                        Some(false) => idle = 0,
                        None => {}
                    }
                }
            }
        }
        false
    }
}

impl State {
    /// The records of a partition that can be read.
    fn log(&self, assigned: &Assigned) -> Option<&Partition> {
        let topic = self.topics.get(&*assigned.topic)?;
        let log = topic.partitions.get(usize::try_from(assigned.partition).ok()?)?;
        (!log.leaderless).then_some(log)
    }

    fn log_mut(&mut self, assigned: &Assigned) -> Option<&mut Partition> {
        let topic = self.topics.get_mut(&*assigned.topic)?;
        topic.partitions.get_mut(usize::try_from(assigned.partition).ok()?)
    }
}
