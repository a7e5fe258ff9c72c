//! Inspections: whether the data of a partition at an offset can be read at all, and where unreadable data ends.
//!
//! A fetch error of a consumer names neither topic nor partition. So the tail or a backfill waits until it is
//! clear which partitions do not move, stops reading them, and has each inspected here by a consumer of its
//! own. Nothing is skipped that might be readable. The only proof is the same error at the first thing that is
//! read, several times, each time on another connection. If nothing comes or the broker is unreachable, nothing
//! is known, and the inspection is repeated.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::{debug, error, warn};

use crate::broker::{self, Backend, Consumer, FetchError, Fetched, Panics};
use crate::threads::Threads;
use crate::timing::Timing;
use crate::topic::inspection::{Finding, Inspection};

/// How many partitions are inspected at once, each by a thread and a consumer of its own.
const THREADS: usize = 4;

/// How many consumers must get the same error.
const TRIES: u32 = 3;

/// How long a consumer reads from an offset on before it gives up. It is doubled after each failed inspection.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_READ_TIMEOUT: Duration = Duration::from_secs(16);

/// How long the end of unreadable data is searched for. Then the certain part is reported, and the rest later.
const SEARCH: Duration = Duration::from_secs(15);

const POLL: Duration = Duration::from_millis(50);
const POLL_BYTES: usize = 64 * 1024;

/// The queue of inspections, and its threads, which run while there are inspections. There is at most one for
/// each partition that the tail or a backfill reads.
#[derive(Debug)]
pub(crate) struct Inspections {
    backend: Arc<dyn Backend>,
    threads: Threads,
    timing: Timing,
    state: Mutex<State>,
    changed: Notify,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Each with the number of failed attempts and when it is due.
    waiting: VecDeque<(Inspection, u32, Instant)>,
    threads: usize,
}

/// A thread that inspects partitions. It is counted until it ends, even if it panics or can't be started.
struct Thread(Arc<Inspections>);

impl Drop for Thread {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
    }
}

impl Inspections {
    pub(crate) fn new(backend: Arc<dyn Backend>, threads: Threads, timing: Timing) -> Self {
        let state = Mutex::default();
        let changed = Notify::new();
        let closed = AtomicBool::new(false);
        Self { backend, threads, timing, state, changed, closed }
    }

    /// Ends the threads. Inspections that are added later are dropped.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        self.closed.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.changed.notify_waiters();
        drop(waiting);
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an inspection, and starts a thread if there are fewer than [`THREADS`].
    pub(crate) fn add(self: &Arc<Self>, inspection: Inspection) {
        debug!(?inspection, "inspecting a partition after a fetch error");
        let mut state = self.lock();
        if self.is_closed() {
            return;
        }
        state.waiting.push_back((inspection, 0, Instant::now()));
        if state.threads == THREADS {
            self.changed.notify_waiters();
            return;
        }
        state.threads += 1;
        drop(state);
        let thread = Thread(Arc::clone(self));
        let work = move || async move {
            let Thread(inspections) = &thread;
            while let Some((inspection, failed_attempts)) = inspections.next().await {
                inspections.perform(inspection, failed_attempts).await;
            }
        };
        if let Err(error) = self.threads.run("kafka-inspect", work) {
            error!(%error, "can't start a thread for an inspection");
        }
    }

    /// Waits for the next inspection that is due. `None` if there are none, or the cluster was dropped.
    async fn next(&self) -> Option<(Inspection, u32)> {
        while !self.is_closed() {
            let changed = self.changed.notified();
            let pause = {
                let mut state = self.lock();
                state.waiting.retain(|(inspection, ..)| (inspection.is_wanted)());
                let earliest = state.waiting.iter().map(|(_, _, due)| *due).min()?;
                let now = Instant::now();
                if let Some(at) = state.waiting.iter().position(|(_, _, due)| *due <= now) {
                    let next = state.waiting.remove(at);
                    return next
                        .map(|(inspection, failed_attempts, _)| (inspection, failed_attempts));
                }
                (earliest - now).min(self.timing.refresh)
            };
            let _ = timeout(pause, changed).await;
        }
        None
    }

    async fn perform(&self, mut inspection: Inspection, failed_attempts: u32) {
        let Inspection { topic, partition, from, until, losses, .. } = &inspection;
        let mut probe = Probe {
            inspections: self,
            topic,
            partition: *partition,
            consumer: None,
            deadline: Instant::now() + SEARCH,
            read_timeout: MAX_READ_TIMEOUT.min(READ_TIMEOUT * (1 << failed_attempts.min(4))),
        };
        let finding = match losses.until(*partition, *from) {
            Some(to) if probe.is_unreadable(*from).await => {
                Some(Finding::Unreadable { to, why: String::new() })
            }
            _ => probe.inspect(*from, *until, self.timing.inspect_after / 2).await,
        };
        match finding {
            Some(finding) => inspection.on_finding.give(finding),
            None => {
                let due = Instant::now() + self.timing.back_off(failed_attempts);
                self.lock().waiting.push_back((inspection, failed_attempts + 1, due));
            }
        }
    }
}

/// The first thing that a consumer brings.
enum First {
    Readable,
    FetchError(FetchError),
    Nothing,
}

struct Probe<'a> {
    inspections: &'a Inspections,
    topic: &'a str,
    partition: i32,
    consumer: Option<Box<dyn Consumer>>,
    /// When the search for the end stops.
    deadline: Instant,
    read_timeout: Duration,
}

