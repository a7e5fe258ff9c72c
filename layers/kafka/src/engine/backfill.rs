//! The history readers: tasks that read the backfills in turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use crate::broker::{self, Backend, Consumer, Panics};
use crate::engine::inspection::Inspections;
use crate::threads::interruption;
use crate::topic::history::backfill::Backfill;
use crate::topic::history::queue::Queue;
use crate::topic::history::reading::{Read, Reading};
use crate::topic::history::{History, WINDOW_BYTES};

/// How far a backfill reads at first, so that more streams can join it at its start.
const COALESCE_BYTES: usize = WINDOW_BYTES / 2;

const POLL: Duration = Duration::from_millis(50);
/// The timeout of a poll while nothing is read: long enough to take all events.
const DRAIN_POLL: Duration = Duration::from_millis(1);

/// The backfill that a reader reads now. If the reader panics, the backfill ends.
struct Turn<'a> {
    history: &'a History,
    reading: Option<Reading>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(reading) = self.reading.take() {
            self.history.end(&reading.backfill);
        }
    }
}

/// How a turn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TurnEnd {
    /// The backfill has ended. Most of its streams continue in the live log.
    Over,
    /// Other backfills come first.
    Suspended,
}

impl History {
    /// Reads one backfill after the other until the history is closed.
    pub(crate) async fn read(&self, backend: &dyn Backend, inspections: &Arc<Inspections>) {
        // It connects before a stream waits for it. An error is logged when a consumer is needed.
        let mut consumer = backend.consumer(true).ok();
        while self.wait_for_turn(&mut consumer).await {
            let consumer = match &mut consumer {
                Some(consumer) => consumer,
                none => match backend.consumer(true) {
                    Ok(made) => none.insert(made),
                    Err(error) => {
                        let cluster = backend.cluster();
                        warn!(cluster, %error, "can't create a consumer for history, trying again");
                        self.pause().await;
                        continue;
                    }
                },
            };
            interruption().await;
            // Another reader may have been faster.
            let next = self.lock().next(Instant::now());
            let mut turn = Turn { history: self, reading: next };
            if let Some(reading) = &mut turn.reading {
                self.retired.resume(&reading.backfill.hub, self.backfill_bytes);
                let ended = self.take_turn(backend, &mut **consumer, reading, inspections).await;
                if ended == TurnEnd::Suspended
                    && let Some(reading) = turn.reading.take()
                {
                    self.suspend(reading);
                }
            }
        }
    }

    /// Waits until there is work. Returns false if the history was closed.
    async fn wait_for_turn(&self, idle: &mut Option<Box<dyn Consumer>>) -> bool {
        let mut drained = Instant::now();
        loop {
            let changed = self.changed.notified();
            let (over, pause) = {
                let mut queue = self.lock();
                if queue.closed {
                    return false;
                }
                let over = self.maintain(&mut queue);
                if over.is_empty() && !queue.is_idle(Instant::now()) {
                    return true;
                }
                // No event says when the streams of a backfill take something.
                (over, if queue.has_suspended() { POLL } else { self.timing.refresh })
            };
            if over.is_empty() {
                let _ = timeout(pause, changed).await;
            }
            over.iter().for_each(|reading| self.end(&reading.backfill));
            // Connection errors would pile up in the idle consumer while Kafka is unreachable.
            if drained.elapsed() >= self.timing.refresh
                && let Some(consumer) = idle
            {
                consumer.poll(DRAIN_POLL, self.timing.poll_bytes, &mut Vec::new()).await;
                drained = Instant::now();
            }
        }
    }

    /// Maintains the backfills that no reader reads now. Returns those that have ended.
    fn maintain(&self, queue: &mut Queue) -> Vec<Reading> {
        let over = queue.remove_ended();
        let window = queue.window();
        for reading in queue.suspended() {
            if reading.leave_behind(self.timing.stall, window) {
                self.retired.suspend(&reading.backfill.hub);
            }
        }
        over
    }

    /// Pauses, unless the history is closed.
    async fn pause(&self) {
        let until = Instant::now() + self.timing.retry;
        loop {
            let changed = self.changed.notified();
            if self.lock().closed || timeout_at(until, changed).await.is_err() {
                return;
            }
        }
    }

    /// Ends a backfill.
    fn end(&self, backfill: &Arc<Backfill>) {
        self.lock().remove(backfill);
        self.retired.end(&backfill.hub);
    }

    /// Suspends a backfill until its next turn.
    fn suspend(&self, mut reading: Reading) {
        reading.watch_lag();
        self.retired.suspend(&reading.backfill.hub);
        self.lock().suspend(reading);
        self.changed.notify_waiters();
    }

