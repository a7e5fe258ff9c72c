//! Fetch errors of the tail: which partitions have not moved since, what they have at their positions, and
//! the gaps that the logs get for what can't be read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use crate::data::positions::Positions;
use crate::engine::control::Control;
use crate::threads::interruption;
use crate::topic::inspection::{Finding, Inspection, OnFinding};
use crate::topic::registry::Shared;
use crate::topic::requests::{Command, Inspected, Request};
use crate::topic::{Topic, TopicLog};

/// How many stalled partitions are inspected at once, and the others of the last topic.
const INSPECTED: usize = 64;

/// A partition with another fetch error within this time is resumed only after a pause, together with other such
/// partitions. In the pause the tail reads the healthy partitions.
const AGAIN: Duration = Duration::from_secs(60);
const PEACE: u32 = 4;

/// The fetch errors of the tail, and what is being done about them.
#[derive(Default)]
pub(super) struct FetchErrors {
    /// The tail had a fetch error since the heads were noted.
    noted: bool,
    /// The number of the tail's last fetch error.
    last: Option<u64>,
    /// The heads of the logs a moment ago.
    before: Option<Vec<Stood>>,
    /// The number of the tail's last fetch error at that time.
    covered: Option<u64>,
    /// The next step is not due before this.
    next: Option<Instant>,
    /// How many inspections in a row found no stalled partition.
    failed_attempts: u32,
    /// Until then, partitions with repeated fetch errors stay held.
    peace: Option<Instant>,
    /// Findings about partitions that are held, and when they are to be applied.
    findings: Vec<(Instant, Inspected)>,
}

/// A log, and its head at that time.
type Stood = (Arc<Topic>, Arc<TopicLog>, Positions);

/// The partitions of a topic with fetch errors.
pub(super) type FailedPartitions = BTreeMap<i32, Times>;

#[derive(Debug)]
pub(super) struct Times {
    /// The offset from which on the tail does not read it, while it is held.
    pub(super) held: Option<i64>,
    /// The partition had another fetch error within [`AGAIN`].
    again: bool,
    last: Instant,
}

impl FetchErrors {
    /// Notes a fetch error. It has a number if the tail had it.
    pub(super) fn note(&mut self, number: Option<u64>) {
        self.noted = true;
        self.last = number.or(self.last);
    }

    /// When the next step is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let waits = self.noted || self.before.is_some();
        let next = self.next.filter(|next| *next > Instant::now());
        let step = waits.then(|| next.unwrap_or_else(Instant::now));
        self.findings.iter().map(|(due, _)| *due).chain(step).min()
    }
}

