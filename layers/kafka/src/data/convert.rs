//! How a record is converted, or rejected, before it enters the log of its topic.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

/// Converts the records of a topic before they enter its log, or rejects them. Closures do so, too. For the values of
/// one stream alone see [`Query::converter`](crate::Query::converter).
///
/// Filters, event ids, the compaction of a topic and the events of its streams use the record as it was
/// converted. A record is converted once for all streams that read the topic's live log, and once for each
/// reading of the topic's history. So the same record must give the same result each time.
///
/// It runs on the thread that reads the live ends of all topics, and on those that read history, within a runtime of
/// tokio that runs nothing else. It must not block: what it has to wait for is awaited by [`Conversion::NotYet`].
/// Where the conversions of a topic take more than 50 ms, other topics have their turn before the next one. If it
/// panics, the record is rejected.
///
/// ```
/// use tailwater_kafka::{Changes, ClusterOptions, Conversion, RecordRef};
///
/// let upper_case = |record: &RecordRef<'_>, changes: &mut Changes| {
///     let Some(value) = record.value() else { return Conversion::Accepted };
///     if record.headers().any(|(name, _)| name == b"as-is") {
///         return Conversion::Accepted;
///     }
///     if !value.is_ascii() {
///         return Conversion::Rejected { reason: "not_ascii", detail: "the value has other bytes".into() };
///     }
///     changes.value_mut().extend(value.iter().map(u8::to_ascii_uppercase));
///     Conversion::Accepted
/// };
///
/// let mut changes = Changes::default();
/// let record = RecordRef::new("quotes").with_value(b"eurusd");
/// assert!(matches!(upper_case(&record, &mut changes), Conversion::Accepted));
/// assert_eq!(changes.value(), Some(&b"EURUSD"[..]));
///
/// let mut changes = Changes::default();
/// let record = record.with_headers(&[(b"as-is", None)]);
/// assert!(matches!(upper_case(&record, &mut changes), Conversion::Accepted));
/// assert_eq!(changes.value(), None);
///
/// let options = ClusterOptions::new(["localhost:9092"]).converter("quotes", upper_case);
/// # let _ = options;
/// ```
pub trait ConvertRecord: Send + Sync + 'static {
    /// Decides about a record, and writes what changes to `changes`, which has no change yet.
    ///
    /// A record without a value is a tombstone, or one that is larger than
    /// [`ClusterOptions::max_record_bytes`](crate::ClusterOptions::max_record_bytes): of that only the key is
    /// known, and only the change of the key has an effect.
    fn convert(&self, record: &RecordRef<'_>, changes: &mut Changes) -> Conversion;
}

impl<F> ConvertRecord for F
where
    F: Fn(&RecordRef<'_>, &mut Changes) -> Conversion + Send + Sync + 'static,
{
    fn convert(&self, record: &RecordRef<'_>, changes: &mut Changes) -> Conversion {
        self(record, changes)
    }
}

/// What a [`ConvertRecord`] decides about a record.
#[non_exhaustive]
pub enum Conversion {
    /// The record enters the log with the changes; without any, as it is.
    Accepted,
    /// No stream is given the record. The positions of event ids move past its offset. It still supersedes
    /// the earlier record of its key in a compacted topic: of the key as it was changed, else as it is.
    Rejected {
        /// The kind of reason, by which [`TopicHealth::rejected`](crate::TopicHealth::rejected) counts.
        reason: &'static str,
        /// The reason in words, for the log. It should not quote the value.
        detail: Cow<'static, str>,
    },
    /// The record can't be converted yet, for example because a schema registry does not answer. The converter
    /// is called again when the future is ready.
    ///
    /// Until then the consumer does not read the partition of the record: later records stay in Kafka, and
    /// arrive in order. Other partitions and topics continue. The future is polled by threads that have no
    /// runtime: the channels of tokio work there, and timers that were made within a runtime. One that
    /// panics counts as ready.
    NotYet(BoxFuture<'static, ()>),
}

impl fmt::Debug for Conversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("Accepted"),
            Self::Rejected { reason, detail } => {
                f.debug_struct("Rejected").field("reason", reason).field("detail", detail).finish()
            }
            Self::NotYet(_) => f.write_str("NotYet(..)"),
        }
    }
}

