//! The part of `/ready` about Kafka clusters and their topics.

use serde_json::{Value, json};
use tailwater_kafka::{Cluster, Contact, TopicHealth};

use crate::timestamp::rfc3339;

/// The maximum number of topics in a response that only requests have named. Any client can invent such names.
const TOPICS_OF_REQUESTS: usize = 20;

/// Whether a topic is part of the response. A topic that does not exist or is not permitted is part of it only if the
/// configuration names it: clients can ask for any name.
fn notable(topic: &&TopicHealth) -> bool {
    (topic.named && (topic.missing || topic.forbidden))
        || !topic.advances
        || !topic.hanging.is_empty()
        || !topic.lost.is_empty()
        || !topic.rejected.is_empty()
        || !topic.held_up.is_empty()
}

/// A topic as JSON.
pub(crate) fn topic_json(topic: &TopicHealth) -> Value {
    let mut json = json!({
        "name": &*topic.name,
        "advances": topic.advances,
        "restarts": topic.restarts,
        "hanging_transactions": topic.hanging,
        "unreadable": topic.unreadable,
        "too_large": topic.too_large,
        "lost": lost(topic),
    });
    for (key, holds) in [("missing", topic.missing), ("forbidden", topic.forbidden)] {
        if holds {
            json[key] = json!(true);
        }
    }
    if !topic.rejected.is_empty() {
        json["rejected"] = json!(topic.rejected);
    }
    if !topic.held_up.is_empty() {
        json["held_up"] = json!(topic.held_up);
    }
    json
}

/// The problems of a topic as sentences.
fn sentences(topic: &TopicHealth) -> impl Iterator<Item = String> {
    let name = topic.name.escape_debug();
    let hangs = !topic.hanging.is_empty();
    let stuck = !topic.advances && topic.stuck;
    let held_up = !topic.held_up.is_empty();
    let unreadable = !topic.advances && !topic.stuck && !held_up;
    [
        (topic.missing, "does not exist"),
        (topic.forbidden, "is not permitted"),
        (stuck, "does not advance here, though its records can be read"),
        (unreadable, "does not advance: its next records can't be read"),
        (held_up, "waits for the schemas of its next records"),
        (hangs, "has a transaction that hangs"),
        (!topic.lost.is_empty(), "has records that could not be delivered"),
    ]
    .into_iter()
    .filter(|(holds, _)| *holds)
    .map(move |(_, what)| format!("topic {name} {what}"))
}

/// Whether a cluster is ready for new clients, and the cluster as JSON. Problems are added to `why`.
pub(crate) fn report(name: &str, cluster: &Cluster, why: &mut Vec<String>) -> (bool, Value) {
    let health = cluster.health();
    let contact = match health.contact {
        Contact::Never => "never reached",
        Contact::Made => "reached",
        _ => "away",
    };
    let cause = health.last_error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
    match health.contact {
        Contact::Never => why.push(format!("{name}: Kafka was never reached{cause}")),
        Contact::Made => {}
        _ => why.push(format!("{name}: Kafka is away{cause}")),
    }
    // All names of requests could be thousands.
    let of_requests = health.topics.iter().filter(|topic| !topic.named).filter(notable);
    let notable = health.topics.iter().filter(|topic| topic.named).filter(notable);
    let topics = notable.chain(of_requests.take(TOPICS_OF_REQUESTS)).map(|topic| {
        why.extend(sentences(topic).map(|text| format!("{name}: {text}")));
        topic_json(topic)
    });
    let topics: Vec<Value> = topics.collect();
    let json = json!({
        "name": name,
        "kafka": contact,
        "servers": health.servers,
        "since": rfc3339(health.since),
        "last_error": health.last_error,
        "restarts": health.restarts,
        "panics": health.panics,
        "topics": topics,
    });
    (health.is_good(), json)
}

/// The last records of a topic that could not be delivered.
fn lost(topic: &TopicHealth) -> Vec<Value> {
    let ranges = topic.lost.iter().map(|lost| {
        json!({
            "partition": lost.partition,
            "from": lost.from,
            "to": lost.to,
            "reason": lost.reason,
        })
    });
    ranges.collect()
}
