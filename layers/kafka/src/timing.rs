use std::time::Duration;

use tailwater_kafka_types::Budget;

/// Intervals, timeouts and a few other quantities of a cluster that tests make smaller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The interval between two metadata refreshes while topics are missing.
    pub(crate) retry: Duration,
    /// The longest interval between two queries for the offsets of a topic while Kafka does not answer them.
    /// The first interval is `retry`, and each is twice as long as the one before.
    pub(crate) max_retry: Duration,
    /// The shortest interval between two metadata refreshes.
    pub(crate) min_refresh: Duration,
    /// The interval between two metadata refreshes while all topics are open. A refresh finds new partitions.
    pub(crate) refresh: Duration,
    /// How long a new stream waits until Kafka has answered for a topic that no stream used before. If Kafka
    /// refuses the topic in this time, the caller gets an error instead of a stream.
    pub(crate) known: Duration,
    /// How long the log of a topic without streams stays open.
    pub(crate) idle_timeout: Duration,
    /// Streams whose positions are at most this many offsets apart share a backfill.
    pub(crate) coalesce_offsets: u64,
    /// The most bytes of one poll, without its last record, and of the converted records that are appended at
    /// once.
    pub(crate) poll_bytes: usize,
    /// How long the conversions of one topic take before other topics, or other backfills, have their turn.
    pub(crate) share: Duration,
    /// How long a backfill is read while others wait for a reader.
    pub(crate) turn: Duration,
    /// The longest turn of a backfill that gets no records. The first such turn takes `retry`, and each takes
    /// twice as long as the one before. The backfill then waits for the same time while others are read.
    pub(crate) stalled_read: Duration,
    /// The time in which a stream that holds up the others of its backfill must take some bytes.
    pub(crate) stall: Duration,
    /// The interval between two checks of the watchdog.
    pub(crate) watch: Duration,
    /// A transaction that is open for longer is reported as hanging. Brokers abort a transaction after
    /// `transaction.max.timeout.ms` at the latest, which is 15 minutes by default.
    pub(crate) hanging: Duration,
    /// After a fetch error, a partition that has not moved for this long is inspected.
    pub(crate) inspect_after: Duration,
    /// How long new streams are given the same snapshot of a compacted topic.
    pub(crate) snapshot: Duration,
    /// New streams are given a snapshot for at least this many times as long as it took to make it. This
    /// bounds the share of the time that is spent on making snapshots.
    pub(crate) snapshot_times: u32,
    /// The interval between two warnings about a topic of the configuration that is missing or forbidden.
    pub(crate) reminder: Duration,
    /// The interval between two warnings about missing and forbidden topics that requests name.
    pub(crate) absence_interval: Duration,
}

impl Timing {
    /// The pause after this many failed attempts in a row.
    pub(crate) fn back_off(&self, failed_attempts: u32) -> Duration {
        self.max_retry.min(self.retry * (1 << failed_attempts.min(8)))
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            retry: Duration::from_secs(1),
            max_retry: Duration::from_secs(30),
            min_refresh: Duration::from_millis(50),
            refresh: Duration::from_secs(5),
            known: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(60),
            coalesce_offsets: 100_000,
            poll_bytes: Budget::POLL_BYTES,
            share: Duration::from_millis(50),
            turn: Duration::from_millis(400),
            stalled_read: Duration::from_secs(10),
            stall: Duration::from_secs(1),
            watch: Duration::from_secs(5),
            hanging: Duration::from_secs(16 * 60),
            inspect_after: Duration::from_millis(400),
            snapshot: Duration::from_secs(1),
            snapshot_times: 10,
            reminder: Duration::from_secs(600),
            absence_interval: Duration::from_secs(10),
        }
    }
}
