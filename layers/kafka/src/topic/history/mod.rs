//! The history of topics: the records before their live logs. A backfill carries all streams that wait near
//! one position. The tasks that read backfills are in `engine/backfill.rs`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tailwater_hub::{Cursor, Selector};
use tailwater_kafka_types::Budget;
use tokio::sync::Notify;

use crate::data::events::Records;
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::timing::Timing;
use crate::topic::TopicLog;
use crate::topic::retired::RetiredLogs;

pub(crate) mod backfill;
pub(crate) mod queue;
pub(crate) mod reading;

use queue::Queue;

/// How far a backfill may be ahead of its slowest stream, if there are few backfills.
pub(crate) const WINDOW_BYTES: usize = BACKFILL_BYTES / 4;

/// How many bytes a backfill keeps while it is read, with the encoded events. What its streams still have to
/// read must fit, even if ids make events longer than their records. The largest record may be added to it.
const BACKFILL_BYTES: usize = Budget::READING_BYTES;

/// The streams that wait for a backfill, and the backfills.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) timing: Timing,
    /// How many bytes a backfill keeps while it is read.
    pub(crate) backfill_bytes: usize,
    queue: Mutex<Queue>,
    pub(crate) changed: Notify,
    pub(crate) retired: Arc<RetiredLogs>,
}

impl History {
    pub(crate) fn new(timing: Timing, max_record_bytes: usize, retired: Arc<RetiredLogs>) -> Self {
        let queue = Mutex::new(Queue::new(timing.coalesce_offsets));
        let backfill_bytes = BACKFILL_BYTES.saturating_add(max_record_bytes);
        Self { timing, backfill_bytes, queue, changed: Notify::new(), retired }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cursor that reaches `at`, in a backfill that is being read or in a new one. `None` if the topic's log
    /// ended before.
    pub(crate) async fn join(
        &self,
        topic: &Arc<str>,
        log: &Arc<TopicLog>,
        at: &Positions,
        selector: &Selector<Record>,
    ) -> Option<Cursor<Records>> {
        let joined = self.lock().join(topic, log, at, selector);
        let answer = match joined {
            Ok(cursor) => return Some(cursor),
            Err(answer) => answer,
        };
        // All readers are woken: a single one may be in a pause.
        self.changed.notify_waiters();
        answer.await.ok()
    }

    /// How many streams the backfills carry.
    #[cfg(test)]
    pub(crate) fn carried(&self) -> usize {
        self.lock().backfills().map(|backfill| backfill.hub.cursors()).sum()
    }

    /// The ends of what the backfills have read.
    #[cfg(test)]
    pub(crate) fn heads(&self) -> Vec<crate::data::positions::Positions> {
        self.lock().backfills().map(|backfill| backfill.hub.head()).collect()
    }

    /// How many backfills there are, how many were begun, and how many streams wait for one.
    pub(crate) fn counts(&self) -> (usize, u64, usize) {
        let queue = self.lock();
        let (backfills, begun) = queue.counts();
        (backfills, begun, queue.waiting())
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting()
    }

    #[cfg(test)]
    pub(crate) fn remaining_bytes(&self) -> usize {
        self.retired.bytes()
    }

    /// Whether there are backfills or streams that wait for one.
    #[cfg(test)]
    pub(crate) fn is_busy(&self) -> bool {
        let queue = self.lock();
        queue.backfills().next().is_some() || queue.waiting() > 0
    }

    /// Stops the history readers.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use tailwater_hub::Hub;

    use super::*;
    use crate::data::filter::Index;

    #[test]
    fn streams_that_leave_while_they_wait_do_not_pile_up() {
        let history = History::new(Timing::default(), 0, Arc::default());
        let start = Positions::new([0]);
        let hub = Hub::new(Records::new(Index::new([])), start.clone(), 0);
        let origin = start.clone();
        let log = TopicLog::new(hub, 0, origin, crate::topic::losses::LogLosses::default());
        let topic = Arc::from("orders");
        let log = Arc::new(log);
        let cx = &mut Context::from_waker(Waker::noop());
        let mut stays = pin!(history.join(&topic, &log, &start, &Selector::All));
        assert!(stays.as_mut().poll(cx).is_pending());
        for _ in 0..1000 {
            let leaves = pin!(history.join(&topic, &log, &start, &Selector::All));
            assert!(leaves.poll(cx).is_pending());
        }
        assert!(history.lock().waiting() < 10);
        assert_eq!(history.lock().remove_ended().len(), 0);
        assert_eq!(history.lock().waiting(), 1, "the one that stays");
    }
}
