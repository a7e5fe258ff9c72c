//! The families of Kafka: clusters, their topics, and the streams of these.

use std::collections::HashMap;
use std::sync::Arc;

use tailwater_kafka::{Cluster, Contact, Counts, StreamState, TopicCounts};

use crate::metrics::family::{Family, Histogram, Kind, Value};

/// Adds the families of these clusters.
pub(super) fn collect(clusters: &[(String, Cluster)], out: &mut Vec<Family>) {
    let counts: Vec<_> =
        clusters.iter().map(|(name, cluster)| (name.as_str(), cluster, cluster.counts())).collect();
    of_clusters(&counts, out);
    of_topics(&counts, out);
}

fn of_clusters(clusters: &[(&str, &Cluster, Counts)], out: &mut Vec<Family>) {
    let each = |mut family: Family, value: &dyn Fn(&Cluster, &Counts) -> Value| {
        for (name, cluster, counts) in clusters {
            family.add(&[("cluster", name)], value(cluster, counts));
        }
        family
    };
    let help = "Whether the Kafka is reached";
    out.push(each(Family::gauge("tailwater_kafka_reached", help), &|cluster, _| {
        Value::Integer(u64::from(cluster.health().contact == Contact::Made))
    }));
    let help = "How often the Kafka was reached or lost";
    let changes = Family::counter("tailwater_kafka_contact_changes_total", help);
    out.push(each(changes, &|_, counts| counts.contact_changes.into()));
    let help = "Errors of the connection to the Kafka, by kind";
    let mut errors = Family::counter("tailwater_kafka_errors_total", help);
    for (name, _, counts) in clusters {
        for (kind, count) in &counts.errors {
            errors.add(&[("cluster", name), ("kind", kind)], *count);
        }
    }
    out.push(errors);
    let help = "Memory that all logs of the Kafka may take";
    let budget = Family::gauge("tailwater_log_budget_bytes", help);
    out.push(each(budget, &|_, counts| counts.log_budget_bytes.into()));
    let help = "Passes over the history of topics that are being read";
    let passes = Family::gauge("tailwater_history_passes", help);
    out.push(each(passes, &|_, counts| counts.history_passes.into()));
    let help = "Passes over the history of topics that were begun";
    let passes = Family::counter("tailwater_history_passes_total", help);
    out.push(each(passes, &|_, counts| counts.history_passes_total.into()));
    let help = "Streams that wait for a pass over the history";
    let waiting = Family::gauge("tailwater_history_waiting_streams", help);
    out.push(each(waiting, &|_, counts| counts.history_waiting_streams.into()));
}

/// Whether this is one topic. Those beyond the bound share counters, and have no log.
fn is_one(topic: &TopicCounts) -> bool {
    *topic.name != *"_other_"
}

/// Two clusters may have topics of the same name, which are one series.
struct ByTopic<'c> {
    topics: Vec<&'c TopicCounts>,
}

impl ByTopic<'_> {
    /// The family whose values are sums over the topics of a name.
    fn sum(
        &self,
        mut family: Family,
        values: impl Fn(&TopicCounts) -> Vec<(Option<(&'static str, &'static str)>, Value)>,
    ) -> Family {
        let mut index: HashMap<(Arc<str>, Option<&'static str>), usize> = HashMap::new();
        for topic in &self.topics {
            for (label, value) in values(topic) {
                let key = (Arc::clone(&topic.name), label.map(|(_, value)| value));
                if let Some(sample) = index.get(&key).and_then(|at| family.samples.get_mut(*at)) {
                    sample.value.merge(&value);
                } else {
                    index.insert(key, family.samples.len());
                    let labels: Vec<_> =
                        [("topic", &*topic.name)].into_iter().chain(label).collect();
                    family.add(&labels, value);
                }
            }
        }
        family
    }
}

fn histogram(of: &tailwater_kafka::Histogram) -> Value {
    let counts = of.counts.clone();
    Value::Histogram(Histogram { limits: of.limits.into(), counts, sum: of.sum, range: None })
}

