use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use tailwater_hub::{Format, Hub};
use tailwater_kafka_types::{Budget, EventIdFormat};
use tailwater_sse::{EventRef, encode_event};

use crate::data::counters::Counters;
use crate::data::filter::Index;
use crate::data::positions::{Encoder, Positions};
use crate::data::record::Record;

/// A longer progress is only written with the last event of a write, since an `EventSource` keeps only the
/// last id.
const LONG_PROGRESS: usize = 1024;

/// The most bytes of a chunk, both of its records and of their events in one encoding. The first stream that
/// reads a chunk encodes all of it at once.
pub(crate) const CHUNK_BYTES: usize = Budget::PIECE_BYTES;

/// A record whose event may have longer data is not encoded with its chunk. Each stream encodes it piece by
/// piece.
const LARGE_BYTES: usize = CHUNK_BYTES / 2;

/// With no more partitions a progress is never long: a pair takes at most 13 bytes.
pub(crate) const FEW_PARTITIONS: usize = 56;

/// The format of the events of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub(crate) form: EventIdFormat,
    pub(crate) timestamps: bool,
}

impl Encoding {
    /// Encodes the event of `record`. Its id has this `progress`.
    pub(crate) fn encode(self, record: &Record, progress: &str, out: &mut Vec<u8>) {
        self.encode_with(record, progress, &mut Vec::new(), out);
    }

    fn encode_with(self, record: &Record, progress: &str, id: &mut Vec<u8>, out: &mut Vec<u8>) {
        id.clear();
        if let Some(gap) = record.as_gap() {
            let progress = (progress.len() <= LONG_PROGRESS).then_some(progress.as_bytes());
            let data = gap.data();
            let event = EventRef {
                event: Some(b"gap"),
                data: Some(data.as_bytes()),
                id: progress,
                ..EventRef::default()
            };
            return encode_event(event, out);
        }
        if progress.len() <= LONG_PROGRESS {
            self.form.encode(progress, record.key(), record.etag(), id);
        }
        let deleted;
        let (event, data) = match record.value() {
            Some(value) => (None, value),
            None => {
                deleted = URL_SAFE.encode(record.key().unwrap_or_default());
                (Some(&b"delete"[..]), deleted.as_bytes())
            }
        };
        let event = EventRef {
            timestamp: self.timestamp(record),
            event,
            data: Some(data),
            id: (!id.is_empty()).then_some(id),
        };
        encode_event(event, out);
    }

    /// The `id` line and the end of an event that was encoded without them, because its id is long.
    pub(crate) fn long_id(self, record: &Record, progress: &str) -> Option<Vec<u8>> {
        (progress.len() > LONG_PROGRESS).then(|| self.id_line(record, progress))
    }

    /// The `id` line and the end of an event.
    pub(crate) fn id_line(self, record: &Record, progress: &str) -> Vec<u8> {
        let mut line = b"id:".to_vec();
        match record.is_gap() {
            true => line.extend_from_slice(progress.as_bytes()),
            false => self.form.encode(progress, record.key(), record.etag(), &mut line),
        }
        line.extend_from_slice(b"\n\n");
        line
    }

    pub(crate) fn timestamp(self, record: &Record) -> Option<i64> {
        record.timestamp.filter(|_| self.timestamps)
    }
}

/// Whether each stream encodes the event of the record in pieces.
pub(crate) fn is_large(record: &Record) -> bool {
    record.event_data_bytes() > LARGE_BYTES
}

/// Whether the event of the record is encoded once for all streams. A gap is not: each stream counts it, and joins
/// those of rejected records.
fn is_shared(record: &Record) -> bool {
    !is_large(record) && !record.is_gap()
}

/// Appends records in chunks that have at most [`CHUNK_BYTES`], encoded or not. A large record is a chunk by
/// itself.
pub(crate) fn append(hub: &Hub<Records>, records: Vec<Record>) {
    let head = hub.head();
    hub.format().note_read(&head, &records);
    chunks(records, head.len()).into_iter().rev().for_each(|chunk| hub.append(chunk));
}

/// The chunks, the last one first.
fn chunks(mut records: Vec<Record>, partitions: usize) -> Vec<Vec<Record>> {
    let mut bytes = 0;
    let mut ends = Vec::new();
    for (at, record) in records.iter().enumerate() {
        let next = chunk_bytes(record, partitions);
        if at > 0 && bytes + next > CHUNK_BYTES {
            ends.push(at);
            bytes = 0;
        }
        bytes += next;
    }
    let mut chunks: Vec<_> = ends.iter().rev().map(|end| records.split_off(*end)).collect();
    chunks.push(records);
    chunks
}

/// The most bytes that a record takes of a chunk, as it is or as an event.
fn chunk_bytes(record: &Record, partitions: usize) -> usize {
    /// The names and ends of the fields, and a timestamp.
    const FRAME: usize = 64;
    if is_large(record) {
        return CHUNK_BYTES.max(record.weight());
    }
    // A pair of an id takes at most 13 bytes, and four characters stand for three bytes. A byte of key or
    // etag is written as at most six.
    let progress = (8 + 18 * partitions).min(LONG_PROGRESS);
    let id = (progress + 6 * record.bytes_beside_value()).min(EventIdFormat::MAX_BYTES);
    record.weight().max(record.event_data_bytes() + id + FRAME)
}

