//! The conversion of a topic's records before they enter its log, and what is known of rejected ones.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;
use tracing::warn;

use crate::data::convert::{Changes, Conversion, ConvertRecord, Converters};
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
    max_record_bytes: usize,
    rejections: Mutex<Rejections>,
}

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
    /// The converter of a topic, if it has one.
    pub(crate) fn of(
        topic: &str,
        converters: &Converters,
        max_record_bytes: usize,
    ) -> Option<Arc<Self>> {
        let convert = converters.of(topic)?;
        Some(Arc::new(Self { convert, max_record_bytes, rejections: Mutex::default() }))
    }

    fn rejections(&self) -> MutexGuard<'_, Rejections> {
        self.rejections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record as it enters the log: converted, or a gap in its place.
    pub(crate) fn convert(&self, topic: &str, record: Record, scratch: &mut Scratch) -> Record {
        let Some(original) = record.to_convert(topic) else { return record };
        let Scratch { changes, buffer } = scratch;
        changes.clear();
        // A converter that panics for a record would do so again in the thread that is begun anew.
        let convert = || self.convert.convert(&original, changes);
        let conversion = panic::catch_unwind(AssertUnwindSafe(convert));
        let conversion = conversion.unwrap_or(Conversion::Rejected {
            reason: "panic",
            detail: Cow::Borrowed("the converter panicked"),
        });
        match conversion {
            Conversion::Accepted if changes.is_empty() => record,
            Conversion::Accepted => {
                if buffer.capacity() == 0 {
                    buffer.reserve(BUFFER_BYTES);
                }
                let changed = record.changed(changes, buffer);
                if changed.data_bytes() <= self.max_record_bytes {
                    return changed;
                }
                record.missing(Reason::TooLarge, changes)
            }
            // Of a record that is too large, the key was rejected.
            Conversion::Rejected { .. } if record.is_gap() => record,
            Conversion::Rejected { reason, detail } => {
                self.note(topic, &record, reason, &detail);
                record.missing(Reason::Invalid, changes)
            }
        }
    }

    /// Counts and logs a record that was rejected, unless it was met before.
    fn note(&self, topic: &str, record: &Record, reason: &'static str, detail: &str) {
        let Record { partition, offset, .. } = *record;
        let mut rejections = self.rejections();
        if !rejections.is_new(partition, offset) {
            return;
        }
        *rejections.by_reason.entry(reason).or_default() += 1;
        let now = Instant::now();
        if rejections.warned.is_some_and(|last| now.duration_since(last) < WARNING_INTERVAL) {
            rejections.unlogged += 1;
            return;
        }
        rejections.warned = Some(now);
        let unlogged = std::mem::take(&mut rejections.unlogged);
        drop(rejections);
        warn!(topic, partition, offset, reason, detail, unlogged, "a record was rejected");
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
        let converter = Converter::of("orders", &converters, 50).unwrap();
        assert!(Converter::of("others", &converters, 50).is_none());
        let mut scratch = Scratch::default();
        for (length, is_gap) in [(5, false), (6, true)] {
            let value = vec![b'v'; length];
            let none = std::iter::empty();
            let record = Record::new((0, 7, None), None, Some(&value), none, &mut BytesMut::new());
            let converted = converter.convert("orders", record, &mut scratch);
            assert_eq!((converted.is_gap(), converted.is_rejected()), (is_gap, false), "{length}");
        }
    }
}