fn of_topics(clusters: &[(&str, &Cluster, Counts)], out: &mut Vec<Family>) {
    let topics = clusters.iter().flat_map(|(_, _, counts)| &counts.topics).collect();
    let by_topic = ByTopic { topics };
    let mut add = |family: Family, value: &dyn Fn(&TopicCounts) -> Option<Value>| {
        out.push(
            by_topic
                .sum(family, |topic| value(topic).map(|value| (None, value)).into_iter().collect()),
        );
    };
    let help = "Events with data of a record that were sent to clients";
    add(Family::counter("tailwater_events_sent_total", help), &|topic| {
        Some(topic.events_sent.into())
    });
    let help = "Bytes of event streams that were sent to clients";
    add(Family::counter("tailwater_sent_bytes_total", help), &|topic| {
        Some(topic.sent_bytes.into())
    });
    let help = "Records that were read from Kafka";
    add(Family::counter("tailwater_records_read_total", help), &|topic| {
        Some(topic.records_read.into())
    });
    let help = "Bytes of keys, values and headers of records that were read from Kafka";
    add(Family::counter("tailwater_read_bytes_total", help), &|topic| {
        Some(topic.read_bytes.into())
    });
    let help = "How often the log of a topic was opened anew since it did not advance";
    add(Family::counter("tailwater_topic_restarts_total", help), &|topic| {
        Some(topic.restarts.into())
    });
    let help = "Snapshots of a compacted topic that were made";
    add(Family::counter("tailwater_snapshots_total", help), &|topic| Some(topic.snapshots.into()));
    let help = "Snapshots of a compacted topic that did not fit into memory";
    add(Family::counter("tailwater_snapshot_given_up_total", help), &|topic| {
        Some(topic.snapshots_given_up.into())
    });
    let help = "Records that Kafka has and the log of the topic has not";
    add(Family::gauge("tailwater_topic_behind_records", help), &|topic| {
        is_one(topic).then(|| topic.behind_records.unwrap_or(0).into())
    });
    let help = "Memory that the log of a topic takes";
    add(Family::gauge("tailwater_log_bytes", help), &|topic| {
        is_one(topic).then(|| topic.log_bytes.unwrap_or(0).into())
    });
    let help = "Whether the configuration names the topic and Kafka does not have it";
    add(Family::gauge("tailwater_topic_missing", help), &|topic| {
        topic.named.then(|| Value::Integer(u64::from(topic.missing)))
    });
    let help = "Whether the configuration names the topic and Kafka does not permit it";
    add(Family::gauge("tailwater_topic_forbidden", help), &|topic| {
        topic.named.then(|| Value::Integer(u64::from(topic.forbidden)))
    });
    let help = "Time from the timestamp of a record until it could be read here, of one record of each poll";
    add(Family::new("tailwater_kafka_delay_seconds", help, Kind::Histogram), &|topic| {
        Some(histogram(&topic.delay))
    });
    let help = "Records that open streams have not passed, as it is now: counts fall when streams catch up";
    add(Family::new("tailwater_stream_lag_records", help, Kind::Histogram), &|topic| {
        Some(histogram(&topic.streams.lag_records))
    });
    let help = "Time for which the first record that an open stream has not passed is here, as it is now: counts fall when streams catch up";
    add(Family::new("tailwater_stream_lag_seconds", help, Kind::Histogram), &|topic| {
        Some(histogram(&topic.streams.lag_seconds))
    });
    // One topic that stands still is told, if another cluster has one of its name that advances.
    let help = "Whether the log of a topic receives the records that Kafka has";
    let stuck = by_topic.sum(Family::gauge("tailwater_topic_advances", help), |topic| {
        let stands = Value::Integer(u64::from(topic.advances == Some(false)));
        is_one(topic).then_some((None, stands)).into_iter().collect()
    });
    out.push(Family {
        samples: stuck
            .samples
            .into_iter()
            .map(|mut sample| {
                sample.value = Value::Integer(u64::from(sample.value == Value::Integer(0)));
                sample
            })
            .collect(),
        ..stuck
    });
    let help = "Open streams by what they do";
    out.push(by_topic.sum(Family::gauge("tailwater_streams_state", help), |topic| {
        let states = StreamState::ALL.iter().zip(topic.streams.states);
        states.map(|(state, count)| (Some(("state", state.name())), count.into())).collect()
    }));
    let help = "Gaps that clients were told of";
    out.push(by_topic.sum(Family::counter("tailwater_gaps_told_total", help), |topic| {
        let gaps = topic.gaps_told.iter();
        gaps.map(|(reason, count)| (Some(("reason", *reason)), (*count).into())).collect()
    }));
}