/// The records of one topic, as the hub keeps, indexes and encodes them.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) index: Index,
    /// Where the records are counted that are read for the log. `None` if they come from another log.
    counters: Option<Arc<Counters>>,
    /// The epoch of the topic to which the log belongs.
    epoch: u64,
    /// The records come when they are written.
    is_live: bool,
}

impl Records {
    /// Of a log whose records come from another one.
    pub(crate) fn new(index: Index) -> Self {
        Self { index, counters: None, epoch: 0, is_live: false }
    }

    /// Of a live log in this epoch of its topic.
    pub(crate) fn live(index: Index, counters: Arc<Counters>, epoch: u64) -> Self {
        Self { index, counters: Some(counters), epoch, is_live: true }
    }

    /// Of a backfill of this log.
    pub(crate) fn past(&self) -> Self {
        Self { index: self.index.clone(), counters: self.counters.clone(), is_live: false, ..*self }
    }

    /// The counters of the topic.
    pub(crate) fn counters(&self) -> Option<&Counters> {
        self.counters.as_deref()
    }

    fn note_read(&self, from: &Positions, records: &[Record]) {
        if let Some(counters) = &self.counters {
            counters.read(self.epoch, from, records);
            if self.is_live {
                counters.arrived(records);
            }
        }
    }
}

impl Format for Records {
    type Record = Record;
    type Position = Positions;
    type Encoding = Encoding;

    fn weight(&self, record: &Record) -> usize {
        record.weight()
    }

    fn hashes(&self, record: &Record, add: &mut dyn FnMut(u64)) {
        self.index.values(record, add);
    }

    fn advance(&self, position: &Positions, records: &[Record]) -> Positions {
        position.after(records.iter().map(|record| (record.partition, record.offset)))
    }

    fn encode(
        &self,
        encoding: &Encoding,
        position: &Positions,
        record: &Record,
        out: &mut Vec<u8>,
    ) {
        if is_shared(record) {
            let after = self.advance(position, std::slice::from_ref(record));
            encoding.encode(record, &after.progress(), out);
        }
    }

    fn encode_all(
        &self,
        encoding: &Encoding,
        position: &Positions,
        records: &[Record],
        out: &mut Vec<u8>,
        ends: &mut Vec<usize>,
    ) {
        let mut positions = Encoder::new(position);
        let mut progress = String::new();
        let mut id = Vec::new();
        for record in records {
            positions.advance(record.partition, record.offset);
            progress.clear();
            positions.encode(&mut progress);
            if is_shared(record) {
                encoding.encode_with(record, &progress, &mut id, out);
            }
            ends.push(out.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn record(offset: i64, key: &[u8], value: &[u8]) -> Record {
        let headers = [(&b"etag"[..], Some(key))].into_iter();
        let buffer = &mut BytesMut::new();
        Record::new((0, offset, Some(offset)), Some(key), Some(value), headers, buffer)
    }

    /// A chunk of line ends became six times as long as events, encoded by a thread that serves clients.
    #[test]
    fn no_chunk_is_encoded_as_more_than_a_mebibyte() {
        let large = b"\n".repeat(LARGE_BYTES);
        let rows: [(&[u8], &[u8], usize); 6] = [
            (b"", b"", 20_000),
            (b"k", &b"\n ".repeat(1000), 500),
            (&[1; 600], b"v", 2000),
            (b"key", &[b'x'; 1000], 1000),
            (b"", &b"\r".repeat(60_000), 17),
            (b"", &large, 3),
        ];
        let index = Index::new([]);
        for (key, value, count) in rows {
            for partitions in [1, 50, 4000] {
                let start = Positions::new(vec![i64::MAX / 2; partitions]);
                let records: Vec<_> = (0..count as i64).map(|at| record(at, key, value)).collect();
                let chunks = chunks(records, partitions);
                assert_eq!(chunks.iter().map(Vec::len).sum::<usize>(), count);
                for chunk in chunks {
                    for form in [EventIdFormat::Etag, EventIdFormat::KeyAndEtag] {
                        let encoding = Encoding { form, timestamps: true };
                        let mut out = Vec::new();
                        let mut ends = Vec::new();
                        let content = Records::new(index.clone());
                        content.encode_all(&encoding, &start, &chunk, &mut out, &mut ends);
                        assert!(out.len() <= CHUNK_BYTES, "{} {count} {partitions}", out.len());
                    }
                    let weight: usize = chunk.iter().map(Record::weight).sum();
                    assert!(weight <= CHUNK_BYTES || chunk.len() == 1, "{weight}");
                }
            }
        }
    }

    #[test]
    fn a_record_is_encoded_alone_as_in_its_chunk() {
        let format = Records::new(Index::new([]));
        let encoding = Encoding { form: EventIdFormat::KeyAndEtag, timestamps: true };
        let large = b"x".repeat(LARGE_BYTES + 1);
        let records = [record(3, b"a", b"1"), record(7, b"b", &large), record(9, b"a", b"2")];
        let mut position = Positions::new([0, 5]);
        let mut chunk = Vec::new();
        let mut ends = Vec::new();
        format.encode_all(&encoding, &position, &records, &mut chunk, &mut ends);
        let mut alone = Vec::new();
        for (record, end) in records.iter().zip(ends) {
            format.encode(&encoding, &position, record, &mut alone);
            assert_eq!(alone.len(), end);
            position = format.advance(&position, std::slice::from_ref(record));
        }
        assert_eq!(alone, chunk);
    }
}
