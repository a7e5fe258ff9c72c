use std::cmp::Ordering;
use std::sync::Arc;

use tailwater_kafka_types::encode_progress;

/// A position in the log of a topic: the next offset to deliver of each partition.
///
/// The partitions of a topic are numbered from 0 without holes. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Positions(Arc<[i64]>);

impl Positions {
    pub(crate) fn new(offsets: impl Into<Arc<[i64]>>) -> Self {
        Self(offsets.into())
    }

    /// The number of partitions.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The next offset of `partition`; 0 if the partition is not known.
    pub(crate) fn next(&self, partition: i32) -> i64 {
        usize::try_from(partition).ok().and_then(|index| self.0.get(index)).copied().unwrap_or(0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        (0..).zip(self.0.iter().copied())
    }

    /// Whether this position is at or before `other` in every partition.
    pub(crate) fn at_or_before(&self, other: &Self) -> bool {
        self.iter().all(|(partition, next)| next <= other.next(partition))
    }

    /// Whether a log whose head is `position` has passed this position, and has each of its partitions.
    pub(crate) fn is_behind(&self, position: &Self) -> bool {
        self.len() <= position.len() && self.at_or_before(position)
    }

    /// The larger of both in every partition.
    pub(crate) fn max(&self, other: &Self) -> Self {
        self.merge(other, i64::max)
    }

    /// The smaller of both in every partition.
    pub(crate) fn min(&self, other: &Self) -> Self {
        self.merge(other, i64::min)
    }

    /// The number of offsets between both positions.
    pub(crate) fn distance(&self, other: &Self) -> u64 {
        let of = |(partition, next): (i32, i64)| next.abs_diff(other.next(partition));
        self.iter().map(of).fold(0, u64::saturating_add)
    }

    /// The number of offsets from this position to another one, in partitions where the other one is later.
    pub(crate) fn offsets_until(&self, later: &Self) -> u64 {
        let of = |(partition, end): (i32, i64)| u64::try_from(end - self.next(partition));
        later.iter().map(|end| of(end).unwrap_or(0)).fold(0, u64::saturating_add)
    }

    /// The position after records at these partitions and offsets.
    pub(crate) fn after(&self, records: impl IntoIterator<Item = (i32, i64)>) -> Self {
        let mut offsets = self.0.to_vec();
        for (partition, offset) in records {
            advance(&mut offsets, partition, offset);
        }
        Self(offsets.into())
    }

    /// This position, but at `next` in `partition`, if the partition is known.
    pub(crate) fn with(&self, partition: i32, next: i64) -> Self {
        let mut offsets = self.0.to_vec();
        let known = usize::try_from(partition).ok().and_then(|index| offsets.get_mut(index));
        known.into_iter().for_each(|offset| *offset = next);
        Self(offsets.into())
    }

    /// The progress of an event id: version, count and pairs as zigzag varints, in base64url.
    pub(crate) fn progress(&self) -> String {
        let mut text = String::new();
        Encoder::new(self).encode(&mut text);
        text
    }

    fn merge(&self, other: &Self, choose: impl Fn(i64, i64) -> i64) -> Self {
        let longer = if self.len().cmp(&other.len()) == Ordering::Less { other } else { self };
        Self(longer.iter().map(|(p, _)| choose(self.next(p), other.next(p))).collect())
    }
}

fn advance(offsets: &mut Vec<i64>, partition: i32, offset: i64) {
    let Ok(index) = usize::try_from(partition) else { return };
    if offsets.len() <= index {
        offsets.resize(index + 1, 0);
    }
    offsets[index] = offset + 1;
}

/// Encodes the positions at one record after the other without allocating.
#[derive(Debug)]
pub(crate) struct Encoder {
    offsets: Vec<i64>,
    binary: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(start: &Positions) -> Self {
        Self { offsets: start.0.to_vec(), binary: Vec::with_capacity(2 + 4 * start.len()) }
    }

    pub(crate) fn advance(&mut self, partition: i32, offset: i64) {
        advance(&mut self.offsets, partition, offset);
    }

    pub(crate) fn encode(&mut self, out: &mut String) {
        encode_progress(&self.offsets, &mut self.binary, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_behind_one_that_names_its_partitions() {
        let at = Positions::new([3, 0]);
        for (position, at_or_before, is_behind) in [
            (&[3][..], true, false),
            (&[2, 0], false, false),
            (&[3, 0], true, true),
            (&[4, 1, 0], true, true),
        ] {
            let position = Positions::new(position);
            assert_eq!(at.at_or_before(&position), at_or_before, "{position:?}");
            assert_eq!(at.is_behind(&position), is_behind, "{position:?}");
        }
    }
}
