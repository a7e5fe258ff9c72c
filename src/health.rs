//! Whether this process should be sent clients, told to load balancers and whoever else asks.

use std::time::SystemTime;

use ::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use ::http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tailwater_http::{ConnectionLimit, Shutdown};
use tailwater_kafka::{Cluster, Contact, TopicHealth};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) mod port;

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

/// What there is to tell.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// By the names of their bindings.
    pub(crate) clusters: Vec<(String, Cluster)>,
    /// By the names of the `tcp` bindings.
    pub(crate) connections: Vec<(String, ConnectionLimit)>,
    /// Whether the process was told to stop.
    pub(crate) shutdown: Shutdown,
    /// How many may ask at once.
    pub(crate) askers: usize,
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

impl Health {
    /// Whether new clients are in good hands here, and what speaks for it and against it.
    fn ready(&self) -> (bool, Value) {
        let draining = self.shutdown.window_end().is_some();
        let mut good = true;
        let mut why = Vec::new();
        if draining {
            why.push("the process was told to stop".to_owned());
        }
        let kafka = self.clusters.iter().map(|(name, cluster)| {
            let health = cluster.health();
            good &= health.is_good();
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
            json!({
                "name": name,
                "kafka": contact,
                "servers": health.servers,
                "since": rfc3339(health.since),
                "last_error": health.last_error,
                "restarts": health.restarts,
                "panics": health.panics,
                "topics": topics,
            })
        });
        let kafka: Vec<Value> = kafka.collect();
        let connections = self.connections.iter().map(|(name, connections)| {
            let counts = connections.counts();
            json!({
                "name": name,
                "open": counts.open,
                "accepted": counts.accepted,
                "refused": counts.refused,
                "stalled": counts.stalled,
                "panicked": counts.panicked,
                "accept_errors": counts.accept_errors,
            })
        });
        let connections: Vec<Value> = connections.collect();
        let ready = good && !draining;
        let body = json!({
            "ready": ready,
            "draining": draining,
            "why": why,
            "clusters": kafka,
            "listeners": connections,
        });
        (ready, body)
    }

    fn answer(&self, method: &Method, path: &str) -> Response<String> {
        let reads = *method == Method::GET || *method == Method::HEAD;
        let (status, body) = match path {
            "/live" | "/ready" if !reads => (StatusCode::METHOD_NOT_ALLOWED, json!({})),
            "/live" => (StatusCode::OK, json!({ "live": true })),
            "/ready" => match self.ready() {
                (true, body) => (StatusCode::OK, body),
                (false, body) => (StatusCode::SERVICE_UNAVAILABLE, body),
            },
            _ => (StatusCode::NOT_FOUND, json!({})),
        };
        let mut response = Response::new(body.to_string());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// A time in UTC, to the second.
fn rfc3339(time: SystemTime) -> Option<String> {
    OffsetDateTime::from(time).replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn health() -> Health {
        let clusters = Vec::new();
        let connections = Vec::new();
        Health { clusters, connections, shutdown: Shutdown::new(), askers: port::CONNECTIONS }
    }

    #[test]
    fn only_two_paths_are_answered_and_only_to_those_who_read() {
        let status = |method: Method, path: &str| health().answer(&method, path).status().as_u16();
        for (method, path, expected) in [
            (Method::GET, "/ready", 200),
            (Method::HEAD, "/ready", 200),
            (Method::GET, "/live", 200),
            (Method::POST, "/live", 405),
            (Method::DELETE, "/ready", 405),
            (Method::GET, "/", 404),
            (Method::GET, "/ready/", 404),
            (Method::POST, "/metrics", 404),
        ] {
            assert_eq!(status(method.clone(), path), expected, "{method} {path}");
        }
    }

    #[test]
    fn times_are_told_in_utc() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_900);
        assert_eq!(rfc3339(time).as_deref(), Some("2023-11-14T22:13:20Z"));
    }

    #[test]
    fn who_drains_is_alive_and_not_ready() {
        let health = health();
        health.shutdown.begin(Duration::from_secs(1));
        let ready = health.answer(&Method::GET, "/ready");
        assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body: Value = serde_json::from_str(ready.body()).unwrap();
        assert_eq!((&body["ready"], &body["draining"]), (&json!(false), &json!(true)));
        assert_eq!(health.answer(&Method::GET, "/live").status(), StatusCode::OK);
    }
}
