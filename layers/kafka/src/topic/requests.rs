//! The messages between the threads of a cluster.

use std::sync::Arc;

use tailwater_hub::Hub;
use tokio::sync::oneshot;

use crate::data::events::Records;
use crate::data::gap::Watermarks;
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::topic::conversion::Converter;
use crate::topic::inspection::Finding;
use crate::topic::losses::LogLosses;
use crate::topic::{Topic, TopicLog};

/// A request to the control task.
#[derive(Debug)]
pub(crate) enum Request {
    /// A stream has named a topic that has no log.
    FindTopic,
    /// The watermarks of a topic, for a stream that names so many partitions and may resume. `since`: a timestamp
    /// whose offsets are wanted, too.
    Watermarks {
        topic: Arc<Topic>,
        log: Arc<TopicLog>,
        partitions: usize,
        resumes: bool,
        since: Option<i64>,
        reply: oneshot::Sender<Watermarks>,
    },
    /// The current end of the topic. The answer comes once the log has reached it.
    End { topic: Arc<Topic>, log: Arc<TopicLog>, reply: oneshot::Sender<Positions> },
    /// The names of all topics.
    List { reply: oneshot::Sender<Vec<String>> },
    /// The tail has lost its assignment.
    Reopen,
    /// A position of the tail is out of range. librdkafka does not say of which partition.
    Verify,
    /// The tail had a fetch error. librdkafka does not say of which partition.
    FetchError { number: u64 },
    /// The tail does not hold a partition from this offset on: it had moved on before.
    NotHeld { topic: Arc<str>, partition: i32, from: i64 },
    /// A stalled partition was inspected.
    Inspected(Inspected),
    /// Kafka does not permit the tail to read a topic. rust-rdkafka does not say which.
    Denied,
    /// The check of access to topics has finished.
    Checked,
    /// The cluster was dropped.
    Close,
}

/// The finding about a partition that is held.
#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) topic: Arc<Topic>,
    pub(crate) log: Arc<TopicLog>,
    pub(crate) partition: i32,
    pub(crate) from: i64,
    pub(crate) finding: Finding,
}

/// A command to the tail.
#[derive(Debug)]
pub(crate) enum Command {
    Assign {
        topic: Arc<str>,
        hub: Hub<Records>,
        from: Positions,
        losses: LogLosses,
        converter: Option<Arc<Converter>>,
    },
    AddPartition {
        topic: Arc<str>,
        partition: i32,
        offset: i64,
    },
    /// Assigns all partitions again: librdkafka stops reading a partition whose position is out of range.
    Reassign {
        topic: Arc<str>,
    },
    /// Moves the position to this offset: there is no record before it.
    SkipTo {
        topic: Arc<str>,
        partition: i32,
        offset: i64,
    },
    /// Stops reading a partition that has not moved from this offset, until it has been inspected.
    Hold {
        topic: Arc<str>,
        partition: i32,
        from: i64,
    },
    /// Reads a held partition again from its position.
    Resume {
        topic: Arc<str>,
        partition: i32,
    },
    /// Appends a gap to the log and reads a held partition again behind it: nothing can be read there.
    Gap {
        topic: Arc<str>,
        gap: Record,
    },
    /// The stalled partitions of this fetch error are held: the others are trusted again.
    Trust {
        fetch_error: u64,
    },
    Unassign {
        topic: Arc<str>,
    },
    /// Replaces the consumer.
    Recreate,
}
