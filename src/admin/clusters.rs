//! Clusters and topics as JSON.

use serde_json::Value;

use crate::health;
use crate::stack::Handle;

impl Handle {
    /// The clusters without their topics.
    pub(super) fn clusters(&self) -> Vec<Value> {
        let clusters = self.clusters.iter().map(|(name, cluster)| {
            let (_, mut json) = health::clusters::report(name, cluster, &mut Vec::new());
            if let Value::Object(members) = &mut json {
                members.remove("topics");
            }
            json
        });
        clusters.collect()
    }

    /// The topics that were counted, and how those are that are held.
    #[cfg(feature = "kafka")]
    pub(super) fn topics(&self) -> Vec<Value> {
        let mut topics = Vec::new();
        for (name, cluster) in &self.clusters {
            let health = cluster.health();
            for counted in cluster.counts().topics {
                let held = health.topics.iter().find(|held| held.name == counted.name);
                let mut json = held.map_or_else(
                    || serde_json::json!({ "name": &*counted.name }),
                    health::clusters::topic_json,
                );
                let states = tailwater_kafka::StreamState::ALL.iter().zip(counted.streams.states);
                let states =
                    states.map(|(state, streams)| (state.name().to_owned(), streams.into()));
                for (key, value) in [
                    ("cluster", name.as_str().into()),
                    ("partitions", held.map(|held| held.partitions).into()),
                    ("streams", counted.streams.states.iter().sum::<u64>().into()),
                    ("states", states.collect::<serde_json::Map<_, _>>().into()),
                    ("behind_records", counted.behind_records.into()),
                    ("log_bytes", counted.log_bytes.into()),
                    ("records_read", counted.records_read.into()),
                    ("read_bytes", counted.read_bytes.into()),
                    ("events_sent", counted.events_sent.into()),
                    ("sent_bytes", counted.sent_bytes.into()),
                    ("gaps_told", counted.gaps_told.values().sum::<u64>().into()),
                ] {
                    json[key] = value;
                }
                topics.push(json);
            }
        }
        topics
    }

    #[cfg(not(feature = "kafka"))]
    pub(super) fn topics(&self) -> Vec<Value> {
        Vec::new()
    }

    /// The number of events of records, and of bytes, that streams were given.
    #[cfg(feature = "kafka")]
    pub(super) fn sent(&self) -> (u64, u64) {
        let mut sent = (0, 0);
        for (_, cluster) in &self.clusters {
            for topic in cluster.counts().topics {
                sent.0 += topic.events_sent;
                sent.1 += topic.sent_bytes;
            }
        }
        sent
    }

    #[cfg(not(feature = "kafka"))]
    pub(super) fn sent(&self) -> (u64, u64) {
        (0, 0)
    }
}
