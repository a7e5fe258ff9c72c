//! The live tail: one consumer for the ends of all topics, on a thread of its own.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use tailwater_hub::Hub;
use tailwater_kafka_types::Budget;
use tracing::{debug, warn};

use crate::broker::{self, Backend, Consumer, Fetched, Panics};
use crate::data::events::{self, Records};
use crate::data::gap::Gap;
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::topic::conversion::{Converter, HeldUp, Retry, Scratch};
use crate::topic::losses::{Losses, TOO_LARGE};
use crate::topic::requests::{Command, Request};

/// How long a poll waits. A new topic waits for it, too.
const POLL: Duration = Duration::from_millis(20);

/// Between two attempts to get a consumer.
const PAUSE: Duration = Duration::from_secs(1);

/// What one poll takes at most, but for its last record.
const POLL_BYTES: usize = Budget::POLL_BYTES;

/// Why the tail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Nobody can send a command any more.
    Disconnected,
    /// Another consumer is wanted.
    Recreate,
}

struct Followed {
    hub: Hub<Records>,
    next: Vec<i64>,
    batch: Vec<Record>,
    /// What the records of the batch weigh.
    batch_bytes: usize,
    /// Partitions of which something came behind what may have been lost.
    ahead: BTreeSet<i32>,
    /// Partitions that are not read until it is known what is there.
    held: BTreeSet<i32>,
    /// Partitions that are not read until their next record can be converted.
    held_up: HeldUp,
    losses: Arc<Losses>,
    converter: Option<Arc<Converter>>,
    scratch: Scratch,
}

impl Followed {
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
            let batch = Record::join_rejected(std::mem::take(&mut self.batch));
            events::append(&self.hub, batch);
        }
    }

    /// Whether a partition is read.
    fn is_read(&self, partition: i32) -> bool {
        !self.held.contains(&partition) && !self.held_up.contains(partition)
    }

    /// Reads a partition anew from where it stands, if it is read.
    fn assign_again(&self, consumer: &mut dyn Consumer, topic: &str, partition: i32) {
        if let Some(next) = self.next(partition)
            && self.is_read(partition)
        {
            broker::unassign(consumer, topic, partition);
            broker::assign(consumer, topic, partition, next);
        }
    }

    /// Reads a partition on that is held.
    fn resume(&mut self, consumer: &mut dyn Consumer, topic: &str, partition: i32) {
        if self.held.remove(&partition) {
            self.read_on(consumer, topic, partition);
        }
    }

    /// Reads a partition on that was not read, unless there is another reason not to.
    fn read_on(&self, consumer: &mut dyn Consumer, topic: &str, partition: i32) {
        if let Some(next) = self.next(partition)
            && self.is_read(partition)
        {
            broker::assign(consumer, topic, partition, next);
        }
    }

    /// Reads a partition no longer, until its next record can be converted. What was fetched of it is dropped
    /// and fetched again: nothing piles up here, however long that takes.
    fn hold_up(&mut self, consumer: &mut dyn Consumer, topic: &str, partition: i32, retry: Retry) {
        debug!(topic, partition, "a record can't be converted yet");
        self.ahead.remove(&partition);
        broker::unassign(consumer, topic, partition);
        self.held_up.add(partition, retry);
        self.tell_held_up();
    }

    /// Reads the partitions on whose next record can be converted now.
    fn retry(&mut self, consumer: &mut dyn Consumer, topic: &str) {
        let ready = self.held_up.take_ready();
        if !ready.is_empty() {
            ready.iter().for_each(|partition| self.read_on(consumer, topic, *partition));
            self.tell_held_up();
        }
    }

    fn tell_held_up(&self) {
        if let Some(converter) = &self.converter {
            converter.set_held_up(&self.held_up);
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.held_up = HeldUp::default();
        self.tell_held_up();
    }
}

/// What is followed.
#[derive(Default)]
struct Topics {
    by_name: HashMap<Arc<str>, Followed>,
    /// Something was refused, and nobody knows of which partition. Until that is known an offset that comes
    /// behind a hole is not believed: librdkafka may have passed over what was there.
    refused: Option<u64>,
    /// Since then an offset was not there. It may be a number in what was refused, so that is looked into first.
    out_of_range: bool,
}

/// No two refusals have the same number, whichever consumer met them.
fn refusal() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A consumer in place of one that was lost with all that it read: the control thread opens all topics
/// anew. `None` if nobody can send a command any more.
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
            Err(error) => warn!(%error, "no consumer for the tail, trying again"),
        }
        // Commands of logs that end are of no use.
        if let Err(RecvTimeoutError::Disconnected) = commands.recv_timeout(PAUSE) {
            return None;
        }
    }
}

/// Reads until nobody can send a command any more, or another consumer is wanted.
pub(crate) fn run(
    mut consumer: Box<dyn Consumer>,
    commands: &Receiver<Command>,
    control: &Sender<Request>,
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
        for (topic, followed) in &mut topics.by_name {
            followed.retry(&mut *consumer, topic);
        }
        broker::poll(&mut *consumer, POLL, POLL_BYTES, &mut fetched, &mut panics);
        append(&mut *consumer, &mut topics, &mut fetched, control);
    }
}