impl Control<'_> {
    /// Takes the next step. It waits for nothing but Kafka's offsets.
    pub(super) async fn inspect_fetch_errors(&mut self, shared: &Shared) {
        self.take_findings();
        let now = Instant::now();
        let errors = &mut self.fetch_errors;
        let waits = errors.noted || errors.before.is_some();
        if !waits || errors.next.is_some_and(|next| now < next) {
            return;
        }
        let Some(before) = errors.before.take() else {
            let log = shared.held().into_iter().filter_map(|topic| {
                let log = topic.log()?;
                let head = log.hub.head();
                Some((topic, log, head))
            });
            errors.before = Some(log.collect());
            (errors.covered, errors.noted) = (errors.last, false);
            errors.next = Some(now + self.timing.inspect_after);
            return;
        };
        let mut suspects = 0;
        for (topic, log, head) in before {
            let now = log.hub.head();
            let known = self.topic_state(&topic);
            let has_not_moved = |partition: i32, head| now.next(partition) == head;
            let standing: Vec<(i32, i64)> = head
                .iter()
                .filter(|(partition, head)| {
                    has_not_moved(*partition, *head) && !known.is_held(*partition)
                })
                .collect();
            if log.hub.is_closed() || standing.is_empty() {
                continue;
            }
            let ends = self.query_ends(&topic, &log, head.len()).await;
            self.serve_requests().await;
            if log.hub.is_closed() {
                continue;
            }
            let Some(ends) = ends.filter(|_| suspects < INSPECTED) else {
                // The fetch error comes once more, and the partition is inspected then.
                self.send(Command::Reassign { topic: Arc::clone(&topic.name) });
                continue;
            };
            for (partition, from) in standing {
                let end = usize::try_from(partition).ok().and_then(|index| ends.get(index));
                if let Some(end) = end.filter(|end| from < end.stable) {
                    suspects += 1;
                    self.hold(shared, &topic, &log, partition, (from, end.stable));
                }
            }
        }
        debug!(partitions = suspects, "partitions have not moved since a fetch error");
        interruption().await;
        // Held partitions are not fetched, so any later fetch error is of another partition.
        if let Some(fetch_error) = self.fetch_errors.covered.take() {
            self.send(Command::Trust { fetch_error });
        }
        let timing = &self.timing;
        let errors = &mut self.fetch_errors;
        errors.peace = Some(Instant::now() + PEACE * timing.inspect_after);
        errors.failed_attempts = if suspects > 0 { 0 } else { errors.failed_attempts + 1 };
        let pause = match errors.failed_attempts {
            0 | 1 => Duration::ZERO,
            failed_attempts => timing.back_off(failed_attempts),
        };
        errors.next = Some(Instant::now() + pause);
    }

    /// Has the tail hold a partition, and has it inspected.
    fn hold(
        &mut self,
        shared: &Shared,
        topic: &Arc<Topic>,
        log: &Arc<TopicLog>,
        partition: i32,
        (from, until): (i64, i64),
    ) {
        let now = Instant::now();
        let failed = &mut self.topic_state(topic).failed_partitions;
        let again = failed.get(&partition).is_some_and(|times| now - times.last < AGAIN);
        failed.insert(partition, Times { held: Some(from), again, last: now });
        let name = Arc::clone(&topic.name);
        self.send(Command::Hold { topic: Arc::clone(&name), partition, from });
        let control = shared.sender();
        let wanted = log.hub.clone();
        let topic = Arc::clone(topic);
        let log = Arc::clone(log);
        let losses = log.losses.clone();
        let on_finding = OnFinding::new(move |finding| {
            let _ = control.send(Request::Inspected(Inspected {
                topic,
                log,
                partition,
                from,
                finding,
            }));
        });
        let is_wanted = Box::new(move || !wanted.is_closed());
        let inspection =
            Inspection { topic: name, partition, from, until, losses, on_finding, is_wanted };
        self.inspections.add(inspection);
    }

    /// Notes a finding. It is applied now or, after repeated fetch errors, after a pause.
    pub(super) fn note_finding(&mut self, inspected: Inspected) {
        let times = self.topic_state(&inspected.topic).failed_partitions.get(&inspected.partition);
        let is_again = times.is_some_and(|times| times.again);
        let due = self.fetch_errors.peace.filter(|_| is_again).unwrap_or_else(Instant::now);
        self.fetch_errors.findings.push((due, inspected));
    }

    /// Applies the findings that are due: the tail resumes the partition, behind a gap if its data can't be read.
    fn take_findings(&mut self) {
        let now = Instant::now();
        let due: Vec<_> =
            self.fetch_errors.findings.extract_if(.., |(due, _)| *due <= now).collect();
        for (_, Inspected { topic, log, partition, from, finding }) in due {
            if topic.log().is_none_or(|now| !Arc::ptr_eq(&now, &log)) {
                continue;
            }
            if let Some(times) = self.topic_state(&topic).failed_partitions.get_mut(&partition) {
                // The tail did not hold it there, or holds it elsewhere by now.
                if times.held != Some(from) {
                    continue;
                }
                (times.held, times.last) = (None, now);
            }
            let name = Arc::clone(&topic.name);
            self.send(match finding {
                Finding::Readable => Command::Resume { topic: name, partition },
                Finding::Unreadable { to, why } => {
                    let gap = log.losses.unreadable(&name, partition, (from, to), &why);
                    Command::Gap { topic: name, gap }
                }
            });
        }
    }
}