/// A record before it is converted.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct RecordRef<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: Option<i64>,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Headers<'a> {
    Listed(&'a [(&'a [u8], Option<&'a [u8]>)]),
    Packed(PackedHeaders<'a>),
}

impl<'a> RecordRef<'a> {
    /// The record at offset 0 of partition 0, without key, value, headers and time.
    pub fn new(topic: &'a str) -> Self {
        Self {
            topic,
            partition: 0,
            offset: 0,
            timestamp: None,
            key: None,
            value: None,
            headers: Headers::Listed(&[]),
        }
    }

    /// The record at this partition and offset, and with this time in milliseconds since 1970.
    pub fn at(self, partition: i32, offset: i64, timestamp: Option<i64>) -> Self {
        Self { partition, offset, timestamp, ..self }
    }

    /// The record with this key.
    pub fn with_key(self, key: &'a [u8]) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The record with this value.
    pub fn with_value(self, value: &'a [u8]) -> Self {
        Self { value: Some(value), ..self }
    }

    /// The record with these headers, by name and value.
    pub fn with_headers(self, headers: &'a [(&'a [u8], Option<&'a [u8]>)]) -> Self {
        Self { headers: Headers::Listed(headers), ..self }
    }

    pub(crate) fn packed(self, headers: PackedHeaders<'a>) -> Self {
        Self { headers: Headers::Packed(headers), ..self }
    }

    /// The name of its topic.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// Its partition.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Its offset.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Its time, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp(&self) -> Option<i64> {
        self.timestamp
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// Its headers by name and value, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let (listed, packed) = match self.headers {
            Headers::Listed(headers) => (headers, PackedHeaders::default()),
            Headers::Packed(headers) => (&[][..], headers),
        };
        listed.iter().copied().chain(packed)
    }
}

/// What a [`ConvertRecord`] changes of a record. What it does not name stays as it is.
///
/// The buffers are used again for the next record.
#[derive(Debug, Default)]
pub struct Changes {
    key: Vec<u8>,
    value: Vec<u8>,
    has_key: bool,
    has_value: bool,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Changes {
    /// The buffer of another key, which the record has from this call on: empty at first.
    pub fn key_mut(&mut self) -> &mut Vec<u8> {
        self.has_key = true;
        &mut self.key
    }

    /// The buffer of another value, which the record has from this call on: empty at first. Without an
    /// effect on a record that has no value.
    pub fn value_mut(&mut self) -> &mut Vec<u8> {
        self.has_value = true;
        &mut self.value
    }

    /// Adds a header after those that the record has.
    pub fn add_header(&mut self, name: impl Into<Vec<u8>>, value: Option<Vec<u8>>) {
        self.headers.push((name.into(), value));
    }

    /// The other key, if there is one.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.has_key.then_some(&self.key)
    }

    /// The other value, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.has_value.then_some(&self.value)
    }

    /// The headers that were added, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| (&name[..], value.as_deref()))
    }

    /// Forgets all but the value.
    pub(crate) fn keep_value(&mut self) {
        self.has_key = false;
        self.headers.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.has_key && !self.has_value && self.headers.is_empty()
    }

    /// Forgets the changes. Buffers of large records are not kept.
    pub(crate) fn clear(&mut self) {
        for buffer in [&mut self.key, &mut self.value] {
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
        self.has_key = false;
        self.has_value = false;
        self.headers.clear();
    }
}

/// The converters of all topics.
#[derive(Clone, Default)]
pub(crate) struct Converters {
    pub(crate) named: HashMap<String, Arc<dyn ConvertRecord>>,
    pub(crate) lookup: Option<Arc<Lookup>>,
}

/// Finds the converter of a topic.
pub(crate) type Lookup = dyn Fn(&str) -> Option<Arc<dyn ConvertRecord>> + Send + Sync;

impl fmt::Debug for Converters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Converters").field("named", &self.named.keys()).finish_non_exhaustive()
    }
}

impl Converters {
    /// The converter of a topic, if it has one.
    pub(crate) fn of(&self, topic: &str) -> Option<Arc<dyn ConvertRecord>> {
        match self.named.get(topic) {
            Some(converter) => Some(Arc::clone(converter)),
            None => self.lookup.as_ref()?(topic),
        }
    }
}

/// What a buffer keeps of its memory between two records.
const KEPT_BYTES: usize = 64 * 1024;

/// Headers one after the other: each is two lengths (u32; [`NULL`](Self::NULL) for a null value), name and
/// value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PackedHeaders<'a>(pub(crate) &'a [u8]);

impl PackedHeaders<'_> {
    pub(crate) const NULL: u32 = u32::MAX;
}

impl<'a> Iterator for PackedHeaders<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.split_first_chunk()?;
        let (value, rest) = rest.split_first_chunk()?;
        let name = u32::from_ne_bytes(*name);
        let value = u32::from_ne_bytes(*value);
        let (name, rest) = rest.split_at(name as usize);
        let (bytes, rest) = rest.split_at(if value == Self::NULL { 0 } else { value as usize });
        self.0 = rest;
        Some((name, (value != Self::NULL).then_some(bytes)))
    }
}
