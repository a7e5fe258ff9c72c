//! What the tail knows of one topic.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tailwater_hub::Hub;
use tracing::debug;

use crate::broker::{self, Consumer};
use crate::data::events::{self, Records};
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::topic::conversion::{Converter, HeldUp, Retry, Scratch};
use crate::topic::losses::{LogLosses, TOO_LARGE};
use crate::topic::share::Share;

/// A topic that the tail reads.
pub(super) struct Followed {
    pub(super) hub: Hub<Records>,
    pub(super) next: Vec<i64>,
    batch: Vec<Record>,
    /// What the records of the batch weigh.
    batch_bytes: usize,
    /// Partitions of which a record came that may have lost records before it.
    pub(super) ahead: BTreeSet<i32>,
    /// Partitions that are held: they are not read until they have been inspected.
    pub(super) held: BTreeSet<i32>,
    /// Partitions that are not read until their next record can be converted.
    held_up: HeldUp,
    losses: LogLosses,
    converter: Option<Arc<Converter>>,
    scratch: Scratch,
    /// What conversions of this round have taken of the thread's time.
    share: Option<Share>,
    /// Records that were fetched and wait for the next round. The topic is not read meanwhile.
    deferred: Option<Deferred>,
}

/// Records that wait because conversions of their topic have had their share of this round.
#[derive(Debug, Default)]
struct Deferred {
    records: VecDeque<Record>,
    /// No more are kept. What follows is fetched again.
    is_closed: bool,
}

impl Followed {
    pub(super) fn new(
        from: &Positions,
        hub: Hub<Records>,
        losses: LogLosses,
        converter: Option<Arc<Converter>>,
    ) -> Self {
        Self {
            hub,
            next: from.iter().map(|(_, next)| next).collect(),
            batch: Vec::new(),
            batch_bytes: 0,
            ahead: BTreeSet::new(),
            held: BTreeSet::new(),
            held_up: HeldUp::default(),
            losses,
            converter,
            scratch: Scratch::default(),
            share: None,
            deferred: None,
        }
    }

    pub(super) fn slot(&mut self, partition: i32) -> Option<&mut i64> {
        usize::try_from(partition).ok().and_then(|slot| self.next.get_mut(slot))
    }

    pub(super) fn next(&self, partition: i32) -> Option<i64> {
        usize::try_from(partition).ok().and_then(|slot| self.next.get(slot)).copied()
    }

    /// Appends the batch to the log.
    fn append(&mut self) {
        self.batch_bytes = 0;
        if !self.batch.is_empty() {
            let mut batch = std::mem::take(&mut self.batch);
            if self.converter.is_some() {
                batch = Record::join_rejected(batch);
            }
            events::append(&self.hub, batch);
        }
    }

