//! Divides the open files of the process (`RLIMIT_NOFILE`). Kafka, the program itself, static files and
//! other servers have a share; client connections have the rest.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::num::NonZero;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Service, ServiceExt as _};

use crate::config::{Config, Kind};
use crate::{admin, health, limits};

/// For outputs, the main runtime, watched certificates, fetches of keys, and files that a library opens briefly.
const OF_PROGRAM: usize = 44;
/// For the runtime of a worker.
const OF_WORKER: usize = 3;
/// For the six clients of librdkafka that a cluster has. Each client has, for each broker, a socket and a pipe
/// for its thread. The number of brokers is unknown: five more than the configuration names are assumed.
const OF_CLUSTER: usize = 5 * OF_SERVER;
const OF_SERVER: usize = 18;
/// The maximum number of concurrent responses from files. Each opens a second file briefly.
const MOST_RESPONSES: usize = 1024;
const LEAST_RESPONSES: usize = 2;
/// The minimum number of connections at each of the ports for health checks and for administration.
const LEAST_HEALTH: usize = 4;
/// The time that a request waits for a permit.
const PATIENCE: Duration = Duration::from_secs(1);

/// The shares of the limit of open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    /// The limit of the process.
    limit: usize,
    /// The share of the program, Kafka and health checks.
    kept: usize,
    /// The part of `kept` for connections at the port for health checks.
    pub(crate) health: usize,
    /// The part of `kept` for connections at the port for administration.
    pub(crate) admin: usize,
    /// The maximum number of concurrent responses from files.
    pub(crate) responses: usize,
    /// The maximum number of concurrent streams of other servers.
    pub(crate) upstream: usize,
    /// The maximum number of connections of all ports together.
    pub(crate) connections: usize,
    /// The number of connections that the configuration allows at all ports together.
    wanted: usize,
}

impl OpenFiles {
    /// Divides a limit for these namespaces and so many workers. `None` is no limit.
    pub(crate) fn of(namespaces: &[Config], limit: Option<u64>, workers: NonZero<usize>) -> Self {
        let limit = limit.map_or(usize::MAX, |limit| limit.try_into().unwrap_or(usize::MAX));
        let limit = limit.min(Semaphore::MAX_PERMITS);
        let listeners = || namespaces.iter().flat_map(Config::listeners).map(|(_, server)| server);
        let bindings = || namespaces.iter().flat_map(|namespace| &namespace.bindings);
        let ports: usize =
            listeners().flat_map(|listener| &listener.ports).map(ExactSizeIterator::len).sum();
        let clusters: Vec<_> =
            namespaces.iter().flat_map(|namespace| namespace.plan().clusters(|_| true)).collect();
        let servers: usize =
            clusters.iter().map(|cluster| cluster.source.cluster.servers.len()).sum();
        let health = (limit / 16).clamp(LEAST_HEALTH, health::CONNECTIONS);
        let admin = (limit / 16).clamp(LEAST_HEALTH, admin::CONNECTIONS);
        let of_clusters = OF_CLUSTER * clusters.len() + OF_SERVER * servers;
        let endpoints: usize =
            namespaces.iter().map(|namespace| namespace.prometheus().count()).sum();
        // The ports for health checks, for operators and of exporters.
        let operators = health + admin + endpoints * (1 + health);
        let kept = OF_PROGRAM + OF_WORKER * workers.get() + ports + operators + of_clusters;
        // Clients have at least a quarter, however low the limit is.
        let kept = kept.min(limit - limit / 4);
        let has = |is: fn(&Kind) -> bool| bindings().any(|binding| is(&binding.kind));
        let responses = if has(|value| matches!(value, Kind::Filesystem(_))) {
            (limit / 32).clamp(LEAST_RESPONSES, MOST_RESPONSES)
        } else {
            0
        };
        let rest = (limit - kept).saturating_sub(2 * responses);
        let upstream = if has(|value| matches!(value, Kind::SseClient(_))) { rest / 2 } else { 0 };
        let connections = rest - upstream;
        let wanted =
            listeners().map(|listener| listener.connections.unwrap_or(limits::CONNECTIONS)).sum();
        Self { limit, kept, health, admin, responses, upstream, connections, wanted }
    }

    /// The number of connections that all ports take together.
    pub(crate) fn most_connections(&self) -> usize {
        self.connections.min(self.wanted)
    }

    /// Warns if the configuration allows more connections than there are open files.
    pub(crate) fn warn(&self) {
        let Self { limit, kept, connections, wanted, .. } = *self;
        if connections < wanted {
            tracing::warn!(
                limit,
                kept,
                connections,
                wanted,
                "the limit of open files is lower than the connections of all ports need, and connections beyond it are refused: raise the limit (`ulimit -Hn`) or lower `connections`"
            );
        }
    }

