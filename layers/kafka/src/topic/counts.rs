//! What a cluster tells of its streams and topics, in numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::data::counters::Counters;
use crate::data::histogram::Histogram;
use crate::topic::Topic;

/// How a stream was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamStart {
    /// The client sent a last event id, even if it does not decode.
    Id,
    /// The request named a start other than a time.
    From,
    /// The request named a time.
    Since,
    /// At the end, by default.
    Live,
    /// At the beginning, by default.
    Beginning,
}

impl StreamStart {
    /// The name: `id`, `from`, `since`, `live` or `beginning`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::From => "from",
            Self::Since => "since",
            Self::Live => "live",
            Self::Beginning => "beginning",
        }
    }
}

/// What a stream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamState {
    /// It has no place in a log: it waits for Kafka, for its topic, or for a reader of the history.
    Seeking,
    /// It reads the history of its topic.
    History,
    /// It reads the latest records of a compacted topic.
    Snapshot,
    /// It is in the live log, and waits until the log has reached the position of its client.
    Ahead,
    /// It is in the live log.
    Live,
}

impl StreamState {
    /// All states.
    pub const ALL: [Self; 5] =
        [Self::Seeking, Self::History, Self::Snapshot, Self::Ahead, Self::Live];

    /// The name: `seeking`, `history`, `snapshot`, `ahead` or `live`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seeking => "seeking",
            Self::History => "history",
            Self::Snapshot => "snapshot",
            Self::Ahead => "ahead",
            Self::Live => "live",
        }
    }
}

/// How far a stream is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamLag {
    /// How many records of the topic it has not passed. Before the live log they are counted by their offsets. 0
    /// for a stream with an indexed filter that waits for its next match.
    pub records: u64,
    /// How long the first of these records that is in memory has been there, to one poll of the consumer. Zero
    /// if none is.
    pub age: Duration,
}

/// What a [`Cluster`](crate::Cluster) has counted since its start, and how it is now. No counter ever falls.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Counts {
    /// How often Kafka was reached or lost.
    pub contact_changes: u64,
    /// The number of errors by kind: failed connections (`refused`, `name`, `no_answer`, `connect`, `closed`, `tls`,
    /// `sasl`, `no_kafka`, `too_large`, `other`), and batches that could not be read (`fetch`).
    pub errors: BTreeMap<&'static str, u64>,
    /// How many bytes all logs may take.
    pub log_budget_bytes: usize,
    /// The number of passes over the history of topics that are being read.
    pub history_passes: usize,
    /// The number of passes that were begun.
    pub history_passes_total: u64,
    /// The number of streams that wait for a pass.
    pub history_waiting_streams: usize,
    /// The topics, sorted by name. Beyond 1000 topics the others are one with the name `_other_`, as are streams
    /// that began when their topic was not known to exist.
    pub topics: Vec<TopicCounts>,
}

/// What was counted of a topic.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TopicCounts {
    /// The name of the topic, or `_other_`.
    pub name: Arc<str>,
    /// The configuration names it.
    pub named: bool,
    /// The topic does not exist.
    pub missing: bool,
    /// Kafka does not permit to describe or to read the topic.
    pub forbidden: bool,
    /// Whether the log advances, as in [`TopicHealth`](crate::TopicHealth). `None` without a log.
    pub advances: Option<bool>,
    /// The number of records between the log and the end that Kafka reported last. `None` without a log.
    pub behind_records: Option<u64>,
    /// The memory that the log takes. `None` without a log.
    pub log_bytes: Option<usize>,
    /// How often the log was restarted because it did not advance.
    pub restarts: u64,
    /// The number of records that were read from Kafka. Each counts once, however many streams there are, and however
    /// often it is read.
    pub records_read: u64,
    /// The bytes of their keys, values and headers.
    pub read_bytes: u64,
    /// How long records took from their timestamps until they could be read here, in seconds: of each poll of the
    /// consumer the last record.
    pub delay: Histogram,
    /// How many records its converter rejected, by reason. Those that are rejected again after the topic was not
    /// held for a while count again.
    pub rejected: BTreeMap<&'static str, u64>,
    /// The number of snapshots that were made.
    pub snapshots: u64,
    /// How often snapshots were given up because they would take too much memory.
    pub snapshots_given_up: u64,
    /// The number of events of records that streams were given.
    pub events_sent: u64,
    /// The bytes that were sent to clients, as far as [`note_sent_bytes`](crate::StreamProbe::note_sent_bytes) tells.
    pub sent_bytes: u64,
    /// How many gaps streams were given, by reason.
    pub gaps_told: BTreeMap<&'static str, u64>,
    /// The open streams.
    pub streams: StreamCounts,
}

impl TopicCounts {
    pub(crate) fn new(counters: &Counters, topic: Option<&Topic>, streams: StreamCounts) -> Self {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let log = topic.and_then(Topic::log);
        Self {
            name: Arc::clone(&counters.name),
            named: topic.is_some_and(|topic| topic.named),
            missing: topic.is_some_and(Topic::is_missing),
            forbidden: topic.is_some_and(Topic::is_forbidden),
            advances: topic.filter(|_| log.is_some()).map(|topic| topic.health().advances),
            behind_records: topic.and_then(Topic::behind),
            log_bytes: log.map(|log| log.hub.bytes()),
            restarts: get(&counters.restarts),
            records_read: get(&counters.records_read),
            read_bytes: get(&counters.read_bytes),
            delay: counters.delay(),
            rejected: counters.rejected(),
            snapshots: get(&counters.snapshots),
            snapshots_given_up: get(&counters.snapshots_given_up),
            events_sent: get(&counters.sent.events),
            sent_bytes: get(&counters.sent.bytes),
            gaps_told: counters.gaps(),
            streams,
        }
    }
}

/// The open streams of a topic. They are counted at most once a second.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StreamCounts {
    /// The number of streams in each state, in the order of [`StreamState::ALL`].
    pub states: [u64; StreamState::ALL.len()],
    /// How many records the streams are behind that are not [seeking](StreamState::Seeking).
    pub lag_records: Histogram,
    /// How long the first of these records has been in memory, in seconds.
    pub lag_seconds: Histogram,
}
