//! Whether what a partition has at an offset can be read by nobody, and where it ends.
//!
//! An error of a consumer names neither topic nor partition. So whoever meets one waits until it is seen
//! which partitions stand still, reads these no longer, and asks here, where each is read by itself. Nothing
//! is passed over that might be read: only an error that says so, at the first thing that is read, several
//! times and on as many connections, is proof. Where nothing comes, or the broker is away, nothing is known,
//! and it is tried again.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, warn};

use crate::broker::{self, Backend, Consumer, Fetched, Panics, Refusal};
use crate::timing::Timing;
use crate::topic::losses::Losses;

/// Partitions that are looked at at once, each by a thread and a consumer of its own.
const THREADS: usize = 4;

/// Consumers that must meet the same.
const TRIES: u32 = 3;

/// How long one reads from an offset on before it is given up. Doubled for each time that it was in vain.
const PATIENCE: Duration = Duration::from_secs(2);
const MOST_PATIENCE: Duration = Duration::from_secs(16);

/// How long the end is looked for. Then what is certain is taken, and the rest found later.
const SEARCH: Duration = Duration::from_secs(15);

const POLL: Duration = Duration::from_millis(50);
const POLL_BYTES: usize = 64 * 1024;

/// What was found at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// A record, there or behind a hole, or the end, or the offset is gone: who reads on sees it.
    Readable,
    /// Nobody can read what lies there, up to before `to`.
    Unreadable { to: i64, why: String },
}

/// A partition that is to be looked at from an offset on, whose end is `until`.
pub(crate) struct Inspection {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) from: i64,
    pub(crate) until: i64,
    /// What is known of the topic.
    pub(crate) losses: Arc<Losses>,
    pub(crate) on_finding: OnFinding,
    /// Whether somebody still wants to know.
    pub(crate) is_wanted: Box<dyn Fn() -> bool + Send>,
}

/// Takes what was found. A look that is given up, or panics, has found that somebody is to read on.
pub(crate) struct OnFinding(Option<Box<dyn FnOnce(Finding) + Send>>);

impl OnFinding {
    pub(crate) fn new(found: impl FnOnce(Finding) + Send + 'static) -> Self {
        Self(Some(Box::new(found)))
    }

    fn give(&mut self, finding: Finding) {
        if let Some(found) = self.0.take() {
            found(finding);
        }
    }
}

impl Drop for OnFinding {
    fn drop(&mut self) {
        self.give(Finding::Readable);
    }
}

impl fmt::Debug for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, from, until, .. } = self;
        f.debug_tuple("Look").field(topic).field(partition).field(from).field(until).finish()
    }
}

/// The looks that are to be taken, on threads that are there while there are some. There is one for each
/// partition that somebody reads at most.
#[derive(Debug)]
pub(crate) struct Inspections {
    backend: Arc<dyn Backend>,
    timing: Timing,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// With how often it was in vain, and when it is due.
    waiting: VecDeque<(Inspection, u32, Instant)>,
    threads: usize,
}

/// A thread that takes looks, counted whatever becomes of it.
struct Thread<'a>(&'a Inspections);

impl Drop for Thread<'_> {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
    }
}