    /// Ends a round: appends what is left of the batch. Of what is deferred by now, no more is kept.
    pub(super) fn end_round(&mut self) {
        self.append();
        self.share = None;
        self.deferred.iter_mut().for_each(|deferred| deferred.is_closed = true);
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = i32> + use<> {
        let count = i32::try_from(self.next.len()).unwrap_or(i32::MAX);
        0..count
    }

    /// Whether records of a partition are taken.
    fn is_read(&self, partition: i32) -> bool {
        !self.held.contains(&partition) && !self.held_up.contains(partition)
    }

    /// Whether the consumer reads a partition.
    pub(super) fn is_assigned(&self, partition: i32) -> bool {
        self.deferred.is_none() && self.is_read(partition)
    }

    /// Assigns a partition again at its position, if it is read.
    pub(super) fn assign_again(&self, consumer: &mut dyn Consumer, topic: &str, partition: i32) {
        if let Some(next) = self.next(partition)
            && self.is_assigned(partition)
        {
            broker::unassign(consumer, topic, partition);
            broker::assign(consumer, topic, partition, next);
        }
    }

    /// Reads a held partition again from its position.
    pub(super) fn resume(&mut self, consumer: &mut dyn Consumer, topic: &str, partition: i32) {
        if self.held.remove(&partition) {
            self.read_on(consumer, topic, partition);
        }
    }

    /// Resumes a partition at its position, unless there is another reason not to read it.
    pub(super) fn read_on(&self, consumer: &mut dyn Consumer, topic: &str, partition: i32) {
        if let Some(next) = self.next(partition)
            && self.is_assigned(partition)
        {
            broker::assign(consumer, topic, partition, next);
        }
    }

    /// Holds a partition until it has been inspected.
    pub(super) fn hold(&mut self, consumer: &mut dyn Consumer, topic: &str, partition: i32) {
        self.ahead.remove(&partition);
        if self.is_assigned(partition) {
            broker::unassign(consumer, topic, partition);
        }
        self.forget_deferred(partition);
        self.held.insert(partition);
    }

    /// Stops reading a partition until its next record can be converted. Records that were fetched of it are
    /// dropped and fetched again, so nothing piles up here, however long that takes.
    fn hold_up(&mut self, consumer: &mut dyn Consumer, topic: &str, partition: i32, retry: Retry) {
        debug!(topic, partition, "a record can't be converted yet");
        self.ahead.remove(&partition);
        if self.is_assigned(partition) {
            broker::unassign(consumer, topic, partition);
        }
        self.forget_deferred(partition);
        self.held_up.add(partition, retry);
        self.report_held_up();
    }

    /// Resumes the partitions whose next record can be converted now.
    pub(super) fn retry(&mut self, consumer: &mut dyn Consumer, topic: &str) {
        let ready = self.held_up.take_ready();
        if !ready.is_empty() {
            ready.iter().for_each(|partition| self.read_on(consumer, topic, *partition));
            self.report_held_up();
        }
    }

    fn report_held_up(&self) {
        if let Some(converter) = &self.converter {
            converter.set_held_up(&self.held_up);
        }
    }

    fn set_deferred(&mut self, deferred: Option<Deferred>) {
        if let Some(converter) = &self.converter {
            converter.set_deferred(deferred.is_some());
        }
        self.deferred = deferred;
    }

    /// Takes a record that was fetched, or defers it to the next round. `room`: how many bytes may be deferred yet.
    /// Returns false if records before it may have been lost.
    pub(super) fn take_or_defer(
        &mut self,
        consumer: &mut dyn Consumer,
        topic: &str,
        record: Record,
        round: Round,
        room: &mut usize,
    ) -> bool {
        if self.deferred.is_none() && self.share.as_ref().is_some_and(Share::is_over) {
            for partition in self.partitions().filter(|partition| self.is_read(*partition)) {
                broker::unassign(consumer, topic, partition);
            }
            self.set_deferred(Some(Deferred::default()));
        }
        if self.deferred.is_none() {
            return self.take(consumer, topic, record, round);
        }
        // One before it was dropped, and is fetched again. After a fetch error, one before it may be missing, and that
        // would not be noticed once the error is trusted.
        let is_cut = round.has_fetch_error
            || !self.is_read(record.partition)
            || self.ahead.contains(&record.partition);
        if let Some(deferred) = self.deferred.as_mut().filter(|_| !is_cut) {
            match room.checked_sub(record.weight()) {
                Some(left) if !deferred.is_closed => {
                    *room = left;
                    deferred.records.push_back(record);
                }
                _ => deferred.is_closed = true,
            }
        }
        true
    }

    /// Takes records that were deferred, as far as this round has time. Then the topic is read on. Returns false if
    /// records before them may have been lost.
    pub(super) fn take_deferred(
        &mut self,
        consumer: &mut dyn Consumer,
        topic: &str,
        round: Round,
    ) -> bool {
        let mut is_whole = true;
        while let Some(deferred) = &mut self.deferred
            && !self.share.as_ref().is_some_and(Share::is_over)
        {
            match deferred.records.pop_front() {
                Some(record) => is_whole &= self.take(consumer, topic, record, round),
                None => {
                    self.set_deferred(None);
                    self.partitions()
                        .for_each(|partition| self.read_on(consumer, topic, partition));
                }
            }
        }
        is_whole
    }

    /// The records of a partition that were deferred are fetched again: one before them is.
    fn forget_deferred(&mut self, partition: i32) {
        if let Some(deferred) = &mut self.deferred {
            deferred.records.retain(|record| record.partition != partition);
        }
    }

    /// Whether records wait for the next round.
    pub(super) fn is_deferred(&self) -> bool {
        self.deferred.is_some()
    }

    pub(super) fn deferred_bytes(&self) -> usize {
        let records = self.deferred.iter().flat_map(|deferred| &deferred.records);
        records.map(Record::weight).sum()
    }

    /// Adds a record to the batch as it was converted, if it comes next. Returns false if records before it may
    /// have been lost.
    fn take(
        &mut self,
        consumer: &mut dyn Consumer,
        topic: &str,
        record: Record,
        round: Round,
    ) -> bool {
        let partition = record.partition;
        // An offset below the position is a repetition; one above it comes behind a hole.
        let next = self.next(partition);
        let next = next.filter(|next| record.offset >= *next && self.is_read(partition));
        let Some(next) = next else { return true };
        let gap = record.as_gap();
        let first = gap.as_ref().and_then(|gap| gap.from).unwrap_or(record.offset);
        if round.has_fetch_error && first > next {
            self.forget_deferred(partition);
            self.ahead.insert(partition);
            return false;
        }
        if let Some(gap) = gap {
            self.losses.note(topic, &gap, TOO_LARGE);
        }
        let record = match &self.converter {
            Some(converter) => {
                let share = self.share.get_or_insert_with(|| Share::new(round.share));
                let converted = converter.convert(topic, record, &mut self.scratch);
                share.count();
                match converted {
                    Ok(record) => record,
                    Err(retry) => {
                        self.hold_up(consumer, topic, partition, retry);
                        return true;
                    }
                }
            }
            None => record,
        };
        if let Some(next) = self.slot(partition) {
            *next = record.offset + 1;
        }
        self.batch_bytes += record.weight();
        self.batch.push(record);
        if self.converter.is_some() && self.batch_bytes > round.poll_bytes {
            self.append();
        }
        true
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.held_up = HeldUp::default();
        self.report_held_up();
        self.set_deferred(None);
    }
}

/// What holds for all records of a round.
#[derive(Clone, Copy)]
pub(super) struct Round {
    pub(super) has_fetch_error: bool,
    pub(super) poll_bytes: usize,
    pub(super) share: Duration,
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::broker::model::Model;
    use crate::data::convert::{Changes, Conversion, Converters, RecordRef};
    use crate::data::filter::Index;

