//! What the tail was refused: which partitions stand still since, what is there, and the gaps that the logs
//! get for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::Control;
use crate::data::positions::Positions;
use crate::topic::registry::Shared;
use crate::topic::requests::{Command, Inspected, Request};
use crate::topic::unreadable::{Finding, Inspection, OnFinding};
use crate::topic::{Topic, TopicLog};

/// Of so many partitions, and the others of their topics, it is found out at once.
const INSPECTED: usize = 64;

/// Partitions of which something is refused again within this time are read on together, and not before
/// others were read in peace for some times as long as they were held up.
const AGAIN: Duration = Duration::from_secs(60);
const PEACE: u32 = 4;

/// The state of it.
#[derive(Default)]
pub(super) struct Refusals {
    /// Something was refused since the last look.
    noted: bool,
    /// The last thing that the tail was refused.
    last: Option<u64>,
    /// Where the logs stood a moment ago.
    before: Option<Vec<Stood>>,
    /// The last thing that the tail had been refused then.
    covered: Option<u64>,
    /// The next step is not before.
    next: Option<Instant>,
    /// Looks in a row that found nothing.
    in_vain: u32,
    /// Until then only what is refused for the first time holds up others.
    peace: Option<Instant>,
    /// What was found of partitions that are held, and is taken then.
    findings: Vec<(Instant, Inspected)>,
}

/// A log, and where it stood.
type Stood = (Arc<Topic>, Arc<TopicLog>, Positions);

/// Of each partition of a log that was refused.
pub(super) type Refused = BTreeMap<i32, Times>;

#[derive(Debug)]
pub(super) struct Times {
    /// The tail does not read it.
    pub(super) held: bool,
    /// Something was refused again.
    again: bool,
    last: Instant,
}

impl Refusals {
    /// Something was refused; by the tail, if it has a number.
    pub(super) fn note(&mut self, refusal: Option<u64>) {
        self.noted = true;
        self.last = refusal.or(self.last);
    }

    /// When there is something to do, if nothing else happens before.
    pub(super) fn due(&self) -> Option<Instant> {
        let waits = self.noted || self.before.is_some();
        let next = self.next.filter(|next| *next > Instant::now());
        let step = waits.then(|| next.unwrap_or_else(Instant::now));
        self.findings.iter().map(|(due, _)| *due).chain(step).min()
    }
}

impl Control<'_> {
    /// Takes the next step, without waiting for anything but Kafka's offsets.
    pub(super) fn inspect_refusals(&mut self, shared: &Shared) {
        self.take_findings();
        let now = Instant::now();
        let refusals = &mut self.refusals;
        let waits = refusals.noted || refusals.before.is_some();
        if !waits || refusals.next.is_some_and(|next| now < next) {
            return;
        }
        let Some(before) = refusals.before.take() else {
            let log = shared.held().into_iter().filter_map(|topic| {
                let log = topic.log()?;
                let head = log.hub.head();
                Some((topic, log, head))
            });
            refusals.before = Some(log.collect());
            (refusals.covered, refusals.noted) = (refusals.last, false);
            refusals.next = Some(now + self.timing.refusal);
            return;
        };
        let mut suspects = 0;
        for (topic, log, head) in before {
            let now = log.hub.head();
            let known = self.topic_state(&topic);
            let stands = |partition: i32, head| now.next(partition) == head;
            let standing: Vec<(i32, i64)> = head
                .iter()
                .filter(|(partition, head)| stands(*partition, *head) && !known.is_held(*partition))
                .collect();
            if log.hub.is_closed() || standing.is_empty() {
                continue;
            }
            let ends = self.query_ends(&topic, &log, head.len());
            self.serve_requests();
            if log.hub.is_closed() {
                continue;
            }
            let Some(ends) = ends.filter(|_| suspects < INSPECTED) else {
                // What it was refused comes once more, and is looked into then.
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
        debug!(partitions = suspects, "these stand still since something was refused");
        // No more is refused of those that are held: what is refused from now on is of others.
        if let Some(refusal) = self.refusals.covered.take() {
            self.send(Command::Trust { refusal });
        }
        let timing = &self.timing;
        let refusals = &mut self.refusals;
        refusals.peace = Some(Instant::now() + PEACE * timing.refusal);
        refusals.in_vain = if suspects > 0 { 0 } else { refusals.in_vain + 1 };
        let pause = match refusals.in_vain {
            0 | 1 => Duration::ZERO,
            in_vain => timing.back_off(in_vain),
        };
        refusals.next = Some(Instant::now() + pause);
    }

    /// Has the tail leave a partition, and finds out what is there.
    fn hold(
        &mut self,
        shared: &Shared,
        topic: &Arc<Topic>,
        log: &Arc<TopicLog>,
        partition: i32,
        (from, until): (i64, i64),
    ) {
        let now = Instant::now();
        let refused = &mut self.topic_state(topic).refused;
        let again = refused.get(&partition).is_some_and(|times| now - times.last < AGAIN);
        refused.insert(partition, Times { held: true, again, last: now });
        let name = Arc::clone(&topic.name);
        self.send(Command::Hold { topic: Arc::clone(&name), partition, from });
        let control = shared.sender();
        let wanted = log.hub.clone();
        let topic = Arc::clone(topic);
        let log = Arc::clone(log);
        let losses = Arc::clone(&log.losses);
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
        shared.inspections.add(inspection);
    }

    /// What was found of a partition, which is read on now or after a pause.
    pub(super) fn note_finding(&mut self, inspected: Inspected) {
        let times = self.topic_state(&inspected.topic).refused.get(&inspected.partition);
        let is_again = times.is_some_and(|times| times.again);
        let due = self.refusals.peace.filter(|_| is_again).unwrap_or_else(Instant::now);
        self.refusals.findings.push((due, inspected));
    }

    /// Has the tail read on where it is held, behind a gap if nobody can read what is there.
    fn take_findings(&mut self) {
        let now = Instant::now();
        let due: Vec<_> = self.refusals.findings.extract_if(.., |(due, _)| *due <= now).collect();
        for (_, Inspected { topic, log, partition, from, finding }) in due {
            if topic.log().is_none_or(|now| !Arc::ptr_eq(&now, &log)) {
                continue;
            }
            if let Some(times) = self.topic_state(&topic).refused.get_mut(&partition) {
                (times.held, times.last) = (false, now);
            }
            let name = Arc::clone(&topic.name);
            self.send(match finding {
                Finding::Readable => Command::Resume { topic: name, partition },
                Finding::Unreadable { to, why } => {
                    let gap = topic.losses.unreadable(&name, partition, (from, to), &why);
                    Command::Gap { topic: name, gap }
                }
            });
        }
    }
}
