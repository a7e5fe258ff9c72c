//! What the threads of a cluster ask of each other.

use std::sync::Arc;

use tailwater_hub::Hub;
use tokio::sync::oneshot;

use crate::data::events::Records;
use crate::data::gap::Watermarks;
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::topic::conversion::Converter;
use crate::topic::losses::Losses;
use crate::topic::unreadable::Finding;
use crate::topic::{Topic, TopicLog};

/// A request to the control thread.
#[derive(Debug)]
pub(crate) enum Request {
    /// A topic was asked for.
    FindTopic,
    /// What Kafka has of a topic, of which a stream names so many partitions and, if it resumes, has
    /// read some. With what is no older than `since`.
    Watermarks {
        topic: Arc<Topic>,
        log: Arc<TopicLog>,
        partitions: usize,
        resumes: bool,
        since: Option<i64>,
        reply: oneshot::Sender<Watermarks>,
    },
    /// Where the topic ends now, once its log has come by there.
    End { topic: Arc<Topic>, log: Arc<TopicLog>, reply: oneshot::Sender<Positions> },
    /// The tail has lost what it followed.
    Reopen,
    /// The tail can't read on somewhere, and librdkafka does not say where.
    Verify,
    /// The tail was refused something that a partition has, and librdkafka does not say which.
    Refused { refusal: u64 },
    /// What was found of a partition that stands still.
    Inspected(Inspected),
    /// The tail may not read some topic, and rust-rdkafka does not say which.
    Denied,
    /// It was seen whether topics may be read.
    Checked,
}

/// What was found where a partition is held.
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
        losses: Arc<Losses>,
        converter: Option<Arc<Converter>>,
    },
    AddPartition {
        topic: Arc<str>,
        partition: i32,
        offset: i64,
    },
    /// Assigns all partitions once more: after an offset that was not there, librdkafka stands still.
    Reassign {
        topic: Arc<str>,
    },
    /// There is no record before this offset that was not read.
    SkipTo {
        topic: Arc<str>,
        partition: i32,
        offset: i64,
    },
    /// A partition that stands still at this offset is read no longer, until it is known what is there.
    Hold {
        topic: Arc<str>,
        partition: i32,
        from: i64,
    },
    /// A partition that is held is read on where it stands.
    Resume {
        topic: Arc<str>,
        partition: i32,
    },
    /// Nothing can be read where a partition is held: the log has a gap, and goes on behind it.
    Gap {
        topic: Arc<str>,
        gap: Record,
    },
    /// The partitions that were refused until then are held.
    Trust {
        refusal: u64,
    },
    Unassign {
        topic: Arc<str>,
    },
    /// Begins with another consumer.
    Recreate,
}
