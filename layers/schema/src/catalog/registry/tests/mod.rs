//! Look-ups over a transport without sockets, whose clock is paused.

mod cache;
mod faults;
mod missing;
mod outage;
mod references;
mod versions;

use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::MutexGuard;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber, set_default};

use super::cache::MAX_RUNNING;
use super::requests::{AnswerBody, TransportFuture};
use super::shared::{MAX_COMPILING, MAX_FETCHES};
use super::*;
use crate::catalog::{SchemaId, SchemaKind};
use crate::{MAX_DEPTH, MAX_REFERENCES, MAX_SCHEMA_BYTES};

type Script = dyn Fn(&str, usize) -> Reply + Send + Sync;

/// Answers by a script: the path, and how often it was asked for before.
struct Scripted {
    script: Box<Script>,
    asked: Mutex<Vec<(Duration, String)>>,
    start: Instant,
}

enum Reply {
    Json(u16, String),
    RetryAfter(u16, u64),
    /// A web page with status 200.
    Page,
    Broken,
    Never,
    /// A schema in parts, each after so many seconds.
    Slow(usize, u64),
}

use Reply::Json;

fn full(body: impl Into<Bytes>) -> AnswerBody {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The answer `{"schema":"x"}` after spaces, a part of it each so many seconds.
struct Slow {
    left: usize,
    pause: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Slow {
    fn body(left: usize, seconds: u64) -> AnswerBody {
        let pause = Duration::from_secs(seconds);
        let body = Self { left, pause, sleep: Box::pin(sleep(pause)) };
        body.map_err(|never| match never {}).boxed_unsync()
    }
}

impl Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.sleep.as_mut().poll(cx));
        self.sleep = Box::pin(sleep(self.pause));
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        let part = if left == 0 { r#"{"schema":"x"}"# } else { " " };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(part.as_bytes())))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Transport for Scripted {
    fn get(&self, uri: Uri, _headers: HeaderMap) -> TransportFuture<'_> {
        let path = uri.path_and_query().unwrap().to_string();
        let mut asked = self.asked.lock().unwrap();
        let before = asked.iter().filter(|(_, other)| *other == path).count();
        asked.push((self.start.elapsed(), path.clone()));
        let reply = (self.script)(&path, before);
        Box::pin(async move {
            let response = Response::builder();
            match reply {
                Json(status, body) => Ok(response.status(status).body(full(body)).unwrap()),
                Reply::RetryAfter(status, seconds) => {
                    let response = response.status(status).header("retry-after", seconds);
                    Ok(response.body(full("")).unwrap())
                }
                Reply::Page => {
                    let response = response.header("content-type", "text/html; charset=utf-8");
                    Ok(response.body(full("<html>")).unwrap())
                }
                Reply::Slow(parts, seconds) => {
                    Ok(response.body(Slow::body(parts, seconds)).unwrap())
                }
                Reply::Broken => Err(FetchError::Transport("connection refused".to_owned())),
                Reply::Never => future::pending().await,
            }
        })
    }
}

impl Scripted {
    fn asked(&self) -> MutexGuard<'_, Vec<(Duration, String)>> {
        self.asked.lock().unwrap()
    }

    /// The seconds at which a path was asked for, rounded down.
    fn times(&self, path: &str) -> Vec<f32> {
        let asked = self.asked();
        let times = asked.iter().filter(|(_, other)| other == path);
        times.map(|(time, _)| time.as_secs_f32()).collect()
    }

    fn paths(&self) -> Vec<String> {
        self.asked().iter().map(|(_, path)| path.clone()).collect()
    }
}

fn registry_of(
    protocol: impl Into<Protocol>,
    script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
) -> (Registry, Arc<Scripted>) {
    registry_with(protocol, |options| options, script)
}

fn registry_with(
    protocol: impl Into<Protocol>,
    change: impl FnOnce(RegistryOptions) -> RegistryOptions,
    script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
) -> (Registry, Arc<Scripted>) {
    let script = Box::new(script);
    let scripted = Scripted { script, asked: Mutex::default(), start: Instant::now() };
    let scripted = Arc::new(scripted);
    let url = "http://registry".parse().unwrap();
    let options = change(RegistryOptions::new(url, protocol).runtime(Handle::current()));
    let http = Arc::new(HttpTransport::new(false, None));
    // Of its own: where a test waits for another, its clock goes on.
    let compiling = Arc::new(Semaphore::new(MAX_COMPILING));
    let registry = Registry::with_transport(options, http, Arc::clone(&scripted) as _, compiling);
    (registry.unwrap(), scripted)
}

fn confluent(
    script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
) -> (Registry, Arc<Scripted>) {
    registry_of(Confluent::new(), script)
}

fn id(id: u32) -> SchemaRef {
    SchemaRef::Id(SchemaId::Confluent(id))
}

fn latest(subject: &str) -> SchemaRef {
    SchemaRef::subject(subject, "latest")
}

fn schema(text: &str) -> Reply {
    Json(200, serde_json::json!({ "schema": text }).to_string())
}

/// A schema with references by name, each to version 1 of the subject of that name.
fn referring(text: &str, names: &[String]) -> Reply {
    let references =
        names.iter().map(|name| serde_json::json!({ "name": name, "subject": name, "version": 1 }));
    let references: Vec<_> = references.collect();
    Json(200, serde_json::json!({ "schema": text, "references": references }).to_string())
}

fn no_schema() -> Reply {
    Json(404, r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned())
}

fn look_up(registry: &Registry, schema: &SchemaRef) -> Lookup {
    registry.look_up(schema, SchemaKind::Avro)
}

/// Looks up until there is a result. `None` if the schema is missing.
async fn result(registry: &Registry, schema: &SchemaRef) -> Option<Arc<SchemaText>> {
    loop {
        match look_up(registry, schema) {
            Lookup::Known(found) => return Some(found),
            Lookup::Missing => return None,
            Lookup::Pending(waiter) => waiter.await,
        }
    }
}

async fn text(registry: &Registry, schema: &SchemaRef) -> String {
    result(registry, schema).await.expect("a schema").text().to_owned()
}

/// The log of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start(level: tracing::Level) -> (Self, (DefaultGuard, Dispatch)) {
        // tracing caches whether a line of code is enabled. With a single subscriber, a line that another
        // test's thread reaches first would be disabled for all threads.
        let another = Dispatch::new(NoSubscriber::new());
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        (log, (set_default(subscriber), another))
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
