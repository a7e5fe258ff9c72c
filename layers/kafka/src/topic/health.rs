use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::broker::contact::Contact;

/// The health of a [`Cluster`](crate::Cluster).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The bootstrap servers, as `host:port`.
    pub servers: Vec<String>,
    /// Whether Kafka answers.
    pub contact: Contact,
    /// When `contact` last changed.
    pub since: SystemTime,
    /// Why Kafka did not answer the last time that it did not, in plain words. `None` if it has always answered.
    pub last_error: Option<String>,
    /// How often the log of a topic was restarted because it did not advance although Kafka did, since the
    /// start and over all topics.
    pub restarts: u64,
    /// How often a thread of the cluster panicked and was restarted, since the start.
    pub panics: u64,
    /// The topics that are held, sorted by name: those that the configuration names, and those that requests
    /// name.
    pub topics: Vec<TopicHealth>,
}

impl Health {
    /// Whether this instance is as good as any other: Kafka was reached once, and no log
    /// [is stuck](TopicHealth::stuck).
    ///
    /// It stays true if Kafka becomes unreachable later, because streams wait and lose nothing. It also stays
    /// true if a topic is missing or not permitted, or has records that no consumer can read.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.contact != Contact::Never && self.topics.iter().all(|topic| !topic.stuck)
    }
}

/// The health of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicHealth {
    /// The topic's name.
    pub name: Arc<str>,
    /// The configuration names it ([`ClusterOptions::named_topic`](crate::ClusterOptions::named_topic),
    /// [`preload_topic`](crate::ClusterOptions::preload_topic)).
    pub named: bool,
    /// The topic does not exist.
    pub missing: bool,
    /// Kafka does not permit to describe or to read the topic.
    pub forbidden: bool,
    /// The number of partitions that Kafka reported last. 0 if it reported none.
    pub partitions: usize,
    /// Whether the log advances. It is false while the log lacks a record that Kafka has had for some ten
    /// seconds, or while it could not be found out whether there is such a record.
    pub advances: bool,
    /// True while the log lacks a record that another consumer of this process has read.
    pub stuck: bool,
    /// How often the log was restarted because it did not advance, since the topic is held.
    pub restarts: u64,
    /// Partitions in which a transaction has been open for more than 16 minutes. Records behind it are not read
    /// before it ends. Kafka's `kafka-transactions.sh find-hanging` names the transaction.
    pub hanging: Vec<i32>,
    /// How many ranges of offsets no consumer can read: a broken batch, an unknown compression. Streams get a
    /// gap and continue behind it. Each range is counted once, however often it is read. If a topic has more
    /// than 1024 ranges and large records together, only those at higher offsets than all before are counted.
    pub unreadable: u64,
    /// How many records were larger than [`ClusterOptions::max_record_bytes`](crate::ClusterOptions::max_record_bytes).
    /// They are counted like `unreadable`.
    pub too_large: u64,
    /// How many records the topic's converter rejected, by the reason that it gave; `panic` where it
    /// panicked. A record is counted once however often it is read; of a topic with more than 4096 of
    /// them, those that lie behind all that were met before.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Partitions whose next record the topic's converter can't convert yet. What follows it waits in
    /// Kafka, and `advances` is false.
    pub held_up: Vec<i32>,
    /// The offsets of the last 16 unreadable ranges and large records, the newest last.
    pub lost: Vec<Lost>,
}

/// Records of a topic that can't be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The partition.
    pub partition: i32,
    /// The first offset that is missing.
    pub from: i64,
    /// The offset at which streams continue.
    pub to: i64,
    /// The reason, as in the gap event: `unreadable` or `too_large`.
    pub reason: &'static str,
}

impl TopicHealth {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            named: false,
            missing: false,
            forbidden: false,
            partitions: 0,
            advances: true,
            stuck: false,
            restarts: 0,
            hanging: Vec::new(),
            unreadable: 0,
            too_large: 0,
            rejected: BTreeMap::new(),
            held_up: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// Resets the findings of the watchdog, which does not check the topic any more.
    pub(crate) fn forget(&mut self) {
        (self.advances, self.stuck) = (true, false);
        self.hanging.clear();
    }
}
