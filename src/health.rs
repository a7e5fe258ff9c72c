//! Whether this process should be sent clients, told to load balancers and whoever else asks.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use ::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use ::http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tailwater_http::{
    Connections, HttpLayer, ListenOptions, Listener, ServeOptions, Shutdown, serve,
};
use tailwater_kafka::{Cluster, Contact, TopicHealth};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tower::{Layer as _, service_fn};

/// Who asks comes now and then, and one at a time.
const CONNECTIONS: usize = 64;
const DEADLINE: Duration = Duration::from_secs(10);

/// What there is to tell.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// By the names of their bindings.
    pub(crate) clusters: Vec<(String, Cluster)>,
    /// By the names of the `tcp` bindings.
    pub(crate) connections: Vec<(String, Connections)>,
    /// Whether the process was told to stop.
    pub(crate) shutdown: Shutdown,
}

impl Health {
    /// Whether new clients are in good hands here, and what speaks for it and against it.
    fn ready(&self) -> (bool, Value) {
        let draining = self.shutdown.window_end().is_some();
        let mut good = true;
        let kafka = self.clusters.iter().map(|(name, cluster)| {
            let health = cluster.health();
            good &= health.is_good();
            let contact = match health.contact {
                Contact::Never => "never reached",
                Contact::Made => "reached",
                _ => "away",
            };
            // All would be a thousand names.
            let notable = |it: &&TopicHealth| !it.advances || !it.hanging.is_empty();
            let topics = health.topics.iter().filter(notable).map(|topic| {
                json!({
                    "name": &*topic.name,
                    "advances": topic.advances,
                    "restarts": topic.restarts,
                    "hanging_transactions": topic.hanging,
                })
            });
            let topics: Vec<Value> = topics.collect();
            json!({
                "name": name,
                "kafka": contact,
                "servers": health.servers,
                "since": rfc3339(health.since),
                "last_error": health.last_error,
                "restarts": health.restarts,
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

    /// Answers whoever asks at this port, for as long as it is polled.
    pub(crate) async fn tell(self, listener: Listener) {
        let asked = service_fn(move |request: Request<Incoming>| {
            let answer = self.answer(request.method(), request.uri().path());
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        // Of its own: it answers while the process drains.
        let shutdown = Shutdown::new();
        let layer = HttpLayer::new()
            .first_request(DEADLINE)
            .idle(DEADLINE)
            .streams(8)
            .head_bytes(8 * 1024)
            .shutdown(shutdown.clone());
        let options =
            ServeOptions::new().connections(Connections::new(CONNECTIONS)).write_deadline(DEADLINE);
        serve([listener], layer.layer(asked), options, shutdown).await;
    }
}

/// A time in UTC, to the second.
fn rfc3339(time: SystemTime) -> Option<String> {
    OffsetDateTime::from(time).replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}

/// A listener for [`Health::tell`].
pub(crate) fn listen(address: SocketAddr) -> io::Result<Listener> {
    ListenOptions::new().backlog(64).bind(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        let (clusters, connections) = (Vec::new(), Vec::new());
        Health { clusters, connections, shutdown: Shutdown::new() }
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
