//! The progress of a backfill.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use crate::broker::{self, Backend, Consumer, Fetched};
use crate::data::events;
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::timing::Timing;
use crate::topic::conversion::{HeldUp, Scratch};
use crate::topic::history::backfill::Backfill;
use crate::topic::inspection::{Finding, Inspection, OnFinding};
use crate::topic::losses::TOO_LARGE;
use crate::topic::share::Share;

/// A backfill with the state of its reader, from its first turn to its last.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) topic: Arc<str>,
    pub(crate) backfill: Arc<Backfill>,
    /// The head of the live log at the start: Kafka had all records before it.
    head: Positions,
    next: Vec<i64>,
    /// Where partitions ended last. An end comes once for each assignment.
    ends: BTreeMap<i32, End>,
    /// It has waited for streams to join at its start.
    pub(crate) coalesced: bool,
    /// How many bytes its slowest stream was behind, and when.
    lag: (usize, Instant),
    /// Other backfills come first until then.
    rests_until: Option<Instant>,
    /// How many turns in a row brought no records.
    fruitless: u32,
    stall: Stall,
    /// When a fetch error came whose partition is not known, and the positions at that time.
    fetch_error: Option<(Instant, Vec<i64>)>,
    /// Partitions that are held: they are not read until they have been inspected.
    held: BTreeSet<i32>,
    /// An offset was out of range meanwhile: it may be an offset within a broken batch, or of another partition.
    out_of_range: bool,
    /// The findings about held partitions.
    findings: Arc<Mutex<Vec<(i32, Finding)>>>,
    scratch: Scratch,
    /// Partitions that are not read until their next record can be converted.
    held_up: HeldUp,
}

/// The end of a partition, until a record comes.
#[derive(Clone, Copy, Debug)]
struct End {
    next: i64,
    since: Instant,
    /// The head that the live log had before Kafka reported its ends.
    head: Option<i64>,
}

/// Since when no records have come, and whether that was logged.
#[derive(Debug, Default)]
struct Stall(Option<(Instant, bool)>);

impl Stall {
    /// No record has come until `now`. Returns true once, when that has lasted long enough to be logged.
    fn is_to_be_logged(&mut self, now: Instant) -> bool {
        let (since, logged) = self.0.get_or_insert((now, false));
        let due = !*logged && now - *since >= STALL_LOGGED;
        *logged |= due;
        due
    }
}

/// How long a backfill stalls before that is logged.
const STALL_LOGGED: Duration = Duration::from_secs(10);

/// The result of a poll for a backfill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    On,
    /// Kafka does not report where a partition ends.
    Unconfirmed,
    /// An offset is out of range.
    OutOfRange,
    /// A fetch error came a while ago, and its partition is to be found.
    FetchError,
}

impl Reading {
    pub(crate) fn new(topic: Arc<str>, backfill: Arc<Backfill>, start: &Positions) -> Self {
        Self {
            topic,
            head: backfill.log.hub.head(),
            backfill,
            next: start.iter().map(|(_, next)| next).collect(),
            ends: BTreeMap::new(),
            coalesced: false,
            lag: (0, Instant::now()),
            rests_until: None,
            fruitless: 0,
            stall: Stall::default(),
            fetch_error: None,
            held: BTreeSet::new(),
            out_of_range: false,
            findings: Arc::default(),
            scratch: Scratch::default(),
            held_up: HeldUp::default(),
        }
    }

