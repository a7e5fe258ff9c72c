//! The table of a compacted topic: the latest record of each key.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::data::positions::Positions;
use crate::data::record::Record;

/// How many bytes an entry takes beside its record and a second copy of its key: in the map, in a snapshot and
/// its list of records, and what the allocator adds.
const ENTRY_BYTES: usize = 192;

/// The records of a topic that no later record of the same partition and key supersedes.
#[derive(Debug)]
pub(crate) struct Table {
    partitions: Vec<Partition>,
    /// How many records were taken: the sequence number of the last one.
    taken: u64,
    weight: usize,
    began: Instant,
    generation: u64,
}

/// No two tables have the same generation.
fn generation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[derive(Debug, Default)]
struct Partition {
    next: i64,
    latest: HashMap<Box<[u8]>, Entry>,
    /// Nothing supersedes a record that has no key.
    keyless: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    sequence: u64,
    /// When the record was taken, in seconds since the table began.
    seen_seconds: u32,
    record: Record,
}

impl Entry {
    fn weight(&self) -> usize {
        ENTRY_BYTES + self.record.weight() + self.record.latest_key().map_or(0, <[u8]>::len)
    }
}

impl Table {
    pub(crate) fn new() -> Self {
        let began = Instant::now();
        let generation = generation();
        Self { partitions: Vec::new(), taken: 0, weight: 0, began, generation }
    }

    /// Takes a record, unless it or a later record of its partition was taken before.
    pub(crate) fn take(&mut self, record: &Record) {
        match record.is_gap() {
            true => record.by_key().into_iter().for_each(|record| self.take_detached(record)),
            false => self.take_detached(record.detached()),
        }
    }

    fn take_detached(&mut self, record: Record) {
        let Ok(index) = usize::try_from(record.partition) else { return };
        if index >= self.partitions.len() {
            self.partitions.resize_with(index + 1, Partition::default);
        }
        let partition = &mut self.partitions[index];
        if record.offset < partition.next {
            return;
        }
        partition.next = record.offset + 1;
        self.taken += 1;
        let seen_seconds = u32::try_from(self.began.elapsed().as_secs()).unwrap_or(u32::MAX);
        let entry = Entry { sequence: self.taken, seen_seconds, record };
        self.weight += entry.weight();
        match entry.record.latest_key() {
            None => partition.keyless.push(entry),
            Some(key) => match partition.latest.get_mut(key) {
                Some(known) => self.weight -= std::mem::replace(known, entry).weight(),
                None => {
                    let key = key.into();
                    partition.latest.insert(key, entry);
                }
            },
        }
    }

    /// Removes the records before `low`, which retention removed, and the tombstones that were taken more than
    /// `retention` ago: Kafka keeps them no longer, either. Of a gap that begins before `low` the rest stays.
    pub(crate) fn trim(&mut self, low: &Positions, retention: Duration) {
        let age = self.began.elapsed();
        let mut forgets = false;
        let is_old = |entry: &Entry| {
            let seen = Duration::from_secs(u64::from(entry.seen_seconds) + 1);
            entry.record.is_tombstone() && age.saturating_sub(seen) > retention
        };
        for (partition, low) in self.partitions.iter_mut().zip(low.iter().map(|(_, low)| low)) {
            partition.next = partition.next.max(low);
            let mut stays = |entry: &mut Entry| {
                let is_old = is_old(entry);
                forgets |= is_old;
                if let Some(rest) = entry.record.gap_from(low) {
                    entry.record = rest;
                }
                let stays = entry.record.offset >= low && !is_old;
                self.weight -= if stays { 0 } else { entry.weight() };
                stays
            };
            partition.latest.retain(|_, entry| stays(entry));
            partition.keyless.retain_mut(|entry| stays(entry));
        }
        if forgets {
            self.generation = generation();
        }
    }

    /// A number that changes when a tombstone is removed.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// All records, in the order in which they were taken.
    pub(crate) fn records(&self) -> Vec<Record> {
        let entries = |partition| {
            let Partition { latest, keyless, .. }: &Partition = partition;
            latest.values().chain(keyless)
        };
        let mut entries: Vec<&Entry> = self.partitions.iter().flat_map(entries).collect();
        entries.sort_unstable_by_key(|entry| entry.sequence);
        entries.into_iter().map(|entry| entry.record.clone()).collect()
    }

