/// How much a cluster keeps in memory, and of how many topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The logs of all topics together, in bytes. 256 MiB by default.
    pub memory_bytes: usize,
    /// How many topics that Kafka has are held at once, beside those that the configuration names. 1000 by
    /// default.
    pub max_topics: usize,
    /// The largest record that is delivered, in bytes. 16 MiB by default.
    pub max_record_bytes: usize,
    /// How many consumers read history at once. 2 by default.
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

/// What a cluster keeps in memory at most, however many streams it has: in bytes, beside what librdkafka
/// needs for each broker and partition that it knows (some kilobytes), and for a compressed batch while it
/// unpacks it.
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
    /// The logs of all topics: [`Limits::memory_bytes`], where no topic needs more than its share of it
    /// ([`logs_of`](Self::logs_of)).
    pub logs: usize,
    /// What came last in a topic, up to 1 MiB, is kept in any case, and once as events of one form.
    pub topic: usize,
    /// How many topics the logs may be of: [`Limits::max_topics`]. Those that the configuration names come
    /// beside them.
    pub topics: usize,
    /// The largest record: [`Limits::max_record_bytes`]. A stream keeps the one that its client takes, with
    /// those at the same place.
    pub record: usize,
    /// The live ends of all topics: what was fetched and is not in a log yet, the largest record with
    /// it, and an answer of a broker that is on its way.
    pub live: usize,
    /// The same for each of [`Limits::history_readers`], and what it read and its streams did not take yet;
    /// and what streams have not read of logs and readings that ended or wait for their turn, 32 MiB.
    pub history: usize,
    /// For each further broker that leads partitions and whose answers are on their way.
    pub further_broker: usize,
}

impl Budget {
    /// The piece of a log that a stream was handed last, and keeps as long as its client does not read.
    /// Those at the same place share it.
    pub const PIECE_BYTES: usize = 1024 * 1024;

    /// What one poll of a consumer takes at most, but for its last record.
    pub const POLL_BYTES: usize = 1024 * 1024;

    /// What is fetched ahead of all live ends.
    pub const LIVE_QUEUE_BYTES: usize = 32 * 1024 * 1024;

    /// What each reader of history fetches ahead.
    pub const HISTORY_QUEUE_BYTES: usize = 16 * 1024 * 1024;

    /// The largest answer of a broker, but for one record that is larger. librdkafka's own is 50 MiB, which
    /// it reaches where a broker leads fifty partitions; and it is held beside the queue. A line of 5 Mbit/s
    /// carries it within the time after which a connection counts as dead.
    pub const FETCH_BYTES: usize = 4 * 1024 * 1024;

    /// What a reading of history keeps while it lasts, encoded forms and all. The largest record may come
    /// behind it.
    pub const READING_BYTES: usize = 16 * 1024 * 1024;

    /// What is kept of logs and readings that ended, or that wait for their turn.
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

    /// The logs of so many topics.
    #[must_use]
    pub fn logs_of(&self, topics: usize) -> usize {
        self.logs.max(topics.saturating_mul(self.topic))
    }

    /// With one broker, and no more topics than have 2 MiB of the logs each.
    #[must_use]
    pub fn total(&self) -> usize {
        self.logs + self.live + self.history
    }
}
