//! Health of this process: `/ready` and `/live`, for load balancers and operators, and `/metrics` beside them.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use ::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use ::http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tailwater_http::{ListenOptions, Listener};
use tower::service_fn;

use crate::metrics::Metrics;
use crate::port;
use crate::stack::Handle;

#[cfg(feature = "kafka")]
pub(crate) mod clusters;
/// Without Kafka there are no clusters.
#[cfg(not(feature = "kafka"))]
pub(crate) mod clusters {
    use super::Value;
    use crate::stack::Cluster;

    pub(crate) fn report(_: &str, cluster: &Cluster, _: &mut Vec<String>) -> (bool, Value) {
        match *cluster {}
    }
}

/// The maximum number of connections. Health checks are rare and come one at a time. If there are few open
/// files, the maximum is lower.
pub(crate) const CONNECTIONS: usize = 64;

/// A listener for [`serve`].
pub(crate) fn listen(address: SocketAddr) -> io::Result<Listener> {
    ListenOptions::new().backlog(64).bind(address)
}

/// Answers health checks and scrapes at this port.
pub(crate) async fn serve(handle: Handle, metrics: Arc<Metrics>, listener: Listener) {
    let max_connections = handle.max_health_connections;
    let handle = Arc::new(handle);
    let service = service_fn(move |request: Request<_>| {
        let handle = Arc::clone(&handle);
        let metrics = Arc::clone(&metrics);
        async move {
            let answer = match request.uri().path() {
                "/metrics" => metrics.answer(request.method()).await,
                path => handle.answer(request.method(), path),
            };
            Ok::<_, Infallible>(answer)
        }
    });
    port::serve(listener, service, max_connections).await;
}

impl Handle {
    /// Whether this process should receive new clients, and the body of `/ready`.
    pub(crate) fn ready(&self) -> (bool, Value) {
        let draining = self.shutdown.window_end().is_some();
        let mut good = true;
        let mut why = Vec::new();
        if draining {
            why.push("the process was told to stop".to_owned());
        }
        let taken_out = self.taken_out.load(Relaxed);
        if taken_out {
            why.push("an operator has taken the process out of service".to_owned());
        }
        let kafka = self.clusters.iter().map(|(name, cluster)| {
            let (is_good, json) = clusters::report(name, cluster, &mut why);
            good &= is_good;
            json
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
        let ready = good && !draining && !taken_out;
        let body = json!({
            "ready": ready,
            "draining": draining,
            "version": env!("CARGO_PKG_VERSION"),
            "config": self.config_hash,
            "why": why,
            "clusters": kafka,
            "listeners": connections,
        });
        (ready, body)
    }

    /// The answer of the port for health checks.
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
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tailwater_http::Shutdown;

    use super::*;
    use crate::blocks::Blocks;
    use crate::streams::Streams;

    fn health() -> Handle {
        Handle {
            config_hash: "0123456789abcdef".to_owned(),
            threads: 1,
            max_connections: 1,
            clusters: Vec::new(),
            connections: Vec::new(),
            streams: Streams::new(Shutdown::new()),
            blocks: Blocks::default(),
            tls: Vec::new(),
            guards: Vec::new(),
            upstreams: Vec::new(),
            exporters: Vec::new(),
            requests: Arc::default(),
            meters: Arc::default(),
            shutdown: Shutdown::new(),
            max_health_connections: CONNECTIONS,
            max_admin_connections: CONNECTIONS,
            taken_out: Arc::default(),
        }
    }

    #[test]
    fn only_two_paths_are_answered_and_only_to_get_and_head() {
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
    fn a_draining_process_is_alive_and_not_ready() {
        let health = health();
        health.shutdown.begin(Duration::from_secs(1));
        let ready = health.answer(&Method::GET, "/ready");
        assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body: Value = serde_json::from_str(ready.body()).unwrap();
        assert_eq!((&body["ready"], &body["draining"]), (&json!(false), &json!(true)));
        assert_eq!(body["config"], "0123456789abcdef");
        assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(health.answer(&Method::GET, "/live").status(), StatusCode::OK);
    }
}
