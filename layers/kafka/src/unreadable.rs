//! Whether what a partition has at an offset can be read by nobody, and where it ends.
//!
//! An error of a consumer names neither topic nor partition. So whoever meets one waits until it is seen
//! which partitions stand still, and asks here, where each is read by itself. Nothing is passed over that
//! might be read: only an error that says so, at the first thing that is read, several times and on as many
//! connections, is proof. Where nothing comes, or the broker is away, nothing is known.

use std::thread;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use crate::backend::{self, Backend, Consumer, Fetched, Refusal};
use crate::control::Pace;

/// Consumers that must meet the same.
const TRIES: u32 = 3;

/// How long one reads from an offset on before it is given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the end is looked for. Then what is certain is taken, and the rest found later.
const SEARCH: Duration = Duration::from_secs(15);

/// Offsets that are tried one by one, where it is not told which batch they are of.
const SINGLE: i64 = 100;

const POLL: Duration = Duration::from_millis(50);
const POLL_BYTES: usize = 64 * 1024;

/// What was found at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// A record, there or behind a hole, or the end.
    Readable,
    /// Nobody can read what lies there, up to before `to`.
    Unreadable {
        to: i64,
        why: String,
    },
    Unknown,
}

/// The first thing that reading brings.
enum First {
    Readable,
    Refused(Refusal),
    Nothing,
}

/// Looks at a partition from an offset on, whose end is `until`. Takes seconds.
pub(crate) fn look(
    backend: &dyn Backend,
    topic: &str,
    partition: i32,
    (from, until): (i64, i64),
    pace: &Pace,
) -> Finding {
    let mut probe =
        Probe { backend, topic, partition, consumer: None, deadline: Instant::now() + SEARCH };
    let (mut found, mut next) = (Finding::Unknown, from);
    // What follows it may be as bad: then it is one gap.
    while next < until {
        let refusal = match probe.refusal(next, pace.refusal / 2) {
            First::Refused(refusal) => refusal,
            First::Readable if found == Finding::Unknown => return Finding::Readable,
            First::Readable | First::Nothing => break,
        };
        debug!(topic, partition, offset = next, ?refusal, "what is there can't be read");
        let end = match refusal.batch {
            Some(_) => probe.end(&refusal, next, until),
            None => probe.next(next, until),
        };
        let Some(end) = end else { break };
        next = end;
        let why = match found {
            Finding::Unreadable { why, .. } => why,
            Finding::Readable | Finding::Unknown => refusal.reason,
        };
        found = Finding::Unreadable { to: end, why };
        if Instant::now() >= probe.deadline {
            break;
        }
    }
    found
}

/// Whether what was found once at an offset is still there.
pub(crate) fn is_refused(backend: &dyn Backend, topic: &str, partition: i32, offset: i64) -> bool {
    let mut probe = Probe { backend, topic, partition, consumer: None, deadline: Instant::now() };
    matches!(probe.first(offset), First::Refused(_))
}

struct Probe<'a> {
    backend: &'a dyn Backend,
    topic: &'a str,
    partition: i32,
    consumer: Option<Box<dyn Consumer>>,
    deadline: Instant,
}

impl Probe<'_> {
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
        backend::assign(&mut **consumer, self.topic, self.partition, offset);
        let (until, mut fetched, mut panics) = (Instant::now() + PATIENCE, Vec::new(), 0);
        while fetched.is_empty() && Instant::now() < until {
            backend::poll(&mut **consumer, POLL, POLL_BYTES, &mut fetched, &mut panics);
            let mut stands = false;
            fetched.retain(|fetched| match fetched {
                Fetched::Record(_, record) => record.offset >= offset,
                // It may be of the assignment before, which went on at a number in the batch.
                Fetched::OutOfRange => {
                    stands = true;
                    false
                }
                Fetched::End(_) | Fetched::Refused(_) | Fetched::Denied => true,
            });
            if stands && fetched.is_empty() {
                backend::unassign(&mut **consumer, self.topic, self.partition);
                backend::assign(&mut **consumer, self.topic, self.partition, offset);
            }
        }
        backend::unassign(&mut **consumer, self.topic, self.partition);
        match fetched.into_iter().next() {
            Some(Fetched::Record(..) | Fetched::End(_)) => First::Readable,
            Some(Fetched::Refused(refusal)) => First::Refused(refusal),
            Some(Fetched::OutOfRange | Fetched::Denied) | None => First::Nothing,
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
        let (mut within, mut step) = (from, 1);
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

    /// The next offset that can be read, or that is as far as was looked.
    fn next(&mut self, from: i64, until: i64) -> Option<i64> {
        let last = until.min(from.saturating_add(SINGLE));
        let mut next = from + 1;
        while next < last && Instant::now() < self.deadline {
            match self.first(next) {
                First::Refused(Refusal { batch: None, .. }) => next += 1,
                First::Refused(_) | First::Readable => break,
                // It may be slow: what is certain is taken.
                First::Nothing => break,
            }
        }
        Some(next)
    }
}
