use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::Format;
use crate::segment::{EncodedRecords, Part, Segment};
use crate::state::Shared;

/// Small slices are copied together up to this length, so that a batch is one buffer.
pub(crate) const COPY_BYTES: usize = 16 * 1024;

/// Encoded records, as a cursor returns them.
pub struct Batch<F: Format> {
    bytes: Bytes,
    count: usize,
    pub(crate) segment: Arc<Segment<F>>,
    pub(crate) last: u64,
}

/// One record, and the positions before and after it.
pub struct Entry<F: Format> {
    shared: Arc<Shared<F>>,
    part: Arc<Part<F>>,
    index: usize,
    before: F::Position,
}

impl<F: Format> Batch<F> {
    /// The encoded records, one after the other. A record for which the format appends nothing is in a
    /// batch of its own, which has no bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Takes the bytes out, without another reference.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The number of records, at least one.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl<F: Format> fmt::Debug for Batch<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("bytes", &self.bytes.len())
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl<F: Format> Entry<F> {
    /// `known`: the position before some record, by its sequence number. The position before this one is computed
    /// from there, if that record is an earlier one of the same part.
    pub(crate) fn new(
        shared: &Arc<Shared<F>>,
        segment: &Segment<F>,
        sequence: u64,
        known: Option<(u64, F::Position)>,
    ) -> Self {
        let (part, index) = segment.locate(sequence);
        let known = known.and_then(|(sequence, position)| {
            let from = usize::try_from(sequence.checked_sub(part.first)?).ok()?;
            (from <= index).then_some((from, position))
        });
        let (from, position) = known.unwrap_or_else(|| (0, part.position.clone()));
        let before = match from == index {
            true => position,
            false => shared.format.advance(&position, &part.records[from..index]),
        };
        Self { shared: Arc::clone(shared), part: Arc::clone(part), index, before }
    }

    /// Whether there is no later record in its part.
    pub(crate) fn ends_part(&self) -> bool {
        self.index + 1 == self.part.records.len()
    }

    /// The sequence number: the number of records that were appended to the hub before this one.
    pub fn sequence(&self) -> u64 {
        self.part.first + self.index as u64
    }

    /// The record.
    pub fn record(&self) -> &F::Record {
        &self.part.records[self.index]
    }

    /// The position before the record.
    pub fn before(&self) -> F::Position {
        self.before.clone()
    }

    /// The position after the record.
    pub fn after(&self) -> F::Position {
        self.shared.format.advance(&self.before, &self.part.records[self.index..=self.index])
    }
}

impl<F: Format> fmt::Debug for Entry<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("sequence", &self.sequence()).finish_non_exhaustive()
    }
}

/// Collects slices of encoded records.
pub(crate) struct BatchBuilder<F: Format> {
    limit: usize,
    len: usize,
    count: usize,
    slices: SmallVec<[Slice; 2]>,
    last: Option<(Arc<Segment<F>>, u64)>,
    /// A record without bytes was taken: the batch takes no other.
    is_alone: bool,
}

struct Slice {
    encoded: Arc<EncodedRecords>,
    start: usize,
    end: usize,
}

impl<F: Format> BatchBuilder<F> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, len: 0, count: 0, slices: SmallVec::new(), last: None, is_alone: false }
    }

    /// Takes as many of the records `from..to` as fit. Returns their number.
    pub(crate) fn take(
        &mut self,
        segment: &Arc<Segment<F>>,
        encoded: Arc<EncodedRecords>,
        from: u64,
        to: u64,
    ) -> u64 {
        if self.len > self.limit || self.is_alone {
            return 0; // a long record is alone in its batch, and so is one without bytes
        }
        let index = |sequence: u64| usize::try_from(sequence - segment.first).unwrap_or(usize::MAX);
        let ends = &encoded.ends[index(from)..index(to)];
        let start = encoded.start(index(from));
        let only = self.slices.len() <= 1;
        let continued = self
            .slices
            .last_mut()
            .filter(|slice| Arc::ptr_eq(&slice.encoded, &encoded) && slice.end == start);
        // A single slice is not copied and may be long. Several slices are copied.
        let in_one = self.count == 0 || (only && continued.is_some());
        let max = if in_one { self.limit } else { self.limit.min(COPY_BYTES) };
        let room = max.saturating_sub(self.len);
        let mut count = ends.partition_point(|end| end - start <= room);
        if self.count == 0 {
            count = count.max(1); // a record that is longer than the limit is alone in its batch
        }
        let starts = std::iter::once(start).chain(ends.iter().copied());
        if let Some(nothing) =
            ends.iter().zip(starts).take(count).position(|(end, start)| *end == start)
        {
            self.is_alone = nothing == 0 && self.count == 0;
            count = nothing + usize::from(self.is_alone);
        }
        let Some(end) = count.checked_sub(1).and_then(|last| ends.get(last)).copied() else {
            return 0;
        };
        match continued {
            Some(slice) => slice.end = end,
            None => self.slices.push(Slice { encoded, start, end }),
        }
        self.len += end - start;
        self.count += count;
        let last = from + count as u64 - 1;
        match &mut self.last {
            // All streams count references to the same few segments. Each count moves a cache line to
            // another core.
            Some((known, sequence)) if Arc::ptr_eq(known, segment) => *sequence = last,
            known => *known = Some((Arc::clone(segment), last)),
        }
        count as u64
    }

    pub(crate) fn finish(self) -> Option<Batch<F>> {
        let (segment, last) = self.last?;
        let bytes = match self.slices.as_slice() {
            [slice] if slice.is_shared() => slice.encoded.bytes.slice(slice.start..slice.end),
            slices => {
                let mut bytes = Vec::with_capacity(self.len);
                for slice in slices {
                    bytes.extend_from_slice(&slice.encoded.bytes[slice.start..slice.end]);
                }
                bytes.into()
            }
        };
        Some(Batch { bytes, count: self.count, segment, last })
    }
}

impl Slice {
    /// A small slice is copied: a reference would keep its whole segment in memory.
    fn is_shared(&self) -> bool {
        let len = self.end - self.start;
        len >= COPY_BYTES || len * 4 >= self.encoded.bytes.len()
    }
}
