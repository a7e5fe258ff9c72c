use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use smallvec::{SmallVec, smallvec};

use crate::Content;
use crate::segment::{Part, Segment};

/// Below this weight neighbouring segments are joined, up to this weight or number.
const JOIN_BYTES: usize = 64 * 1024;
const JOIN_SEGMENTS: usize = 64;

/// The segments in order, and the place after the last of them.
pub(crate) struct Log<C: Content> {
    segments: VecDeque<Arc<Segment<C>>>,
    /// The sequence number of the next record.
    pub(crate) end: u64,
    /// The place of the next record.
    pub(crate) mark: C::Mark,
    jumped: bool,
    pub(crate) weight: usize,
    appended: u64,
    /// So many of the last segments are small and not joined yet.
    small: usize,
    small_weight: usize,
}

/// Neighbouring records of one segment.
pub(crate) struct Run<C: Content> {
    pub(crate) segment: Arc<Segment<C>>,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

pub(crate) type Runs<C> = SmallVec<[Run<C>; 2]>;

impl<C: Content> Log<C> {
    pub(crate) fn new(mark: C::Mark) -> Self {
        Self {
            segments: VecDeque::new(),
            end: 0,
            mark,
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

    pub(crate) fn first_mark(&self) -> C::Mark {
        self.oldest().map_or_else(|| self.mark.clone(), |segment| segment.parts[0].mark.clone())
    }

    pub(crate) fn oldest(&self) -> Option<&Arc<Segment<C>>> {
        self.segments.front()
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &Arc<Segment<C>>> {
        self.segments.iter()
    }

    /// More is kept than must be: the newest segment, unless it weighs more than so much.
    pub(crate) fn may_evict(&self, newest_bytes: usize) -> bool {
        self.segments.len() > 1 || self.weight > newest_bytes
    }

    pub(crate) fn set_mark(&mut self, mark: C::Mark) {
        self.mark = mark;
        self.jumped = true;
    }

    /// Appends records after which the log stands at `mark`. Returns the segments that were joined.
    pub(crate) fn push(
        &mut self,
        records: Vec<C::Record>,
        weight: usize,
        mark: C::Mark,
        account: &AtomicUsize,
    ) -> Vec<Arc<Segment<C>>> {
        let is_small = weight < JOIN_BYTES;
        let full = self.small_weight + weight > JOIN_BYTES || self.small == JOIN_SEGMENTS;
        let joined = if is_small && !full { Vec::new() } else { self.join(account) };
        let part = Part {
            first: self.end,
            mark: std::mem::replace(&mut self.mark, mark),
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

    fn join(&mut self, account: &AtomicUsize) -> Vec<Arc<Segment<C>>> {
        let from = self.segments.len() - std::mem::take(&mut self.small);
        self.small_weight = 0;
        if self.segments.len() - from < 2 {
            return Vec::new();
        }
        // Joined before anything is taken away: cloning a record is the composer's code.
        let Some(joined) = Segment::join(&self.segments.make_contiguous()[from..], account) else {
            return Vec::new();
        };
        let gone: Vec<_> = self.segments.drain(from..).collect();
        for segment in &gone {
            segment.retire(account);
        }
        self.segments.push_back(Arc::new(joined));
        gone
    }

    pub(crate) fn pop(&mut self, account: &AtomicUsize) -> Option<Arc<Segment<C>>> {
        let segment = self.segments.pop_front()?;
        segment.retire(account);
        self.weight -= segment.weight;
        if self.small > self.segments.len() {
            self.small -= 1;
            self.small_weight -= segment.weight;
        }
        Some(segment)
    }

    /// The segment that holds a record.
    pub(crate) fn find(&self, sequence: u64) -> Option<&Arc<Segment<C>>> {
        self.segments.get(self.position(sequence)?)
    }

    fn position(&self, sequence: u64) -> Option<usize> {
        if sequence >= self.end {
            return None;
        }
        // Who keeps up reads the last one: the others are not looked at.
        let last = self.segments.len().checked_sub(1)?;
        if self.segments[last].first <= sequence {
            return Some(last);
        }
        self.segments.partition_point(|segment| segment.first <= sequence).checked_sub(1)
    }

    /// What follows `next`: whole segments, until one of the limits is reached.
    pub(crate) fn runs(&self, next: u64, records: u64, bytes: usize) -> Runs<C> {
        let mut runs = SmallVec::new();
        let Some(position) = self.position(next) else { return runs };
        let (mut from, mut weight, last) = (next, 0, next.saturating_add(records));
        for segment in self.segments.range(position..) {
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

    /// The kept ones of these records, which ascend.
    pub(crate) fn pick(&self, sequences: &[u64]) -> Runs<C> {
        let mut runs: Runs<C> = smallvec![];
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

    /// Bytes of the records from this one to the head.
    pub(crate) fn bytes_from(&self, content: &C, sequence: u64) -> usize {
        let Some(segment) = self.find(sequence) else { return 0 };
        let mut before = segment.bytes_before;
        for part in &segment.parts {
            let count = usize::try_from(sequence.saturating_sub(part.first)).unwrap_or(usize::MAX);
            before += part
                .records
                .iter()
                .take(count)
                .map(|record| content.weight(record) as u64)
                .sum::<u64>();
        }
        usize::try_from(self.appended.saturating_sub(before)).unwrap_or(usize::MAX)
    }

    /// The last place before which everything is reached; `None` if even the first is not.
    pub(crate) fn seek(&self, content: &C, reached: impl Fn(&C::Mark) -> bool) -> Option<u64> {
        let after = self.segments.partition_point(|segment| reached(&segment.parts[0].mark));
        let Some(segment) = after.checked_sub(1).map(|position| &self.segments[position]) else {
            // A mark that was set at the end of an empty log is the only place there is.
            return (self.segments.is_empty() && reached(&self.mark)).then_some(self.end);
        };
        let after = segment.parts.partition_point(|part| reached(&part.mark));
        let part = &segment.parts[after.saturating_sub(1)];
        // `low` records are reached, `high` are not; each step advances from the lower one.
        let (mut low, mut high) = (0, part.records.len() + 1);
        let mut mark = part.mark.clone();
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            let ahead = content.advance(&mark, &part.records[low..middle]);
            if reached(&ahead) {
                (low, mark) = (middle, ahead);
            } else {
                high = middle;
            }
        }
        Some(part.first + low as u64)
    }
}
