//! The live tail: one consumer that reads the ends of all topics.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::broker::{self, Backend, Consumer, Fetched, Panics};
use crate::data::gap::Gap;
use crate::data::positions::Positions;
use crate::threads::interruption;
use crate::timing::Timing;
use crate::topic::requests::{Command, Request};

mod followed;

use followed::{Followed, Round};

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

/// The topics that the tail reads.
#[derive(Default)]
struct Topics {
    by_name: BTreeMap<Arc<str>, Followed>,
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

/// Creates a consumer in place of one that was lost with its assignment, and has the control task open all
/// topics again. `None` if all senders of commands are dropped.
pub(crate) async fn reconnect(
    backend: &dyn Backend,
    commands: &mut UnboundedReceiver<Command>,
    control: &UnboundedSender<Request>,
) -> Option<Box<dyn Consumer>> {
    loop {
        match backend.consumer(false) {
            Ok(consumer) => {
                let _ = control.send(Request::Reopen);
                return Some(consumer);
            }
            Err(error) => {
                let cluster = backend.cluster();
                warn!(cluster, %error, "can't create a consumer for the tail, trying again");
            }
        }
        // Commands for logs that end have no effect.
        if let Ok(None) = timeout(PAUSE, commands.recv()).await {
            return None;
        }
    }
}

/// Reads until all senders of commands are dropped or the consumer is to be replaced.
pub(crate) async fn run(
    mut consumer: Box<dyn Consumer>,
    commands: &mut UnboundedReceiver<Command>,
    control: &UnboundedSender<Request>,
    timing: &Timing,
) -> Exit {
    let mut topics = Topics::default();
    let mut fetched = Vec::new();
    let mut panics = Panics::default();
    loop {
        // Without topics there is nothing to poll for.
        let mut command = if topics.by_name.is_empty() {
            commands.recv().await.ok_or(TryRecvError::Disconnected)
        } else {
            commands.try_recv()
        };
        while let Ok(received) = command {
            if let ControlFlow::Break(ended) = apply(received, &mut *consumer, &mut topics, control)
            {
                return ended;
            }
            interruption().await;
            command = commands.try_recv();
        }
        if let Err(TryRecvError::Disconnected) = command {
            return Exit::Disconnected;
        }
        interruption().await;
        let mut poll = (POLL, timing.poll_bytes);
        for (topic, followed) in &mut topics.by_name {
            followed.retry(&mut *consumer, topic);
            if followed.is_deferred() {
                // Deferred records take the other half of the memory.
                poll = (Duration::ZERO, timing.poll_bytes / 2);
            }
        }
        let (timeout, bytes) = poll;
        broker::poll(&mut *consumer, timeout, bytes, &mut fetched, &mut panics).await;
        append(&mut *consumer, &mut topics, &mut fetched, control, timing);
    }
}

fn apply(
    command: Command,
    consumer: &mut dyn Consumer,
    Topics { by_name: topics, fetch_error, out_of_range }: &mut Topics,
    control: &UnboundedSender<Request>,
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
            match topics.get_mut(&topic) {
                Some(followed) if followed.held.contains(&partition) => {}
                Some(followed) if followed.next(partition) == Some(from) => {
                    followed.hold(consumer, &topic, partition);
                }
                // Sent before the next fetch error, which may be of this partition.
                Some(_) => {
                    let _ = control.send(Request::NotHeld { topic, partition, from });
                    // The control task may have said since that it trusts the others.
                    if fetch_error.is_some() {
                        let number = number();
                        *fetch_error = Some(number);
                        let _ = control.send(Request::FetchError { number });
                    }
                }
                None => {}
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

fn leave(topic: &str, consumer: &mut dyn Consumer, topics: &mut BTreeMap<Arc<str>, Followed>) {
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
    control: &UnboundedSender<Request>,
    timing: &Timing,
) {
    let Timing { poll_bytes, share, .. } = *timing;
    let mut is_due = false;
    let mut room = poll_bytes / 2;
    for (topic, followed) in topics.iter_mut().filter(|(_, followed)| followed.is_deferred()) {
        let round = Round { has_fetch_error: fetch_error.is_some(), poll_bytes, share };
        is_due |= !followed.take_deferred(consumer, topic, round);
        room = room.saturating_sub(followed.deferred_bytes());
    }
    for fetched in fetched.drain(..) {
        match fetched {
            Fetched::Record(topic, record) => {
                let Some(followed) = topics.get_mut(&topic) else { continue };
                let round = Round { has_fetch_error: fetch_error.is_some(), poll_bytes, share };
                // Sent again: the control task may have lost the request in a panic.
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
                // The control task ends before this one.
                let _ = control.send(Request::Verify);
            }
            Fetched::Denied => {
                let _ = control.send(Request::Denied);
            }
            Fetched::End(_) => {}
        }
    }
    topics.values_mut().for_each(Followed::end_round);
    // Sent after the records before it are appended: the partition is found by its head that does not move.
    if let Some(number) = fetch_error.filter(|_| is_due) {
        let _ = control.send(Request::FetchError { number });
    }
}

#[cfg(test)]
mod tests {
    use tailwater_hub::Hub;
    use tokio::sync::mpsc;

    use super::*;
    use crate::broker::model::Model;
    use crate::data::events::Records;
    use crate::data::filter::Index;
    use crate::topic::losses::LogLosses;

    /// The control task took it for held, and the next batch that nobody could read was left out without a gap.
    #[test]
    fn it_is_said_that_a_partition_that_has_moved_on_is_not_held() {
        let mut consumer = Model::default().backend(0, 1).consumer(false).unwrap();
        let (control, mut requests) = mpsc::unbounded_channel();
        let mut topics = Topics::default();
        let topic: Arc<str> = "a".into();
        let from = Positions::new(vec![5, 5]);
        let hub = Hub::new(Records::new(Index::new([])), from.clone(), usize::MAX);
        let assign = Command::Assign {
            topic: Arc::clone(&topic),
            hub,
            from,
            losses: LogLosses::default(),
            converter: None,
        };
        let hold = |partition, from| Command::Hold { topic: Arc::clone(&topic), partition, from };
        let mut is_not_held = |command| {
            assert_eq!(
                apply(command, &mut *consumer, &mut topics, &control),
                ControlFlow::Continue(())
            );
            let answers: Vec<_> = std::iter::from_fn(|| requests.try_recv().ok()).collect();
            match &answers[..] {
                [] => None,
                [Request::NotHeld { partition, from, .. }] => Some((*partition, *from)),
                answers => panic!("{answers:?}"),
            }
        };
        assert_eq!(is_not_held(assign), None);
        assert_eq!(is_not_held(hold(0, 5)), None);
        assert_eq!(is_not_held(hold(0, 4)), None, "it is held by now");
        assert_eq!(is_not_held(hold(1, 4)), Some((1, 4)));
    }

    /// The control task had taken the partition for held when it said that it trusts the others, and the batch that
    /// nobody could read was left out without a gap.
    #[test]
    fn a_fetch_error_is_not_trusted_once_a_partition_was_not_held() {
        let mut consumer = Model::default().backend(0, 1).consumer(false).unwrap();
        let (control, mut requests) = mpsc::unbounded_channel();
        let mut topics = Topics { fetch_error: Some(7), ..Topics::default() };
        let topic: Arc<str> = "a".into();
        let from = Positions::new(vec![5]);
        let hub = Hub::new(Records::new(Index::new([])), from.clone(), usize::MAX);
        let followed = Followed::new(&from, hub, LogLosses::default(), None);
        topics.by_name.insert(Arc::clone(&topic), followed);
        let mut apply = |command| {
            let applied = apply(command, &mut *consumer, &mut topics, &control);
            assert_eq!(applied, ControlFlow::Continue(()));
            topics.fetch_error
        };
        let Some(number) = apply(Command::Hold { topic, partition: 0, from: 4 }) else {
            panic!("it is trusted");
        };
        assert_eq!(apply(Command::Trust { fetch_error: 7 }), Some(number));
        assert!(matches!(requests.try_recv(), Ok(Request::NotHeld { .. })));
        let request = requests.try_recv();
        assert!(matches!(request, Ok(Request::FetchError { number: sent }) if sent == number));
        assert_eq!(apply(Command::Trust { fetch_error: number }), None);
    }
}
