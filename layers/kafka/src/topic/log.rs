//! The live log of a topic.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tailwater_hub::{Cursor, Hub, Selector};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::data::events::Records;
use crate::data::gap::{self, Watermarks};
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::topic::conversion::Converter;
use crate::topic::losses::LogLosses;
use crate::topic::registry::BuildIndex;
use crate::topic::snapshot::Latest;

/// A log of fewer bytes is indexed in some milliseconds.
const LARGE_BYTES: usize = 4 * 1024 * 1024;

/// The live log of a topic. It ends when something happens that a log can't represent: a truncation, or
/// offsets that were removed before they were read. Its streams then resume in the next log.
#[derive(Debug)]
pub(crate) struct TopicLog {
    pub(crate) hub: Hub<Records>,
    /// How many truncations the topic had before.
    pub(crate) epoch: u64,
    /// The low watermarks when the log was opened.
    pub(crate) origin: Positions,
    pub(crate) tombstone_retention: OnceLock<Option<Duration>>,
    /// The watermarks when the log was opened, and when Kafka was asked for them.
    watermarks: Option<(Instant, Watermarks)>,
    /// Of a compacted topic: the latest record of each key, if streams have needed it.
    pub(crate) latest: Latest,
    /// The topic's.
    pub(crate) losses: LogLosses,
    /// The topic's.
    pub(crate) converter: Option<Arc<Converter>>,
    indexed: OnceCell<()>,
}

impl TopicLog {
    pub(crate) fn new(hub: Hub<Records>, epoch: u64, origin: Positions, losses: LogLosses) -> Self {
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

    /// Adds what Kafka answered when the log was opened. `asked`: when Kafka was asked.
    pub(crate) fn found(
        self,
        asked: Instant,
        watermarks: Watermarks,
        tombstone_retention: Option<Option<Duration>>,
    ) -> Self {
        let known = tombstone_retention.map_or_else(OnceLock::new, OnceLock::from);
        Self { tombstone_retention: known, watermarks: Some((asked, watermarks)), ..self }
    }

    /// A cursor for a stream that resumes at `at`, if the log still has that position.
    pub(crate) fn seek(
        &self,
        at: &Positions,
        selector: &Selector<Record>,
    ) -> Option<Cursor<Records>> {
        self.hub.seek(|position| position.at_or_before(at), selector.clone())
    }

    /// The watermarks, if Kafka was asked for them after a stream `came` that names these offsets. They are then
    /// as new as what the stream knows.
    pub(crate) fn watermarks_since(
        &self,
        came: Instant,
        offsets: &[(i32, i64)],
    ) -> Option<&Watermarks> {
        let (asked, watermarks) = self.watermarks.as_ref()?;
        // The query did not ask for the tombstones that are kept.
        let compacted = self.is_compacted()?;
        let knows_all = !gap::resumes(offsets) || !compacted;
        let fits = gap::named_partitions(offsets) <= watermarks.low.len() && knows_all;
        // At the same reading of the clock, either may have been first.
        (fits && came < *asked).then_some(watermarks)
    }

    /// Waits until records can be looked up by key and header. A large log is indexed once, when the first stream
    /// needs it, by `build`: on the thread of a stream that would hold up all others.
    pub(crate) async fn index(&self, build: &BuildIndex) {
        if self.hub.is_indexed() || self.hub.bytes() < LARGE_BYTES {
            return;
        }
        let build = async || {
            // Without a thread, or if it panicked, the stream builds the index itself.
            let _ = build(self.hub.clone()).await;
        };
        self.indexed.get_or_init(build).await;
    }

    /// Whether the topic is known to be compacted; `None` if its configuration was not read.
    pub(crate) fn is_compacted(&self) -> Option<bool> {
        self.tombstone_retention.get().map(Option::is_some)
    }
}
