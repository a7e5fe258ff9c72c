//! The live tail: one consumer that reads the ends of all topics, on a thread of its own.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use tailwater_hub::Hub;
use tracing::{debug, warn};

use crate::broker::{self, Backend, Consumer, Fetched, Panics};
use crate::data::events::{self, Records};
use crate::data::gap::Gap;
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::timing::Timing;
use crate::topic::conversion::{Converter, HeldUp, Retry, Scratch};
use crate::topic::losses::{Losses, TOO_LARGE};
use crate::topic::requests::{Command, Request};
use crate::topic::share::Share;

/// The timeout of a poll. A new topic waits for it, too.
const POLL: Duration = Duration::from_millis(20);

/// The pause between two attempts to create a consumer.
const PAUSE: Duration = Duration::from_secs(1);

/// Why the tail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All senders of commands are dropped.
    Disconnected,
    /// The consumer is to be replaced.
    Recreate,
}

struct Followed {
    hub: Hub<Records>,
    next: Vec<i64>,
    batch: Vec<Record>,
    /// What the records of the batch weigh.
    batch_bytes: usize,
    /// Partitions of which a record came that may have lost records before it.
    ahead: BTreeSet<i32>,
    /// Partitions that are held: they are not read until they have been inspected.
    held: BTreeSet<i32>,
    /// Partitions that are not read until their next record can be converted.
    held_up: HeldUp,
    losses: Arc<Losses>,
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
    fn new(
        from: &Positions,
        hub: Hub<Records>,
        losses: Arc<Losses>,
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

    fn slot(&mut self, partition: i32) -> Option<&mut i64> {
        usize::try_from(partition).ok().and_then(|slot| self.next.get_mut(slot))
    }

    fn next(&self, partition: i32) -> Option<i64> {
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

    fn partitions(&self) -> impl Iterator<Item = i32> + use<> {
        let count = i32::try_from(self.next.len()).unwrap_or(i32::MAX);
        0..count
    }

    /// Whether records of a partition are taken.
    fn is_read(&self, partition: i32) -> bool {
        !self.held.contains(&partition) && !self.held_up.contains(partition)
    }

    /// Whether the consumer reads a partition.
    fn is_assigned(&self, partition: i32) -> bool {
        self.deferred.is_none() && self.is_read(partition)
    }

    /// Assigns a partition again at its position, if it is read.
    fn assign_again(&self, consumer: &mut dyn Consumer, topic: &str, partition: i32) {
        if let Some(next) = self.next(partition)
            && self.is_assigned(partition)
        {
            broker::unassign(consumer, topic, partition);
            broker::assign(consumer, topic, partition, next);
        }
    }

    /// Reads a held partition again from its position.
    fn resume(&mut self, consumer: &mut dyn Consumer, topic: &str, partition: i32) {
        if self.held.remove(&partition) {
            self.read_on(consumer, topic, partition);
        }
    }

    /// Resumes a partition at its position, unless there is another reason not to read it.
    fn read_on(&self, consumer: &mut dyn Consumer, topic: &str, partition: i32) {
        if let Some(next) = self.next(partition)
            && self.is_assigned(partition)
        {
            broker::assign(consumer, topic, partition, next);
        }
    }

    /// Holds a partition until it has been inspected.
    fn hold(&mut self, consumer: &mut dyn Consumer, topic: &str, partition: i32) {
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
    fn retry(&mut self, consumer: &mut dyn Consumer, topic: &str) {
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
    fn take_or_defer(
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
        // One before it was dropped, and is fetched again.
        let is_cut = !self.is_read(record.partition) || self.ahead.contains(&record.partition);
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
    fn take_deferred(&mut self, consumer: &mut dyn Consumer, topic: &str, round: Round) -> bool {
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

    fn deferred_bytes(&self) -> usize {
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
struct Round {
    has_fetch_error: bool,
    poll_bytes: usize,
    share: Duration,
}

/// The topics that the tail reads.
#[derive(Default)]
struct Topics {
    by_name: HashMap<Arc<str>, Followed>,
    /// The number of a fetch error whose partition is not known yet. Until it is known, no offset is accepted that
    /// comes behind a hole: librdkafka may have skipped what was there.
    fetch_error: Option<u64>,
    /// An offset was out of range after the fetch error. It may be an offset within the broken batch, so the
    /// fetch error is inspected first.
    out_of_range: bool,
}

/// A new number for a fetch error. No two have the same, whichever consumer had them.
fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Creates a consumer in place of one that was lost with its assignment, and has the control thread open all
/// topics again. `None` if all senders of commands are dropped.
pub(crate) fn reconnect(
    backend: &dyn Backend,
    commands: &Receiver<Command>,
    control: &Sender<Request>,
) -> Option<Box<dyn Consumer>> {
    loop {
        match backend.consumer(false) {
            Ok(consumer) => {
                let _ = control.send(Request::Reopen);
                return Some(consumer);
            }
            Err(error) => warn!(%error, "can't create a consumer for the tail, trying again"),
        }
        // Commands for logs that end have no effect.
        if let Err(RecvTimeoutError::Disconnected) = commands.recv_timeout(PAUSE) {
            return None;
        }
    }
}

/// Reads until all senders of commands are dropped or the consumer is to be replaced.
pub(crate) fn run(
    mut consumer: Box<dyn Consumer>,
    commands: &Receiver<Command>,
    control: &Sender<Request>,
    timing: &Timing,
) -> Exit {
    let mut topics = Topics::default();
    let mut fetched = Vec::new();
    let mut panics = Panics::default();
    loop {
        // Without topics there is nothing to poll for.
        let mut command = if topics.by_name.is_empty() {
            commands.recv().map_err(|RecvError| TryRecvError::Disconnected)
        } else {
            commands.try_recv()
        };
        while let Ok(received) = command {
            if let ControlFlow::Break(ended) = apply(received, &mut *consumer, &mut topics, control)
            {
                return ended;
            }
            command = commands.try_recv();
        }
        if let Err(TryRecvError::Disconnected) = command {
            return Exit::Disconnected;
        }
        let mut poll = (POLL, timing.poll_bytes);
        for (topic, followed) in &mut topics.by_name {
            followed.retry(&mut *consumer, topic);
            if followed.deferred.is_some() {
                // Deferred records take the other half of the memory.
                poll = (Duration::ZERO, timing.poll_bytes / 2);
            }
        }
        let (timeout, bytes) = poll;
        broker::poll(&mut *consumer, timeout, bytes, &mut fetched, &mut panics);
        append(&mut *consumer, &mut topics, &mut fetched, control, timing);
    }
}

fn apply(
    command: Command,
    consumer: &mut dyn Consumer,
    Topics { by_name: topics, fetch_error, out_of_range }: &mut Topics,
    control: &Sender<Request>,
) -> ControlFlow<Exit> {
    match command {
        Command::Assign { topic, hub, from, losses, converter } => {
            leave(&topic, consumer, topics);
            for (partition, offset) in from.iter() {
                broker::assign(consumer, &topic, partition, offset);
            }
            topics.insert(topic, Followed::new(&from, hub, losses, converter));
        }
        Command::AddPartition { topic, partition, offset } => {
            if let Some(followed) = topics.get_mut(&topic)
                && usize::try_from(partition) == Ok(followed.next.len())
            {
                followed.next.push(offset);
                followed.hub.set_position(Positions::new(&followed.next[..]));
                followed.read_on(consumer, &topic, partition);
            }
        }
        Command::SkipTo { topic, partition, offset } => {
            if let Some(followed) = topics.get_mut(&topic)
                && let Some(next) = followed.slot(partition)
                && *next < offset
            {
                *next = offset;
                followed.hub.set_position(Positions::new(&followed.next[..]));
            }
        }
        Command::Reassign { topic } => {
            if let Some(followed) = topics.get(&topic) {
                let assign_again = |partition| followed.assign_again(consumer, &topic, partition);
                followed.partitions().for_each(assign_again);
            }
        }
        Command::Hold { topic, partition, from } => {
            if let Some(followed) = topics.get_mut(&topic)
                && followed.next(partition) == Some(from)
                && !followed.held.contains(&partition)
            {
                followed.hold(consumer, &topic, partition);
            }
        }
        Command::Resume { topic, partition } => {
            if let Some(followed) = topics.get_mut(&topic) {
                followed.resume(consumer, &topic, partition);
            }
        }
        Command::Gap { topic, gap } => {
            if let Some(followed) = topics.get_mut(&topic)
                && let Some(Gap { partition: Some(partition), from, .. }) = gap.as_gap()
                && followed.next(partition) == from
            {
                if let Some(next) = followed.slot(partition) {
                    *next = gap.offset + 1;
                }
                followed.hub.append(vec![gap]);
                followed.resume(consumer, &topic, partition);
            }
        }
        Command::Trust { fetch_error: known } if *fetch_error == Some(known) => {
            *fetch_error = None;
            if std::mem::take(out_of_range) {
                let _ = control.send(Request::Verify);
            }
            for (topic, followed) in topics {
                for partition in std::mem::take(&mut followed.ahead) {
                    followed.assign_again(consumer, topic, partition);
                }
            }
        }
        // Another fetch error came since.
        Command::Trust { .. } => {}
        Command::Unassign { topic } => leave(&topic, consumer, topics),
        Command::Recreate => return ControlFlow::Break(Exit::Recreate),
    }
    ControlFlow::Continue(())
}

fn leave(topic: &str, consumer: &mut dyn Consumer, topics: &mut HashMap<Arc<str>, Followed>) {
    let Some(followed) = topics.remove(topic) else { return };
    for partition in followed.partitions().filter(|partition| followed.is_assigned(*partition)) {
        broker::unassign(consumer, topic, partition);
    }
}

/// Appends what was deferred and what a poll brought as one chunk for each topic. What conversion makes longer is
/// appended in parts.
fn append(
    consumer: &mut dyn Consumer,
    Topics { by_name: topics, fetch_error, out_of_range }: &mut Topics,
    fetched: &mut Vec<Fetched>,
    control: &Sender<Request>,
    timing: &Timing,
) {
    let Timing { poll_bytes, share, .. } = *timing;
    let mut is_due = false;
    let mut room = poll_bytes / 2;
    for (topic, followed) in topics.iter_mut().filter(|(_, followed)| followed.deferred.is_some()) {
        let round = Round { has_fetch_error: fetch_error.is_some(), poll_bytes, share };
        is_due |= !followed.take_deferred(consumer, topic, round);
        room = room.saturating_sub(followed.deferred_bytes());
    }
    for fetched in fetched.drain(..) {
        match fetched {
            Fetched::Record(topic, record) => {
                let Some(followed) = topics.get_mut(&topic) else { continue };
                let round = Round { has_fetch_error: fetch_error.is_some(), poll_bytes, share };
                // Sent again: the control thread may have lost the request in a panic.
                is_due |= !followed.take_or_defer(consumer, &topic, record, round, &mut room);
            }
            Fetched::Error(error) => {
                debug!(?error, "fetch error, looking for its partition");
                *fetch_error = Some(number());
                is_due = true;
            }
            Fetched::OutOfRange if fetch_error.is_some() => {
                *out_of_range = true;
                is_due = true;
            }
            Fetched::OutOfRange => {
                // The control thread ends before this one.
                let _ = control.send(Request::Verify);
            }
            Fetched::Denied => {
                let _ = control.send(Request::Denied);
            }
            Fetched::End(_) => {}
        }
    }
    for followed in topics.values_mut() {
        followed.append();
        followed.share = None;
        followed.deferred.iter_mut().for_each(|deferred| deferred.is_closed = true);
    }
    // Sent after the records before it are appended: the partition is found by its head that does not move.
    if let Some(number) = fetch_error.filter(|_| is_due) {
        let _ = control.send(Request::FetchError { number });
    }
}
