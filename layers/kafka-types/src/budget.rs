/// The limits of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The memory of the logs of all topics together, in bytes. Default: 256 MiB.
    pub memory_bytes: usize,
    /// The maximum number of existing topics with a log, in addition to those that the configuration names.
    /// Default: 1000.
    pub max_topics: usize,
    /// The size of the largest record that is delivered, in bytes. Default: 16 MiB.
    pub max_record_bytes: usize,
    /// The number of consumers that read history at the same time. Default: 2.
    pub history_readers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 256 * 1024 * 1024,
            max_topics: 1000,
            max_record_bytes: 16 * 1024 * 1024,
            history_readers: 2,
        }
    }
}

/// The maximum memory of a cluster in bytes, for any number of streams. It does not include the memory of
/// librdkafka for each broker and partition (some kilobytes), nor for a compressed batch that it decompresses.
///
/// ```
/// use tailwater_kafka_types::{Budget, Limits};
///
/// let mut limits = Limits::default();
/// limits.memory_bytes = 64 * 1024 * 1024;
/// let budget = Budget::new(&limits);
/// assert_eq!(budget.logs, 64 * 1024 * 1024);
/// assert_eq!(budget.total(), budget.logs + budget.live + budget.history);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budget {
    /// The logs of all topics: [`Limits::memory_bytes`]. With many topics the minimum of each topic exceeds it
    /// ([`logs_of`](Self::logs_of)).
    pub logs: usize,
    /// The minimum of a topic: its latest records, up to 1 MiB, and as much for the same records in one encoding.
    pub topic: usize,
    /// The maximum number of topics with a log: [`Limits::max_topics`]. Topics that the configuration names are
    /// not included.
    pub topics: usize,
    /// The largest record: [`Limits::max_record_bytes`]. A stream keeps the large record that its client is
    /// reading, and shares it with streams at the same position.
    pub record: usize,
    /// The live ends of all topics: the fetched records that are not in a log yet, the largest record among
    /// them, and a response of a broker that is being received.
    pub live: usize,
    /// The same for each of [`Limits::history_readers`], and the records that its streams have not read yet. In
    /// addition 32 MiB for the unread parts of logs and backfills that ended or wait for their turn.
    pub history: usize,
    /// The responses that are being received from each further broker that leads partitions.
    pub further_broker: usize,
}

impl Budget {
    /// The chunk of a log that a stream keeps while its client does not read. Streams at the same position share
    /// it.
    pub const PIECE_BYTES: usize = 1024 * 1024;

    /// The maximum size of the records of one poll, except for the last one.
    pub const POLL_BYTES: usize = 1024 * 1024;

    /// The read-ahead at the live ends of all topics.
    pub const LIVE_QUEUE_BYTES: usize = 32 * 1024 * 1024;

    /// The read-ahead of each reader of history.
    pub const HISTORY_QUEUE_BYTES: usize = 16 * 1024 * 1024;

    /// The maximum size of a response of a broker, unless a single record is larger. It is held in addition to the
    /// read-ahead. librdkafka's default is 50 MiB, which a broker that leads fifty partitions reaches. A connection
    /// of 5 Mbit/s transfers 4 MiB within the time after which it counts as dead.
    pub const FETCH_BYTES: usize = 4 * 1024 * 1024;

    /// The memory of a backfill, including its encodings. The largest record may come in addition.
    pub const READING_BYTES: usize = 16 * 1024 * 1024;

    /// The memory of logs and backfills that ended, or that wait for their turn.
    pub const RETIRED_BYTES: usize = 32 * 1024 * 1024;

    /// The budget of a cluster with these limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let record = limits.max_record_bytes;
        let live = Self::LIVE_QUEUE_BYTES + Self::POLL_BYTES + record;
        let queue = Self::HISTORY_QUEUE_BYTES + Self::POLL_BYTES + record;
        let reader = Self::READING_BYTES + record + queue + Self::FETCH_BYTES;
        Self {
            logs: limits.memory_bytes,
            topic: 2 * Self::PIECE_BYTES,
            topics: limits.max_topics,
            record,
            live: live + Self::FETCH_BYTES,
            history: limits.history_readers * reader + Self::RETIRED_BYTES,
            further_broker: (1 + limits.history_readers) * Self::FETCH_BYTES,
        }
    }

    /// The memory of the logs of this number of topics.
    #[must_use]
    pub fn logs_of(&self, topics: usize) -> usize {
        self.logs.max(topics.saturating_mul(self.topic))
    }

    /// The sum for one broker, and for no more topics than the logs have 2 MiB for.
    #[must_use]
    pub fn total(&self) -> usize {
        self.logs + self.live + self.history
    }
}