impl Probe<'_> {
    /// Inspects a partition from an offset on. `None` if nothing is known. This takes seconds.
    async fn inspect(&mut self, from: i64, until: i64, pause: Duration) -> Option<Finding> {
        let mut found = None;
        let mut next = from;
        // The next batch may be unreadable, too: both are one gap then.
        while next < until {
            let pause = if found.is_none() { pause } else { Duration::ZERO };
            let fetch_error = match self.fetch_error(next, pause).await {
                First::FetchError(fetch_error) => fetch_error,
                First::Readable if found.is_none() => return Some(Finding::Readable),
                First::Readable | First::Nothing => break,
            };
            debug!(
                self.topic,
                self.partition,
                offset = next,
                ?fetch_error,
                "the batch can't be read"
            );
            let end = match fetch_error.batch {
                Some(_) => self.end(&fetch_error, next, until).await,
                None => Some(next + 1),
            };
            let Some(end) = end else { break };
            next = end;
            found.get_or_insert(fetch_error.reason);
            if Instant::now() >= self.deadline {
                break;
            }
        }
        found.map(|why| Finding::Unreadable { to: next, why })
    }

    /// Whether the data at an offset still can't be read.
    async fn is_unreadable(&mut self, offset: i64) -> bool {
        matches!(self.first(offset).await, First::FetchError(_))
    }

    /// The first thing that several consumers bring, one after the other.
    async fn fetch_error(&mut self, offset: i64, pause: Duration) -> First {
        let mut first = First::Nothing;
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(pause).await;
            }
            self.consumer = None;
            first = self.first(offset).await;
            if !matches!(first, First::FetchError(_)) {
                break;
            }
        }
        first
    }

    async fn first(&mut self, offset: i64) -> First {
        let is_new = self.consumer.is_none();
        let mut first = self.fetch(offset).await;
        // It may be of the assignment before, which continued at an offset within the batch. A new consumer had none.
        if matches!(first, Some(Fetched::OutOfRange)) && !is_new {
            self.consumer = None;
            first = self.fetch(offset).await;
        }
        match first {
            Some(Fetched::Record(..) | Fetched::End(_) | Fetched::OutOfRange) => First::Readable,
            Some(Fetched::Error(fetch_error)) => First::FetchError(fetch_error),
            Some(Fetched::Denied) | None => First::Nothing,
        }
    }

    /// Reads from an offset on until something comes. `None` if nothing does in time.
    async fn fetch(&mut self, offset: i64) -> Option<Fetched> {
        if self.inspections.is_closed() {
            return None;
        }
        let consumer = match &mut self.consumer {
            Some(consumer) => consumer,
            none => match self.inspections.backend.consumer(true) {
                Ok(consumer) => none.insert(consumer),
                Err(error) => {
                    let cluster = self.inspections.backend.cluster();
                    warn!(cluster, %error, "can't create a consumer for an inspection");
                    return None;
                }
            },
        };
        let until = Instant::now() + self.read_timeout;
        let mut fetched = Vec::new();
        let mut panics = Panics::default();
        broker::assign(&mut **consumer, self.topic, self.partition, offset);
        while fetched.is_empty() && Instant::now() < until && !self.inspections.is_closed() {
            broker::poll(&mut **consumer, POLL, POLL_BYTES, &mut fetched, &mut panics).await;
            fetched.retain(|fetched| match fetched {
                Fetched::Record(_, record) => record.offset >= offset,
                Fetched::OutOfRange | Fetched::End(_) | Fetched::Error(_) | Fetched::Denied => true,
            });
        }
        broker::unassign(&mut **consumer, self.topic, self.partition);
        fetched.into_iter().next()
    }

    /// Whether the first thing from this offset on is of the same batch. `None` if nothing comes.
    async fn is_in(&mut self, batch: &FetchError, offset: i64) -> Option<bool> {
        match self.first(offset).await {
            First::FetchError(fetch_error) => Some(fetch_error.batch == batch.batch),
            First::Readable => Some(false),
            // librdkafka reports an unknown format only where the batch begins. Within it, it brings nothing.
            First::Nothing => batch.reason.contains("MagicByte").then_some(true),
        }
    }

    /// The first offset after the batch. From each offset within the batch the broker sends the whole batch, so the
    /// end is found by bisection.
    async fn end(&mut self, batch: &FetchError, from: i64, until: i64) -> Option<i64> {
        let mut within = from;
        let mut step = 1;
        let mut behind = loop {
            let next = from.saturating_add(step).min(until);
            if next >= until || !self.is_in(batch, next).await? {
                break next;
            }
            (within, step) = (next, step * 2);
            if Instant::now() >= self.deadline {
                return Some(within + 1);
            }
        };
        while behind - within > 1 && Instant::now() < self.deadline {
            let middle = within + (behind - within) / 2;
            match self.is_in(batch, middle).await? {
                true => within = middle,
                false => behind = middle,
            }
        }
        Some(within + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::model::{Model, Spoilt};

    /// The log was truncated while its partition was inspected. A consumer that is out of range at an offset behind the
    /// batch was read again and again, so that nothing was ever found, and the partition stayed held.
    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_batch_is_found_where_the_log_ends_before_the_inspection() {
        let model = Model::default();
        model.create("a", 1);
        model.spoil("a", 0, &["x", "y", "z"], Spoilt::Batch);
        // The clock moves with each call, so that a probe ends by its timeout.
        model.slow(Duration::from_millis(10));
        let timing = Timing::default();
        let backend = model.backend(0, 1);
        let inspections = Inspections::new(backend, Threads::default(), timing);
        let mut probe = Probe {
            inspections: &inspections,
            topic: "a",
            partition: 0,
            consumer: None,
            deadline: Instant::now() + SEARCH,
            read_timeout: READ_TIMEOUT,
        };
        let Some(Finding::Unreadable { to, .. }) = probe.inspect(0, 40, timing.inspect_after).await
        else {
            panic!("nothing is found");
        };
        assert_eq!(to, 3);
    }
}
