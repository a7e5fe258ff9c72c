use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::broker::contact::Contact;

/// How a [`Cluster`](crate::Cluster) is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The servers that are asked first, as `host:port`.
    pub servers: Vec<String>,
    /// Whether Kafka answers.
    pub contact: Contact,
    /// When `contact` changed last.
    pub since: SystemTime,
    /// Why Kafka did not answer last, in plain words, if it ever did not.
    pub last_error: Option<String>,
    /// How often a topic's log was opened anew because it did not advance although Kafka did, since
    /// the start and over all topics.
    pub restarts: u64,
    /// How often a thread of the cluster panicked and was begun anew, since the start.
    pub panics: u64,
    /// The topics that are held, in the order of their names: those that the configuration names, and
    /// those that requests ask for.
    pub topics: Vec<TopicHealth>,
}

impl Health {
    /// Whether no other instance would do better: Kafka was reached once, and no log
    /// [is stuck](TopicHealth::stuck).
    ///
    /// This stays true while a Kafka that was reached is away: streams wait and lose nothing. It stays
    /// true where a topic is missing or not permitted, and where nobody can read what is in it.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.contact != Contact::Never && self.topics.iter().all(|topic| !topic.stuck)
    }
}

/// How a topic is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicHealth {
    /// The topic's name.
    pub name: Arc<str>,
    /// The configuration names it ([`ClusterOptions::named_topic`](crate::ClusterOptions::named_topic),
    /// [`preload_topic`](crate::ClusterOptions::preload_topic)).
    pub named: bool,
    /// Kafka does not have it.
    pub missing: bool,
    /// Kafka refuses to describe it or to have it read.
    pub forbidden: bool,
    /// False from when a record was found in Kafka, or could not be looked for, that the log lacks
    /// although Kafka told of it some ten seconds before, until the log has all of that.
    pub advances: bool,
    /// True while the log lacks a record that another consumer of this process was given.
    pub stuck: bool,
    /// How often the log was opened anew for it, since the topic is held.
    pub restarts: u64,
    /// Partitions where a transaction has been open for more than 16 minutes. What is behind it is
    /// not read before it ends; Kafka's `kafka-transactions.sh find-hanging` names it.
    pub hanging: Vec<i32>,
    /// How many times something was found in the topic that nobody can read: a broken batch, an unknown
    /// compression. Streams are told of a gap, and go on behind it. Each is counted once, however often
    /// it is met; of a topic with more than 1024 of both, those that lie behind all that were met before.
    pub unreadable: u64,
    /// How many records were larger than [`ClusterOptions::max_record_bytes`](crate::ClusterOptions::max_record_bytes).
    /// Counted as `unreadable` is.
    pub too_large: u64,
    /// How many records the topic's converter rejected, by the reason that it gave; `panic` where it
    /// panicked. A record is counted once however often it is read; of a topic with more than 4096 of
    /// them, those that lie behind all that were met before.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Partitions whose next record the topic's converter can't convert yet. What follows it waits in
    /// Kafka, and `advances` is false.
    pub held_up: Vec<i32>,
    /// The places of the last 16 that are unreadable or too large, the newest last.
    pub lost: Vec<Lost>,
}

/// Records of a topic that no stream can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The partition.
    pub partition: i32,
    /// The first offset that is missing.
    pub from: i64,
    /// The offset at which streams go on.
    pub to: i64,
    /// Why, as the gap that is told: `unreadable` or `too_large`.
    pub reason: &'static str,
}

impl TopicHealth {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            named: false,
            missing: false,
            forbidden: false,
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

    /// Nobody looks at the topic's log any more.
    pub(crate) fn forget(&mut self) {
        (self.advances, self.stuck) = (true, false);
        self.hanging.clear();
    }
}
