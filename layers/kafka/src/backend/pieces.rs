use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use bytes::BytesMut;

const PIECE_BYTES: usize = 64 * 1024;

/// Memory that records are copied into, many into one piece. A piece is freed with the last of its
/// records, so each topic has its own: the log of a quiet topic would otherwise keep, with each of its
/// few records, a piece full of what a busy one brought in the meantime.
#[derive(Default)]
pub(super) struct Pieces {
    /// The topic of the last record, and its piece: neighbours mostly are of the same topic.
    topic: Arc<str>,
    piece: BytesMut,
    others: HashMap<Arc<str>, BytesMut>,
}

impl Pieces {
    /// The topic's name to share, and where its next record goes.
    pub(super) fn of(&mut self, topic: &str) -> (&Arc<str>, &mut BytesMut) {
        if *self.topic != *topic {
            let known = self.others.remove_entry(topic);
            let (topic, piece) = known.unwrap_or_else(|| (topic.into(), BytesMut::new()));
            let topic = mem::replace(&mut self.topic, topic);
            self.others.insert(topic, mem::replace(&mut self.piece, piece));
        }
        if self.piece.capacity() == 0 {
            self.piece.reserve(PIECE_BYTES);
        }
        (&self.topic, &mut self.piece)
    }

    /// Nothing more comes of this topic for now.
    pub(super) fn forget(&mut self, topic: &str) {
        if *self.topic == *topic {
            self.piece = BytesMut::new();
        } else {
            self.others.remove(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn put(pieces: &mut Pieces, topic: &str, bytes: &[u8]) -> Bytes {
        let (name, piece) = pieces.of(topic);
        assert_eq!(**name, *topic);
        piece.extend_from_slice(bytes);
        piece.split().freeze()
    }

    /// Records of all topics shared pieces: one record a minute of a quiet topic beside a busy one kept
    /// 64 KiB each.
    #[test]
    fn records_share_a_piece_with_their_topic_only() {
        let mut pieces = Pieces::default();
        let quiet = put(&mut pieces, "quiet", b"abc");
        let busy = put(&mut pieces, "busy", &[7; 2 * PIECE_BYTES]);
        let next = put(&mut pieces, "quiet", b"d");
        assert_eq!(next.as_ptr(), quiet.as_ptr().wrapping_add(quiet.len()));
        assert_eq!((&quiet[..], &next[..], busy.len()), (&b"abc"[..], &b"d"[..], 2 * PIECE_BYTES));
        drop(quiet);
        drop(next);
        pieces.forget("quiet");
        pieces.forget("busy");
        assert_eq!(pieces.piece.capacity(), 0, "the last topic's");
        assert!(pieces.others.keys().all(|topic| topic.is_empty()));
    }
}
