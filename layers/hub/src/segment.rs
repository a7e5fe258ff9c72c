use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use crate::Format;
use crate::sync::{AtomicUsize, Mutex, MutexGuard};

#[expect(clippy::disallowed_types, reason = "a hub needs no runtime")]
type Time = std::time::Instant;

/// Neighbouring records whose positions follow from that of the first one.
pub(crate) struct Part<F: Format> {
    pub(crate) first: u64,
    pub(crate) position: F::Position,
    /// The position was set by the user. It does not follow from the records before it.
    pub(crate) jumped: bool,
    pub(crate) records: Vec<F::Record>,
}

/// A range of the log: the records of one append, or of several small ones joined.
pub(crate) struct Segment<F: Format> {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) weight: usize,
    /// The weight of all records that were appended before it.
    pub(crate) bytes_before: u64,
    /// When the first of its records were appended.
    pub(crate) appended: Time,
    pub(crate) parts: SmallVec<[Arc<Part<F>>; 1]>,
    cache: Mutex<EncodingCache<F::Encoding>>,
    charged: AtomicUsize,
}

/// The records of a segment in one encoding.
pub(crate) struct EncodedRecords {
    pub(crate) bytes: Bytes,
    /// The end of each record in `bytes`, ascending.
    pub(crate) ends: Box<[usize]>,
}

/// The first cursor encodes the records. Other cursors wait for it.
type Cell = Arc<OnceLock<Arc<EncodedRecords>>>;

struct EncodingCache<V> {
    /// The segment left the log: records encoded from now on are not charged.
    retired: bool,
    list: SmallVec<[(V, Cell); 1]>,
}

impl EncodedRecords {
    fn cost(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.ends)
    }

    /// The beginning of a record in `bytes`.
    pub(crate) fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

impl<F: Format> Segment<F> {
    pub(crate) fn new(part: Part<F>, weight: usize, bytes_before: u64) -> Self {
        Self {
            first: part.first,
            end: part.first + part.records.len() as u64,
            weight,
            bytes_before,
            appended: Time::now(),
            parts: smallvec![Arc::new(part)],
            cache: Mutex::new(EncodingCache { retired: false, list: SmallVec::new() }),
            charged: AtomicUsize::new(0),
        }
    }

    /// Joins neighbouring segments, with the encoded records that all of them have.
    pub(crate) fn join(run: &[Arc<Self>], encoded_bytes: &AtomicUsize) -> Option<Self> {
        let first = run.first()?;
        let last = run.last()?;
        let mut parts: Vec<Part<F>> = Vec::new();
        for part in run.iter().flat_map(|segment| &segment.parts) {
            match parts.last_mut() {
                Some(before) if !part.jumped => before.records.extend_from_slice(&part.records),
                _ => parts.push(Part {
                    first: part.first,
                    position: part.position.clone(),
                    jumped: part.jumped,
                    records: part.records.clone(),
                }),
            }
        }
        let mut list = SmallVec::new();
        let mut charged = 0;
        // A statement of its own, so that the lock is released before the other caches are locked.
        let encodings: Vec<_> =
            first.cache().list.iter().map(|(encoding, _)| encoding.clone()).collect();
        for encoding in encodings {
            let parts: Option<Vec<Arc<EncodedRecords>>> =
                run.iter().map(|segment| segment.ready(&encoding)).collect();
            if let Some(parts) = parts {
                let encoded = concatenate(&parts);
                charged += encoded.cost();
                list.push((encoding, Arc::new(OnceLock::from(Arc::new(encoded)))));
            }
        }
        encoded_bytes.fetch_add(charged, Ordering::Relaxed);
        Some(Self {
            first: first.first,
            end: last.end,
            weight: run.iter().map(|segment| segment.weight).sum(),
            bytes_before: first.bytes_before,
            appended: first.appended,
            parts: parts.into_iter().map(Arc::new).collect(),
            cache: Mutex::new(EncodingCache { retired: false, list }),
            charged: AtomicUsize::new(charged),
        })
    }

    /// The part of a record, and its index there. For the end of the segment, the index after the last
    /// record.
    pub(crate) fn locate(&self, sequence: u64) -> (&Arc<Part<F>>, usize) {
        let after = self.parts.partition_point(|part| part.first <= sequence);
        let part = &self.parts[after.saturating_sub(1)];
        let index = usize::try_from(sequence - part.first).unwrap_or(usize::MAX);
        (part, index.min(part.records.len()))
    }