    /// The position after the last record that was taken of each partition.
    pub(crate) fn next(&self) -> Positions {
        Positions::new(self.partitions.iter().map(|partition| partition.next).collect::<Vec<_>>())
    }

    /// About how many bytes the table keeps in memory.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::data::gap::{Gap, Reason};

    fn record(partition: i32, offset: i64, key: Option<&str>, value: Option<&str>) -> Record {
        let key = key.map(str::as_bytes);
        let value = value.map(str::as_bytes);
        let none = std::iter::empty();
        Record::new((partition, offset, None), key, value, none, &mut BytesMut::new())
    }

    fn offsets(table: &Table) -> Vec<(i32, i64)> {
        table.records().iter().map(|record| (record.partition, record.offset)).collect()
    }

    #[test]
    fn the_latest_of_a_key_stays_at_its_last_place() {
        let mut table = Table::new();
        for (partition, offset, key) in [
            (0, 0, Some("a")),
            (1, 0, Some("a")),
            (0, 1, Some("b")),
            (0, 4, None),
            (0, 5, None),
            (0, 6, Some("a")),
            (0, 3, Some("b")), // read once more
        ] {
            table.take(&record(partition, offset, key, Some("v")));
        }
        assert_eq!(offsets(&table), [(1, 0), (0, 1), (0, 4), (0, 5), (0, 6)]);
        assert_eq!(table.next(), Positions::new([7, 1]));
    }

    #[test]
    fn a_gap_stays_until_a_record_of_its_key_is_readable() {
        let mut table = Table::new();
        let gap = |from, to, key: Option<&str>| {
            Record::gap(0, (from, to), Reason::TooLarge, key.map(str::as_bytes))
        };
        table.take(&record(0, 0, Some("a"), Some("old")));
        table.take(&gap(1, 2, Some("a")));
        table.take(&gap(2, 5, None));
        assert_eq!(offsets(&table), [(0, 1), (0, 4)], "nobody takes the old one for the latest");
        table.take(&record(0, 5, Some("a"), Some("new")));
        table.trim(&Positions::new([0]), Duration::ZERO);
        assert_eq!(offsets(&table), [(0, 4), (0, 5)]);
        assert_eq!(table.next(), Positions::new([6]));
        table.trim(&Positions::new([3]), Duration::ZERO);
        let rest = table.records().first().and_then(Record::as_gap);
        assert_eq!(rest, Some(Gap::new(0, 3, 5, Reason::TooLarge)), "what retention took is gone");
        table.trim(&Positions::new([6]), Duration::ZERO);
        assert_eq!((table.weight(), offsets(&table)), (0, vec![]));
    }

    #[test]
    fn weight_is_that_of_what_is_there() {
        let mut table = Table::new();
        table.take(&record(0, 0, Some("a"), Some("v")));
        let one = table.weight();
        table.take(&record(0, 1, Some("a"), Some(&"v".repeat(100))));
        assert_eq!(table.weight(), one + 99);
        table.take(&record(0, 2, Some("b"), None));
        table.take(&record(0, 3, None, None));
        table.trim(&Positions::new([4]), Duration::MAX);
        assert_eq!((table.weight(), offsets(&table)), (0, vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn tombstones_go_after_their_time_and_records_with_retention() {
        let mut table = Table::new();
        for offset in 0..4 {
            let value = (offset % 2 == 0).then_some("v");
            table.take(&record(0, offset, Some(&offset.to_string()), value));
        }
        let day = Duration::from_secs(86_400);
        tokio::time::advance(day).await;
        table.take(&record(0, 4, Some("4"), None));
        let generation = table.generation();
        table.trim(&Positions::new([1]), day);
        assert_eq!(offsets(&table).len(), 4, "a day is not over");
        assert_eq!(table.generation(), generation);
        tokio::time::advance(Duration::from_secs(2)).await;
        table.trim(&Positions::new([1]), day);
        assert_eq!(offsets(&table), [(0, 2), (0, 4)]);
        assert_ne!(table.generation(), generation);
    }
}