impl Inspections {
    pub(crate) fn new(backend: Arc<dyn Backend>, timing: Timing) -> Self {
        Self { backend, timing, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a look as soon as there is a thread.
    pub(crate) fn add(self: &Arc<Self>, inspection: Inspection) {
        debug!(?inspection, "looking for what was refused");
        let mut state = self.lock();
        state.waiting.push_back((inspection, 0, Instant::now()));
        if state.threads == THREADS {
            self.changed.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        let inspections = Arc::clone(self);
        let work = move || {
            let _thread = Thread(&inspections);
            while let Some((inspection, in_vain)) = inspections.next() {
                inspections.perform(inspection, in_vain);
            }
        };
        if let Err(error) = thread::Builder::new().name("kafka-refusal".to_owned()).spawn(work) {
            error!(%error, "no thread to look for what can't be read");
            self.lock().threads -= 1;
        }
    }

    /// The next look, when it is due; `None` if there is none.
    fn next(&self) -> Option<(Inspection, u32)> {
        let mut state = self.lock();
        loop {
            state.waiting.retain(|(inspection, ..)| (inspection.is_wanted)());
            let earliest = state.waiting.iter().map(|(_, _, due)| *due).min()?;
            let now = Instant::now();
            if let Some(at) = state.waiting.iter().position(|(_, _, due)| *due <= now) {
                return state
                    .waiting
                    .remove(at)
                    .map(|(inspection, in_vain, _)| (inspection, in_vain));
            }
            let pause = (earliest - now).min(self.timing.refresh);
            let waited = self.changed.wait_timeout(state, pause);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn perform(&self, mut inspection: Inspection, in_vain: u32) {
        let Inspection { topic, partition, from, until, losses, .. } = &inspection;
        let mut probe = Probe {
            backend: &*self.backend,
            topic,
            partition: *partition,
            consumer: None,
            deadline: Instant::now() + SEARCH,
            patience: MOST_PATIENCE.min(PATIENCE * (1 << in_vain.min(4))),
        };
        let known = losses.until(*partition, *from).filter(|_| probe.is_refused(*from));
        let finding = match known {
            Some(to) => Some(Finding::Unreadable { to, why: String::new() }),
            None => probe.inspect(*from, *until, self.timing.refusal / 2),
        };
        match finding {
            Some(finding) => inspection.on_finding.give(finding),
            None => {
                let due = Instant::now() + self.timing.back_off(in_vain);
                self.lock().waiting.push_back((inspection, in_vain + 1, due));
            }
        }
    }
}

/// The first thing that reading brings.
enum First {
    Readable,
    Refused(Refusal),
    Nothing,
}

struct Probe<'a> {
    backend: &'a dyn Backend,
    topic: &'a str,
    partition: i32,
    consumer: Option<Box<dyn Consumer>>,
    /// Of the search for the end.
    deadline: Instant,
    patience: Duration,
}

impl Probe<'_> {
    /// Whether nobody can read what is there from an offset on, and up to where; `None` if that is not known.
    /// Takes seconds.
    fn inspect(&mut self, from: i64, until: i64, pause: Duration) -> Option<Finding> {
        let mut found = None;
        let mut next = from;
        // What follows it may be as bad: then it is one gap.
        while next < until {
            let pause = if found.is_none() { pause } else { Duration::ZERO };
            let refusal = match self.refusal(next, pause) {
                First::Refused(refusal) => refusal,
                First::Readable if found.is_none() => return Some(Finding::Readable),
                First::Readable | First::Nothing => break,
            };
            debug!(
                self.topic,
                self.partition,
                offset = next,
                ?refusal,
                "what is there can't be read"
            );
            let end = match refusal.batch {
                Some(_) => self.end(&refusal, next, until),
                None => Some(next + 1),
            };
            let Some(end) = end else { break };
            next = end;
            found.get_or_insert(refusal.reason);
            if Instant::now() >= self.deadline {
                break;
            }
        }
        found.map(|why| Finding::Unreadable { to: next, why })
    }

    /// Whether what was found once at an offset is still there.
    fn is_refused(&mut self, offset: i64) -> bool {
        matches!(self.first(offset), First::Refused(_))
    }

    /// What several consumers meet first, one after the other.
    fn refusal(&mut self, offset: i64, pause: Duration) -> First {
        let mut first = First::Nothing;
        for attempt in 0..TRIES {
            if attempt > 0 {
                thread::sleep(pause);
            }
            self.consumer = None;
            first = self.first(offset);
            if !matches!(first, First::Refused(_)) {
                break;
            }
        }
        first
    }

    fn first(&mut self, offset: i64) -> First {
        let is_new = self.consumer.is_none();
        let consumer = match &mut self.consumer {
            Some(consumer) => consumer,
            none => match self.backend.consumer(true) {
                Ok(consumer) => none.insert(consumer),
                Err(error) => {
                    warn!(%error, "no consumer to look for what can't be read");
                    return First::Nothing;
                }
            },
        };
        let until = Instant::now() + self.patience;
        let mut fetched = Vec::new();
        let mut panics = Panics::default();
        broker::assign(&mut **consumer, self.topic, self.partition, offset);
        while fetched.is_empty() && Instant::now() < until {
            broker::poll(&mut **consumer, POLL, POLL_BYTES, &mut fetched, &mut panics);
            let mut stands = false;
            fetched.retain(|fetched| match fetched {
                Fetched::Record(_, record) => record.offset >= offset,
                // It may be of the assignment before, which went on at a number in the batch.
                Fetched::OutOfRange => {
                    stands = !is_new;
                    is_new
                }
                Fetched::End(_) | Fetched::Refused(_) | Fetched::Denied => true,
            });
            if stands && fetched.is_empty() {
                broker::unassign(&mut **consumer, self.topic, self.partition);
                broker::assign(&mut **consumer, self.topic, self.partition, offset);
            }
        }
        broker::unassign(&mut **consumer, self.topic, self.partition);
        match fetched.into_iter().next() {
            Some(Fetched::Record(..) | Fetched::End(_) | Fetched::OutOfRange) => First::Readable,
            Some(Fetched::Refused(refusal)) => First::Refused(refusal),
            Some(Fetched::Denied) | None => First::Nothing,
        }
    }

    /// Whether what is read first from this offset on is of the same batch. `None` if nothing comes.
    fn is_in(&mut self, batch: &Refusal, offset: i64) -> Option<bool> {
        match self.first(offset) {
            First::Refused(refusal) => Some(refusal.batch == batch.batch),
            First::Readable => Some(false),
            // An unknown format is told where it begins; within, librdkafka passes over it without a word.
            First::Nothing => batch.reason.contains("MagicByte").then_some(true),
        }
    }

    /// The first offset that is not of the batch. From each of its own on the broker gives all of it, so
    /// they are those before an offset that is found by trying.
    fn end(&mut self, batch: &Refusal, from: i64, until: i64) -> Option<i64> {
        let mut within = from;
        let mut step = 1;
        let mut behind = loop {
            let next = from.saturating_add(step).min(until);
            if next >= until || !self.is_in(batch, next)? {
                break next;
            }
            (within, step) = (next, step * 2);
            if Instant::now() >= self.deadline {
                return Some(within + 1);
            }
        };
        while behind - within > 1 && Instant::now() < self.deadline {
            let middle = within + (behind - within) / 2;
            match self.is_in(batch, middle)? {
                true => within = middle,
                false => behind = middle,
            }
        }
        Some(within + 1)
    }
}
