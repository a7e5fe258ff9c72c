//! Logs and passes that ended while streams still had to read them.

use std::sync::{Mutex, PoisonError};

use tailwater_hub::{Hub, WeakHub};

use crate::records::Records;

/// What all of them keep at most.
pub(crate) const REMAINS_BYTES: usize = 32 * 1024 * 1024;

/// A stream that stands still keeps what it has not read. Each could keep a log or a pass of its own,
/// so those that ended last keep something, and streams that are further back are lost there: they look
/// for their place when they go on.
#[derive(Debug, Default)]
pub(crate) struct Remains(Mutex<Vec<WeakHub<Records>>>);

impl Remains {
    /// Ends a log: nothing more comes.
    pub(crate) fn end(&self, hub: &Hub<Records>) {
        hub.close();
        let mut ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ended.push(hub.downgrade());
        let mut left = REMAINS_BYTES;
        // The newest first.
        let mut kept: Vec<_> = ended.drain(..).rev().collect();
        kept.retain(|hub| {
            let Some(hub) = hub.upgrade() else { return false };
            // What is still to be read, with room for what is rendered of it: events may be longer than
            // their records. Who holds it and reads nothing of it needs nothing.
            let most = left.min(3 * hub.lag_bytes());
            hub.set_capacity_bytes(most);
            left -= most;
            most > 0
        });
        kept.reverse();
        *ended = kept;
    }

    /// What they keep.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ended.iter().filter_map(WeakHub::upgrade).map(|hub| hub.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::filter::Index;
    use crate::positions::Positions;
    use crate::record::Record;

    #[test]
    fn who_holds_an_ended_log_and_reads_nothing_keeps_none_of_its_records() {
        let hub = Hub::new(Records { index: Index::new([]) }, Positions::new(vec![0]), usize::MAX);
        let value = [b'x'; 1000];
        let headers = std::iter::empty();
        let record = Record::new((0, 0, None), None, Some(&value), headers, &mut BytesMut::new());
        hub.append(vec![record]);
        assert!(hub.bytes() > 1000);
        Remains::default().end(&hub);
        assert_eq!(hub.bytes(), 0);
    }
}
