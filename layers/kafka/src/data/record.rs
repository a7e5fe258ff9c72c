use bytes::{BufMut as _, Bytes, BytesMut};

use crate::data::gap::{Gap, Reason};

/// One record as it was read, in one piece of memory. Any bytes are key, value and header. Or a gap in
/// the place of records that no stream can be given: every stream is told of it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Milliseconds since the epoch, where the record has a time.
    pub(crate) timestamp: Option<i64>,
    key: Option<u32>,
    value: Option<u32>,
    /// Why this is a gap. Its offset is the last one that is missing, and its data the first (i64), and the
    /// key of the record, where it is known.
    gap: Option<Reason>,
    /// How many bytes of the value end a line.
    line_ends: u32,
    /// Key, value and headers one after the other; a header is two lengths (u32; `NULL` for a null
    /// value), name and value.
    data: Bytes,
}

const NULL: u32 = u32::MAX;

/// A longer record shares no memory.
const SHARED_BYTES: usize = 64 * 1024;

/// Room for the headers of such a one, as most have.
const HEADERS_BYTES: usize = 1024;

impl Record {
    /// Copies a record into `buffer`, which many records share; one of more than 64 KiB into memory of
    /// its own, since a later one that is kept would keep all of it.
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
            buffer.put_u32_ne(value.map_or(NULL, length));
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
        let (key, value) = (key.map(length), value.map(length));
        Self { partition, offset, timestamp, key, value, line_ends, gap: None, data }
    }

    /// A gap from an offset to before another one. `key`: of a record whose key is known.
    pub(crate) fn gap(
        partition: i32,
        (from, to): (i64, i64),
        reason: Reason,
        key: Option<&[u8]>,
    ) -> Self {
        let mut data = BytesMut::new();
        data.put_i64_ne(from);
        data.put_slice(key.unwrap_or_default());
        Self {
            partition,
            offset: to - 1,
            timestamp: None,
            key: key.map(length),
            value: None,
            line_ends: 0,
            gap: Some(reason),
            data: data.freeze(),
        }
    }

    /// The gap, if this is one.
    pub(crate) fn as_gap(&self) -> Option<Gap> {
        let reason = self.gap?;
        let from = self.data.first_chunk().map_or(self.offset, |from| i64::from_ne_bytes(*from));
        Some(Gap::new(self.partition, from, self.offset + 1, reason))
    }

    /// What is left of a gap for who stands within it.
    pub(crate) fn gap_from(&self, next: i64) -> Option<Self> {
        let Gap { from: Some(from), reason, .. } = self.as_gap()? else { return None };
        let within = from < next && next <= self.offset;
        within.then(|| Self::gap(self.partition, (next, self.offset + 1), reason, None))
    }

    pub(crate) fn is_gap(&self) -> bool {
        self.gap.is_some()
    }

    /// Whether it deletes its key.
    pub(crate) fn is_tombstone(&self) -> bool {
        self.value.is_none() && self.gap.is_none()
    }

    /// The key of which this is the latest record, even if it is a gap.
    pub(crate) fn latest_key(&self) -> Option<&[u8]> {
        match self.gap {
            Some(_) => self.key.map(|length| &self.data[size_of::<i64>()..][..length as usize]),
            None => self.key(),
        }
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.key.filter(|_| self.gap.is_none()).map(|length| &self.data[..length as usize])
    }

    /// `None` for a tombstone.
    pub(crate) fn value(&self) -> Option<&[u8]> {
        let start = self.key.unwrap_or(0) as usize;
        self.value.map(|length| &self.data[start..start + length as usize])
    }

    /// The headers in the record's order.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let mut rest = match self.gap {
            Some(_) => &[],
            None => &self.data[(self.key.unwrap_or(0) + self.value.unwrap_or(0)) as usize..],
        };
        std::iter::from_fn(move || {
            let (name, after) =
                rest.split_first_chunk().map(|(n, r)| (u32::from_ne_bytes(*n), r))?;
            let (value, after) =
                after.split_first_chunk().map(|(n, r)| (u32::from_ne_bytes(*n), r))?;
            let (name, after) = after.split_at(name as usize);
            let (bytes, after) = after.split_at(if value == NULL { 0 } else { value as usize });
            rest = after;
            Some((name, (value != NULL).then_some(bytes)))
        })
    }

    /// The first `etag` header, unless its value is null.
    pub(crate) fn etag(&self) -> Option<&[u8]> {
        self.headers().find(|(name, _)| *name == b"etag").and_then(|(_, value)| value)
    }

    /// The same record in memory of its own: it keeps nothing of what it was read with.
    pub(crate) fn detached(&self) -> Self {
        Self { data: Bytes::copy_from_slice(&self.data), ..*self }
    }

    /// The most bytes that its data takes as an event: each line has a name, an end, and a space more if it
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
