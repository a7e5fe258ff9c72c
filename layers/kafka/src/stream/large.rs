//! Events that are too long to be encoded with their chunk. Each stream encodes them by itself, in pieces that
//! its client takes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use tailwater_sse::{DataFields, Encoded, EventRef, encode_event};

use crate::data::events::Encoding;
use crate::data::record::Record;

/// The rest of the event of a record.
#[derive(Debug)]
pub(crate) struct LargeEvent {
    record: Record,
    /// The fields before the data, until they are written.
    head: Vec<u8>,
    fields: DataFields,
    /// How many bytes of the key were encoded, which is the data of a tombstone.
    key_at: usize,
    /// The id, and the empty line.
    tail: Vec<u8>,
}

impl LargeEvent {
    pub(crate) fn new(encoding: Encoding, record: &Record, progress: &str) -> Self {
        let mut head = Vec::new();
        let event = record.value().is_none().then_some(&b"delete"[..]);
        let timestamp = encoding.timestamp(record);
        encode_event(EventRef { timestamp, event, ..EventRef::default() }, &mut head);
        // The empty line.
        head.pop();
        if record.value().is_none() {
            head.extend_from_slice(b"data:");
        }
        let tail = encoding.id_line(record, progress);
        Self { record: record.clone(), head, fields: DataFields::default(), key_at: 0, tail }
    }

    /// The next piece, of about `limit` bytes; a part, unless it is the last.
    pub(crate) fn next(&mut self, limit: usize) -> Encoded {
        let mut out = std::mem::take(&mut self.head);
        out.reserve(limit);
        let is_last = match self.record.value() {
            Some(value) => self.fields.encode(value, limit, &mut out),
            None => {
                let key = self.record.key().unwrap_or_default();
                let rest = key.get(self.key_at..).unwrap_or_default();
                // Three bytes are four characters.
                let piece = &rest[..rest.len().min((limit / 4 * 3).max(3))];
                self.key_at += piece.len();
                out.extend_from_slice(URL_SAFE.encode(piece).as_bytes());
                let is_last = piece.len() == rest.len();
                out.extend_from_slice(if is_last { b"\n" } else { b"" });
                is_last
            }
        };
        if !is_last {
            return Encoded::part(Bytes::from(out));
        }
        out.extend_from_slice(&self.tail);
        Encoded::trusted(Bytes::from(out))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use tailwater_kafka_types::EventIdFormat;

    #[test]
    fn pieces_are_the_event_that_the_record_is_encoded_as() {
        let lines = b"\n".repeat(3000);
        let text = b"a\r\n b\rc".repeat(500);
        type Row<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);
        let records: [Row<'_>; 4] = [
            (None, Some(&lines)),
            (Some(b"key"), Some(&text)),
            (Some(&text), None),
            (Some(b""), Some(b"")),
        ];
        for (key, value) in records {
            for (form, timestamps) in
                [(EventIdFormat::Etag, false), (EventIdFormat::KeyAndEtag, true)]
            {
                let encoding = Encoding { form, timestamps };
                let headers = [(&b"etag"[..], Some(&b"7"[..]))].into_iter();
                let at = (0, 0, Some(5));
                let record = Record::new(at, key, value, headers, &mut BytesMut::new());
                let mut expected = Vec::new();
                encoding.encode(&record, "AQIAAg==", &mut expected);
                for limit in [1, 7, 100, 64 * 1024] {
                    let mut event = LargeEvent::new(encoding, &record, "AQIAAg==");
                    let mut wire = Vec::new();
                    loop {
                        let piece = event.next(limit);
                        let is_part = piece.is_part();
                        let piece = piece.into_bytes();
                        assert!(piece.len() <= limit + 128, "{} for {limit}", piece.len());
                        wire.extend_from_slice(&piece);
                        if !is_part {
                            break;
                        }
                    }
                    assert_eq!(wire, expected, "{limit}");
                }
            }
        }
    }
}
