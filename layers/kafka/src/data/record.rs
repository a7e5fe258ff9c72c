use std::mem;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::data::convert::{Changes, PackedHeaders, RecordRef};
use crate::data::gap::{Gap, Reason};

/// A record in one piece of memory, or a gap in place of records that no stream can deliver. Key, value and
/// headers may have any bytes.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// The time of the record in milliseconds since 1970, if it has one.
    pub(crate) timestamp: Option<i64>,
    key: Option<u32>,
    value: Option<u32>,
    /// Why this is a gap. Its offset is the last one that is missing. Its data is the first one (i64), and
    /// for each missing record whose key is known its offset (i64), the length of the key (u32) and the key.
    gap: Option<Reason>,
    /// The number of bytes in the value that end a line.
    line_ends: u32,
    /// Key, value and headers ([`PackedHeaders`]) one after the other.
    data: Bytes,
}

/// A longer record has memory of its own.
const SHARED_BYTES: usize = 64 * 1024;

/// Room for the headers of such a record.
const HEADERS_BYTES: usize = 1024;

/// Records that were rejected are one gap while their keys take no more.
const GAP_BYTES: usize = 16 * 1024;

impl Record {
    /// Copies a record into `buffer`, which many records share. A record of more than 64 KiB gets memory of
    /// its own: otherwise a record beside it that is kept would keep all of it.
    pub(crate) fn new<'a>(
        (partition, offset, timestamp): (i32, i64, Option<i64>),
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        buffer: &mut BytesMut,
    ) -> Self {
        let known = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        let mut own = BytesMut::new();
        let buffer = if known > SHARED_BYTES {
            own.reserve(known + HEADERS_BYTES);
            &mut own
        } else {
            buffer
        };
        buffer.put_slice(key.unwrap_or_default());
        buffer.put_slice(value.unwrap_or_default());
        for (name, value) in headers {
            buffer.put_u32_ne(length(name));
            buffer.put_u32_ne(value.map_or(PackedHeaders::NULL, length));
            buffer.put_slice(name);
            buffer.put_slice(value.unwrap_or_default());
        }
        let data = buffer.split().freeze();
        if data.len() > SHARED_BYTES {
            // Its headers made the buffer grow.
            *buffer = BytesMut::new();
        }
        let ends = |value: &[u8]| value.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
        let line_ends = u32::try_from(value.map_or(0, ends)).unwrap_or(u32::MAX);
        Self {
            partition,
            offset,
            timestamp,
            key: key.map(length),
            value: value.map(length),
            line_ends,
            gap: None,
            data,
        }
    }

    /// A gap from one offset to before another one. `key`: that of the last missing record, if it is known.
    pub(crate) fn gap(
        partition: i32,
        (from, to): (i64, i64),
        reason: Reason,
        key: Option<&[u8]>,
    ) -> Self {
        let mut data = BytesMut::new();
        data.put_i64_ne(from);
        if let Some(key) = key {
            data.put_i64_ne(to - 1);
            data.put_u32_ne(length(key));
            data.put_slice(key);
        }
        Self::gap_of(partition, to - 1, reason, data.freeze())
    }

    fn gap_of(partition: i32, offset: i64, reason: Reason, data: Bytes) -> Self {
        let gap = Some(reason);
        Self { partition, offset, timestamp: None, key: None, value: None, line_ends: 0, gap, data }
    }

    /// The gap, if this is one.
    pub(crate) fn as_gap(&self) -> Option<Gap> {
        let reason = self.gap?;
        let from = self.data.first_chunk().map_or(self.offset, |from| i64::from_ne_bytes(*from));
        Some(Gap::new(self.partition, from, self.offset + 1, reason))
    }

    /// The rest of the gap for a stream whose position is within it.
    pub(crate) fn gap_from(&self, next: i64) -> Option<Self> {
        let Gap { from: Some(from), reason, .. } = self.as_gap()? else { return None };
        let within = from < next && next <= self.offset;
        within.then(|| Self::gap(self.partition, (next, self.offset + 1), reason, None))
    }

    pub(crate) fn is_gap(&self) -> bool {
        self.gap.is_some()
    }

    /// Whether this is a gap in place of rejected records.
    pub(crate) fn is_rejected(&self) -> bool {
        self.gap == Some(Reason::Invalid)
    }

    /// Whether the record deletes its key.
    pub(crate) fn is_tombstone(&self) -> bool {
        self.value.is_none() && self.gap.is_none()
    }

    /// The key of which this is the latest record, even if it is a gap; of a gap of many records the first
    /// one that is known.
    pub(crate) fn latest_key(&self) -> Option<&[u8]> {
        match self.gap {
            Some(_) => self.gap_keys().next().map(|(_, key)| key),
            None => self.key(),
        }
    }

    /// The known keys of the records that are missing, and their offsets.
    fn gap_keys(&self) -> impl Iterator<Item = (i64, &[u8])> {
        let mut rest = self.gap.and_then(|_| self.data.get(size_of::<i64>()..)).unwrap_or_default();
        std::iter::from_fn(move || {
            let (offset, after) = rest.split_first_chunk()?;
            let (length, after) = after.split_first_chunk()?;
            let (key, after) = after.split_at(u32::from_ne_bytes(*length) as usize);
            rest = after;
            Some((i64::from_ne_bytes(*offset), key))
        })
    }

    /// The same as records and gaps that have at most one key each, in memory of their own.
    pub(crate) fn by_key(&self) -> Vec<Self> {
        let mut keys = self.gap_keys().peekable();
        let gap = self.gap.filter(|_| keys.peek().is_some()).zip(self.as_gap());
        let Some((reason, Gap { from: Some(mut next), .. })) = gap else {
            return vec![self.detached()];
        };
        let mut records = Vec::new();
        for (offset, key) in keys {
            if next < offset {
                records.push(Self::gap(self.partition, (next, offset), reason, None));
            }
            records.push(Self::gap(self.partition, (offset, offset + 1), reason, Some(key)));
            next = offset + 1;
        }
        if next <= self.offset {
            records.push(Self::gap(self.partition, (next, self.offset + 1), reason, None));
        }
        records
    }

    /// The same records, but those of a partition that were rejected one after the other are one gap.
    pub(crate) fn join_rejected(records: Vec<Self>) -> Vec<Self> {
        if !records.iter().any(Self::is_rejected) {
            return records;
        }
        let mut joined: Vec<Self> = Vec::with_capacity(records.len());
        let mut run = BytesMut::new();
        for record in records {
            let continues = |last: &Self| {
                last.is_rejected()
                    && record.is_rejected()
                    && record.partition == last.partition
                    && record.as_gap().and_then(|gap| gap.from) == Some(last.offset + 1)
                    && run.len().max(last.data.len()) + record.data.len() <= GAP_BYTES
            };
            match joined.last_mut() {
                Some(last) if continues(last) => {
                    if run.is_empty() {
                        run.put_slice(&last.data);
                    }
                    run.put_slice(record.data.get(size_of::<i64>()..).unwrap_or_default());
                    last.offset = record.offset;
                }
                last => {
                    if let Some(last) = last.filter(|_| !run.is_empty()) {
                        last.data = mem::take(&mut run).freeze();
                    }
                    joined.push(record);
                }
            }
        }
        if let Some(last) = joined.last_mut().filter(|_| !run.is_empty()) {
            last.data = run.freeze();
        }
        joined
    }

    /// The record for a converter. `None` for a gap of which no key is known.
    pub(crate) fn to_convert<'a>(&'a self, topic: &'a str) -> Option<RecordRef<'a>> {
        let record = RecordRef::new(topic).at(self.partition, self.offset, self.timestamp);
        if self.gap.is_some() {
            return Some(record.with_key(self.latest_key()?));
        }
        let record = self.key().map_or(record, |key| record.with_key(key));
        let record = self.value().map_or(record, |value| record.with_value(value));
        Some(record.packed(self.packed_headers()))
    }

    /// The record with these changes, copied into `buffer` as by [`new`](Self::new).
    pub(crate) fn changed(&self, changes: &Changes, buffer: &mut BytesMut) -> Self {
        if let Some(Gap { from: Some(from), reason, .. }) = self.as_gap() {
            let key = changes.key().or(self.latest_key());
            return Self::gap(self.partition, (from, self.offset + 1), reason, key);
        }
        Self::new(
            (self.partition, self.offset, self.timestamp),
            changes.key().or(self.key()),
            self.value().map(|value| changes.value().unwrap_or(value)),
            self.headers().chain(changes.headers()),
            buffer,
        )
    }

    /// A gap in place of a record that was rejected, or that became too large.
    pub(crate) fn missing(&self, reason: Reason, changes: &Changes) -> Self {
        let key = changes.key().or(self.latest_key());
        Self::gap(self.partition, (self.offset, self.offset + 1), reason, key)
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.key.map(|length| &self.data[..length as usize])
    }

    /// `None` for a tombstone.
    pub(crate) fn value(&self) -> Option<&[u8]> {
        let start = self.key.unwrap_or(0) as usize;
        self.value.map(|length| &self.data[start..start + length as usize])
    }

    /// The headers in the record's order.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.packed_headers()
    }

    fn packed_headers(&self) -> PackedHeaders<'_> {
        let start = (self.key.unwrap_or(0) + self.value.unwrap_or(0)) as usize;
        PackedHeaders(match self.gap {
            Some(_) => &[],
            None => &self.data[start..],
        })
    }

    /// The first `etag` header, unless its value is null.
    pub(crate) fn etag(&self) -> Option<&[u8]> {
        self.headers().find(|(name, _)| *name == b"etag").and_then(|(_, value)| value)
    }

    /// The same record in memory of its own: it does not keep the records that it was read with.
    pub(crate) fn detached(&self) -> Self {
        Self { data: Bytes::copy_from_slice(&self.data), ..*self }
    }

    /// The most bytes that the data takes as an event: each line has a name, an end, and another space if it
    /// begins with one. The data of a tombstone is its key in base64.
    pub(crate) fn event_data_bytes(&self) -> usize {
        const LINE: usize = "data: \n".len();
        /// Names and numbers.
        const GAP: usize = 128;
        if self.is_gap() {
            return GAP;
        }
        match self.value {
            Some(length) => length as usize + LINE * (1 + self.line_ends as usize),
            None => (self.key.unwrap_or(0) as usize).div_ceil(3) * 4 + LINE,
        }
    }

    /// The bytes of key and headers.
    pub(crate) fn bytes_beside_value(&self) -> usize {
        self.data.len() - self.value.unwrap_or(0) as usize
    }

    /// The bytes of key, value and headers.
    pub(crate) fn data_bytes(&self) -> usize {
        self.data.len()
    }

    /// How many records were read for this one.
    pub(crate) fn read_records(&self) -> u64 {
        match self.as_gap() {
            None => 1,
            Some(Gap { reason: Reason::Unreadable, .. }) => 0,
            Some(gap) => gap.from.zip(gap.to).map_or(0, |(from, to)| to.abs_diff(from)),
        }
    }

    /// Their bytes, as far as they are still here.
    pub(crate) fn read_bytes(&self) -> usize {
        if self.is_gap() { 0 } else { self.data.len() }
    }

    /// Bytes that the record keeps in memory.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + self.data.len()
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("Kafka's sizes are signed 32 bit numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_has_neither_key_nor_value_nor_headers() {
        for key in [None, Some(&b""[..]), Some(b"key")] {
            let record = Record::gap(1, (5, 9), Reason::TooLarge, key);
            assert_eq!(record.as_gap(), Some(Gap::new(1, 5, 9, Reason::TooLarge)));
            assert_eq!((record.offset, record.key(), record.value()), (8, None, None));
            assert_eq!((record.latest_key(), record.etag()), (key, None));
            assert!(record.headers().next().is_none() && !record.is_tombstone());
            assert_eq!(record.detached().as_gap(), record.as_gap());
            let left = record.gap_from(7).and_then(|record| record.as_gap());
            assert_eq!(left, Some(Gap::new(1, 7, 9, Reason::TooLarge)));
            assert!(record.gap_from(5).is_none() && record.gap_from(9).is_none());
        }
    }

    #[test]
    fn rejected_records_of_a_partition_in_a_row_are_one_gap() {
        let rejected = |partition, offset, key: Option<&str>| {
            let key = key.map(str::as_bytes);
            Record::gap(partition, (offset, offset + 1), Reason::Invalid, key)
        };
        let mut buffer = BytesMut::new();
        let none = std::iter::empty;
        let records = vec![
            rejected(0, 3, Some("a")),
            rejected(0, 4, None),
            rejected(0, 5, Some("b")),
            rejected(1, 0, None),
            // A hole is no gap.
            rejected(1, 2, Some("")),
            Record::new((1, 3, None), None, Some(b"v"), none(), &mut buffer),
            rejected(1, 4, None),
            Record::gap(1, (5, 6), Reason::TooLarge, None),
        ];
        let joined = Record::join_rejected(records.clone());
        let gaps: Vec<_> = joined.iter().map(Record::as_gap).collect();
        let gap = |partition, from, to| Some(Gap::new(partition, from, to, Reason::Invalid));
        assert_eq!(gaps[..5], [gap(0, 3, 6), gap(1, 0, 1), gap(1, 2, 3), None, gap(1, 4, 5)]);
        assert_eq!(gaps[5..], [Some(Gap::new(1, 5, 6, Reason::TooLarge))]);
        // Taken apart they are as before.
        let apart: Vec<_> = joined.iter().flat_map(Record::by_key).collect();
        let tell = |record: &Record| (record.as_gap(), record.latest_key().map(<[u8]>::to_vec));
        assert!(apart.iter().map(tell).eq(records.iter().map(tell)));

        let long = "k".repeat(GAP_BYTES / 3);
        let many = (0..10).map(|offset| rejected(0, offset, Some(&long))).collect();
        let joined = Record::join_rejected(many);
        assert_eq!(joined.len(), 5, "what is joined is bounded");
        assert_eq!(joined.iter().flat_map(Record::by_key).count(), 10);
    }

    #[test]
    fn a_large_record_shares_its_memory_with_none() {
        let mut buffer = BytesMut::with_capacity(SHARED_BYTES);
        let large = vec![7; 3 * SHARED_BYTES];
        let put = |value: &[u8], header: &[u8], buffer: &mut BytesMut| {
            let headers = [(&b"h"[..], Some(header))].into_iter();
            Record::new((0, 0, None), None, Some(value), headers, buffer).data
        };
        let first = put(b"a", b"", &mut buffer);
        let long = put(&large, b"x", &mut buffer);
        let next = put(b"b", b"", &mut buffer);
        assert_eq!(next.as_ptr(), first.as_ptr().wrapping_add(first.len()));
        assert_eq!(long.len(), large.len() + "h".len() + "x".len() + 8);
        drop((first, next));
        drop(put(b"c", &large, &mut buffer));
        assert_eq!(buffer.capacity(), 0, "what it grew by is not kept");
    }

    #[test]
    fn a_record_gives_back_what_it_was_made_of() {
        let headers = [
            (&b"etag"[..], None),
            (b"tag", Some(&b"a"[..])),
            (b"", Some(b"")),
            (b"etag", Some(b"2")),
        ];
        for key in [None, Some(&b""[..]), Some(b"key")] {
            for value in [None, Some(&b""[..]), Some(b"value\r\n\0")] {
                let mut buffer = BytesMut::new();
                let record =
                    Record::new((1, 7, Some(5)), key, value, headers.into_iter(), &mut buffer);
                assert_eq!((record.key(), record.value()), (key, value));
                assert!(record.headers().eq(headers));
                assert_eq!(record.etag(), None, "the first etag counts, and it is null");
            }
        }
    }
}
