//! A backfill: the log for the streams that read the same part of the history.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tailwater_hub::{Cursor, Hub, Selector};
use tokio::time::Instant;

use crate::data::events::Records;
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::topic::TopicLog;
use crate::topic::history::{BACKFILL_BYTES, WINDOW_BYTES};

/// How many bytes a stream that holds up most others of its backfill must take in each [`Timing::stall`], or
/// it is left behind. It is little, because a thousand streams share what the server can write.
///
/// [`Timing::stall`]: crate::timing::Timing::stall
const LEAST_BYTES: usize = WINDOW_BYTES / 16;

/// The same while most streams of the backfill have records to read: then this server is slow, and each
/// stream has its share of it.
const LEAST_SHARE_BYTES: usize = LEAST_BYTES / 16;

/// A new backfill begins to read when no stream has joined for this long, and after a second at the latest.
const COALESCE: Duration = Duration::from_millis(50);
const COALESCE_AT_MOST: Duration = Duration::from_secs(1);

/// The log of a backfill, shared by its streams.
#[derive(Debug)]
pub(crate) struct Backfill {
    pub(crate) log: Arc<TopicLog>,
    pub(crate) hub: Hub<Records>,
    /// How many streams joined after the first.
    joined: AtomicUsize,
    /// Its last turn brought records.
    fruitful: AtomicBool,
}

impl Backfill {
    pub(crate) fn new(
        log: &Arc<TopicLog>,
        records: Records,
        start: Positions,
        joined: usize,
    ) -> Self {
        Self {
            log: Arc::clone(log),
            hub: Hub::new(records, start, BACKFILL_BYTES),
            joined: AtomicUsize::new(joined),
            fruitful: AtomicBool::new(true),
        }
    }

    /// A cursor for a stream whose position is near one that the backfill still has or is about to reach.
    pub(crate) fn join(
        &self,
        at: &Positions,
        coalesce_offsets: u64,
        selector: &Selector<Record>,
    ) -> Option<Cursor<Records>> {
        let head = self.hub.head();
        let is_far = head.at_or_before(at) && head.distance(at) > coalesce_offsets;
        if is_far || self.hub.is_closed() {
            return None;
        }
        let mut cursor = self.hub.seek(|position| position.at_or_before(at), selector.clone())?;
        if cursor.position().distance(at) > coalesce_offsets {
            return None;
        }
        self.joined.fetch_add(1, Ordering::Relaxed);
        Some(cursor)
    }

    /// Whether no stream needs the backfill any more.
    pub(crate) fn is_over(&self) -> bool {
        self.hub.is_closed() || self.log.hub.is_closed() || self.hub.active_cursors() == 0
    }

    /// Whether it advances when a reader reads it.
    pub(crate) fn advances(&self, window: usize) -> bool {
        self.fruitful.load(Ordering::Relaxed) && self.hub.lag_bytes() <= window
    }

    /// Leaves behind the streams that take too little and hold up others. They continue in a backfill with others
    /// as slow. `before`: how many bytes the slowest was behind a while ago. Returns whether there were any.
    pub(crate) fn leave_behind(&self, before: usize, window: usize) -> bool {
        let streams = self.hub.active_cursors();
        let caught_up = self.hub.caught_up();
        let least = if 2 * caught_up >= streams { LEAST_BYTES } else { LEAST_SHARE_BYTES };
        let is_too_slow = self.hub.lag_bytes().saturating_add(least) > before;
        if !is_too_slow || streams <= 1 {
            return false;
        }
        self.hub.set_capacity_bytes(window);
        true
    }

    pub(crate) fn set_fruitful(&self, fruitful: bool) {
        self.fruitful.store(fruitful, Ordering::Relaxed);
    }

    /// Waits for streams that come at the same time, as after a restart, so that they join at the start. Each
    /// would otherwise need another backfill. A single stream waits only for a moment, as do others that wait for
    /// the reader.
    pub(crate) async fn coalesce(&self, is_waited_for: impl Fn() -> bool) {
        let begin = Instant::now();
        let mut joined = 0;
        while begin.elapsed() < COALESCE_AT_MOST && !is_waited_for() {
            let now = self.joined.load(Ordering::Relaxed);
            if now == joined {
                return;
            }
            joined = now;
            tokio::time::sleep(COALESCE).await;
        }
    }
}
