//! What the tail was refused: which partitions stand still since, what is there, and the gaps that the logs
//! get for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error};

use super::{Control, Job};
use crate::cluster::Shared;
use crate::gap::Reason;
use crate::positions::Positions;
use crate::record::Record;
use crate::tail::Command;
use crate::topic::{Opened, Topic};
use crate::unreadable::{self, Finding};

/// Of so many partitions, and the others of their topics, it is found out at once.
const LOOKED_AT: usize = 64;

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
    /// The look that a thread takes.
    looking: Option<u64>,
    found: Option<Vec<Looked>>,
    /// The next step is not before.
    next: Option<Instant>,
    /// Looks in a row that found nothing.
    in_vain: u32,
}

/// A log, and where it stood.
type Stood = (Arc<Topic>, Arc<Opened>, Positions);

/// What was found where a partition stands still.
#[derive(Debug)]
pub(crate) struct Looked {
    topic: Arc<Topic>,
    opened: Arc<Opened>,
    partition: i32,
    from: i64,
    until: i64,
    finding: Finding,
}

/// No two looks have the same number, whichever control thread began them.
fn look() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Refusals {
    /// Something was refused; by the tail, if it has a number.
    pub(super) fn note(&mut self, refusal: Option<u64>) {
        self.noted = true;
        self.last = refusal.or(self.last);
    }

    /// A look is over. One from before a panic of the control thread is of logs that have ended, and says
    /// nothing of what the tail was refused since.
    pub(super) fn found(&mut self, look: u64, found: Vec<Looked>) {
        if self.looking.take_if(|looking| *looking == look).is_some() {
            self.found = Some(found);
        }
    }

    /// When there is something to do, if nothing else happens before.
    pub(super) fn due(&self) -> Option<Instant> {
        let waits = (self.noted || self.before.is_some()) && self.looking.is_none();
        let next = self.next.filter(|next| *next > Instant::now());
        waits.then(|| next.unwrap_or_else(Instant::now))
    }
}

impl Control<'_> {
    /// Takes the next step, without waiting for anything but Kafka's offsets.
    pub(super) fn look_into_refusals(&mut self, shared: &Shared) {
        if let Some(found) = self.refusals.found.take() {
            self.pass_unreadable(&found);
        }
        let now = Instant::now();
        let refusals = &mut self.refusals;
        let waits = refusals.noted || refusals.before.is_some();
        if !waits || refusals.looking.is_some() || refusals.next.is_some_and(|next| now < next) {
            return;
        }
        let Some(before) = refusals.before.take() else {
            let opened = shared.held().into_iter().filter_map(|topic| {
                let opened = topic.opened()?;
                let head = opened.hub.head();
                Some((topic, opened, head))
            });
            refusals.before = Some(opened.collect());
            (refusals.covered, refusals.noted) = (refusals.last, false);
            refusals.next = Some(now + self.pace.refusal);
            return;
        };
        let mut suspects = Vec::new();
        for (topic, opened, head) in before {
            let now = opened.hub.head();
            let stands = |partition: i32, head: i64| now.next(partition) == head;
            if opened.hub.is_closed() || !head.iter().any(|(index, head)| stands(index, head)) {
                continue;
            }
            let partitions = head.len();
            let ends = self.ask(&topic, |backend, name| backend.ends(name, partitions));
            self.attend();
            let Some(ends) = ends.filter(|_| suspects.len() < LOOKED_AT) else {
                // What it was refused comes once more, and is looked into then.
                self.tell(Command::Again { topic: Arc::clone(&topic.name) });
                continue;
            };
            for ((partition, from), end) in head.iter().zip(ends) {
                if stands(partition, from) && from < end.stable {
                    let (topic, opened) = (Arc::clone(&topic), Arc::clone(&opened));
                    let (until, finding) = (end.stable, Finding::Unknown);
                    suspects.push(Looked { topic, opened, partition, from, until, finding });
                }
            }
        }
        debug!(partitions = suspects.len(), "looking for what was refused");
        if suspects.is_empty() {
            return self.pass_unreadable(&[]);
        }
        self.spawn_look(shared, suspects);
    }

    /// Looks at these on a thread of its own: each takes as long as its partition is silent.
    fn spawn_look(&mut self, shared: &Shared, found: Vec<Looked>) {
        let (backend, pace) = (Arc::clone(&self.backend), self.pace);
        let number = look();
        self.refusals.looking = Some(number);
        // Told whatever becomes of the look, and of the thread.
        let mut done = Done { control: shared.sender(), look: number, found };
        let look = move || {
            for looked in &mut done.found {
                let Looked { topic, partition, from, until, .. } = &*looked;
                let place = (*from, *until);
                looked.finding = unreadable::look(&*backend, &topic.name, *partition, place, &pace);
            }
        };
        if let Err(error) = thread::Builder::new().name("kafka-refusal".to_owned()).spawn(look) {
            error!(%error, "no thread to look for what can't be read");
        }
    }

    /// Puts gaps into the logs where nothing can be read.
    fn pass_unreadable(&mut self, found: &[Looked]) {
        let mut passed = false;
        for Looked { topic, opened, partition, from, finding, .. } in found {
            if topic.opened().is_none_or(|now| !Arc::ptr_eq(&now, opened)) {
                continue;
            }
            let Finding::Unreadable { to, why } = finding else {
                // What is there was lost with the refusal.
                self.tell(Command::Again { topic: Arc::clone(&topic.name) });
                continue;
            };
            let gap = Record::gap(*partition, (*from, *to), Reason::Unreadable, None);
            gap.as_gap().into_iter().for_each(|gap| topic.losses.note(&topic.name, &gap, why));
            self.tell(Command::Gap { topic: Arc::clone(&topic.name), gap });
            passed = true;
        }
        if let Some(refusal) = self.refusals.covered.take() {
            self.tell(Command::Trust { refusal });
        }
        self.refusals.in_vain = if passed { 0 } else { self.refusals.in_vain + 1 };
        let pause = match self.refusals.in_vain {
            0 | 1 => Duration::ZERO,
            in_vain => self.pace.most.min(self.pace.soon * (1 << in_vain.min(8))),
        };
        self.refusals.next = Some(Instant::now() + pause);
    }
}

/// What is sent at the end.
struct Done {
    control: Sender<Job>,
    look: u64,
    found: Vec<Looked>,
}

impl Drop for Done {
    fn drop(&mut self) {
        let found = std::mem::take(&mut self.found);
        let _ = self.control.send(Job::Looked { look: self.look, found });
    }
}

#[cfg(test)]
mod tests {
    use tailwater_hub::Hub;

    use super::*;
    use crate::filter::Index;
    use crate::records::Records;

    #[test]
    fn a_look_from_before_a_panic_neither_ends_a_later_one_nor_takes_the_place_of_what_it_found() {
        let (before, own) = (look(), look());
        let mut refusals = Refusals { looking: Some(own), ..Refusals::default() };
        refusals.note(Some(7));
        refusals.found(before, Vec::new());
        assert!(refusals.found.is_none() && refusals.due().is_none(), "the later one goes on");
        let topic = Arc::new(Topic::new("orders".into()));
        let start = Positions::new([0]);
        let hub = Hub::new(Records { index: Index::new([]) }, start.clone(), 0);
        let opened = Arc::new(Opened::new(hub, 0, start, Arc::default()));
        let (partition, from, until) = (0, 0, 3);
        let finding = Finding::Unknown;
        refusals.found(own, vec![Looked { topic, opened, partition, from, until, finding }]);
        refusals.found(before, Vec::new());
        assert_eq!(refusals.found.map(|found| found.len()), Some(1));
    }
}
