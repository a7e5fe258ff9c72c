//! What tailwater asks of Kafka. Calls block: each of these has a thread of its own.

use std::collections::HashMap;
use std::fmt::Debug;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tracing::{error, warn};

use crate::Error;
use crate::data::gap::Watermarks;
use crate::data::record::Record;

mod access;
mod buffers;
mod configuration;
pub(crate) mod contact;
mod context;
#[cfg(feature = "embedded")]
pub mod embedded;
mod failure;
mod handle;
mod headers;
pub(crate) mod librdkafka;
#[cfg(test)]
pub(crate) mod model;
mod reader;
mod receive;
pub(crate) mod security;
mod timeouts;

/// A Kafka cluster. The one of librdkafka is real; tests drive a model.
pub(crate) trait Backend: Debug + Send + Sync + 'static {
    /// A new consumer without partitions. `history`: reads a topic's past rather than its end.
    fn consumer(&self, history: bool) -> Result<Box<dyn Consumer>, Error>;

    /// Every topic that there is, and the number of its partitions; 0 if it can't be read for now.
    fn topics(&self) -> Result<HashMap<String, usize>, Error>;

    /// What there is of the first `partitions` partitions of `topic`. `retention`: how long its
    /// tombstones are kept, if it is compacted.
    fn watermarks(
        &self,
        topic: &str,
        partitions: usize,
        retention: Option<Duration>,
    ) -> Result<Watermarks, Error>;

    /// For each of the first `partitions` partitions of `topic` the first offset whose record's time is
    /// `time` or later, in milliseconds since 1970; `None` where there is none yet.
    fn first_since(
        &self,
        topic: &str,
        partitions: usize,
        time: i64,
    ) -> Result<Vec<Option<i64>>, Error>;

    /// What Kafka says when it is asked for this topic alone: the list of all topics leaves out those that
    /// may not be described.
    fn presence(&self, topic: &str) -> Result<Presence, Error>;

    /// Whether these topics may be read. Only reading tells: offsets may be asked for by whoever may
    /// describe a topic. Takes some seconds at most.
    fn access(&self, topics: &[Arc<str>]) -> Result<Vec<Access>, Error>;

    /// Takes what handles that only ask have to say of their connections, or exchanges them: it would
    /// pile up while nothing is asked. Whether connections ended since it was called last.
    fn drain_events(&self) -> bool;

    /// Where the first `partitions` partitions of `topic` end. A leader that may not know yet what was
    /// committed does not tell (KIP-207).
    fn ends(&self, topic: &str, partitions: usize) -> Result<Vec<End>, Error>;

    /// What is asked of a topic that is opened, all at once; who reads is connected meanwhile.
    fn opening(&self, topic: &str, partitions: usize) -> Result<TopicDescription, Error> {
        let watermarks = self.watermarks(topic, partitions, None)?;
        Ok(TopicDescription {
            watermarks,
            tombstone_retention: self.tombstone_retention(topic).ok(),
        })
    }

    /// `delete.retention.ms` of a compacted topic; `None` if the topic is not compacted.
    fn tombstone_retention(&self, topic: &str) -> Result<Option<Duration>, Error>;
}

/// What is known of a topic when it is opened.
#[derive(Debug)]
pub(crate) struct TopicDescription {
    pub(crate) watermarks: Watermarks,
    /// As [`Backend::tombstone_retention`] has it; `None` if that was not told.
    pub(crate) tombstone_retention: Option<Option<Duration>>,
}

/// What Kafka says of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Missing,
    Forbidden,
    /// So many partitions; 0 if it can't be read for now.
    Partitions(usize),
}

/// Whether a topic may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Permitted,
    Refused,
    /// Kafka did not answer in time.
    Unknown,
}

/// Where a partition ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// The last stable offset: where reading ends for now.
    pub(crate) stable: i64,
    /// The high watermark, past the records of transactions that are open.
    pub(crate) high: i64,
}

/// Reads partitions from explicit offsets on.
pub(crate) trait Consumer: Send {
    /// Begins to read a partition at `offset`.
    fn assign(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), Error>;

    /// Ends the reading of a partition.
    fn unassign(&mut self, topic: &str, partition: i32) -> Result<(), Error>;

    /// Waits for something to come, no longer than `timeout`, and appends what is there, up to about
    /// `limit_bytes`.
    fn poll(&mut self, timeout: Duration, limit_bytes: usize, into: &mut Vec<Fetched>);
}

/// As [`Consumer::assign`]; who can't read a partition waits for it, and hears of the reason in the log.
pub(crate) fn assign(consumer: &mut dyn Consumer, topic: &str, partition: i32, offset: i64) {
    if let Err(error) = consumer.assign(topic, partition, offset) {
        warn!(%error, topic, partition, offset, "partition can't be read");
    }
}

/// As [`Consumer::unassign`].
pub(crate) fn unassign(consumer: &mut dyn Consumer, topic: &str, partition: i32) {
    if let Err(error) = consumer.unassign(topic, partition) {
        warn!(%error, topic, partition, "partition can't be left");
    }
}

/// What a poll of a consumer brings.
#[derive(Debug)]
pub(crate) enum Fetched {
    Record(Arc<str>, Record),
    /// The end of this partition was reached, for now: a new leader may end before what was committed.
    /// Once for each assignment and end, and only of consumers for history.
    End(i32),
    /// Some partition can't be read on from where it stands: its offset is not there.
    OutOfRange,
    /// What some partition has where it stands can't be read. Records of it that come after this may have
    /// been preceded by others that did not come.
    Refused(Refusal),
    /// Some topic may not be read. Told once, until it may be read for a while.
    Denied,
}

/// Why something can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The first offset of the batch, where that is told.
    pub(crate) batch: Option<i64>,
    pub(crate) reason: String,
}

/// Polls in a row that panic and bring nothing, after which a consumer is not polled again. With
/// the pauses between them it is seen before what stands still.
const PANICS: u32 = 100;
const PANIC_PAUSE: Duration = Duration::from_millis(10);

/// The panics of a consumer.
#[derive(Debug, Default)]
pub(crate) struct Panics {
    /// Polls in a row that panicked and brought nothing.
    in_a_row: u32,
    /// The last poll panicked.
    is_fresh: bool,
}

/// As [`Consumer::poll`]. If it panics, what it was at could not be read.
pub(crate) fn poll(
    consumer: &mut dyn Consumer,
    timeout: Duration,
    limit_bytes: usize,
    into: &mut Vec<Fetched>,
    panics: &mut Panics,
) {
    // What the last poll brought was taken before.
    if std::mem::take(&mut panics.is_fresh) {
        thread::sleep(PANIC_PAUSE);
    }
    let before = into.len();
    let polled = panic::catch_unwind(AssertUnwindSafe(|| {
        consumer.poll(timeout, limit_bytes, into);
    }));
    if into.len() > before {
        panics.in_a_row = 0;
    }
    if let Err(panic) = polled {
        panics.in_a_row += 1;
        panics.is_fresh = true;
        if panics.in_a_row > PANICS {
            panic::resume_unwind(panic);
        }
        error!("reading a record panicked, looking for it");
        let reason = "reading it panicked".to_owned();
        into.push(Fetched::Refused(Refusal { batch: None, reason }));
    }
}
