//! The past of a topic, from before its live log: a few readers, each of which carries all streams
//! that wait near one place.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tailwater_hub::{Cursor, Hub, Want};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::backend::{self, Backend, Consumer};
use crate::control::Pace;
use crate::filter::Index;
use crate::positions::Positions;
use crate::record::Record;
use crate::records::Records;
use crate::remains::Remains;
use crate::topic::Opened;

mod reading;

use reading::{Read, Reading};

/// Streams whose places differ by no more offsets than this share a pass.
const NEAR: u64 = 100_000;

/// How far a pass goes ahead of its slowest stream.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// What a pass keeps, encoded forms and all: what its streams still have to read must fit even where
/// ids make events longer than their records.
pub(crate) const PASS_BYTES: usize = 4 * WINDOW_BYTES;

/// What a stream that holds up most others of its pass must take in each [`Pace::stall`], or it is left
/// behind. A thousand streams share what the server can write: it is little for each.
const LEAST_BYTES: usize = WINDOW_BYTES / 16;

/// The same while most streams of its pass have something to read themselves: then it is this server
/// that is slow, and a stream has its share of it.
const LEAST_SHARE_BYTES: usize = LEAST_BYTES / 16;

/// How far a pass goes at first, while streams come that could join it at its start.
const GATHER_BYTES: usize = WINDOW_BYTES / 2;
/// A pass goes on when none came for so long.
const GATHER: Duration = Duration::from_millis(50);
const GATHER_AT_MOST: Duration = Duration::from_secs(1);

const POLL: Duration = Duration::from_millis(50);
const POLL_BYTES: usize = 1024 * 1024;
/// The same while nothing is read: long enough to take all that is there.
const HEAR: Duration = Duration::from_millis(1);

/// Who waits for a pass, and which are under way.
#[derive(Debug)]
pub(crate) struct History {
    pace: Pace,
    queue: Mutex<Queue>,
    changed: Condvar,
    remains: Arc<Remains>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    passes: Vec<Arc<Pass>>,
    closed: bool,
}

#[derive(Debug)]
struct Waiting {
    topic: Arc<str>,
    opened: Arc<Opened>,
    at: Positions,
    want: Want<Record>,
    reply: oneshot::Sender<Cursor<Records>>,
}

impl Waiting {
    /// Whether there is a stream that waits, and a log to join afterwards.
    fn is_there(&self) -> bool {
        !self.reply.is_closed() && !self.opened.hub.is_closed()
    }
}

#[derive(Debug)]
struct Pass {
    opened: Arc<Opened>,
    hub: Hub<Records>,
    /// How many streams came after the first.
    joined: AtomicUsize,
}

/// A pass that is read. It ends with the reading, be it by a panic.
struct Running<'a> {
    history: &'a History,
    pass: Arc<Pass>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.history.lock().passes.retain(|running| !Arc::ptr_eq(running, &self.pass));
        self.history.remains.end(&self.pass.hub);
    }
}

