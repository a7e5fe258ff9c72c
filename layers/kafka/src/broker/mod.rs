//! The interface to Kafka. Its calls may block while they are polled, so callers have threads of their own.

use std::collections::HashMap;
use std::fmt::Debug;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
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

/// A Kafka cluster: a real one through librdkafka, or the model that tests drive.
pub(crate) trait Backend: Debug + Send + Sync + 'static {
    /// The name of the cluster in the log.
    fn cluster(&self) -> &str;

    /// Creates a consumer without partitions. `history`: it reads the past of topics, not their ends.
    fn consumer(&self, history: bool) -> Result<Box<dyn Consumer>, Error>;

    /// All topics and their numbers of partitions; 0 if a topic can't be read for now.
    fn topics(&self) -> BoxFuture<'_, Result<HashMap<String, usize>, Error>>;

    /// The watermarks of the first `partitions` partitions of `topic`. `retention`: how long its tombstones are
    /// kept, if it is compacted.
    fn watermarks<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
        retention: Option<Duration>,
    ) -> BoxFuture<'a, Result<Watermarks, Error>>;

    /// For each of the first `partitions` partitions of `topic`, the first offset whose record has the timestamp
    /// `time` or a later one, in milliseconds since 1970. `None` where there is none yet.
    fn first_since<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
        time: i64,
    ) -> BoxFuture<'a, Result<Vec<Option<i64>>, Error>>;

    /// Asks Kafka for this topic by name: the list of all topics leaves out those that may not be described.
    fn presence<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Presence, Error>>;

    /// Checks whether these topics may be read. They have to be read for it, because a client that may only
    /// describe a topic may query its offsets, too. It takes some seconds at most.
    fn access<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Vec<Access>, Error>>;

    /// Takes the events of connections of query clients, which would pile up while there are no queries, and
    /// replaces old clients. Returns whether connections have ended since the last call.
    fn drain_events(&self) -> BoxFuture<'_, bool>;

    /// The ends of the first `partitions` partitions of `topic`. A leader that may not know yet what was committed
    /// returns an error (KIP-207).
    fn ends<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
    ) -> BoxFuture<'a, Result<Vec<End>, Error>>;

    /// Queries what is needed to open a topic, all at once. Consumers connect to its leaders meanwhile.
    fn opening<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
    ) -> BoxFuture<'a, Result<TopicDescription, Error>>;

    /// `delete.retention.ms` of a compacted topic; `None` if the topic is not compacted.
    fn tombstone_retention<'a>(
        &'a self,
        topic: &'a str,
    ) -> BoxFuture<'a, Result<Option<Duration>, Error>>;
}

/// What is needed to open a topic.
#[derive(Debug)]
pub(crate) struct TopicDescription {
    pub(crate) watermarks: Watermarks,
    /// As of [`Backend::tombstone_retention`]. `None` if that failed.
    pub(crate) tombstone_retention: Option<Option<Duration>>,
}

/// What Kafka answers for one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Missing,
    Forbidden,
    /// The number of partitions; 0 if the topic can't be read for now.
    Partitions(usize),
}

/// Whether a topic may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Permitted,
    Forbidden,
    /// Kafka did not answer in time.
    Unknown,
}

/// The end of a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// The last stable offset: where consumers stop for now.
    pub(crate) stable: i64,
    /// The high watermark, after the records of open transactions.
    pub(crate) high: i64,
}

/// A consumer that reads partitions from explicit offsets on.
pub(crate) trait Consumer: Send {
    /// The name of the cluster in the log.
    fn cluster(&self) -> &str;

    /// Begins to read a partition at `offset`.
    fn assign(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), Error>;

    /// Stops reading a partition.
    fn unassign(&mut self, topic: &str, partition: i32) -> Result<(), Error>;

    /// Waits up to `timeout` until something has been fetched, and appends what has been fetched, up to about
    /// `limit_bytes`.
    fn poll<'a>(
        &'a mut self,
        timeout: Duration,
        limit_bytes: usize,
        into: &'a mut Vec<Fetched>,
    ) -> BoxFuture<'a, ()>;
}

/// As [`Consumer::assign`], but an error is logged: the callers wait for the partition in any case.
pub(crate) fn assign(consumer: &mut dyn Consumer, topic: &str, partition: i32, offset: i64) {
    if let Err(error) = consumer.assign(topic, partition, offset) {
        let cluster = consumer.cluster();
        warn!(cluster, %error, topic, partition, offset, "partition can't be read");
    }
}

/// As [`Consumer::unassign`], but an error is logged.
pub(crate) fn unassign(consumer: &mut dyn Consumer, topic: &str, partition: i32) {
    if let Err(error) = consumer.unassign(topic, partition) {
        let cluster = consumer.cluster();
        warn!(cluster, %error, topic, partition, "partition can't be unassigned");
    }
}

/// What a poll of a consumer has fetched.
#[derive(Debug)]
pub(crate) enum Fetched {
    Record(Arc<str>, Record),
    /// The end of this partition was reached, for now: a new leader may end before the last committed record. It
    /// comes once for each assignment and end, and only from consumers for history.
    End(i32),
    /// The position in some partition is out of range.
    OutOfRange,
    /// A fetch error: some partition has data at its position that can't be read. Later records of that partition
    /// may have others before them that did not come.
    Error(FetchError),
    /// Kafka does not permit to read some topic. It comes once, and again after the topic could be read.
    Denied,
}

impl Fetched {
    /// The partition that it is about, if it is about one.
    pub(crate) fn partition(&self) -> Option<i32> {
        match self {
            Self::Record(_, record) => Some(record.partition),
            Self::End(partition) => Some(*partition),
            Self::OutOfRange | Self::Error(_) | Self::Denied => None,
        }
    }
}

/// Why a consumer can't read the data of some partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FetchError {
    /// The first offset of the batch, if the error names it.
    pub(crate) batch: Option<i64>,
    pub(crate) reason: String,
}

/// After this many polls in a row that panic and bring nothing, a consumer is not polled again. With the pauses
/// between them there is time to find the partition that does not move.
const PANICS: u32 = 100;
const PANIC_PAUSE: Duration = Duration::from_millis(10);

/// The panics of a consumer.
#[derive(Debug, Default)]
pub(crate) struct Panics {
    /// How many polls in a row panicked and brought nothing.
    in_a_row: u32,
    /// The last poll panicked.
    is_fresh: bool,
}

/// As [`Consumer::poll`]. A panic is a fetch error.
pub(crate) async fn poll(
    consumer: &mut dyn Consumer,
    timeout: Duration,
    limit_bytes: usize,
    into: &mut Vec<Fetched>,
    panics: &mut Panics,
) {
    // What the last poll fetched was taken before.
    if std::mem::take(&mut panics.is_fresh) {
        tokio::time::sleep(PANIC_PAUSE).await;
    }
    let before = into.len();
    let polled = consumer.poll(timeout, limit_bytes, into);
    let polled = AssertUnwindSafe(polled).catch_unwind().await;
    if into.len() > before {
        panics.in_a_row = 0;
    }
    if let Err(panic) = polled {
        panics.in_a_row += 1;
        panics.is_fresh = true;
        if panics.in_a_row > PANICS {
            panic::resume_unwind(panic);
        }
        error!("reading a record panicked, looking for its partition");
        let reason = "reading it panicked".to_owned();
        into.push(Fetched::Error(FetchError { batch: None, reason }));
    }
}
