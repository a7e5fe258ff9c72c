use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use smallvec::{SmallVec, smallvec};

use crate::segment::{Part, Segment};
use crate::sync::AtomicUsize;
use crate::{Format, Lag};

/// Neighbouring segments that weigh less are joined, up to this weight and number.
const JOIN_BYTES: usize = 64 * 1024;
const JOIN_SEGMENTS: usize = 64;

/// The segments in order, and the position after the last of them.
pub(crate) struct Log<F: Format> {
    segments: VecDeque<Arc<Segment<F>>>,
    /// The sequence number of the next record.
    pub(crate) end: u64,
    /// The position of the next record.
    pub(crate) position: F::Position,
    jumped: bool,
    pub(crate) weight: usize,
    appended: u64,
    /// The number of segments at the end that are small and not joined yet.
    small: usize,
    small_weight: usize,
}

/// A range of records in one segment.
pub(crate) struct Run<F: Format> {
    pub(crate) segment: Arc<Segment<F>>,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

pub(crate) type Runs<F> = SmallVec<[Run<F>; 2]>;

impl<F: Format> Log<F> {
    pub(crate) fn new(position: F::Position) -> Self {
        Self {
            segments: VecDeque::new(),
            end: 0,
            position,
            jumped: false,
            weight: 0,
            appended: 0,
            small: 0,
            small_weight: 0,
        }
    }

    /// The sequence number of the oldest kept record.
    pub(crate) fn first(&self) -> u64 {
        self.segments.front().map_or(self.end, |segment| segment.first)
    }

    pub(crate) fn first_position(&self) -> F::Position {
        self.oldest()
            .map_or_else(|| self.position.clone(), |segment| segment.parts[0].position.clone())
    }

