//! How far a pass has read.

use std::collections::HashMap;
use std::sync::Arc;

use tracing::warn;

use super::Pass;
use crate::backend::{self, Backend, Consumer, Fetched};
use crate::positions::Positions;
use crate::record::Record;

pub(super) struct Reading<'a> {
    topic: &'a Arc<str>,
    pass: &'a Pass,
    /// Where the live log stood: all before was in Kafka when the reading began.
    head: Positions,
    next: Vec<i64>,
    /// Where partitions ended before that, and Kafka has told its ends since.
    doubted: HashMap<i32, i64>,
}

/// Whether a pass can be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    On,
    /// Kafka does not say where a partition ends.
    Doubtful,
    /// An offset is not there any more.
    OutOfRange,
}

impl<'a> Reading<'a> {
    pub(super) fn new(topic: &'a Arc<str>, pass: &'a Pass, start: &Positions) -> Self {
        let next = start.iter().map(|(_, next)| next).collect();
        let head = pass.opened.hub.head();
        Self { topic, pass, head, next, doubted: HashMap::new() }
    }

    /// How many records of those that the live log has no more are not read yet. `None` if it has more
    /// partitions: streams need another pass for them.
    pub(super) fn missing(&self) -> Option<u64> {
        let first = self.pass.opened.hub.first();
        let of = |(first, next): (i64, &i64)| u64::try_from(first - next).unwrap_or(0);
        let missing = first.iter().map(|(_, first)| first).zip(&self.next).map(of);
        (first.len() <= self.next.len()).then(|| missing.fold(0, u64::saturating_add))
    }

    /// Appends what a poll brought, merged by time as far as it goes.
    pub(super) fn append(
        &mut self,
        backend: &dyn Backend,
        consumer: &mut dyn Consumer,
        fetched: &mut Vec<Fetched>,
    ) -> Read {
        let mut batch: Vec<(i64, Record)> = Vec::with_capacity(fetched.len());
        let mut times = vec![i64::MIN; self.next.len()];
        let mut ended = Vec::new();
        let mut read = Read::On;
        for fetched in fetched.drain(..) {
            match fetched {
                Fetched::Record(of, record) => {
                    let slot = usize::try_from(record.partition).ok();
                    // A pass may end with records of its topic on their way: those are not this one's.
                    let slot = slot.filter(|slot| {
                        of == *self.topic
                            && self.next.get(*slot).is_some_and(|next| record.offset >= *next)
                    });
                    let Some(slot) = slot else { continue };
                    self.next[slot] = record.offset + 1;
                    // Within a partition the order is Kafka's, whatever the clocks of producers say.
                    times[slot] = times[slot].max(record.timestamp.unwrap_or(i64::MIN));
                    batch.push((times[slot], record));
                }
                Fetched::End(partition) => ended.push(partition),
                Fetched::OutOfRange => read = Read::OutOfRange,
            }
        }
        batch.sort_by_key(|(time, _)| *time);
        if !batch.is_empty() {
            self.pass.hub.append(batch.into_iter().map(|(_, record)| record).collect());
        }
        let doubtful = self.pass_holes(ended);
        if read == Read::On && !self.doubt(backend, consumer, &doubtful) {
            return Read::Doubtful;
        }
        read
    }

    /// From the end of a partition up to where the live log stood are holes. Those of which that is not
    /// sure, and where they end.
    fn pass_holes(&mut self, ended: Vec<i32>) -> Vec<(i32, i64)> {
        let mut doubtful = Vec::new();
        let mut passed = false;
        for partition in ended {
            let slot = usize::try_from(partition).ok();
            let Some(next) = slot.and_then(|slot| self.next.get_mut(slot)) else { continue };
            let head = self.head.next(partition);
            if *next >= head {
                continue;
            }
            if self.doubted.get(&partition) == Some(next) {
                *next = head;
                passed = true;
            } else {
                doubtful.push((partition, *next));
            }
        }
        if passed {
            self.pass.hub.set_mark(Positions::new(&*self.next));
        }
        doubtful
    }

    /// A leader that has just taken over may not know yet what was committed, and end before it. For so
    /// long it does not tell its offsets (KIP-207): so an end counts that comes once more after Kafka has
    /// told them. False if it does not.
    fn doubt(
        &mut self,
        backend: &dyn Backend,
        consumer: &mut dyn Consumer,
        ended: &[(i32, i64)],
    ) -> bool {
        if ended.is_empty() {
            return true;
        }
        let told = backend.ends(self.topic, self.next.len());
        if let Err(error) = &told {
            warn!(%error, topic = %self.topic, "where history ends is not told, asking again");
        }
        for (partition, next) in ended {
            if told.is_ok() {
                self.doubted.insert(*partition, *next);
            }
            // The end of a partition comes once for each assignment.
            backend::unassign(consumer, self.topic, *partition);
            backend::assign(consumer, self.topic, *partition, *next);
        }
        told.is_ok()
    }
}
