use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use bytes::BytesMut;

const BUFFER_BYTES: usize = 64 * 1024;

/// Buffers that records are copied into, many records into one buffer. A buffer is freed with the last of its
/// records, so each topic has its own. Otherwise each of the few records of a quiet topic would keep a buffer
/// full of records of a busy one.
#[derive(Default)]
pub(super) struct RecordBuffers {
    /// The topic of the last record, and its buffer: the next record is mostly of the same topic.
    topic: Arc<str>,
    buffer: BytesMut,
    others: HashMap<Arc<str>, BytesMut>,
}

impl RecordBuffers {
    /// The shared name of the topic, and the buffer for its next record.
    pub(super) fn of(&mut self, topic: &str) -> (&Arc<str>, &mut BytesMut) {
        if *self.topic != *topic {
            let known = self.others.remove_entry(topic);
            let (topic, buffer) = known.unwrap_or_else(|| (topic.into(), BytesMut::new()));
            let topic = mem::replace(&mut self.topic, topic);
            self.others.insert(topic, mem::replace(&mut self.buffer, buffer));
        }
        if self.buffer.capacity() == 0 {
            self.buffer.reserve(BUFFER_BYTES);
        }
        (&self.topic, &mut self.buffer)
    }

    /// Drops the buffer of a topic that is not read for now.
    pub(super) fn forget(&mut self, topic: &str) {
        if *self.topic == *topic {
            self.buffer = BytesMut::new();
        } else {
            self.others.remove(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn put(buffers: &mut RecordBuffers, topic: &str, bytes: &[u8]) -> Bytes {
        let (name, buffer) = buffers.of(topic);
        assert_eq!(**name, *topic);
        buffer.extend_from_slice(bytes);
        buffer.split().freeze()
    }

    /// Records of all topics shared buffers: one record a minute of a quiet topic beside a busy one kept
    /// 64 KiB each.
    #[test]
    fn records_share_a_piece_with_their_topic_only() {
        let mut buffers = RecordBuffers::default();
        let quiet = put(&mut buffers, "quiet", b"abc");
        let busy = put(&mut buffers, "busy", &[7; 2 * BUFFER_BYTES]);
        let next = put(&mut buffers, "quiet", b"d");
        assert_eq!(next.as_ptr(), quiet.as_ptr().wrapping_add(quiet.len()));
        assert_eq!((&quiet[..], &next[..], busy.len()), (&b"abc"[..], &b"d"[..], 2 * BUFFER_BYTES));
        drop(quiet);
        drop(next);
        buffers.forget("quiet");
        buffers.forget("busy");
        assert_eq!(buffers.buffer.capacity(), 0, "the last topic's");
        assert!(buffers.others.keys().all(|topic| topic.is_empty()));
    }
}
