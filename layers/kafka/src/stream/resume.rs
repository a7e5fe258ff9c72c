//! Resolves where a stream resumes: in the live log, in a backfill from Kafka, or after a gap.

use std::sync::Arc;

use bytes::Bytes;
use tailwater_hub::{Cursor, Selector};
use tailwater_kafka_types::EventId;
use tokio::time::Instant;

use crate::data::events::Records;
use crate::data::gap::{self, Gap, Reason, Truncation, reconcile};
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::data::start::{Start, epoch_ms};
use crate::topic::counts::StreamState;
use crate::topic::registry::Shared;
use crate::topic::snapshot::Replay;
use crate::topic::{Topic, TopicLog};

/// Where a stream asks to resume.
#[derive(Debug)]
pub(crate) enum ResumeFrom {
    /// After the id. Without an id that decodes, at the start.
    Request(Option<Bytes>, Start),
    /// At the position that it had when it lost its log, of this epoch, with the snapshot that it had read.
    Detached(Positions, u64, Option<Replay>),
}

/// The attachment of a stream to a log: its cursor, and what is sent before.
pub(crate) struct Attachment {
    pub(crate) cursor: Cursor<Records>,
    /// The position of the stream: that of the cursor or a later one.
    pub(crate) at: Positions,
    pub(crate) epoch: u64,
    pub(crate) gaps: Vec<Gap>,
    /// The stream begins at a position that no id of the client has.
    pub(crate) resolved: bool,
    /// For a compacted topic: the snapshot that the stream reads or has read.
    pub(crate) replay: Option<Replay>,
    /// The stream begins at the end.
    pub(crate) live: bool,
    /// Where the cursor is.
    pub(crate) state: StreamState,
}

/// The offsets at which a stream asks to resume. Partitions without an offset begin at their beginning.
enum StartingOffsets {
    Live,
    /// The first offsets whose records have this time or a later one, in milliseconds since 1970.
    Since(i64),
    Offsets(Vec<(i32, i64)>),
}

impl StartingOffsets {
    /// The offsets that the client names: none if it begins at the end or at a time.
    fn offsets(&self) -> &[(i32, i64)] {
        match self {
            Self::Live | Self::Since(_) => &[],
            Self::Offsets(offsets) => offsets,
        }
    }
}

/// Waits without a limit: for Kafka, for the topic, and for a reader of its history.
pub(crate) async fn resolve(
    shared: Arc<Shared>,
    topic: Arc<Topic>,
    from: ResumeFrom,
    selector: Selector<Record>,
) -> Attachment {
    let mut resume = Resume::new(shared, topic, from, selector);
    loop {
        if let Some(attachment) = resume.attempt().await {
            return attachment;
        }
    }
}

/// A stream that is not attached to a log.
struct Resume {
    shared: Arc<Shared>,
    topic: Arc<Topic>,
    selector: Selector<Record>,
    starting: StartingOffsets,
    /// The epoch of the log to which the offsets belong, if it is a log of this instance.
    epoch: Option<u64>,
    /// The offsets up to which the client has read, as its id says.
    read: Vec<(i32, i64)>,
    /// Whether the client begins at the beginning and has read nothing.
    begins: bool,
    /// As [`Attachment::resolved`].
    resolved: bool,
    gaps: Vec<Gap>,
    replay: Option<Replay>,
}

/// Where a stream can continue in a topic, and the records that it misses.
struct Target {
    at: Positions,
    gaps: Vec<Gap>,
    /// The first offsets of the topic.
    low: Positions,
}

