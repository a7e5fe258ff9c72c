//! Retired logs: logs that streams still have to read and to which nothing is appended. They are logs that
//! ended, and logs of backfills that wait for a reader.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tailwater_hub::{Hub, WeakHub};
use tailwater_kafka_types::Budget;

use crate::data::events::Records;

/// The most bytes that all retired logs keep.
pub(crate) const RETIRED_BYTES: usize = Budget::RETIRED_BYTES;

/// How many bytes each backfill that waits counts at least, so that their number is bounded, too. A log that
/// has not ended keeps its newest records in any case.
const LEAST_BYTES: usize = 256 * 1024;

/// The retired logs of a cluster, the newest last. A stalled stream keeps what it has not read, and each
/// could keep a log of its own. So the newest logs keep their records within a limit, and streams of older
/// ones lose their position there and resume elsewhere.
#[derive(Debug, Default)]
pub(crate) struct RetiredLogs(Mutex<Vec<RetiredLog>>);

#[derive(Debug)]
struct RetiredLog {
    hub: WeakHub<Records>,
    ended: bool,
}

impl RetiredLog {
    fn is(&self, hub: &Hub<Records>) -> bool {
        self.hub.upgrade().is_some_and(|own| own.ptr_eq(hub))
    }

    /// Takes its share of the bytes that are `left`. Returns false if the log keeps nothing.
    fn share(&mut self, left: &mut usize) -> bool {
        let Some(hub) = self.hub.upgrade() else { return false };
        // The bytes still to be read, with room for encoded events, which may be longer than their records. A
        // log whose cursors have read everything needs nothing. Chunks are evicted as a whole.
        let wanted = hub.unread_bytes() + 2 * hub.lag_bytes();
        if !self.ended {
            let wanted = wanted.max(LEAST_BYTES);
            if wanted <= *left {
                hub.set_capacity_bytes(wanted);
                *left = left.saturating_sub(wanted.max(hub.bytes()));
                return true;
            }
            hub.close();
            self.ended = true;
        }
        let most = wanted.min(*left);
        hub.set_capacity_bytes(most);
        *left -= most;
        most > 0
    }
}

impl RetiredLogs {
    fn lock(&self) -> MutexGuard<'_, Vec<RetiredLog>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a log: nothing will be appended.
    pub(crate) fn end(&self, hub: &Hub<Records>) {
        hub.close();
        self.keep(hub, true);
    }

    /// Suspends a log: nothing is appended until it is resumed. If there is no room for it, it ends.
    pub(crate) fn suspend(&self, hub: &Hub<Records>) {
        self.keep(hub, false);
    }

    /// Resumes a log with this capacity, unless it has ended.
    pub(crate) fn resume(&self, hub: &Hub<Records>, capacity_bytes: usize) {
        let mut all = self.lock();
        if !hub.is_closed() {
            all.retain(|log| !log.is(hub));
            hub.set_capacity_bytes(capacity_bytes);
        }
    }

    fn keep(&self, hub: &Hub<Records>, ended: bool) {
        let mut all = self.lock();
        all.retain(|log| !log.is(hub));
        all.push(RetiredLog { hub: hub.downgrade(), ended });
        let mut left = RETIRED_BYTES;
        // The newest first.
        all.reverse();
        all.retain_mut(|log| log.share(&mut left));
        all.reverse();
    }

    /// How many bytes the retired logs keep.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.lock().iter().filter_map(|log| log.hub.upgrade()).map(|hub| hub.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use bytes::BytesMut;
    use tailwater_hub::Selector;

    use super::*;
    use crate::data::filter::{self, Filter, Index};
    use crate::data::positions::Positions;
    use crate::data::record::Record;

    fn record(offset: i64, bytes: usize) -> Record {
        let value = vec![b'x'; bytes];
        let headers = std::iter::empty();
        Record::new((0, offset, None), None, Some(&value), headers, &mut BytesMut::new())
    }

    fn hub(bytes: usize) -> Hub<Records> {
        let hub = Hub::new(Records::new(Index::new([])), Positions::new(vec![0]), usize::MAX);
        hub.append(vec![record(0, bytes)]);
        assert!(hub.bytes() > bytes);
        hub
    }

    /// A stream that had not read the end of a backfill lost its place there. If it needed nothing else of the
    /// backfill, it came to the same point again and again.
    #[test]
    fn a_log_that_ends_keeps_the_last_record_of_a_chunk_that_was_read_up_to_there() {
        let hub = Hub::new(Records::new(Index::new([])), Positions::new(vec![0]), usize::MAX);
        hub.append(vec![record(0, 10_000), record(1, 1)]);
        let mut cursor = hub.seek(|position| position.next(0) == 0, Selector::All).unwrap();
        let mut is_next = |offset| {
            let next = cursor.poll_next(&mut Context::from_waker(Waker::noop()));
            matches!(next, Poll::Ready(Ok(next)) if next.record().offset == offset)
        };
        assert!(is_next(0));
        RetiredLogs::default().end(&hub);
        assert!(is_next(1));
    }

    /// A stream with a filter that had not read the end of a small backfill lost its place there, because the index of
    /// the backfill took more memory than its records. It came to the same point again and again.
    #[test]
    fn a_log_that_ends_keeps_its_last_record_for_a_cursor_that_needs_its_index() {
        let index = Index::new([]);
        let hub = Hub::new(Records::new(index.clone()), Positions::new(vec![0]), usize::MAX);
        let filters = ["a", "b", "c", "d", "e", "f"].map(|key| Filter::any().key(key));
        let selector = filter::selector(&filters, &index, false);
        let mut cursor = hub.tail(selector);
        let headers = std::iter::empty();
        let record = Record::new((0, 0, None), Some(b"a"), None, headers, &mut BytesMut::new());
        hub.append(vec![record]);
        RetiredLogs::default().end(&hub);
        let next = cursor.poll_next(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(next, Poll::Ready(Ok(_))), "{next:?}");
    }

    #[test]
    fn a_cursor_that_has_read_a_retired_log_keeps_none_of_its_records() {
        let hub = hub(1000);
        RetiredLogs::default().end(&hub);
        assert_eq!(hub.bytes(), 0);
    }

    #[test]
    fn logs_that_wait_end_where_there_is_no_room_for_more() {
        let retired = RetiredLogs::default();
        let hubs: Vec<_> = (0..200).map(|_| hub(1000)).collect();
        hubs.iter().for_each(|hub| retired.suspend(hub));
        let waiting = RETIRED_BYTES / LEAST_BYTES;
        assert!(hubs.iter().rev().take(waiting).all(|hub| !hub.is_closed()), "the newest");
        assert!(hubs.iter().rev().skip(waiting).all(|hub| hub.is_closed() && hub.bytes() == 0));

        let large = hub(RETIRED_BYTES / 3 - 1024 * 1024);
        let _behind = large.seek(|position| position.next(0) == 0, Selector::All);
        retired.suspend(&large);
        assert!(!large.is_closed());
        let waiting = hubs.iter().filter(|hub| !hub.is_closed()).count();
        assert!((1..20).contains(&waiting), "{waiting} have room beside it");
        assert!(retired.bytes() <= RETIRED_BYTES);
    }

    #[test]
    fn a_log_that_goes_on_counts_no_more() {
        let retired = RetiredLogs::default();
        let hub = hub(1000);
        retired.suspend(&hub);
        assert!(retired.bytes() > 0);
        retired.resume(&hub, usize::MAX);
        assert_eq!(retired.bytes(), 0);
        assert!(!hub.is_closed() && hub.bytes() > 1000);
    }
}