    /// The position before a record of this segment.
    pub(crate) fn position(&self, format: &F, sequence: u64) -> F::Position {
        let (part, index) = self.locate(sequence);
        match index {
            0 => part.position.clone(),
            _ => format.advance(&part.position, &part.records[..index]),
        }
    }

    /// The encoded records, and whether this call has encoded them.
    pub(crate) fn encoded(
        &self,
        format: &F,
        encoded_bytes: &AtomicUsize,
        encoding: &F::Encoding,
    ) -> (Arc<EncodedRecords>, bool) {
        let cell = {
            let mut cache = self.cache();
            match cache.list.iter().find(|(known, _)| known == encoding) {
                Some((_, cell)) => match cell.get() {
                    Some(encoded) => return (Arc::clone(encoded), false),
                    None => Arc::clone(cell),
                },
                None => {
                    let cell = Cell::default();
                    cache.list.push((encoding.clone(), Arc::clone(&cell)));
                    cell
                }
            }
        };
        let mut fresh = false;
        let encoded = cell.get_or_init(|| {
            fresh = true;
            Arc::new(self.encode_all(format, encoding))
        });
        if fresh {
            let cache = self.cache();
            // Charged only while it is kept: the segment may have left the log meanwhile.
            if !cache.retired && cache.list.iter().any(|(_, known)| Arc::ptr_eq(known, &cell)) {
                self.charged.fetch_add(encoded.cost(), Ordering::Relaxed);
                encoded_bytes.fetch_add(encoded.cost(), Ordering::Relaxed);
            }
        }
        (Arc::clone(encoded), fresh)
    }

    pub(crate) fn has_encoded(&self) -> bool {
        self.charged.load(Ordering::Relaxed) > 0
    }

    /// Drops the encoded records. A cursor that needs them encodes them again.
    pub(crate) fn drop_encoded(&self, encoded_bytes: &AtomicUsize) {
        self.clear(encoded_bytes, false);
    }

    /// Drops the encoded records of all other encodings.
    pub(crate) fn drop_encoded_but(&self, encoded_bytes: &AtomicUsize, encoding: &F::Encoding) {
        let mut cache = self.cache();
        cache.list.retain(|(known, _)| known == encoding);
        let made = cache.list.iter().filter_map(|(_, cell)| cell.get());
        let left = made.map(|encoded| encoded.cost()).sum();
        let before = self.charged.swap(left, Ordering::Relaxed);
        encoded_bytes.fetch_sub(before.saturating_sub(left), Ordering::Relaxed);
    }

    /// The segment has left the log.
    pub(crate) fn retire(&self, encoded_bytes: &AtomicUsize) {
        self.clear(encoded_bytes, true);
    }

    fn clear(&self, encoded_bytes: &AtomicUsize, retired: bool) {
        let mut cache = self.cache();
        cache.retired |= retired;
        cache.list.clear();
        encoded_bytes.fetch_sub(self.charged.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }

    fn ready(&self, encoding: &F::Encoding) -> Option<Arc<EncodedRecords>> {
        let cache = self.cache();
        let (_, cell) = cache.list.iter().find(|(known, _)| known == encoding)?;
        cell.get().map(Arc::clone)
    }

    fn encode_all(&self, format: &F, encoding: &F::Encoding) -> EncodedRecords {
        let capacity = usize::try_from(self.end - self.first).unwrap_or_default();
        let mut out = Vec::with_capacity(self.weight + 32 * capacity);
        let mut ends = Vec::with_capacity(capacity);
        let mut count = 0;
        for part in &self.parts {
            format.encode_all(encoding, &part.position, &part.records, &mut out, &mut ends);
            count += part.records.len();
            // An implementation that miscounts must not shift the records of the next part.
            ends.resize(count, out.len());
        }
        let mut last = 0;
        for end in &mut ends {
            *end = (*end).clamp(last, out.len());
            last = *end;
        }
        out.truncate(last);
        out.shrink_to_fit();
        EncodedRecords { bytes: out.into(), ends: ends.into() }
    }

    fn cache(&self) -> MutexGuard<'_, EncodingCache<F::Encoding>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn concatenate(parts: &[Arc<EncodedRecords>]) -> EncodedRecords {
    let mut bytes = Vec::with_capacity(parts.iter().map(|encoded| encoded.bytes.len()).sum());
    let mut ends = Vec::with_capacity(parts.iter().map(|encoded| encoded.ends.len()).sum());
    for encoded in parts {
        let before = bytes.len();
        ends.extend(encoded.ends.iter().map(|end| before + end));
        bytes.extend_from_slice(&encoded.bytes);
    }
    EncodedRecords { bytes: bytes.into(), ends: ends.into() }
}
