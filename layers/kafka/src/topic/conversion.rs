//! The conversion of a topic's records before they enter its log, and what is known of rejected ones.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;
use tracing::warn;

use crate::data::convert::{Changes, Conversion, ConvertRecord, Converters, RecordRef};
use crate::data::counters::Counters;
use crate::data::gap::Reason;
use crate::data::record::Record;
use crate::topic::health::TopicHealth;

/// Converted records share memory of about this size.
const BUFFER_BYTES: usize = 64 * 1024;

/// At most one rejection of a topic is logged within this time. The next one says how many there were.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// So many rejected records of a topic are remembered, so that each is counted once.
const KNOWN: usize = 4096;

/// The converter of a topic.
pub(crate) struct Converter {
    convert: Arc<dyn ConvertRecord>,
    /// The name of the cluster in the log.
    cluster: Arc<str>,
    max_record_bytes: usize,
    rejections: Mutex<Rejections>,
    counters: OnceLock<Arc<Counters>>,
    /// Partitions that the tail does not read on, since their next record can't be converted yet.
    held_up: Mutex<BTreeSet<i32>>,
    /// Records that the tail has fetched wait for their share of its time.
    deferred: AtomicBool,
}

/// Ready when it is worth to convert a record that can't be converted yet.
pub(crate) type Retry = BoxFuture<'static, ()>;

impl fmt::Debug for Converter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Converter").finish_non_exhaustive()
    }
}

/// Memory that conversions use one after the other.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    changes: Changes,
    buffer: BytesMut,
}