    fn take_findings(&self) -> Vec<(i32, Finding)> {
        std::mem::take(&mut *self.findings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a reader can continue: the slowest stream is at most half a window behind.
    pub(crate) fn is_ready(&self, window: usize, now: Instant) -> bool {
        let has_found = || !self.findings.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        let may_go_on = || has_found() || self.held_up.is_woken();
        let rests = || self.rests_until.is_some_and(|until| now < until) || self.is_held_up();
        self.backfill.hub.lag_bytes() <= window / 2 && (may_go_on() || !rests())
    }

    /// Whether no partition can be read that is behind the live log: each waits for a conversion or an inspection.
    pub(crate) fn is_held_up(&self) -> bool {
        if self.held_up.is_empty() && self.held.is_empty() {
            return false;
        }
        let first = self.backfill.log.hub.first();
        let mut behind =
            (0..).zip(&self.next).filter(|(partition, next)| **next < first.next(*partition));
        // Without a partition that is behind, or with a new one, the backfill ends in its next turn.
        first.len() <= self.next.len()
            && behind.clone().next().is_some()
            && behind.all(|(partition, _)| !self.is_read(partition))
    }

    /// How long a turn without records lasts while other backfills wait.
    pub(crate) fn turn_timeout(&self, timing: &Timing) -> Duration {
        let doubled = 2u32.saturating_pow(self.fruitless);
        timing.retry.saturating_mul(doubled).min(timing.stalled_read)
    }

    /// The name of the cluster in the log.
    fn cluster(&self) -> &str {
        self.backfill.log.losses.cluster()
    }

    /// Lets other backfills come first, for as long as this turn got no records.
    pub(crate) fn rest(&mut self, timing: &Timing) {
        if self.fruitless == 0 {
            warn!(cluster = self.cluster(), topic = %self.topic, "a backfill gets no records for now, others come first");
        }
        self.rests_until = Some(Instant::now() + self.turn_timeout(timing));
        self.fruitless = self.fruitless.saturating_add(1);
        self.backfill.set_fruitful(false);
    }

    /// Notes that no record came although Kafka has some. A stall is logged once.
    pub(crate) fn note_stall(&mut self) {
        if !self.held_up.is_empty() || !self.stall.is_to_be_logged(Instant::now()) {
            return;
        }
        let first = self.backfill.log.hub.first();
        let mut positions = (0..).zip(&self.next);
        if let Some((partition, offset)) = positions.find(|(at, next)| **next < first.next(*at)) {
            let seconds = STALL_LOGGED.as_secs();
            warn!(cluster = self.cluster(), topic = %self.topic, partition, offset, seconds, "a backfill does not advance: Kafka has records there, and none come");
        }
    }

    /// Forgets the stall: the backfill was not read for a while.
    pub(crate) fn forget_stall(&mut self) {
        self.stall = Stall::default();
    }

    pub(crate) fn set_fruitful(&mut self) {
        self.forget_stall();
        self.fruitless = 0;
        self.rests_until = None;
        self.backfill.set_fruitful(true);
    }

    /// Begins to measure how many bytes the slowest stream takes.
    pub(crate) fn watch_lag(&mut self) {
        self.lag = (self.backfill.hub.lag_bytes(), Instant::now());
    }

    /// Leaves behind streams that have held up the others for `stall` and take too little. Returns whether there
    /// were any.
    pub(crate) fn leave_behind(&mut self, stall: Duration, window: usize) -> bool {
        let (before, since) = self.lag;
        if since.elapsed() < stall {
            return false;
        }
        let is_held_up = self.backfill.hub.lag_bytes() > window;
        let left = is_held_up && self.backfill.leave_behind(before, window);
        self.watch_lag();
        left
    }

    /// Assigns the partitions to a consumer at their positions.
    pub(crate) fn assign(&mut self, consumer: &mut dyn Consumer) {
        if self.fruitless == 0 {
            self.forget_stall();
        }
        self.held_up.take_ready();
        // A leader that was elected meanwhile may not know of them.
        self.ends.values_mut().for_each(|end| end.head = None);
        for (partition, next) in self.read() {
            broker::assign(consumer, &self.topic, partition, next);
        }
    }

    pub(crate) fn unassign(&self, consumer: &mut dyn Consumer) {
        for (partition, _) in self.read() {
            broker::unassign(consumer, &self.topic, partition);
        }
    }

    /// The partitions that are read, and their positions.
    fn read(&self) -> impl Iterator<Item = (i32, i64)> {
        let all = (0..).zip(self.next.iter().copied());
        all.filter(|(partition, _)| self.is_read(*partition))
    }

    fn is_read(&self, partition: i32) -> bool {
        !self.held.contains(&partition) && !self.held_up.contains(partition)
    }

    /// Resumes the partitions whose next record can be converted now.
    pub(crate) fn retry(&mut self, consumer: &mut dyn Consumer) {
        for partition in self.held_up.take_ready() {
            self.read_on(consumer, partition);
        }
    }

    /// Resumes a partition, unless there is another reason not to read it.
    fn read_on(&self, consumer: &mut dyn Consumer, partition: i32) {
        let slot = usize::try_from(partition).ok();
        if let Some(next) = slot.and_then(|slot| self.next.get(slot))
            && self.is_read(partition)
        {
            broker::assign(consumer, &self.topic, partition, *next);
        }
    }

    /// How many offsets are left before the first one that the live log still has. `None` if the log has more
    /// partitions: streams need another backfill for them.
    pub(crate) fn missing(&self) -> Option<u64> {
        let first = self.backfill.log.hub.first();
        let of = |(first, next): (i64, &i64)| u64::try_from(first - next).unwrap_or(0);
        let missing = first.iter().map(|(_, first)| first).zip(&self.next).map(of);
        (first.len() <= self.next.len()).then(|| missing.fold(0, u64::saturating_add))
    }

    /// Appends what a poll brought, merged by time as far as it goes; if conversion makes it longer than
    /// `most` bytes or takes long, the first of it.
    pub(crate) async fn append(
        &mut self,
        backend: &dyn Backend,
        consumer: &mut dyn Consumer,
        fetched: &mut VecDeque<Fetched>,
        most: usize,
        timing: &Timing,
    ) -> Read {
        let mut batch: Vec<(i64, Record)> = Vec::with_capacity(fetched.len());
        let mut batch_bytes = 0;
        let mut times = vec![i64::MIN; self.next.len()];
        let mut ended = Vec::new();
        let mut read = Read::On;
        let converter = self.backfill.log.converter.clone();
        let mut share = Share::new(timing.share);
        while converter.is_none() || (batch_bytes <= most && !share.is_over()) {
            let Some(next) = fetched.pop_front() else { break };
            match next {
                Fetched::Record(of, record) => {
                    let slot = usize::try_from(record.partition).ok();
                    // Records that were fetched for a backfill before this one are skipped.
                    let slot = slot.filter(|slot| {
                        of == self.topic
                            && self.next.get(*slot).is_some_and(|next| record.offset >= *next)
                            && self.is_read(record.partition)
                    });
                    let Some(slot) = slot else { continue };
                    let gap = record.as_gap();
                    let first = gap.as_ref().and_then(|gap| gap.from).unwrap_or(record.offset);
                    // The broken batch may lie between.
                    if self.fetch_error.is_some() && first > self.next[slot] {
                        continue;
                    }
                    if let Some(gap) = gap {
                        self.backfill.log.losses.note(&self.topic, &gap, TOO_LARGE);
                    }
                    let partition = record.partition;
                    let converted = match &converter {
                        Some(converter) => {
                            share.count();
                            converter.convert(&self.topic, record, &mut self.scratch)
                        }
                        None => Ok(record),
                    };
                    let record = match converted {
                        Ok(record) => record,
                        Err(retry) => {
                            broker::unassign(consumer, &self.topic, partition);
                            self.held_up.add(partition, retry);
                            // The partition is read again from this record on.
                            fetched.retain(|later| later.partition() != Some(partition));
                            continue;
                        }
                    };
                    batch_bytes += record.weight();
                    self.next[slot] = record.offset + 1;
                    // Records of a partition stay in the order of their offsets, whatever their timestamps are.
                    times[slot] = times[slot].max(record.timestamp.unwrap_or(i64::MIN));
                    batch.push((times[slot], record));
                }
                // After a fetch error the end may be that of another position.
                Fetched::End(partition)
                    if self.fetch_error.is_some() || !self.is_read(partition) => {}
                Fetched::OutOfRange if self.fetch_error.is_some() || !self.held.is_empty() => {
                    self.out_of_range = true;
                }
                Fetched::End(partition) => ended.push(partition),
                Fetched::OutOfRange => read = Read::OutOfRange,
                Fetched::Error(error) => {
                    debug!(?error, topic = %self.topic, "fetch error, looking for its partition");
                    self.fetch_error.get_or_insert_with(|| (Instant::now(), self.next.clone()));
                }
                // The tail is denied the topic, too: the log ends, and the backfill with it.
                Fetched::Denied => {}
            }
        }
        batch.sort_by_key(|(time, _)| *time);
        if !batch.is_empty() {
            let mut batch = batch.into_iter().map(|(_, record)| record).collect();
            if converter.is_some() {
                batch = Record::join_rejected(batch);
            }
            events::append(&self.backfill.hub, batch);
        }
        let unconfirmed = self.skip_holes(ended, timing);
        if read == Read::On && !self.confirm_ends(backend, consumer, fetched, &unconfirmed).await {
            return Read::Unconfirmed;
        }
        match &self.fetch_error {
            Some((since, _)) if read == Read::On && since.elapsed() >= timing.inspect_after => {
                Read::FetchError
            }
            _ => read,
        }
    }

    /// Holds the partitions that have not moved since the fetch error. Returns the inspections of them.
    pub(crate) fn hold_stalled(&mut self, consumer: &mut dyn Consumer) -> Vec<Inspection> {
        let Some((_, before)) = self.fetch_error.take() else { return Vec::new() };
        self.out_of_range = false;
        let head = self.backfill.log.hub.head();
        let read: Vec<(i32, i64)> = self.read().collect();
        let mut inspections = Vec::new();
        for (partition, from) in read {
            broker::unassign(consumer, &self.topic, partition);
            let until = head.next(partition);
            let stood = usize::try_from(partition).ok().and_then(|slot| before.get(slot));
            if from < until && stood == Some(&from) {
                self.held.insert(partition);
                inspections.push(self.inspection(partition, (from, until)));
            } else {
                // Records behind a hole were not accepted meanwhile, so they have to come again.
                broker::assign(consumer, &self.topic, partition, from);
            }
        }
        inspections
    }

    fn inspection(&self, partition: i32, (from, until): (i64, i64)) -> Inspection {
        let all = Arc::clone(&self.findings);
        let backfill = Arc::downgrade(&self.backfill);
        let on_finding = OnFinding::new(move |finding| {
            all.lock().unwrap_or_else(PoisonError::into_inner).push((partition, finding));
        });
        let losses = self.backfill.log.losses.clone();
        let is_wanted =
            Box::new(move || backfill.upgrade().is_some_and(|backfill| !backfill.is_over()));
        let topic = Arc::clone(&self.topic);
        Inspection { topic, partition, from, until, losses, on_finding, is_wanted }
    }

    /// Applies the findings about held partitions: they are read again, behind a gap if their data can't be read.
    pub(crate) fn resume_inspected(&mut self, consumer: &mut dyn Consumer) {
        for (partition, finding) in self.take_findings() {
            let slot = usize::try_from(partition).ok();
            let Some(next) = slot.and_then(|slot| self.next.get_mut(slot)) else { continue };
            if let Finding::Unreadable { to, why } = finding {
                let losses = &self.backfill.log.losses;
                let gap = losses.unreadable(&self.topic, partition, (*next, to), &why);
                *next = to;
                self.backfill.hub.append(vec![gap]);
            }
            if self.held.remove(&partition) {
                self.read_on(consumer, partition);
            }
        }
        if self.held.is_empty() && std::mem::take(&mut self.out_of_range) {
            // The new assignment reports again which offset is out of range.
            self.unassign(consumer);
            self.assign(consumer);
        }
    }

    /// Skips the holes between the ends of partitions and the head that the live log had. Returns the partitions whose
    /// ends are to be confirmed.
    fn skip_holes(&mut self, ended: Vec<i32>, timing: &Timing) -> Vec<i32> {
        let now = Instant::now();
        let mut has_skipped = false;
        for partition in ended {
            // Its next record has come since, and can't be converted yet.
            if self.held_up.contains(partition) {
                continue;
            }
            let slot = usize::try_from(partition).ok();
            let Some(next) = slot.and_then(|slot| self.next.get_mut(slot)) else { continue };
            let end = self.ends.get(&partition).filter(|end| end.next == *next);
            // Kafka had all records before that head when the partition was assigned.
            if let Some(head) = end.and_then(|end| end.head) {
                *next = head;
                has_skipped = true;
            }
            self.ends.insert(partition, End { next: *next, since: now, head: None });
        }
        if has_skipped {
            self.backfill.hub.set_position(Positions::new(&*self.next));
        }
        if self.fetch_error.is_some() || self.ends.is_empty() {
            return Vec::new();
        }
        let first = self.backfill.log.hub.first();
        let is_to_confirm = |(partition, next): &(i32, i64)| {
            let end = self.ends.get(partition).filter(|end| end.next == *next);
            end.is_some_and(|end| {
                end.head.is_none()
                    && *next < first.next(*partition)
                    // What the live log has had since the start may be records that come with the next poll.
                    && (*next < self.head.next(*partition) || now - end.since >= timing.retry)
            })
        };
        self.read().filter(is_to_confirm).map(|(partition, _)| partition).collect()
    }

    /// Confirms the ends of partitions. A leader that was just elected may end before the last committed record.
    /// Until it knows better it does not report its offsets (KIP-207), so an end is confirmed if it comes again
    /// after Kafka has reported its ends. Returns false if Kafka does not.
    async fn confirm_ends(
        &mut self,
        backend: &dyn Backend,
        consumer: &mut dyn Consumer,
        fetched: &mut VecDeque<Fetched>,
        ended: &[i32],
    ) -> bool {
        if ended.is_empty() {
            return true;
        }
        let head = self.backfill.log.hub.head();
        let ends = backend.ends(&self.topic, self.next.len()).await;
        if let Err(error) = &ends {
            warn!(cluster = self.cluster(), %error, topic = %self.topic, "the end of history can't be read, trying again");
        }
        for partition in ended {
            let Some(end) = self.ends.get_mut(partition) else { continue };
            match &ends {
                Ok(_) => end.head = Some(head.next(*partition)),
                // It comes again.
                Err(_) => drop(self.ends.remove(partition)),
            }
            // The end of a partition comes once for each assignment.
            broker::unassign(consumer, &self.topic, *partition);
            fetched.retain(|later| later.partition() != Some(*partition));
            self.read_on(consumer, *partition);
        }
        ends.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_nothing_comes_is_logged_once_after_a_while() {
        let mut stall = Stall::default();
        let start = Instant::now();
        let mut logged = |seconds| stall.is_to_be_logged(start + Duration::from_secs(seconds));
        assert_eq!(
            [0, 5, 9, 10, 11, 60].map(&mut logged),
            [false, false, false, true, false, false]
        );
    }
}
