//! Whether this process should be sent clients, told to load balancers and whoever else asks.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use ::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use ::http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use rustix::io::Errno;
use serde_json::{Value, json};
use tailwater_http::{
    Accept as _, Connection, Connections, HttpLayer, ListenOptions, Listener, Progress, Shutdown,
};
use tailwater_kafka::{Cluster, Contact, TopicHealth};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep};
use tower::{Layer as _, Service as _, service_fn};

/// Who asks comes now and then, and one at a time. Fewer where there are few open files.
pub(crate) const CONNECTIONS: usize = 64;
/// Between two attempts to accept.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a connection has to ask, where there is no open file for another one.
const TO_ASK: Duration = Duration::from_millis(100);
const DEADLINE: Duration = Duration::from_secs(10);

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
    pub(crate) connections: Vec<(String, Connections)>,
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

    /// Answers whoever asks at this port, for as long as it is polled.
    ///
    /// Neither those who connect and ask nothing nor a want of open files keep others from their answer:
    /// who has been idle for longest is closed for who comes, and one file is kept for this.
    pub(crate) async fn tell(self, mut listener: Listener) {
        let (most, health) = (self.askers, Arc::new(self));
        let mut askers = Askers::default();
        let mut spare = Spare::default();
        let mut has_room = false;
        loop {
            // What was made free a moment ago is for who waits.
            if !has_room {
                spare.keep();
            }
            let made_room = std::mem::take(&mut has_room);
            let accepted = tokio::select! {
                biased;
                () = askers.ended() => continue,
                accepted = poll_fn(|cx| match listener.poll_accept(cx) {
                    Poll::Pending if made_room => Poll::Ready(None),
                    accepted => accepted.map(Some),
                }) => accepted,
            };
            match accepted {
                Some(Ok((io, _))) => {
                    if askers.count() >= most {
                        askers.close_idlest(Duration::ZERO).await;
                    }
                    askers.add(io, &health);
                }
                // Linux says so whether or not somebody waits to be accepted.
                Some(Err(error)) if is_short_of_files(&error) => {
                    has_room = if askers.count() == 0 {
                        spare.give()
                    } else {
                        askers.close_idlest(TO_ASK).await
                    };
                    if !has_room {
                        sleep(PAUSE).await;
                    }
                }
                Some(Err(_)) => sleep(PAUSE).await,
                None => {}
            }
        }
    }
}

/// An open file that stands for the next connection.
#[derive(Debug, Default)]
struct Spare(Option<File>);

impl Spare {
    /// Opens it if it was given.
    fn keep(&mut self) {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
    }

    /// Whether there was one.
    fn give(&mut self) -> bool {
        self.0.take().is_some()
    }
}

/// Whether there is no file descriptor left, in the process or the system.
fn is_short_of_files(error: &io::Error) -> bool {
    let error = Errno::from_io_error(error);
    error.is_some_and(|it| it == Errno::MFILE || it == Errno::NFILE)
}

/// A connection.
#[derive(Debug)]
struct Asker {
    task: AbortHandle,
    since: Instant,
    /// When it asked last, by the clock of [`Askers`].
    last: Arc<AtomicU64>,
}

/// Connections, and when each has asked last.
#[derive(Debug, Default)]
struct Askers {
    tasks: JoinSet<()>,
    open: HashMap<Id, Asker>,
    /// Counts connections and requests.
    clock: Arc<AtomicU64>,
}

impl Askers {
    fn count(&self) -> usize {
        self.open.len()
    }

    fn add(&mut self, io: TcpStream, health: &Arc<Health>) {
        let (health, clock) = (Arc::clone(health), Arc::clone(&self.clock));
        let last = Arc::new(AtomicU64::new(clock.fetch_add(1, Relaxed)));
        let asked_last = Arc::clone(&last);
        let asked = service_fn(move |request: Request<Incoming>| {
            asked_last.store(clock.fetch_add(1, Relaxed), Relaxed);
            let answer = health.answer(request.method(), request.uri().path());
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        // Without the shutdown: it answers while the process drains.
        let layer =
            HttpLayer::new().first_request(DEADLINE).idle(DEADLINE).streams(8).head_bytes(8 * 1024);
        let connection = Connection::new(Progress::new(io, DEADLINE));
        let served = layer.layer(asked).call(connection);
        let task = self.tasks.spawn(async {
            // Whoever asks nonsense has had an answer.
            let _ = served.await;
        });
        self.open.insert(task.id(), Asker { task, since: Instant::now(), last });
    }

    /// One of them has ended; never, while there are none.
    async fn ended(&mut self) {
        let ended = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return pending().await,
        };
        self.open.remove(&ended);
    }

    /// Closes the one that has asked nothing for longest, of those that had this time to ask; whether
    /// there was one. An answer is written as soon as it is asked for.
    async fn close_idlest(&mut self, had: Duration) -> bool {
        let had_time = self.open.values().filter(|asker| asker.since.elapsed() >= had);
        let Some(idlest) = had_time.min_by_key(|asker| asker.last.load(Relaxed)) else {
            return false;
        };
        idlest.task.abort();
        // Its file is free when it is over.
        self.ended().await;
        true
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
        Health { clusters, connections, shutdown: Shutdown::new(), askers: CONNECTIONS }
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
