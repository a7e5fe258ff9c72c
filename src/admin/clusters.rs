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

    /// The topics that are held.
    #[cfg(feature = "kafka")]
    pub(super) fn topics(&self) -> Vec<Value> {
        let mut topics = Vec::new();
        for (name, cluster) in &self.clusters {
            topics.extend(cluster.health().topics.iter().map(|topic| {
                let mut json = health::clusters::topic_json(topic);
                json["cluster"] = name.as_str().into();
                json["partitions"] = topic.partitions.into();
                json
            }));
        }
        topics
    }

    #[cfg(not(feature = "kafka"))]
    pub(super) fn topics(&self) -> Vec<Value> {
        Vec::new()
    }
}
