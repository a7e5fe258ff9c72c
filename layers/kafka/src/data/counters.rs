//! What is counted of a topic from the start of the cluster on. No counter ever falls.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::data::gap::Reason;
use crate::data::histogram::Histogram;
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::data::start::epoch_ms;

/// The name under which topics beyond the bound are counted.
pub(crate) const OTHER: &str = "_other_";

/// The limits of the delay from a record's time to its append, in seconds.
const DELAYS: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0];

/// The counters of a topic, or of all topics beyond the bound.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) name: Arc<str>,
    pub(crate) sent: Sent,
    pub(crate) records_read: AtomicU64,
    pub(crate) read_bytes: AtomicU64,
    counted: Mutex<Counted>,
    delay: Mutex<Histogram>,
    gaps: [AtomicU64; Reason::ALL.len()],
    pub(crate) restarts: AtomicU64,
    pub(crate) snapshots: AtomicU64,
    pub(crate) snapshots_given_up: AtomicU64,
    rejected: Mutex<BTreeMap<&'static str, u64>>,
}

/// Every write of every stream of the topic counts here. It has a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Sent {
    pub(crate) events: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

/// What was counted of a topic in its last epoch, by partition.
#[derive(Debug, Default)]
struct Counted {
    epoch: u64,
    ranges: BTreeMap<i32, Ranges>,
}

/// Ranges of offsets, in their order and apart from each other.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ranges(Vec<Range<i64>>);

/// The most ranges of a partition: what is read grows from where streams began, until the ranges meet.
const MAX_RANGES: usize = 64;

impl Ranges {
    fn contains(&self, offset: i64) -> bool {
        let after = self.0.partition_point(|range| range.start <= offset);
        let before = after.checked_sub(1).and_then(|at| self.0.get(at));
        before.is_some_and(|range| offset < range.end)
    }

    fn add(&mut self, added: Range<i64>) {
        let first = self.0.partition_point(|range| range.end < added.start);
        let after = self.0.partition_point(|range| range.start <= added.end);
        let touched = self.0.get(first..after).unwrap_or_default();
        let start = touched.first().map_or(added.start, |range| range.start.min(added.start));
        let end = touched.last().map_or(added.end, |range| range.end.max(added.end));
        self.0.splice(first..after.max(first), std::iter::once(start..end));
        if self.0.len() > MAX_RANGES {
            // What lies between the first two is not counted any more.
            let first = self.0.remove(0);
            if let Some(second) = self.0.first_mut() {
                second.start = first.start;
            }
        }
    }
}

impl Counters {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            sent: Sent::default(),
            records_read: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
            counted: Mutex::default(),
            delay: Mutex::new(Histogram::new(DELAYS)),
            gaps: Default::default(),
            restarts: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
            snapshots_given_up: AtomicU64::new(0),
            rejected: Mutex::default(),
        }
    }

    /// Counts records that were read from this position on, in this epoch of the topic, and were not counted before.
    pub(crate) fn read(&self, epoch: u64, from: &Positions, records: &[Record]) {
        let counted = &mut *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        // Offsets of several topics say nothing of each other.
        let is_one = *self.name != *OTHER;
        if epoch > counted.epoch {
            *counted = Counted { epoch, ..Counted::default() };
        }
        let mut read = (0, 0);
        let mut ends = BTreeMap::new();
        for record in records {
            let known =
                counted.ranges.get(&record.partition).filter(|_| is_one && epoch == counted.epoch);
            if known.is_some_and(|ranges| ranges.contains(record.offset)) {
                continue;
            }
            ends.insert(record.partition, record.offset + 1);
            read.0 += record.read_records();
            read.1 += record.read_bytes() as u64;
        }
        if is_one && epoch == counted.epoch {
            for (partition, end) in ends {
                let ranges = counted.ranges.entry(partition).or_default();
                ranges.add(from.next(partition)..end);
            }
        }
        self.records_read.fetch_add(read.0, Ordering::Relaxed);
        self.read_bytes.fetch_add(read.1, Ordering::Relaxed);
    }

    /// Notes how long the last of these records took until now.
    pub(crate) fn arrived(&self, records: &[Record]) {
        let timestamp = records.iter().rev().find_map(|record| record.timestamp);
        if let Some(timestamp) = timestamp {
            let delay = epoch_ms(SystemTime::now()).saturating_sub(timestamp);
            let delay = Duration::from_millis(u64::try_from(delay).unwrap_or(0));
            let mut delays = self.delay.lock().unwrap_or_else(PoisonError::into_inner);
            delays.add(delay.as_secs_f64());
        }
    }

    pub(crate) fn delay(&self) -> Histogram {
        self.delay.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a gap that a stream was told of.
    pub(crate) fn gap(&self, reason: Reason) {
        self.gaps[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// The gaps that were told, by reason.
    pub(crate) fn gaps(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.gaps.iter().map(|count| count.load(Ordering::Relaxed));
        let all = Reason::ALL.iter().map(|reason| reason.name()).zip(counts);
        all.filter(|(_, count)| *count > 0).collect()
    }

    /// Counts a record that the topic's converter rejected.
    pub(crate) fn reject(&self, reason: &'static str) {
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        *rejected.entry(reason).or_default() += 1;
    }

    pub(crate) fn rejected(&self) -> BTreeMap<&'static str, u64> {
        self.rejected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Adds one to a counter.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_contain_what_was_added_and_are_apart(
            added in prop::collection::vec((0_i64..100, 1_i64..10), 0..40),
        ) {
            let mut ranges = Ranges::default();
            let mut offsets = std::collections::BTreeSet::new();
            for (start, length) in added {
                ranges.add(start..start + length);
                offsets.extend(start..start + length);
            }
            for offset in 0..110 {
                prop_assert_eq!(ranges.contains(offset), offsets.contains(&offset), "{}", offset);
            }
            prop_assert!(ranges.0.windows(2).all(|two| two[0].end < two[1].start));
        }
    }

    #[test]
    fn ranges_are_bounded() {
        let mut ranges = Ranges::default();
        for number in 0..10_000 {
            ranges.add(10 * number..10 * number + 1);
        }
        assert_eq!(ranges.0.len(), MAX_RANGES);
        assert!(ranges.contains(0) && ranges.contains(99_990) && !ranges.contains(99_991));
    }
}