    /// Whether a stream or a backfill waits for a reader.
    fn is_waited_for(&self) -> bool {
        self.lock().is_waited_for(Instant::now())
    }

    /// Reads a backfill until the live log takes over or other backfills come first.
    async fn take_turn(
        &self,
        backend: &dyn Backend,
        consumer: &mut dyn Consumer,
        reading: &mut Reading,
        inspections: &Arc<Inspections>,
    ) -> TurnEnd {
        debug!(topic = %reading.topic, streams = reading.backfill.hub.cursors(), "reading history");
        reading.assign(consumer);
        let ended = self.read_on(backend, consumer, reading, inspections).await;
        reading.unassign(consumer);
        ended
    }

    async fn read_on(
        &self,
        backend: &dyn Backend,
        consumer: &mut dyn Consumer,
        reading: &mut Reading,
        inspections: &Arc<Inspections>,
    ) -> TurnEnd {
        let backfill = Arc::clone(&reading.backfill);
        let turn_timeout = reading.turn_timeout(&self.timing);
        let mut fetched = VecDeque::new();
        let mut panics = Panics::default();
        let began = Instant::now();
        // The time of a turn begins with its first record: the link to Kafka may be slow.
        let mut fruitful_since = None;
        loop {
            let window = {
                let mut queue = self.lock();
                queue.join_waiting(&backfill);
                queue.window()
            };
            interruption().await;
            let missing = reading.missing().filter(|missing| *missing > 0);
            let Some(missing) = missing.filter(|_| !backfill.is_over()) else {
                return TurnEnd::Over;
            };
            if !reading.coalesced && backfill.hub.bytes() >= COALESCE_BYTES {
                reading.coalesced = true;
                if self.is_waited_for() {
                    return TurnEnd::Suspended;
                }
                backfill.coalesce(|| self.is_waited_for()).await;
            }
            if !self.wait_for_room(reading, window).await {
                return TurnEnd::Suspended;
            }
            let most = self.timing.poll_bytes.min(window / 4);
            if fetched.is_empty() {
                let mut polled = Vec::from(fetched);
                broker::poll(consumer, POLL, most, &mut polled, &mut panics).await;
                fetched = VecDeque::from(polled);
            }
            let read = reading.append(backend, consumer, &mut fetched, most, &self.timing).await;
            interruption().await;
            if read == Read::FetchError {
                // All of it comes once more.
                fetched.clear();
                let inspected = reading.hold_stalled(consumer);
                inspected.into_iter().for_each(|inspection| inspections.add(inspection));
            }
            reading.resume_inspected(consumer);
            reading.retry(consumer);
            // Records of partitions that the backfill has finished do not count.
            if reading.missing().is_none_or(|now| now < missing) {
                fruitful_since.get_or_insert_with(Instant::now);
                reading.set_fruitful();
            } else {
                reading.note_stall();
            }
            let is_held_up = reading.is_held_up();
            if is_held_up {
                // Streams further on need not wait for it.
                backfill.set_fruitful(false);
            }
            let is_over = match (read, fruitful_since) {
                (Read::OutOfRange, fruitful) => {
                    // Its streams come again at once, and Kafka may answer the same again.
                    if fruitful.is_none() {
                        self.pause().await;
                    }
                    return TurnEnd::Over;
                }
                (Read::Unconfirmed, _) => true,
                (Read::On | Read::FetchError, _) if is_held_up => true,
                (Read::On | Read::FetchError, Some(since)) => since.elapsed() >= self.timing.turn,
                (Read::On | Read::FetchError, None) => began.elapsed() >= turn_timeout,
            };
            if is_over && self.is_waited_for() {
                if read == Read::Unconfirmed || (fruitful_since.is_none() && !is_held_up) {
                    reading.rest(&self.timing);
                }
                return TurnEnd::Suspended;
            }
            if read == Read::Unconfirmed {
                self.pause().await;
            }
        }
    }

    /// Waits until the slowest stream is at most a window behind. Returns false if other backfills come first.
    async fn wait_for_room(&self, reading: &mut Reading, window: usize) -> bool {
        let backfill = Arc::clone(&reading.backfill);
        let has_room = || backfill.hub.lag_bytes() <= window || backfill.log.hub.is_closed();
        if has_room() {
            return true;
        }
        reading.watch_lag();
        reading.forget_stall();
        let mut checked = None;
        loop {
            if checked.is_none_or(|at: Instant| at.elapsed() >= POLL) {
                if self.is_waited_for() {
                    return false;
                }
                checked = Some(Instant::now());
            }
            if reading.leave_behind(self.timing.stall, window) {
                backfill.hub.set_capacity_bytes(self.backfill_bytes);
            }
            if has_room() {
                return true;
            }
            let _ = timeout(POLL, backfill.hub.progress()).await;
        }
    }
}