fn apply(
    command: Command,
    consumer: &mut dyn Consumer,
    Topics { by_name: topics, refused, out_of_range }: &mut Topics,
    control: &Sender<Request>,
) -> ControlFlow<Exit> {
    match command {
        Command::Assign { topic, hub, from, losses, converter } => {
            leave(&topic, consumer, topics);
            for (partition, offset) in from.iter() {
                broker::assign(consumer, &topic, partition, offset);
            }
            let next = from.iter().map(|(_, next)| next).collect();
            let followed = Followed {
                hub,
                next,
                batch: Vec::new(),
                batch_bytes: 0,
                ahead: BTreeSet::new(),
                held: BTreeSet::new(),
                held_up: HeldUp::default(),
                losses,
                converter,
                scratch: Scratch::default(),
            };
            topics.insert(topic, followed);
        }
        Command::AddPartition { topic, partition, offset } => {
            if let Some(followed) = topics.get_mut(&topic)
                && usize::try_from(partition) == Ok(followed.next.len())
            {
                followed.next.push(offset);
                followed.hub.set_position(Positions::new(&followed.next[..]));
                broker::assign(consumer, &topic, partition, offset);
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
                let partitions = (0..).zip(&followed.next).map(|(partition, _)| partition);
                partitions.for_each(|partition| followed.assign_again(consumer, &topic, partition));
            }
        }
        Command::Hold { topic, partition, from } => {
            if let Some(followed) = topics.get_mut(&topic)
                && followed.next(partition) == Some(from)
                && !followed.held.contains(&partition)
            {
                followed.ahead.remove(&partition);
                if followed.is_read(partition) {
                    broker::unassign(consumer, &topic, partition);
                }
                followed.held.insert(partition);
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
        Command::Trust { refusal } if *refused == Some(refusal) => {
            *refused = None;
            if std::mem::take(out_of_range) {
                let _ = control.send(Request::Verify);
            }
            for (topic, followed) in topics {
                for partition in std::mem::take(&mut followed.ahead) {
                    followed.assign_again(consumer, topic, partition);
                }
            }
        }
        // There was another one since.
        Command::Trust { .. } => {}
        Command::Unassign { topic } => leave(&topic, consumer, topics),
        Command::Recreate => return ControlFlow::Break(Exit::Recreate),
    }
    ControlFlow::Continue(())
}

fn leave(topic: &str, consumer: &mut dyn Consumer, topics: &mut HashMap<Arc<str>, Followed>) {
    let Some(followed) = topics.remove(topic) else { return };
    for (partition, _) in (0..).zip(&followed.next) {
        if followed.is_read(partition) {
            broker::unassign(consumer, topic, partition);
        }
    }
}

/// Appends what a poll brought as one chunk for each topic. What conversion makes longer is appended in parts.
fn append(
    consumer: &mut dyn Consumer,
    Topics { by_name: topics, refused, out_of_range }: &mut Topics,
    fetched: &mut Vec<Fetched>,
    control: &Sender<Request>,
) {
    let mut is_due = false;
    for fetched in fetched.drain(..) {
        match fetched {
            Fetched::Record(topic, record) => {
                let Some(followed) = topics.get_mut(&topic) else { continue };
                let is_read = followed.is_read(record.partition);
                // An offset below what was read is a repetition; one above stands behind a hole.
                let next = followed.next(record.partition);
                let next = next.filter(|next| record.offset >= *next && is_read);
                let Some(next) = next else { continue };
                let gap = record.as_gap();
                let first = gap.as_ref().and_then(|gap| gap.from).unwrap_or(record.offset);
                if refused.is_some() && first > next {
                    followed.ahead.insert(record.partition);
                    // Said once more: the control thread may have forgotten it in a panic.
                    is_due = true;
                    continue;
                }
                if let Some(gap) = gap {
                    followed.losses.note(&topic, &gap, TOO_LARGE);
                }
                let partition = record.partition;
                let converted = match &followed.converter {
                    Some(converter) => converter.convert(&topic, record, &mut followed.scratch),
                    None => Ok(record),
                };
                let record = match converted {
                    Ok(record) => record,
                    Err(retry) => {
                        followed.hold_up(consumer, &topic, partition, retry);
                        continue;
                    }
                };
                if let Some(next) = followed.slot(record.partition) {
                    *next = record.offset + 1;
                }
                followed.batch_bytes += record.weight();
                followed.batch.push(record);
                if followed.converter.is_some() && followed.batch_bytes > POLL_BYTES {
                    followed.append();
                }
            }
            Fetched::Refused(reason) => {
                debug!(?reason, "something can't be read, looking for it");
                *refused = Some(refusal());
                is_due = true;
            }
            Fetched::OutOfRange if refused.is_some() => {
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
    topics.values_mut().for_each(Followed::append);
    // After what was read before it: it is told by what stands still since.
    if let Some(refusal) = refused.filter(|_| is_due) {
        let _ = control.send(Request::Refused { refusal });
    }
}
