use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::Format;
use crate::segment::Segment;

/// Maps hashes to the records that have them, and to the cursors that select them.
#[derive(Default)]
pub(crate) struct Index {
    entries: HashMap<u64, Postings, BuildHasherDefault<Mixed>>,
    sequences: usize,
}

#[derive(Default)]
struct Postings {
    sequences: VecDeque<u64>,
    cursors: SmallVec<[usize; 2]>,
}

impl Index {
    /// An index of the records with these sequence numbers.
    pub(crate) fn of<'a, F: Format>(
        format: &F,
        segments: impl IntoIterator<Item = &'a Arc<Segment<F>>>,
        among: Range<u64>,
    ) -> Self {
        let mut index = Self::default();
        index.add_all(format, segments, among);
        index
    }

    pub(crate) fn add_all<'a, F: Format>(
        &mut self,
        format: &F,
        segments: impl IntoIterator<Item = &'a Arc<Segment<F>>>,
        among: Range<u64>,
    ) {
        each_hash(format, segments, among, |hash, sequence| {
            self.add(hash, sequence);
        });
    }

    /// The approximate memory of the index.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.len() * (size_of::<(u64, Postings)>() + 16) + self.sequences * size_of::<u64>()
    }

    /// Adds a hash of a record. Returns the cursors that select it.
    pub(crate) fn add(&mut self, hash: u64, sequence: u64) -> &[usize] {
        let entry = self.entries.entry(hash).or_default();
        if entry.sequences.back() == Some(&sequence) {
            return &[]; // the record has the hash twice
        }
        entry.sequences.push_back(sequence);
        self.sequences += 1;
        &entry.cursors
    }

    /// Adds a cursor that selects records with one of these hashes.
    pub(crate) fn add_cursor(&mut self, hashes: &[u64], key: usize) {
        for hash in hashes {
            self.entries.entry(*hash).or_default().cursors.push(key);
        }
    }

    pub(crate) fn remove_cursor(&mut self, hashes: &[u64], key: usize) {
        for hash in hashes {
            if let Slot::Occupied(mut slot) = self.entries.entry(*hash) {
                slot.get_mut().cursors.retain(|cursor| *cursor != key);
                if slot.get().is_unused() {
                    slot.remove();
                }
            }
        }
    }

    /// The first record at or past `from` with one of these hashes.
    pub(crate) fn first(&self, hashes: &[u64], from: u64) -> Option<u64> {
        let firsts = hashes.iter().filter_map(|hash| {
            let sequences = &self.entries.get(hash)?.sequences;
            sequences.get(sequences.partition_point(|sequence| *sequence < from)).copied()
        });
        firsts.min()
    }

    /// The first `limit` records at or past `from` with one of these hashes, each once and in order; and
    /// the record that follows them.
    pub(crate) fn merge(&self, hashes: &[u64], from: u64, limit: usize) -> (Vec<u64>, Option<u64>) {
        let mut heads: SmallVec<[(&VecDeque<u64>, usize); 10]> = hashes
            .iter()
            .filter_map(|hash| {
                let sequences = &self.entries.get(hash)?.sequences;
                Some((sequences, sequences.partition_point(|sequence| *sequence < from)))
            })
            .collect();
        let mut found = Vec::new();
        loop {
            let next = heads.iter().filter_map(|(sequences, at)| sequences.get(*at)).min().copied();
            let Some(next) = next.filter(|_| found.len() < limit) else { return (found, next) };
            found.push(next);
            for (sequences, at) in &mut heads {
                *at += usize::from(sequences.get(*at) == Some(&next));
            }
        }
    }

    /// Removes the records with these sequence numbers. The index has none before them.
    pub(crate) fn forget_all<F: Format>(
        &mut self,
        format: &F,
        segments: &[Arc<Segment<F>>],
        among: Range<u64>,
    ) {
        let mut hashes = Vec::new();
        let first = among.end;
        each_hash(format, segments, among, |hash, _| hashes.push(hash));
        self.forget(&hashes, first);
    }

    /// Removes the records before `first`. `hashes` are all of their hashes.
    pub(crate) fn forget(&mut self, hashes: &[u64], first: u64) {
        for hash in hashes {
            if let Slot::Occupied(mut slot) = self.entries.entry(*hash) {
                let sequences = &mut slot.get_mut().sequences;
                let gone = sequences.partition_point(|sequence| *sequence < first);
                sequences.drain(..gone);
                if sequences.capacity() > 8 * (sequences.len() + 1) {
                    sequences.shrink_to(2 * sequences.len());
                }
                self.sequences -= gone;
                if slot.get().is_unused() {
                    slot.remove();
                }
            }
        }
    }
}

/// Calls `visit` with each hash and sequence number of the records with these sequence numbers.
fn each_hash<'a, F: Format>(
    format: &F,
    segments: impl IntoIterator<Item = &'a Arc<Segment<F>>>,
    among: Range<u64>,
    mut visit: impl FnMut(u64, u64),
) {
    for part in segments.into_iter().flat_map(|segment| &segment.parts) {
        let records = (part.first..).zip(&part.records);
        for (sequence, record) in records.filter(|(sequence, _)| among.contains(sequence)) {
            format.hashes(record, &mut |hash| visit(hash, sequence));
        }
    }
}

impl Postings {
    fn is_unused(&self) -> bool {
        self.sequences.is_empty() && self.cursors.is_empty()
    }
}

/// The keys are hashes already. One multiplication spreads the keys of a weak hash.
#[derive(Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let mut index = Index::default();
        for (value, sequence) in [(1, 0), (2, 1), (1, 2), (2, 2), (2, 2), (3, 5)] {
            index.add(value, sequence);
        }
        index
    }

    #[test]
    fn several_values_are_merged_in_order_and_each_record_once() {
        assert_eq!(index().merge(&[1, 2], 0, 9), (vec![0, 1, 2], None));
        assert_eq!(index().merge(&[3, 2, 1], 1, 2), (vec![1, 2], Some(5)));
        assert_eq!(index().merge(&[7], 0, 9), (vec![], None));
        assert_eq!(index().first(&[3, 1], 1), Some(2));
        assert_eq!(index().first(&[1], 3), None);
    }

    #[test]
    fn what_is_forgotten_and_not_selected_keeps_no_memory() {
        let mut index = index();
        index.add_cursor(&[1, 9], 4);
        assert_eq!(index.add(1, 6), [4]);
        index.forget(&[1, 2, 1, 2, 3, 1], 7);
        assert_eq!(index.first(&[1, 2, 3], 0), None);
        assert_eq!(index.entries.len(), 2, "the values that are selected");
        index.remove_cursor(&[1, 9], 4);
        assert_eq!((index.entries.len(), index.bytes()), (0, 0));
    }
}
