use bytes::{BufMut as _, Bytes, BytesMut};

/// One record as it was read, in one piece of memory. Any bytes are key, value and header.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Milliseconds since the epoch, where the record has a time.
    pub(crate) timestamp: Option<i64>,
    key: Option<u32>,
    value: Option<u32>,
    /// Key, value and headers one after the other; a header is two lengths (u32; `NULL` for a null
    /// value), name and value.
    data: Bytes,
}

const NULL: u32 = u32::MAX;

impl Record {
    /// Copies a record into `buffer`, which many records share.
    pub(crate) fn new<'a>(
        (partition, offset, timestamp): (i32, i64, Option<i64>),
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        buffer: &mut BytesMut,
    ) -> Self {
        buffer.put_slice(key.unwrap_or_default());
        buffer.put_slice(value.unwrap_or_default());
        for (name, value) in headers {
            buffer.put_u32_ne(length(name));
            buffer.put_u32_ne(value.map_or(NULL, length));
            buffer.put_slice(name);
            buffer.put_slice(value.unwrap_or_default());
        }
        let data = buffer.split().freeze();
        Self { partition, offset, timestamp, key: key.map(length), value: value.map(length), data }
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
        let mut rest = &self.data[(self.key.unwrap_or(0) + self.value.unwrap_or(0)) as usize..];
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