    /// The text of `tailwater check`.
    pub(crate) fn describe(&self) -> String {
        let Self { limit, kept, responses, upstream, connections, wanted, .. } = *self;
        if limit == Semaphore::MAX_PERMITS {
            return "\nopen files: no limit here\n".to_owned();
        }
        let mut text = format!("\nopen files, {limit} here:\n");
        let mut row = |what: &str, number: usize| {
            // Writing to a `String` never fails.
            let _ = writeln!(text, "  {what:<44} {number:>9}");
        };
        row("kept for Kafka, health and the program", kept);
        if responses > 0 {
            row("static files at once, two each", responses);
        }
        if upstream > 0 {
            row("streams of other servers", upstream);
        }
        row("connections of all ports, at most", self.most_connections());
        if connections < wanted {
            let _ = writeln!(text, "  too few open files for {wanted} connections");
        }
        text
    }
}

/// Limits the concurrent responses of a service. A response holds a permit until its body is dropped. If no
/// permit is free within a second, the request is answered with 503.
#[derive(Clone, Debug)]
pub(crate) struct Bounded<S> {
    inner: S,
    places: Arc<Semaphore>,
}

impl<S> Bounded<S> {
    pub(crate) fn new(inner: S, places: &Arc<Semaphore>) -> Self {
        Self { inner, places: Arc::clone(places) }
    }
}

impl<S, B, R> Service<Request<B>> for Bounded<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<HeldBody<R>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = self.inner.clone();
        let places = Arc::clone(&self.places);
        Box::pin(async move {
            let place = tokio::time::timeout(PATIENCE, places.acquire_owned()).await;
            let Ok(Ok(place)) = place else {
                let mut response = Response::new(HeldBody { body: None, _place: None });
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                return Ok(response);
            };
            let response = inner.oneshot(request).await?;
            Ok(response.map(|body| HeldBody { body: Some(body), _place: Some(place) }))
        })
    }
}

pin_project! {
    /// A body that releases its permit when it is dropped.
    #[derive(Debug)]
    pub(crate) struct HeldBody<R> {
        #[pin]
        body: Option<R>,
        _place: Option<OwnedSemaphorePermit>,
    }
}

impl<R: Body> Body for HeldBody<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        self.project().body.as_pin_mut().map_or(Poll::Ready(None), |body| body.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use tower::service_fn;

    use super::*;
    use crate::config;

    const WORKERS: NonZero<usize> = NonZero::new(2).unwrap();

    fn namespaces(connections: &str) -> Vec<Config> {
        let file = format!(
            "name: test
bindings:
  in: {{ type: tcp, kind: server, options: {{ port: 7114{connections} }}, exit: web }}
  web: {{ type: http, kind: server, exit: pages }}
  pages: {{ type: http-filesystem, kind: proxy, routes: [ {{ with: {{ path: a }}, exit: files }} ] }}
  files: {{ type: filesystem, kind: server, options: {{ location: www }} }}
"
        );
        config::parse("zilla.yaml", file.as_bytes(), &|_| None).unwrap().namespaces
    }

    #[test]
    fn clients_get_what_is_left() {
        for (limit, expected) in [
            (Some(64), 64 - 48 - 4),
            (Some(128), 128 - 67 - 8),
            (Some(256), 256 - 83 - 16),
            (Some(1024), 1024 - 147 - 64),
            (Some(1 << 20), (1 << 20) - 147 - 2048),
        ] {
            let shares = OpenFiles::of(&namespaces(""), limit, WORKERS);
            assert_eq!(shares.connections, expected, "{limit:?}");
            let all = shares.kept + 2 * shares.responses + shares.upstream + shares.connections;
            assert_eq!(all, shares.limit, "{limit:?}");
        }
        assert!(OpenFiles::of(&namespaces(""), None, WORKERS).connections > 1 << 30);
        assert_eq!(OpenFiles::of(&namespaces(""), Some(0), WORKERS).connections, 0);
    }

    #[test]
    fn check_says_what_is_left() {
        let text = OpenFiles::of(&namespaces(", connections: 100"), Some(1024), WORKERS).describe();
        assert_eq!(
            text,
            "
open files, 1024 here:
  kept for Kafka, health and the program             147
  static files at once, two each                      32
  connections of all ports, at most                  100
"
        );
        let text = OpenFiles::of(&namespaces(""), Some(1024), WORKERS).describe();
        assert!(text.ends_with("\n  too few open files for 65536 connections\n"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_has_its_place_as_long_as_its_body_lasts() {
        let answer = |_: Request<()>| async { Ok::<_, Infallible>(Response::new("a".to_owned())) };
        let service = Bounded::new(service_fn(answer), &Arc::new(Semaphore::new(1)));
        let ask = || service.clone().oneshot(Request::new(()));
        let held = ask().await.unwrap();
        assert_eq!(held.status(), StatusCode::OK);
        let refused = ask().await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()[RETRY_AFTER], "1");
        drop(held);
        assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
    }
}
