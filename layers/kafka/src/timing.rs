use std::time::Duration;

/// How often Kafka is asked, and how long is waited for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Between two looks at the topics while some are missing.
    pub(crate) retry: Duration,
    /// The most between two questions for the offsets of a topic that Kafka does not tell. The first
    /// is `retry`, and each is twice as long as the one before.
    pub(crate) max_retry: Duration,
    /// The least time between any two looks.
    pub(crate) min_refresh: Duration,
    /// Between two looks while all topics are open: new partitions are found by it.
    pub(crate) refresh: Duration,
    /// How long a query waits for what Kafka says of a topic that was not asked for before: a refusal is
    /// answered in place of a stream then.
    pub(crate) known: Duration,
    /// How long the log of a topic that nobody reads is kept up.
    pub(crate) idle_timeout: Duration,
    /// Streams whose places differ by no more offsets than this share a reading of history.
    pub(crate) coalesce_offsets: u64,
    /// How long a reading of history goes on while others wait for its reader.
    pub(crate) turn: Duration,
    /// How long one that gets nothing does at the most. The first time it is `retry`, and each time twice
    /// as long as the one before; for as long it lets others go first.
    pub(crate) stalled_read: Duration,
    /// The time in which a stream that holds up others takes a piece of history.
    pub(crate) stall: Duration,
    /// Between two looks at whether a log advances.
    pub(crate) watch: Duration,
    /// How long a transaction may be open before it is told: brokers end one after their
    /// `transaction.max.timeout.ms` at the latest, which is 15 minutes unless it is set.
    pub(crate) hanging: Duration,
    /// A partition that does not go on for so long after something was refused may be the one.
    pub(crate) refusal: Duration,
    /// For how long the snapshot of a compacted topic does for those who come.
    pub(crate) snapshot: Duration,
    /// And for so many times as long as it took to make it: making them takes a part of the time only.
    pub(crate) snapshot_times: u32,
    /// Between two lines of the log about a topic that is missing or forbidden, while it lasts.
    pub(crate) reminder: Duration,
    /// Between two lines of the log about such topics that requests name.
    pub(crate) absence_interval: Duration,
}

impl Timing {
    /// How long is waited after so many attempts in vain, one after the other.
    pub(crate) fn back_off(&self, in_vain: u32) -> Duration {
        self.max_retry.min(self.retry * (1 << in_vain.min(8)))
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
            turn: Duration::from_millis(400),
            stalled_read: Duration::from_secs(10),
            stall: Duration::from_secs(1),
            watch: Duration::from_secs(5),
            hanging: Duration::from_secs(16 * 60),
            refusal: Duration::from_millis(400),
            snapshot: Duration::from_secs(1),
            snapshot_times: 10,
            reminder: Duration::from_secs(600),
            absence_interval: Duration::from_secs(10),
        }
    }
}