impl Scratch {
    /// The record as `by` converts it, or a gap in its place. Calls `rejected` with the reason, in one word and in
    /// more, if `by` rejects it.
    ///
    /// # Errors
    /// If the record can't be converted yet.
    pub(crate) fn convert(
        &mut self,
        by: impl FnOnce(&RecordRef<'_>, &mut Changes) -> Conversion,
        topic: &str,
        record: Record,
        max_record_bytes: usize,
        rejected: impl FnOnce(&Record, &'static str, &str),
    ) -> Result<Record, Retry> {
        let Some(original) = record.to_convert(topic) else { return Ok(record) };
        let Self { changes, buffer } = self;
        changes.clear();
        // A converter that panics for a record would do so again in the thread that is begun anew.
        let convert = || by(&original, changes);
        let conversion = panic::catch_unwind(AssertUnwindSafe(convert));
        let conversion = conversion.unwrap_or(Conversion::Rejected {
            reason: "panic",
            detail: Cow::Borrowed("the converter panicked"),
        });
        Ok(match conversion {
            Conversion::NotYet(retry) => return Err(retry),
            Conversion::Accepted if changes.is_empty() => record,
            Conversion::Accepted => {
                if buffer.capacity() == 0 {
                    buffer.reserve(BUFFER_BYTES);
                }
                let changed = record.changed(changes, buffer);
                match changed.data_bytes() <= max_record_bytes {
                    true => changed,
                    false => record.missing(Reason::TooLarge, changes),
                }
            }
            // Of a record that is too large, the key was rejected.
            Conversion::Rejected { .. } if record.is_gap() => record,
            Conversion::Rejected { reason, detail } => {
                rejected(&record, reason, &detail);
                record.missing(Reason::Invalid, changes)
            }
        })
    }
}

#[derive(Debug, Default)]
struct Rejections {
    by_reason: BTreeMap<&'static str, u64>,
    /// Partitions and offsets, the newest last.
    order: VecDeque<(i32, i64)>,
    known: HashSet<(i32, i64)>,
    /// There were more than can be known.
    has_forgotten: bool,
    /// The last offset of each partition that was counted.
    counted: BTreeMap<i32, i64>,
    warned: Option<Instant>,
    /// How many were not logged since.
    unlogged: u64,
}

impl Converter {
    /// The converter of a topic of this cluster, if it has one.
    pub(crate) fn of(
        (topic, cluster): (&str, &Arc<str>),
        converters: &Converters,
        max_record_bytes: usize,
    ) -> Option<Arc<Self>> {
        let convert = converters.of(topic)?;
        Some(Arc::new(Self {
            convert,
            cluster: Arc::clone(cluster),
            max_record_bytes,
            rejections: Mutex::default(),
            counters: OnceLock::new(),
            held_up: Mutex::default(),
            deferred: AtomicBool::default(),
        }))
    }

    /// Counts rejections in these counters, which outlive the topic.
    pub(crate) fn count_in(&self, counters: &Arc<Counters>) {
        self.counters.get_or_init(|| Arc::clone(counters));
    }

    fn rejections(&self) -> MutexGuard<'_, Rejections> {
        self.rejections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held_up(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.held_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partitions that the tail does not read on.
    pub(crate) fn held_up_partitions(&self) -> Vec<i32> {
        self.held_up().iter().copied().collect()
    }

    /// The tail does not read these partitions on.
    pub(crate) fn set_held_up(&self, held_up: &HeldUp) {
        self.held_up().clone_from(&held_up.partitions);
    }

    /// Whether records that the tail has fetched wait for their share of its time.
    pub(crate) fn is_deferred(&self) -> bool {
        self.deferred.load(Ordering::Relaxed)
    }

    pub(crate) fn set_deferred(&self, deferred: bool) {
        self.deferred.store(deferred, Ordering::Relaxed);
    }

    /// The record as it enters the log: converted, or a gap in its place.
    ///
    /// # Errors
    /// If the record can't be converted yet.
    pub(crate) fn convert(
        &self,
        topic: &str,
        record: Record,
        scratch: &mut Scratch,
    ) -> Result<Record, Retry> {
        let note = |record: &Record, reason, detail: &str| self.note(topic, record, reason, detail);
        let convert =
            |record: &RecordRef<'_>, changes: &mut Changes| self.convert.convert(record, changes);
        scratch.convert(convert, topic, record, self.max_record_bytes, note)
    }

    /// Counts and logs a record that was rejected, unless it was met before.
    fn note(&self, topic: &str, record: &Record, reason: &'static str, detail: &str) {
        let Record { partition, offset, .. } = *record;
        let mut rejections = self.rejections();
        if !rejections.is_new(partition, offset) {
            return;
        }
        *rejections.by_reason.entry(reason).or_default() += 1;
        self.counters.get().into_iter().for_each(|counters| counters.reject(reason));
        let now = Instant::now();
        if rejections.warned.is_some_and(|last| now.duration_since(last) < WARNING_INTERVAL) {
            rejections.unlogged += 1;
            return;
        }
        rejections.warned = Some(now);
        let unlogged = std::mem::take(&mut rejections.unlogged);
        drop(rejections);
        let cluster = &*self.cluster;
        warn!(cluster, topic, partition, offset, reason, detail, unlogged, "a record was rejected");
    }

    /// The offsets mean other records from now on.
    pub(crate) fn forget(&self) {
        let mut rejections = self.rejections();
        rejections.order.clear();
        rejections.known.clear();
        rejections.counted.clear();
        rejections.has_forgotten = false;
    }

    pub(crate) fn report(&self, health: &mut TopicHealth) {
        health.rejected.clone_from(&self.rejections().by_reason);
        health.held_up = self.held_up_partitions();
    }
}

/// Partitions that are not read on, since their next record can't be converted yet.
#[derive(Debug, Default)]
pub(crate) struct HeldUp {
    partitions: BTreeSet<i32>,
    retries: FuturesUnordered<BoxFuture<'static, i32>>,
    woken: Arc<Woken>,
}

/// Whether some retry may be ready.
#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl HeldUp {
    pub(crate) fn contains(&self, partition: i32) -> bool {
        self.partitions.contains(&partition)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Holds up a partition until `retry` is ready.
    pub(crate) fn add(&mut self, partition: i32, retry: Retry) {
        self.partitions.insert(partition);
        let retry = AssertUnwindSafe(retry).catch_unwind();
        self.retries.push(retry.map(move |_| partition).boxed());
        self.woken.0.store(true, Ordering::Release);
    }

    /// Whether some partition may be read on.
    pub(crate) fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::Acquire)
    }

    /// Takes out the partitions that are to be read on.
    pub(crate) fn take_ready(&mut self) -> Vec<i32> {
        let mut ready = Vec::new();
        if !self.woken.0.swap(false, Ordering::AcqRel) {
            return ready;
        }
        let waker = Waker::from(Arc::clone(&self.woken));
        let cx = &mut Context::from_waker(&waker);
        while let Poll::Ready(Some(partition)) = self.retries.poll_next_unpin(cx) {
            self.partitions.remove(&partition);
            ready.push(partition);
        }
        ready
    }
}

impl Rejections {
    /// Whether the record was not rejected before. History is read more than once, and may hold more than
    /// can be known: then those count that lie behind all that were met.
    fn is_new(&mut self, partition: i32, offset: i64) -> bool {
        if !self.known.insert((partition, offset)) {
            return false;
        }
        self.order.push_back((partition, offset));
        let counted = self.counted.entry(partition).or_insert(-1);
        let is_further = *counted < offset;
        *counted = offset.max(*counted);
        let is_new = is_further || !self.has_forgotten;
        if self.order.len() > KNOWN {
            self.order.pop_front().map(|oldest| self.known.remove(&oldest));
            self.has_forgotten = true;
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_is_counted_once_however_often_it_is_met() {
        let mut rejections = Rejections::default();
        let mut count = |offsets: std::ops::Range<i64>| {
            offsets.filter(|offset| rejections.is_new(0, *offset)).count()
        };
        // The live log, and what was before it.
        assert_eq!(count(500..1000), 500);
        assert_eq!(count(0..1000), 500);
        assert_eq!(count(1000..10_000), 9000, "more than are known");
        assert_eq!(count(0..10_000), 0, "another reading");
        assert_eq!(count(10_000..10_001), 1);
        assert_eq!((rejections.known.len(), rejections.order.len()), (KNOWN, KNOWN));
    }

    #[test]
    fn a_record_that_becomes_larger_than_is_served_is_a_gap() {
        let grow = |record: &crate::RecordRef<'_>, changes: &mut Changes| {
            changes.value_mut().extend(record.value().unwrap_or_default().repeat(10));
            Conversion::Accepted
        };
        let mut converters = Converters::default();
        converters.named.insert("orders".to_owned(), Arc::new(grow));
        let of = |topic| Converter::of((topic, &"cluster".into()), &converters, 50);
        let converter = of("orders").unwrap();
        assert!(of("others").is_none());
        let mut scratch = Scratch::default();
        for (length, is_gap) in [(5, false), (6, true)] {
            let value = vec![b'v'; length];
            let none = std::iter::empty();
            let record = Record::new((0, 7, None), None, Some(&value), none, &mut BytesMut::new());
            let converted = converter.convert("orders", record, &mut scratch).ok().unwrap();
            assert_eq!((converted.is_gap(), converted.is_rejected()), (is_gap, false), "{length}");
        }
    }
}
