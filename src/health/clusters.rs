//! What is told of Kafka: of each cluster, and of its topics.

use std::time::SystemTime;

use serde_json::{Value, json};
use tailwater_kafka::{Cluster, Contact, TopicHealth};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Topics that requests name, of which something is told: anybody makes such names.
const TOPICS_OF_REQUESTS: usize = 20;

/// Whether there is something to tell of a topic. That one does not exist is of interest where the file
/// names it.
fn notable(topic: &&TopicHealth) -> bool {
    (topic.named && topic.missing)
        || topic.forbidden
        || !topic.advances
        || !topic.hanging.is_empty()
        || !topic.lost.is_empty()
}

/// What is told of a topic.
fn told(topic: &TopicHealth) -> Value {
    let mut told = json!({
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
            told[key] = json!(true);
        }
    }
    told
}

/// The same in words.
fn sentences(topic: &TopicHealth) -> impl Iterator<Item = String> {
    let name = topic.name.escape_debug();
    let hangs = !topic.hanging.is_empty();
    let stuck = !topic.advances && topic.stuck;
    let unreadable = !topic.advances && !topic.stuck;
    [
        (topic.missing, "does not exist"),
        (topic.forbidden, "is not permitted"),
        (stuck, "does not advance here, though its records can be read"),
        (unreadable, "does not advance: its next records can't be read"),
        (hangs, "has a transaction that hangs"),
        (!topic.lost.is_empty(), "has records that could not be delivered"),
    ]
    .into_iter()
    .filter(|(holds, _)| *holds)
    .map(move |(_, what)| format!("topic {name} {what}"))
}

/// Whether a cluster is good for new clients, and what is told of it. What speaks against it is added to
/// `why`.
pub(super) fn tell(name: &str, cluster: &Cluster, why: &mut Vec<String>) -> (bool, Value) {
    let health = cluster.health();
    let contact = match health.contact {
        Contact::Never => "never reached",
        Contact::Made => "reached",
        _ => "away",
    };
    match health.contact {
        Contact::Never => why.push(format!("{name}: Kafka was never reached")),
        Contact::Made => {}
        _ => why.push(format!("{name}: Kafka is away")),
    }
    // All would be a thousand names.
    let of_requests = health.topics.iter().filter(|topic| !topic.named).filter(notable);
    let notable = health.topics.iter().filter(|topic| topic.named).filter(notable);
    let topics = notable.chain(of_requests.take(TOPICS_OF_REQUESTS)).map(|topic| {
        why.extend(sentences(topic).map(|text| format!("{name}: {text}")));
        told(topic)
    });
    let topics: Vec<Value> = topics.collect();
    let told = json!({
        "name": name,
        "kafka": contact,
        "servers": health.servers,
        "since": rfc3339(health.since),
        "last_error": health.last_error,
        "restarts": health.restarts,
        "panics": health.panics,
        "topics": topics,
    });
    (health.is_good(), told)
}

/// The last places of a topic that no stream could be given.
fn lost(topic: &TopicHealth) -> Vec<Value> {
    let told = topic.lost.iter().map(|lost| {
        json!({
            "partition": lost.partition,
            "from": lost.from,
            "to": lost.to,
            "reason": lost.reason,
        })
    });
    told.collect()
}

/// A time in UTC, to the second.
fn rfc3339(time: SystemTime) -> Option<String> {
    OffsetDateTime::from(time).replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_900);
        assert_eq!(rfc3339(time).as_deref(), Some("2023-11-14T22:13:20Z"));
    }
}
