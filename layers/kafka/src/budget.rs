use crate::ClusterOptions;
use crate::backend::librdkafka;
use crate::history;
use crate::records::CHUNK_BYTES;
use crate::remains::REMAINS_BYTES;
use crate::tail;

/// What a [`Cluster`](crate::Cluster) keeps in memory at most, however many streams it has: in bytes,
/// beside what librdkafka needs for each broker and partition that it knows (some kilobytes), and for
/// a compressed batch while it unpacks it.
///
/// ```
/// use tailwater_kafka::ClusterOptions;
///
/// let budget = ClusterOptions::new(["localhost:9092"]).memory_bytes(64 * 1024 * 1024).budget();
/// assert_eq!(budget.logs, 64 * 1024 * 1024);
/// assert_eq!(budget.total(), budget.logs + budget.live + budget.history);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budget {
    /// The logs of all topics: [`ClusterOptions::memory_bytes`], where no topic needs more than its share of
    /// it ([`logs_of`](Self::logs_of)).
    pub logs: usize,
    /// What came last in a topic, up to 1 MiB, is kept in any case, and once as events of one form.
    pub topic: usize,
    /// How many topics the logs may be of: [`ClusterOptions::max_topics`]. Those that the configuration
    /// names come beside them.
    pub topics: usize,
    /// The largest record: [`ClusterOptions::max_record_bytes`]. A stream keeps the one that its client
    /// takes, with those at the same place.
    pub record: usize,
    /// The live ends of all topics: what was fetched and is not in a log yet, the largest record with
    /// it, and an answer of a broker that is on its way.
    pub live: usize,
    /// The same for each of [`ClusterOptions::history_readers`], and what it read and its streams did not
    /// take yet; and what streams have not read of logs and readings that ended or wait for their
    /// turn, 32 MiB.
    pub history: usize,
    /// For each further broker that leads partitions and whose answers are on their way.
    pub further_broker: usize,
}

impl Budget {
    /// The piece of a log that a stream was handed last, and keeps as long as its client does not read.
    /// Those at the same place share it.
    pub const PIECE_BYTES: usize = CHUNK_BYTES;

    pub(crate) fn new(options: &ClusterOptions) -> Self {
        let record = options.max_record_bytes;
        let live = librdkafka::LIVE_QUEUE_BYTES + tail::POLL_BYTES + record;
        let queue = librdkafka::HISTORY_QUEUE_BYTES + history::POLL_BYTES + record;
        let reader = history::PASS_BYTES + record + queue + librdkafka::FETCH_BYTES;
        Self {
            logs: options.memory_bytes,
            topic: 2 * CHUNK_BYTES,
            topics: options.max_topics,
            record,
            live: live + librdkafka::FETCH_BYTES,
            history: options.history_readers * reader + REMAINS_BYTES,
            further_broker: (1 + options.history_readers) * librdkafka::FETCH_BYTES,
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