impl History {
    pub(crate) fn new(pace: Pace, remains: Arc<Remains>) -> Self {
        Self { pace, queue: Mutex::default(), changed: Condvar::new(), remains }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cursor that comes by `at`, in a pass under way or the next one. `None` if the topic's log
    /// ended before.
    pub(crate) async fn join(
        &self,
        topic: &Arc<str>,
        opened: &Arc<Opened>,
        at: &Positions,
        want: &Want<Record>,
    ) -> Option<Cursor<Records>> {
        let answer = {
            let mut queue = self.lock();
            let of_topic = queue.passes.iter().filter(|pass| Arc::ptr_eq(&pass.opened, opened));
            for pass in of_topic {
                let cursor = pass.hub.seek(|mark| mark.at_or_before(at), want.clone());
                if let Some(mut cursor) = cursor
                    && cursor.mark().distance(at) <= NEAR
                {
                    pass.joined.fetch_add(1, Ordering::Relaxed);
                    return Some(cursor);
                }
            }
            // Readers may be busy for long: without this, streams that come and leave would pile up.
            if queue.waiting.len() == queue.waiting.capacity() {
                queue.waiting.retain(Waiting::is_there);
            }
            let (reply, answer) = oneshot::channel();
            let (topic, opened) = (Arc::clone(topic), Arc::clone(opened));
            queue.waiting.push(Waiting {
                topic,
                opened,
                at: at.clone(),
                want: want.clone(),
                reply,
            });
            answer
        };
        // Not only one: it may be a reader that pauses.
        self.changed.notify_all();
        answer.await.ok()
    }

    /// How many streams passes carry.
    #[cfg(test)]
    pub(crate) fn carried(&self) -> usize {
        self.lock().passes.iter().map(|pass| pass.hub.cursors()).sum()
    }

    #[cfg(test)]
    pub(crate) fn remaining_bytes(&self) -> usize {
        self.remains.bytes()
    }

    /// Whether something is read or waits to be.
    #[cfg(test)]
    pub(crate) fn is_busy(&self) -> bool {
        let queue = self.lock();
        !queue.passes.is_empty() || !queue.waiting.is_empty()
    }

    /// Sends the readers home.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Makes one pass after the other until the history is closed.
    pub(crate) fn read(&self, backend: &dyn Backend, index: &Index) {
        // It connects before anybody waits for it. Why there is none is told when one is needed.
        let mut consumer = backend.consumer(true).ok();
        while self.wait_for_streams(&mut consumer) {
            let consumer = match &mut consumer {
                Some(consumer) => consumer,
                none => match backend.consumer(true) {
                    Ok(made) => none.insert(made),
                    Err(error) => {
                        warn!(%error, "no consumer for the history, trying again");
                        self.pause();
                        continue;
                    }
                },
            };
            let Some((topic, pass, start)) = self.next(index) else { continue };
            let running = Running { history: self, pass };
            debug!(%topic, streams = running.pass.hub.cursors(), "reading history");
            self.run(backend, &mut **consumer, &topic, &running.pass, &start);
        }
    }

    /// False if the history was closed meanwhile.
    fn wait_for_streams(&self, idle: &mut Option<Box<dyn Consumer>>) -> bool {
        let nobody = |queue: &mut Queue| {
            queue.waiting.retain(Waiting::is_there);
            !queue.closed && queue.waiting.is_empty()
        };
        loop {
            let waited = self.changed.wait_timeout_while(self.lock(), self.pace.later, nobody);
            let (queue, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            if !waited.timed_out() {
                return !queue.closed;
            }
            drop(queue);
            // Errors of connections would pile up in it while Kafka is away.
            if let Some(consumer) = idle {
                consumer.poll(HEAR, POLL_BYTES, &mut Vec::new());
            }
        }
    }

    fn pause(&self) {
        let open = |queue: &mut Queue| !queue.closed;
        drop(self.changed.wait_timeout_while(self.lock(), self.pace.soon, open));
    }

    /// Begins a pass with those that are near the stream that waits longest. `None` if another reader
    /// was faster.
    fn next(&self, index: &Index) -> Option<(Arc<str>, Arc<Pass>, Positions)> {
        let mut queue = self.lock();
        let longest = queue.waiting.first()?;
        let (topic, opened) = (Arc::clone(&longest.topic), Arc::clone(&longest.opened));
        let at = longest.at.clone();
        let near = |waiting: &mut Waiting| {
            Arc::ptr_eq(&waiting.opened, &opened) && waiting.at.distance(&at) <= NEAR
        };
        let members: Vec<Waiting> = queue.waiting.extract_if(.., near).collect();
        let start = members.iter().fold(at, |start, member| start.min(&member.at));
        let hub = Hub::new(Records { index: index.clone() }, start.clone(), PASS_BYTES);
        let joined = AtomicUsize::new(members.len() - 1);
        for member in members {
            // The stream may have left meanwhile.
            let _ = member.reply.send(hub.tail(member.want));
        }
        let pass = Arc::new(Pass { opened, hub, joined });
        queue.passes.push(Arc::clone(&pass));
        Some((topic, pass, start))
    }

    /// Reads from `start` to where the live log takes over.
    fn run(
        &self,
        backend: &dyn Backend,
        consumer: &mut dyn Consumer,
        topic: &Arc<str>,
        pass: &Pass,
        start: &Positions,
    ) {
        let mut reading = Reading::new(topic, pass, start);
        for (partition, offset) in start.iter() {
            backend::assign(consumer, topic, partition, offset);
        }
        let mut fetched = Vec::new();
        let mut in_vain = Duration::ZERO;
        let mut gathered = false;
        while pass.hub.listeners() > 0 && !pass.opened.hub.is_closed() {
            let Some(left) = reading.missing().filter(|left| *left > 0) else { break };
            if !gathered && pass.hub.bytes() >= GATHER_BYTES {
                gather(pass);
                gathered = true;
            }
            self.wait_for_room(pass);
            let since = Instant::now();
            consumer.poll(POLL, POLL_BYTES, &mut fetched);
            match reading.append(backend, consumer, &mut fetched) {
                Read::On => {}
                Read::Doubtful => self.pause(),
                Read::OutOfRange => break,
            }
            // What comes from partitions that need nothing any more does not count.
            let progress = reading.missing().is_none_or(|now| now < left);
            in_vain = if progress { Duration::ZERO } else { in_vain + since.elapsed() };
            if in_vain >= self.pace.patience && self.is_waited_for() {
                warn!(%topic, "history can't be read on for now, others come first");
                break;
            }
        }
        for (partition, _) in start.iter() {
            backend::unassign(consumer, topic, partition);
        }
    }

    /// Waits until the slowest stream is no more than a window behind. If it holds up others and takes
    /// too little, it is left behind: it goes on in a pass with those that are as slow.
    fn wait_for_room(&self, pass: &Pass) {
        let (mut before, mut since) = (pass.hub.lag_bytes(), Instant::now());
        loop {
            let lag = pass.hub.lag_bytes();
            if lag <= WINDOW_BYTES || pass.opened.hub.is_closed() {
                return;
            }
            if since.elapsed() >= self.pace.stall {
                let (streams, caught_up) = (pass.hub.listeners(), pass.hub.caught_up());
                let least = if 2 * caught_up >= streams { LEAST_BYTES } else { LEAST_SHARE_BYTES };
                let too_slow = lag.saturating_add(least) > before;
                if too_slow && (streams > 1 || self.is_waited_for()) {
                    pass.hub.set_capacity_bytes(WINDOW_BYTES);
                    pass.hub.set_capacity_bytes(PASS_BYTES);
                    return;
                }
                (before, since) = (lag, Instant::now());
            }
            pass.hub.wait_progress(POLL);
        }
    }

    /// Whether a stream waits for a reader.
    fn is_waited_for(&self) -> bool {
        self.lock().waiting.iter().any(Waiting::is_there)
    }
}

/// Lets streams that come at the same time, after a restart say, join a pass at its start: each of them
/// would cost another reading of Kafka. A stream that is alone waits for a moment at the most.
fn gather(pass: &Pass) {
    let begin = Instant::now();
    let mut joined = 0;
    while begin.elapsed() < GATHER_AT_MOST {
        let now = pass.joined.load(Ordering::Relaxed);
        if now == joined {
            return;
        }
        joined = now;
        thread::sleep(GATHER);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn streams_that_leave_while_they_wait_do_not_pile_up() {
        let history = History::new(Pace::default(), Arc::default());
        let start = Positions::new([0]);
        let hub = Hub::new(Records { index: Index::new([]) }, start.clone(), 0);
        let origin = start.clone();
        let opened = Opened::new(hub, 0, origin);
        let (topic, opened) = (Arc::from("orders"), Arc::new(opened));
        let cx = &mut Context::from_waker(Waker::noop());
        let mut stays = pin!(history.join(&topic, &opened, &start, &Want::All));
        assert!(stays.as_mut().poll(cx).is_pending());
        for _ in 0..1000 {
            let leaves = pin!(history.join(&topic, &opened, &start, &Want::All));
            assert!(leaves.poll(cx).is_pending());
        }
        assert!(history.lock().waiting.capacity() < 10);
        assert!(history.lock().waiting[0].is_there());
    }
}
