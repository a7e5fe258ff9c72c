//! The live log of a topic.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tailwater_hub::{Cursor, Hub, Selector};
use tokio::sync::{OnceCell, oneshot};
use tokio::time::Instant;

use crate::data::events::Records;
use crate::data::gap::{self, Watermarks};
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::topic::conversion::Converter;
use crate::topic::losses::Losses;
use crate::topic::snapshot::Latest;

/// A log of fewer bytes is gone through in some milliseconds.
const LARGE_BYTES: usize = 4 * 1024 * 1024;

/// The live log of a topic. It ends when something happens that a log can't show: offsets that went
/// back, a position that is gone. Streams then look for their place anew.
#[derive(Debug)]
pub(crate) struct TopicLog {
    pub(crate) hub: Hub<Records>,
    /// How often its offsets had gone back before.
    pub(crate) epoch: u64,
    /// Where the topic began when its log was opened.
    pub(crate) origin: Positions,
    pub(crate) tombstone_retention: OnceLock<Option<Duration>>,
    /// What Kafka had of the topic when it was opened, and when it was asked.
    watermarks: Option<(Instant, Watermarks)>,
    /// Of a compacted topic: the latest record of each key, if streams needed it.
    pub(crate) latest: Latest,
    /// The topic's.
    pub(crate) losses: Arc<Losses>,
    /// The topic's.
    pub(crate) converter: Option<Arc<Converter>>,
    indexed: OnceCell<()>,
}

impl TopicLog {
    pub(crate) fn new(
        hub: Hub<Records>,
        epoch: u64,
        origin: Positions,
        losses: Arc<Losses>,
    ) -> Self {
        Self {
            hub,
            epoch,
            origin,
            tombstone_retention: OnceLock::new(),
            watermarks: None,
            latest: Latest::default(),
            losses,
            converter: None,
            indexed: OnceCell::new(),
        }
    }

    /// With the converter of the topic's records.
    pub(crate) fn converted_by(self, converter: Option<Arc<Converter>>) -> Self {
        Self { converter, ..self }
    }

    /// With what Kafka told when it was asked then.
    pub(crate) fn found(
        self,
        asked: Instant,
        watermarks: Watermarks,
        tombstone_retention: Option<Option<Duration>>,
    ) -> Self {
        let known = tombstone_retention.map_or_else(OnceLock::new, OnceLock::from);
        Self { tombstone_retention: known, watermarks: Some((asked, watermarks)), ..self }
    }

    /// A cursor for a stream that goes on at `at`, if the log still has that position.
    pub(crate) fn seek(
        &self,
        at: &Positions,
        selector: &Selector<Record>,
    ) -> Option<Cursor<Records>> {
        self.hub.seek(|mark| mark.at_or_before(at), selector.clone())
    }

    /// What Kafka had of the topic, if it was asked after a stream `came` that names these offsets: what
    /// that stream knows is no younger.
    pub(crate) fn watermarks_since(
        &self,
        came: Instant,
        offsets: &[(i32, i64)],
    ) -> Option<&Watermarks> {
        let (asked, watermarks) = self.watermarks.as_ref()?;
        // Tombstones that are gone were not asked for.
        let compacted = self.is_compacted()?;
        let knows_all = !gap::resumes(offsets) || !compacted;
        let fits = gap::named_partitions(offsets) <= watermarks.low.len() && knows_all;
        (fits && came <= *asked).then_some(watermarks)
    }

    /// Waits until records can be looked up by key and header: a log that is large is gone through on a
    /// thread of its own, once, when the first stream needs it. Done by a stream, it would hold up all.
    pub(crate) async fn index(&self) {
        if self.hub.is_indexed() || self.hub.bytes() < LARGE_BYTES {
            return;
        }
        let build = async || {
            let (done, built) = oneshot::channel();
            let hub = self.hub.clone();
            let work = move || {
                hub.build_index();
                let _ = done.send(());
            };
            // Without a thread, or if it panicked, the stream has to.
            if thread::Builder::new().name("kafka-index".to_owned()).spawn(work).is_ok() {
                let _ = built.await;
            }
        };
        self.indexed.get_or_init(build).await;
    }

    /// Whether the topic is known to be compacted; `None` if its configuration was not read.
    pub(crate) fn is_compacted(&self) -> Option<bool> {
        self.tombstone_retention.get().map(Option::is_some)
    }
}