impl Resume {
    fn new(
        shared: Arc<Shared>,
        topic: Arc<Topic>,
        from: ResumeFrom,
        selector: Selector<Record>,
    ) -> Self {
        let mut gaps = Vec::new();
        let mut replay = None;
        let mut epoch = None;
        let starting = match from {
            ResumeFrom::Detached(positions, of, known) => {
                replay = known;
                epoch = Some(of);
                StartingOffsets::Offsets(positions.iter().collect())
            }
            ResumeFrom::Request(id, start) => {
                let decoded = id.as_ref().map(|id| EventId::decode(id));
                if let Some(None) = decoded {
                    gaps.push(Gap::ID);
                }
                match (decoded.flatten(), start) {
                    (Some(id), _) | (None, Start::Id(id)) => {
                        StartingOffsets::Offsets(id.offsets().to_vec())
                    }
                    (None, Start::Earliest) => StartingOffsets::Offsets(Vec::new()),
                    (None, Start::Live) => StartingOffsets::Live,
                    (None, Start::Since(time)) => StartingOffsets::Since(epoch_ms(time)),
                }
            }
        };
        let read = starting.offsets().to_vec();
        let resolved = !matches!(starting, StartingOffsets::Offsets(_));
        let begins =
            epoch.is_none() && !resolved && read.iter().all(|(_, next)| matches!(next, -2 | 0));
        Self { shared, topic, selector, starting, epoch, read, begins, resolved, gaps, replay }
    }

    /// Attaches the stream to the open log, or to a snapshot or backfill before it. `None` if that log ended or
    /// evicted the position meanwhile.
    async fn attempt(&mut self) -> Option<Attachment> {
        let came = Instant::now();
        let (log, was_missing) = self.topic.wait_open().await;
        if matches!(self.selector, Selector::Hashes(..)) {
            log.index(&self.shared.build_index).await;
        }
        // In a topic that did not exist, all records are new.
        if matches!(self.starting, StartingOffsets::Live) && !was_missing {
            let mut cursor = log.hub.tail(self.selector.clone());
            let at = cursor.position();
            return Some(self.attached(&log, (cursor, StreamState::Live), at, Vec::new()));
        }
        let truncation = self.epoch.map(|epoch| self.topic.truncation_between(epoch, log.epoch));
        let truncation = truncation.unwrap_or_default();
        if let Some(attachment) = self.attach_without_question(&log, &truncation) {
            return Some(attachment);
        }
        let mut target = self.target(came, &log, &truncation).await?;
        let attachment = self.attach(&log, &mut target).await;
        if attachment.is_none() {
            self.go_on_from(target, log.epoch);
        }
        attachment
    }

    /// Attaches the stream without a query to Kafka, if the log is known to have passed the position.
    fn attach_without_question(
        &mut self,
        log: &TopicLog,
        truncation: &Truncation,
    ) -> Option<Attachment> {
        let is_since = matches!(self.starting, StartingOffsets::Since(_));
        // A stream from the beginning of a compacted topic needs a snapshot, not all records of the log.
        let may_replay = self.begins && log.is_compacted() != Some(false);
        if is_since || self.is_truncated(truncation) || may_replay {
            return None;
        }
        let at = within(self.starting.offsets(), log)?;
        if self.is_replaying(&at) {
            return None;
        }
        let cursor = log.seek(&at, &self.selector)?;
        Some(self.attached(log, (cursor, StreamState::Live), at, Vec::new()))
    }

    /// Whether a stream at this position has not finished the replay that it began.
    fn is_replaying(&self, at: &Positions) -> bool {
        self.replay.as_ref().is_some_and(|replay| !replay.is_over(at))
    }

    fn is_truncated(&self, truncation: &Truncation) -> bool {
        self.starting
            .offsets()
            .iter()
            .any(|(partition, next)| truncation.invalidates(*partition, *next))
    }

    /// Compares the offsets with the watermarks of the topic. `None` if the log ended before Kafka answered.
    async fn target(
        &mut self,
        came: Instant,
        log: &Arc<TopicLog>,
        truncation: &Truncation,
    ) -> Option<Target> {
        let since = match self.starting {
            StartingOffsets::Since(time) => Some(time),
            StartingOffsets::Live | StartingOffsets::Offsets(_) => None,
        };
        let offsets = self.starting.offsets();
        let known = log.watermarks_since(came, offsets).filter(|_| since.is_none());
        let watermarks = match known {
            Some(watermarks) => watermarks.clone(),
            None => self.shared.request_watermarks(&self.topic, log, offsets, since).await.ok()?,
        };
        let (at, gaps) = match &watermarks.since {
            Some(first) => (Positions::new(&first[..]), Vec::new()),
            None => reconcile(offsets, &watermarks, truncation),
        };
        if self.is_truncated(truncation) {
            self.replay = None;
        }
        if since.is_some() {
            // The client counts as having read the records before that time.
            self.read = at.iter().collect();
        }
        Some(Target { at, gaps, low: Positions::new(watermarks.low) })
    }

