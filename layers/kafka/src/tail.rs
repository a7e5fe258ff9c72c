//! The live tail: one consumer for the ends of all topics, on a thread of its own.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use tailwater_hub::Hub;
use tracing::warn;

use crate::backend::{self, Backend, Consumer, Fetched};
use crate::control::Job;
use crate::positions::Positions;
use crate::record::Record;
use crate::records::Records;

/// How long a poll waits. A new topic waits for it, too.
const POLL: Duration = Duration::from_millis(20);

/// Between two attempts to get a consumer.
const PAUSE: Duration = Duration::from_secs(1);

/// What one poll takes at most, and so the largest chunk of the log.
const POLL_BYTES: usize = 1024 * 1024;

#[derive(Debug)]
pub(crate) enum Command {
    Follow {
        topic: Arc<str>,
        hub: Hub<Records>,
        from: Positions,
    },
    Extend {
        topic: Arc<str>,
        partition: i32,
        offset: i64,
    },
    /// Assigns all partitions once more: after an offset that was not there, librdkafka stands still.
    Again {
        topic: Arc<str>,
    },
    /// There is no record before this offset that was not read.
    Pass {
        topic: Arc<str>,
        partition: i32,
        offset: i64,
    },
    Leave {
        topic: Arc<str>,
    },
    /// Begins with another consumer.
    Renew,
}

/// Why the tail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nobody can send a command any more.
    Left,
    /// Another consumer is wanted.
    GivenUp,
}

struct Followed {
    hub: Hub<Records>,
    next: Vec<i64>,
    batch: Vec<Record>,
}

/// A consumer in place of one that was lost with all that it read: the control thread opens all topics
/// anew. `None` if nobody can send a command any more.
pub(crate) fn again(
    backend: &dyn Backend,
    commands: &Receiver<Command>,
    control: &Sender<Job>,
) -> Option<Box<dyn Consumer>> {
    loop {
        match backend.consumer(false) {
            Ok(consumer) => {
                let _ = control.send(Job::Reopen);
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
    control: &Sender<Job>,
) -> Ended {
    let mut topics = HashMap::new();
    let mut fetched = Vec::new();
    loop {
        // Without topics there is nothing to poll for.
        let mut command = if topics.is_empty() {
            commands.recv().map_err(|RecvError| TryRecvError::Disconnected)
        } else {
            commands.try_recv()
        };
        while let Ok(received) = command {
            if let ControlFlow::Break(ended) = obey(received, &mut *consumer, &mut topics) {
                return ended;
            }
            command = commands.try_recv();
        }
        if let Err(TryRecvError::Disconnected) = command {
            return Ended::Left;
        }
        consumer.poll(POLL, POLL_BYTES, &mut fetched);
        append(&mut topics, &mut fetched, control);
    }
}

fn obey(
    command: Command,
    consumer: &mut dyn Consumer,
    topics: &mut HashMap<Arc<str>, Followed>,
) -> ControlFlow<Ended> {
    match command {
        Command::Follow { topic, hub, from } => {
            leave(&topic, consumer, topics);
            for (partition, offset) in from.iter() {
                backend::assign(consumer, &topic, partition, offset);
            }
            let next = from.iter().map(|(_, next)| next).collect();
            topics.insert(topic, Followed { hub, next, batch: Vec::new() });
        }
        Command::Extend { topic, partition, offset } => {
            if let Some(followed) = topics.get_mut(&topic)
                && usize::try_from(partition) == Ok(followed.next.len())
            {
                followed.next.push(offset);
                followed.hub.set_mark(Positions::new(&followed.next[..]));
                backend::assign(consumer, &topic, partition, offset);
            }
        }
        Command::Pass { topic, partition, offset } => {
            if let Some(followed) = topics.get_mut(&topic)
                && let Ok(slot) = usize::try_from(partition)
                && let Some(next) = followed.next.get_mut(slot)
                && *next < offset
            {
                *next = offset;
                followed.hub.set_mark(Positions::new(&followed.next[..]));
            }
        }
        Command::Again { topic } => {
            let next = topics.get(&topic).map(|followed| &*followed.next).unwrap_or_default();
            for (partition, next) in (0..).zip(next) {
                backend::unassign(consumer, &topic, partition);
                backend::assign(consumer, &topic, partition, *next);
            }
        }
        Command::Leave { topic } => leave(&topic, consumer, topics),
        Command::Renew => return ControlFlow::Break(Ended::GivenUp),
    }
    ControlFlow::Continue(())
}

fn leave(topic: &str, consumer: &mut dyn Consumer, topics: &mut HashMap<Arc<str>, Followed>) {
    let Some(followed) = topics.remove(topic) else { return };
    for (partition, _) in (0..).zip(followed.next) {
        backend::unassign(consumer, topic, partition);
    }
}

/// Appends what a poll brought as one chunk for each topic.
fn append(
    topics: &mut HashMap<Arc<str>, Followed>,
    fetched: &mut Vec<Fetched>,
    control: &Sender<Job>,
) {
    for fetched in fetched.drain(..) {
        match fetched {
            Fetched::Record(topic, record) => {
                let Some(followed) = topics.get_mut(&topic) else { continue };
                let slot = usize::try_from(record.partition)
                    .ok()
                    .and_then(|index| followed.next.get_mut(index));
                // An offset below what was read is a repetition; one above stands behind a hole.
                if let Some(next) = slot.filter(|next| record.offset >= **next) {
                    *next = record.offset + 1;
                    followed.batch.push(record);
                }
            }
            Fetched::OutOfRange => {
                // The control thread ends before this one.
                let _ = control.send(Job::Verify);
            }
            Fetched::End(_) => {}
        }
    }
    for followed in topics.values_mut() {
        if !followed.batch.is_empty() {
            followed.hub.append(std::mem::take(&mut followed.batch));
        }
    }
}
