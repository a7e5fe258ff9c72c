use base64::Engine as _;
use tailwater_hub::Content;
use tailwater_sse::{Event, encode_event};

use crate::filter::Index;
use crate::id::{self, IdForm};
use crate::positions::{BASE64, Encoder, Positions};
use crate::record::Record;

/// A progress longer than this is not written with each event but with the last of a write, since
/// an `EventSource` keeps the last one only.
const LONG_PROGRESS: usize = 1024;

/// With no more partitions a progress is never long: a pair takes 13 bytes at the most.
pub(crate) const FEW_PARTITIONS: usize = 56;

/// The form of a stream's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) form: IdForm,
    pub(crate) timestamps: bool,
}

impl View {
    /// Encodes `record` with the id of `progress`.
    pub(crate) fn encode(self, record: &Record, progress: &str, out: &mut Vec<u8>) {
        self.encode_with(record, progress, &mut Vec::new(), out);
    }

    fn encode_with(self, record: &Record, progress: &str, id: &mut Vec<u8>, out: &mut Vec<u8>) {
        id.clear();
        if let Some(gap) = record.as_gap() {
            let progress = (progress.len() <= LONG_PROGRESS).then_some(progress.as_bytes());
            let data = gap.data();
            let event = Event {
                event: Some(b"gap"),
                data: Some(data.as_bytes()),
                id: progress,
                ..Event::default()
            };
            return encode_event(&event, out);
        }
        if progress.len() <= LONG_PROGRESS {
            id::encode(self.form, progress, record.key(), record.etag(), id);
        }
        let deleted;
        let (event, data) = match record.value() {
            Some(value) => (None, value),
            None => {
                deleted = BASE64.encode(record.key().unwrap_or_default());
                (Some(&b"delete"[..]), deleted.as_bytes())
            }
        };
        let event = Event {
            timestamp: record.timestamp.filter(|_| self.timestamps),
            event,
            data: Some(data),
            id: (!id.is_empty()).then_some(id),
        };
        encode_event(&event, out);
    }

    /// The `id` line and the end of an event that was encoded without, because its id is long.
    pub(crate) fn long_id(self, record: &Record, progress: &str) -> Option<Vec<u8>> {
        (progress.len() > LONG_PROGRESS).then(|| {
            let mut line = b"id:".to_vec();
            match record.is_gap() {
                true => line.extend_from_slice(progress.as_bytes()),
                false => {
                    id::encode(self.form, progress, record.key(), record.etag(), &mut line);
                }
            }
            line.extend_from_slice(b"\n\n");
            line
        })
    }
}

/// Records of one topic, as the hub holds, indexes and shows them.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) index: Index,
}

impl Content for Records {
    type Record = Record;
    type Mark = Positions;
    type View = View;

    fn weight(&self, record: &Record) -> usize {
        record.weight()
    }

    fn values(&self, record: &Record, add: &mut dyn FnMut(u64)) {
        self.index.values(record, add);
    }

    fn advance(&self, mark: &Positions, records: &[Record]) -> Positions {
        mark.after(records.iter().map(|record| (record.partition, record.offset)))
    }

    fn render(
        &self,
        view: &View,
        mark: &Positions,
        records: &[Record],
        out: &mut Vec<u8>,
        ends: &mut Vec<usize>,
    ) {
        let mut positions = Encoder::new(mark);
        let (mut progress, mut id) = (String::new(), Vec::new());
        for record in records {
            positions.advance(record.partition, record.offset);
            progress.clear();
            positions.encode(&mut progress);
            view.encode_with(record, &progress, &mut id, out);
            ends.push(out.len());
        }
    }
}