    fn record(offset: i64) -> Record {
        let headers = std::iter::empty();
        Record::new((0, offset, None), None, Some(b"v"), headers, &mut BytesMut::new())
    }

    /// A record behind a batch that nobody could read was deferred, and taken when the fetch error was trusted. The
    /// batch was left out without a gap.
    #[test]
    fn after_a_fetch_error_no_record_is_deferred() {
        let mut consumer = Model::default().backend(0, 1).consumer(false).unwrap();
        consumer.assign("orders", 0, 0).unwrap();
        let mut converters = Converters::default();
        let accept = |_: &RecordRef<'_>, _: &mut Changes| Conversion::Accepted;
        converters.named.insert("orders".to_owned(), Arc::new(accept));
        let converter = Converter::of(("orders", &"model".into()), &converters, 1000);
        let from = Positions::new([0]);
        let hub = Hub::new(Records::new(Index::new([])), from.clone(), usize::MAX);
        let mut followed = Followed::new(&from, hub, LogLosses::default(), converter);
        let healthy = Round { has_fetch_error: false, poll_bytes: 1000, share: Duration::ZERO };
        let failed = Round { has_fetch_error: true, ..healthy };
        let mut room = 1000;
        // The first takes all the time of this round.
        for (offset, round) in [(0, healthy), (1, healthy), (5, failed)] {
            followed.take_or_defer(&mut *consumer, "orders", record(offset), round, &mut room);
        }
        assert!(followed.is_deferred());
        while followed.is_deferred() {
            followed.end_round();
            followed.take_deferred(&mut *consumer, "orders", healthy);
        }
        followed.end_round();
        assert_eq!((followed.next(0), followed.hub.head().next(0)), (Some(2), 2));
    }
}