    /// Attaches the stream to the live log if that has the position, else to a snapshot or to a backfill.
    async fn attach(&mut self, log: &Arc<TopicLog>, target: &mut Target) -> Option<Attachment> {
        let is_kept = log.is_compacted() == Some(true) && !log.latest.is_given_up();
        let replays = is_kept
            && (self.begins || self.is_replaying(&target.at))
            && !log.hub.head().at_or_before(&target.at);
        let live = if replays { None } else { log.seek(&target.at, &self.selector) };
        let cursor = match live {
            Some(cursor) => (cursor, StreamState::Live),
            None if is_kept => (self.replay_snapshot(log, target).await?, StreamState::Snapshot),
            None => {
                let history = &self.shared.history;
                let joined = history.join(&self.topic.name, log, &target.at, &self.selector);
                (joined.await?, StreamState::History)
            }
        };
        let gaps = std::mem::take(&mut target.gaps);
        Some(self.attached(log, cursor, target.at.clone(), gaps))
    }

    /// Attaches the stream to a snapshot, which has the latest record of each key of a compacted topic.
    async fn replay_snapshot(
        &mut self,
        log: &Arc<TopicLog>,
        target: &mut Target,
    ) -> Option<Cursor<Records>> {
        let snapshot = self.shared.tables.snapshot(&self.topic, log, &target.low).await?;
        if self.replay.as_ref().is_some_and(|replay| replay.goes_on_in(&snapshot)) {
            target.gaps.retain(|gap| gap.reason != Reason::Tombstones);
        }
        let replay = snapshot.replay(self.replay.as_ref(), &self.read);
        let cursor = snapshot.cursor(&target.at, self.selector.clone(), &replay)?;
        self.replay = Some(replay);
        Some(cursor)
    }

    /// The next attempt continues from the target of the last one.
    fn go_on_from(&mut self, target: Target, epoch: u64) {
        // A stream that begins at the beginning begins at that of the next log.
        if self.begins {
            self.gaps.retain(|gap| *gap == Gap::ID);
            return;
        }
        gap::add(&mut self.gaps, target.gaps);
        self.epoch = Some(epoch);
        self.starting = StartingOffsets::Offsets(target.at.iter().collect());
    }

    fn attached(
        &mut self,
        log: &TopicLog,
        (cursor, state): (Cursor<Records>, StreamState),
        at: Positions,
        new_gaps: Vec<Gap>,
    ) -> Attachment {
        let mut gaps = std::mem::take(&mut self.gaps);
        gap::add(&mut gaps, new_gaps);
        Attachment {
            cursor,
            at,
            epoch: log.epoch,
            gaps,
            resolved: self.resolved,
            replay: self.replay.take(),
            live: matches!(self.starting, StartingOffsets::Live),
            state,
        }
    }
}

/// The position that `offsets` name, if the log is known to have passed it. A position ahead of the log may be
/// past the end of the topic, so Kafka has to be asked.
fn within(offsets: &[(i32, i64)], log: &TopicLog) -> Option<Positions> {
    let head = log.hub.head();
    // Only Kafka knows where a partition begins that was added since.
    if head.len() > log.origin.len() {
        return None;
    }
    let mut at: Vec<i64> = head.iter().map(|(partition, _)| log.origin.next(partition)).collect();
    for &(partition, next) in offsets {
        match usize::try_from(partition).ok().and_then(|index| at.get_mut(index)) {
            Some(_) if next == -1 || next > head.next(partition) => return None,
            Some(at) if next >= 0 => *at = next,
            Some(_) => {}
            None => return None,
        }
    }
    Some(Positions::new(at))
}
