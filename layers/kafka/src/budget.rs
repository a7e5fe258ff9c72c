use crate::ClusterOptions;
use crate::backend::librdkafka;
use crate::history;
use crate::remains::REMAINS_BYTES;

/// What a [`Cluster`](crate::Cluster) keeps in memory at most, however many streams it has: in bytes,
/// beside what librdkafka needs for each broker and partition that it knows (some kilobytes).
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
    /// The logs of all topics: [`ClusterOptions::memory_bytes`]. Of each topic what came last is kept
    /// in any case, which is one poll of at most 1 MiB.
    pub logs: usize,
    /// The live ends of all topics: what was fetched and is not in a log yet, and an answer of a
    /// broker that is on its way.
    pub live: usize,
    /// The same for each of [`ClusterOptions::readers`], and what it read and its streams did not
    /// take yet; and what streams have not read of logs and readings that ended or wait for their
    /// turn, 32 MiB.
    pub history: usize,
    /// For each further broker that leads partitions and whose answers are on their way.
    pub further_broker: usize,
}

impl Budget {
    pub(crate) fn new(options: &ClusterOptions) -> Self {
        let reader = history::PASS_BYTES + librdkafka::HISTORY_QUEUE_BYTES;
        Self {
            logs: options.memory_bytes,
            live: librdkafka::LIVE_QUEUE_BYTES + librdkafka::FETCH_BYTES,
            history: options.readers * (reader + librdkafka::FETCH_BYTES) + REMAINS_BYTES,
            further_broker: (1 + options.readers) * librdkafka::FETCH_BYTES,
        }
    }

    /// With one broker.
    #[must_use]
    pub fn total(&self) -> usize {
        self.logs + self.live + self.history
    }
}