    pub(crate) fn oldest(&self) -> Option<&Arc<Segment<F>>> {
        self.segments.front()
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &Arc<Segment<F>>> {
        self.segments.iter()
    }

    /// Whether the oldest segment may be evicted. The newest one is kept, unless it weighs more than this.
    pub(crate) fn may_evict(&self, newest_bytes: usize) -> bool {
        self.segments.len() > 1 || self.weight > newest_bytes
    }

    pub(crate) fn set_position(&mut self, position: F::Position) {
        self.position = position;
        self.jumped = true;
    }

    /// Appends records. `position` is the position after them. Returns the segments that were joined.
    pub(crate) fn push(
        &mut self,
        records: Vec<F::Record>,
        weight: usize,
        position: F::Position,
        encoded_bytes: &AtomicUsize,
    ) -> Vec<Arc<Segment<F>>> {
        let is_small = weight < JOIN_BYTES;
        let full = self.small_weight + weight > JOIN_BYTES || self.small == JOIN_SEGMENTS;
        let joined = if is_small && !full { Vec::new() } else { self.join(encoded_bytes) };
        let part = Part {
            first: self.end,
            position: std::mem::replace(&mut self.position, position),
            jumped: std::mem::take(&mut self.jumped),
            records,
        };
        let segment = Segment::new(part, weight, self.appended);
        self.end = segment.end;
        self.weight += weight;
        self.appended += weight as u64;
        if is_small {
            self.small += 1;
            self.small_weight += weight;
        }
        self.segments.push_back(Arc::new(segment));
        joined
    }

    fn join(&mut self, encoded_bytes: &AtomicUsize) -> Vec<Arc<Segment<F>>> {
        let from = self.segments.len() - std::mem::take(&mut self.small);
        self.small_weight = 0;
        if self.segments.len() - from < 2 {
            return Vec::new();
        }
        // Cloning a record is foreign code and may panic, so the segments are joined before they are
        // removed.
        let Some(joined) = Segment::join(&self.segments.make_contiguous()[from..], encoded_bytes)
        else {
            return Vec::new();
        };
        let gone: Vec<_> = self.segments.drain(from..).collect();
        for segment in &gone {
            segment.retire(encoded_bytes);
        }
        self.segments.push_back(Arc::new(joined));
        gone
    }

    pub(crate) fn pop(&mut self, encoded_bytes: &AtomicUsize) -> Option<Arc<Segment<F>>> {
        let segment = self.segments.pop_front()?;
        segment.retire(encoded_bytes);
        self.weight -= segment.weight;
        if self.small > self.segments.len() {
            self.small -= 1;
            self.small_weight -= segment.weight;
        }
        Some(segment)
    }

    /// The segment that holds a record.
    pub(crate) fn find(&self, sequence: u64) -> Option<&Arc<Segment<F>>> {
        self.segments.get(self.segment_index(sequence)?)
    }

    fn segment_index(&self, sequence: u64) -> Option<usize> {
        if sequence >= self.end {
            return None;
        }
        // Cursors that keep up read the last segment, so it is tried first.
        let last = self.segments.len().checked_sub(1)?;
        if self.segments[last].first <= sequence {
            return Some(last);
        }
        self.segments.partition_point(|segment| segment.first <= sequence).checked_sub(1)
    }

    /// The records after `next`: whole segments, until one of the limits is reached.
    pub(crate) fn runs(&self, next: u64, records: u64, bytes: usize) -> Runs<F> {
        let mut runs = SmallVec::new();
        let Some(index) = self.segment_index(next) else { return runs };
        let mut from = next;
        let mut weight = 0;
        let last = next.saturating_add(records);
        for segment in self.segments.range(index..) {
            if from >= last || (weight >= bytes && !runs.is_empty()) {
                break;
            }
            let to = segment.end.min(last);
            runs.push(Run { segment: Arc::clone(segment), from, to });
            weight += segment.weight;
            from = to;
        }
        runs
    }

    /// Those of these records that are kept. The sequence numbers ascend.
    pub(crate) fn pick(&self, sequences: &[u64]) -> Runs<F> {
        let mut runs: Runs<F> = smallvec![];
        for &sequence in sequences {
            match runs.last_mut() {
                Some(run) if run.to == sequence && sequence < run.segment.end => run.to += 1,
                last => {
                    let same = last.filter(|run| sequence < run.segment.end);
                    let segment = same.map(|run| &run.segment).or_else(|| self.find(sequence));
                    if let Some(segment) = segment.cloned() {
                        runs.push(Run { segment, from: sequence, to: sequence + 1 });
                    }
                }
            }
        }
        runs
    }

    /// How far a reader is behind that has not read this record.
    pub(crate) fn lag(&self, sequence: u64) -> Lag {
        let records = self.end.saturating_sub(sequence);
        // A record that was evicted is at least as old as the oldest one.
        let segment = self.find(sequence.max(self.first()));
        let age = segment.filter(|_| records > 0).map(|segment| segment.appended.elapsed());
        Lag { records, age: age.unwrap_or_default() }
    }

    /// The age of the first segment with records after the positions that `reached` accepts.
    pub(crate) fn age_after(&self, reached: impl Fn(&F::Position) -> bool) -> Option<Duration> {
        if reached(&self.position) {
            return None;
        }
        let after = self.segments.partition_point(|segment| reached(&segment.parts[0].position));
        let segment = self.segments.get(after.saturating_sub(1))?;
        Some(segment.appended.elapsed())
    }

    /// The weight of the records from this one to the end.
    pub(crate) fn bytes_from(&self, format: &F, sequence: u64) -> usize {
        let Some(segment) = self.find(sequence) else { return 0 };
        let mut before = segment.bytes_before;
        for part in &segment.parts {
            let count = usize::try_from(sequence.saturating_sub(part.first)).unwrap_or(usize::MAX);
            before += part
                .records
                .iter()
                .take(count)
                .map(|record| format.weight(record) as u64)
                .sum::<u64>();
        }
        usize::try_from(self.appended.saturating_sub(before)).unwrap_or(usize::MAX)
    }

    /// The weight of the segments from that of a record on.
    pub(crate) fn segment_bytes_from(&self, sequence: u64) -> usize {
        let before = self.find(sequence).map_or(self.appended, |segment| segment.bytes_before);
        usize::try_from(self.appended.saturating_sub(before)).unwrap_or(usize::MAX)
    }

    /// The last position that `reached` accepts; `None` if it does not accept the first one.
    pub(crate) fn seek(&self, format: &F, reached: impl Fn(&F::Position) -> bool) -> Option<u64> {
        let after = self.segments.partition_point(|segment| reached(&segment.parts[0].position));
        let Some(segment) = after.checked_sub(1).map(|index| &self.segments[index]) else {
            // An empty log has one position.
            return (self.segments.is_empty() && reached(&self.position)).then_some(self.end);
        };
        let after = segment.parts.partition_point(|part| reached(&part.position));
        let part = &segment.parts[after.saturating_sub(1)];
        // The position after `low` records is accepted, the one after `high` records is not.
        let mut low = 0;
        let mut high = part.records.len() + 1;
        let mut position = part.position.clone();
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            let ahead = format.advance(&position, &part.records[low..middle]);
            if reached(&ahead) {
                (low, position) = (middle, ahead);
            } else {
                high = middle;
            }
        }
        Some(part.first + low as u64)
    }
}
