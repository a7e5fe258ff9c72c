//! Look-ups over a transport without sockets, whose clock is paused.

use std::io::{self, Write};
use std::sync::MutexGuard;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, Uri};
use proptest::prelude::*;
use tokio::time::{Instant, timeout};
use tracing::subscriber::{DefaultGuard, set_default};

use super::cache::MAX_RUNNING;
use super::requests::TransportFuture;
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
}

use Reply::Json;

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
                Json(status, body) => Ok(response.status(status).body(Bytes::from(body)).unwrap()),
                Reply::RetryAfter(status, seconds) => {
                    let response = response.status(status).header("retry-after", seconds);
                    Ok(response.body(Bytes::new()).unwrap())
                }
                Reply::Page => {
                    let response = response.header("content-type", "text/html; charset=utf-8");
                    Ok(response.body(Bytes::from_static(b"<html>")).unwrap())
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
    let registry = Registry::with_transport(options, http, Arc::clone(&scripted) as _);
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
    fn start(level: tracing::Level) -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        (log, set_default(subscriber))
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

#[tokio::test(start_paused = true)]
async fn a_schema_by_its_id_is_asked_for_once() {
    let (registry, asked) = confluent(|_, _| schema("\"string\""));
    assert!(matches!(look_up(&registry, &id(9)), Lookup::Pending(_)));
    let nine = id(9);
    let (a, b) = tokio::join!(result(&registry, &nine), result(&registry, &nine));
    assert!(Arc::ptr_eq(&a.unwrap(), &b.unwrap()));
    tokio::time::sleep(Duration::from_secs(100_000)).await;
    assert!(matches!(look_up(&registry, &id(9)), Lookup::Known(_)));
    assert_eq!(asked.paths(), ["/schemas/ids/9"]);
}

#[tokio::test(start_paused = true)]
async fn the_latest_version_is_asked_for_again_after_max_age() {
    let (registry, asked) = confluent(|path, before| match path {
        "/subjects/t/versions/latest" => Json(200, format!(r#"{{"id":{}}}"#, 9 + before)),
        "/subjects/t/versions/1" => Json(200, r#"{"id":9}"#.to_owned()),
        path => schema(path),
    });
    let first = SchemaRef::subject("t", "1");
    for (pause, latest_id) in [(0, 9), (299, 9), (2, 10), (298, 10), (1000, 11)] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let expected = format!("/schemas/ids/{latest_id}");
        assert_eq!(text(&registry, &latest("t")).await, expected, "after {pause} s more");
        assert_eq!(text(&registry, &first).await, "/schemas/ids/9");
    }
    // A version that has a number is asked for once.
    assert_eq!(asked.times("/subjects/t/versions/1").len(), 1);
    assert_eq!(asked.times("/subjects/t/versions/latest").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn no_max_age_makes_look_ups_wait_for_ever() {
    for (age, requests) in [(Duration::ZERO, 10), (Duration::MAX, 1)] {
        let script = |path: &str, _| match path {
            "/subjects/t/versions/latest" => Json(200, r#"{"id":9}"#.to_owned()),
            _ => schema("x"),
        };
        let (registry, asked) =
            registry_with(Confluent::new(), |options| options.max_age(age), script);
        for _ in 0..10 {
            assert_eq!(text(&registry, &latest("t")).await, "x");
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(asked.times("/subjects/t/versions/latest").len(), requests, "{age:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_version_stays_in_use_while_the_registry_is_away() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let (registry, asked) = confluent(|path, before| match (path, before) {
        ("/schemas/ids/9" | "/schemas/ids/10", _) => schema(path),
        ("/subjects/t/versions/latest", 0) => Json(200, r#"{"id":9}"#.to_owned()),
        ("/subjects/t/versions/latest", 1..=5) => Reply::Broken,
        _ => Json(200, r#"{"id":10}"#.to_owned()),
    });
    text(&registry, &latest("t")).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    // The first that finds it old waits for one request. After that nothing waits.
    assert!(matches!(look_up(&registry, &latest("t")), Lookup::Pending(_)));
    assert_eq!(text(&registry, &latest("t")).await, "/schemas/ids/9");
    while asked.times("/subjects/t/versions/latest").len() < 7 {
        assert!(matches!(look_up(&registry, &latest("t")), Lookup::Known(_)));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(text(&registry, &latest("t")).await, "/schemas/ids/10");
    let times = asked.times("/subjects/t/versions/latest");
    let pauses: Vec<f32> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, most) in pauses.iter().zip([300.0_f32, 1.0, 2.0, 4.0, 8.0, 16.0]) {
        assert!((most * 0.499..most + 0.1).contains(pause), "{pauses:?}");
    }
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_the_registry_does_not_have_any_more_stays_in_use() {
    let (registry, _) = confluent(|path, before| match (path, before) {
        ("/subjects/t/versions/latest", 0) => Json(200, r#"{"id":9}"#.to_owned()),
        ("/subjects/t/versions/latest", _) => no_schema(),
        _ => schema("x"),
    });
    text(&registry, &latest("t")).await;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(text(&registry, &latest("t")).await, "x");
}

#[tokio::test(start_paused = true)]
async fn what_is_old_is_used_at_once_while_the_registry_is_known_to_be_away() {
    let (registry, _) = confluent(|path, before| match (path, before) {
        ("/subjects/t/versions/latest", 0) => Json(200, r#"{"id":9}"#.to_owned()),
        ("/schemas/ids/9", _) => schema("x"),
        _ => Reply::Never,
    });
    text(&registry, &latest("t")).await;
    tokio::time::sleep(Duration::from_secs(294)).await;
    let Lookup::Pending(_waiter) = look_up(&registry, &id(1)) else { panic!("unknown") };
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(matches!(look_up(&registry, &latest("t")), Lookup::Known(_)));
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_away_is_asked_until_it_is_back_and_is_logged_twice() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let (registry, asked) = confluent(|path, before| match (path, before) {
        ("/schemas/ids/9", 0..=9) => Reply::Broken,
        ("/schemas/ids/8", 0..=4) => Json(503, String::new()),
        _ => schema("x"),
    });
    let (nine, eight) = (id(9), id(8));
    tokio::join!(text(&registry, &nine), text(&registry, &eight));
    let times = asked.times("/schemas/ids/9");
    assert_eq!(times.len(), 11);
    for (number, pair) in times.windows(2).enumerate() {
        let most = f32::powi(2.0, i32::try_from(number).unwrap()).min(10.0);
        let pause = pair[1] - pair[0];
        // Shorter where the registry has answered another request.
        assert!((0.49..most + 0.1).contains(&pause), "pause {number} of {times:?}");
    }
    let seconds = times[10] as u64;
    let registry = r#"registry="http://registry""#;
    assert_eq!(
        log.lines(),
        [
            format!(
                "WARN tailwater_schema::catalog::registry::health: schemas cannot be fetched, trying again {registry} error=no answer: connection refused schema=id 9"
            ),
            format!(
                "INFO tailwater_schema::catalog::registry::health: schemas are fetched again {registry} seconds={seconds}"
            ),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn when_one_request_is_answered_the_others_follow_soon() {
    let (registry, asked) = confluent(|path, before| match path {
        "/schemas/ids/1" if before < 20 => Reply::Broken,
        // Away until some time.
        "/schemas/ids/2" if before < 6 => Reply::Broken,
        _ => schema("x"),
    });
    let (one, two) = (id(1), id(2));
    let outcome = timeout(Duration::from_secs(200), text(&registry, &two)).await;
    assert!(outcome.is_ok());
    let slow = async { result(&registry, &one).await };
    let other = async {
        tokio::time::sleep(Duration::from_millis(37_500)).await;
        text(&registry, &id(3)).await;
    };
    tokio::join!(slow, other);
    let begin = asked.times("/schemas/ids/3")[0];
    let next = asked.times("/schemas/ids/1").into_iter().find(|time| *time >= begin).unwrap();
    assert!(next - begin < 1.1, "{begin} {next}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_schema_is_asked_for_three_times_and_remembered() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let (registry, asked) =
        confluent(|_, before| if before < 5 { no_schema() } else { schema("x") });
    assert!(result(&registry, &id(77)).await.is_none());
    assert_eq!(asked.times("/schemas/ids/77").len(), 3);
    let seconds = asked.start.elapsed().as_secs_f32();
    assert!((3.9..5.0).contains(&seconds), "{seconds}");
    // It is remembered, and asked for once a minute.
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert!(matches!(look_up(&registry, &id(77)), Lookup::Missing));
    for attempts in 4..=5 {
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert!(result(&registry, &id(77)).await.is_none());
        assert_eq!(asked.times("/schemas/ids/77").len(), attempts);
    }
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(text(&registry, &id(77)).await, "x");
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(
        lines[0],
        r#"WARN tailwater_schema::catalog::registry::health: schema is missing registry="http://registry" error=registry has no such schema (status 404 Not Found, error code 40403) schema=id 77"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_costs_no_record() {
    let (registry, _) = confluent(|_, before| if before < 2 { no_schema() } else { schema("x") });
    assert_eq!(text(&registry, &id(9)).await, "x");
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_about_a_schema_is_no_answer() {
    for status in [401, 403, 407, 408, 425, 429, 500, 502, 503, 504, 404, 400, 405, 410] {
        let (registry, asked) = confluent(move |_, before| match before {
            // A proxy's page, or the code of another status.
            0..=5 => Json(status, r#"{"error_code":50001}"#.to_owned()),
            _ => schema("x"),
        });
        assert_eq!(text(&registry, &id(9)).await, "x", "{status}");
        assert_eq!(asked.times("/schemas/ids/9").len(), 7, "{status}");
    }
    // A registry's own code is none of an outage where the status says that the client is wrong.
    for (status, code) in [(401, 40101), (403, 40301), (429, 42901), (503, 50301)] {
        let (registry, _) = confluent(move |_, before| match before {
            0..=5 => Json(status, format!(r#"{{"error_code":{code}}}"#)),
            _ => schema("x"),
        });
        assert_eq!(text(&registry, &id(9)).await, "x", "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_is_asked_no_earlier_than_it_says() {
    let (registry, asked) = confluent(|_, before| match before {
        0 => Reply::RetryAfter(429, 30),
        1 => Reply::RetryAfter(503, 1_000_000),
        _ => schema("x"),
    });
    text(&registry, &id(9)).await;
    let times = asked.times("/schemas/ids/9");
    let pauses: Vec<f32> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((30.0..31.0).contains(&pauses[0]) && (60.0..61.0).contains(&pauses[1]), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_after_the_timeout_and_holds_up_no_other() {
    let (registry, asked) = confluent(|path, before| match path {
        "/schemas/ids/9" if before < 2 => Reply::Never,
        _ => schema("x"),
    });
    let nine = id(9);
    let slow = text(&registry, &nine);
    let quick = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        timeout(Duration::from_millis(10), text(&registry, &id(8))).await.expect("at once")
    };
    tokio::join!(slow, quick);
    let times = asked.times("/schemas/ids/9");
    assert!((5.5..6.1).contains(&times[1]), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn what_nothing_waits_for_is_not_asked_for_again() {
    let (registry, asked) = confluent(|_, _| Reply::Broken);
    drop(look_up(&registry, &id(9)));
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(asked.paths().len(), 1);
    assert_eq!(registry.status().pending, 0);
    // The next look-up asks again.
    drop(look_up(&registry, &id(9)));
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(asked.paths().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_nothing_waited_for_ends_with_the_next_answer() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let (registry, _) = confluent(|path, _| match path {
        "/schemas/ids/9" => Reply::Broken,
        _ => schema("x"),
    });
    drop(look_up(&registry, &id(9)));
    tokio::time::sleep(Duration::from_secs(100)).await;
    let status = registry.status();
    assert!(status.error.is_some() && status.outage >= Some(Duration::from_secs(99)));
    text(&registry, &id(8)).await;
    assert!(registry.status().error.is_none());
    assert_eq!(log.lines().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_woken_when_the_registry_is_dropped() {
    let (registry, _) = confluent(|_, _| Reply::Broken);
    let Lookup::Pending(waiter) = look_up(&registry, &id(9)) else { panic!("unknown") };
    let clone = registry.clone();
    drop(registry);
    let Lookup::Pending(other) = look_up(&clone, &id(8)) else { panic!("unknown") };
    drop(clone);
    timeout(Duration::from_secs(1), async { (waiter.await, other.await) }).await.expect("woken");
}

#[test]
fn without_its_runtime_a_registry_stays_pending() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (registry, _) = runtime.block_on(async { confluent(|_, _| schema("x")) });
    drop(runtime);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let Lookup::Pending(waiter) = look_up(&registry, &id(9)) else { panic!("unknown") };
        timeout(Duration::from_millis(50), waiter).await.expect_err("nothing comes");
        let error = registry.fetch(&id(9)).await.expect_err("no runtime");
        assert_eq!(error, FetchError::Stopped);
    });
}

#[tokio::test(start_paused = true)]
async fn references_are_fetched_recursively_and_each_once() {
    let (registry, asked) = confluent(|path, _| match path {
        "/schemas/ids/1" => referring("one", &["a".to_owned(), "b".to_owned()]),
        "/subjects/a/versions/1" => Json(200, r#"{"id":2}"#.to_owned()),
        "/subjects/b/versions/1" => Json(200, r#"{"id":3}"#.to_owned()),
        "/subjects/c/versions/1?deleted=true" => Json(200, r#"{"id":4}"#.to_owned()),
        "/schemas/ids/2" | "/schemas/ids/3" => referring(path, &["c".to_owned()]),
        "/schemas/ids/4" => schema("four"),
        _ => no_schema(),
    });
    let one = result(&registry, &id(1)).await.unwrap();
    let [a, b] = one.references() else { panic!("two references") };
    assert_eq!((a.name(), a.schema().text()), ("a", "/schemas/ids/2"));
    assert_eq!((b.name(), b.schema().text()), ("b", "/schemas/ids/3"));
    let [from_a] = a.schema().references() else { panic!("one reference") };
    let [from_b] = b.schema().references() else { panic!("one reference") };
    assert_eq!(from_a.schema().text(), "four");
    assert!(Arc::ptr_eq(from_a.schema(), from_b.schema()));
    let mut paths = asked.paths();
    let count = paths.len();
    paths.sort();
    paths.dedup();
    assert_eq!((count, paths.len()), (8, 8));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_begins_where_the_one_before_has_ended() {
    let (registry, asked) = confluent(|path, before| match path {
        "/schemas/ids/1" => referring("one", &["a".to_owned(), "b".to_owned()]),
        "/subjects/a/versions/1" => Json(200, r#"{"id":2}"#.to_owned()),
        "/subjects/b/versions/1" if before < 3 => Reply::Broken,
        "/subjects/b/versions/1" => Json(200, r#"{"id":3}"#.to_owned()),
        _ => schema(path),
    });
    text(&registry, &id(1)).await;
    assert_eq!(asked.times("/schemas/ids/2").len(), 1);
    assert_eq!(asked.times("/subjects/a/versions/1").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_schema_that_refers_to_itself_is_missing() {
    for around in [1, 3] {
        let (registry, _) = confluent(move |path, _| {
            let number: u32 = path.split('/').filter_map(|part| part.parse().ok()).next().unwrap();
            match path.starts_with("/schemas") {
                true => Json(
                    200,
                    serde_json::json!({ "schema": "x", "references": [
                        { "name": "next", "subject": "s", "version": (number + 1) % around },
                    ]})
                    .to_string(),
                ),
                false => Json(200, format!(r#"{{"id":{number}}}"#)),
            }
        });
        assert!(result(&registry, &id(0)).await.is_none(), "{around}");
        let error = registry.fetch(&id(0)).await.expect_err("a cycle");
        let cause = successors_of(&error).last().unwrap().to_string();
        assert_eq!(cause, "schema with id 0 refers to itself");
    }
}

fn successors_of(error: &FetchError) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source())
}

/// Schemas whose ids are numbers, and which refer to those that `next` says.
fn numbered(
    next: impl Fn(u32) -> std::ops::RangeInclusive<u32> + Send + Sync + 'static,
) -> impl Fn(&str, usize) -> Reply + Send + Sync + 'static {
    move |path, _| {
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            ["", "schemas", "ids", number] => {
                let names = next(number.parse().unwrap()).map(|number| number.to_string());
                referring("x", &names.collect::<Vec<_>>())
            }
            ["", "subjects", number, "versions", "1"] => Json(200, format!(r#"{{"id":{number}}}"#)),
            _ => panic!("{path}"),
        }
    }
}

fn chain_of(last: u32) -> impl Fn(&str, usize) -> Reply + Send + Sync + 'static {
    numbered(move |number| number + 1..=(number + 1).min(last))
}

#[tokio::test(start_paused = true)]
async fn references_have_a_greatest_depth() {
    let depth = u32::try_from(MAX_DEPTH).unwrap();
    let (registry, _) = confluent(chain_of(depth));
    assert!(result(&registry, &id(0)).await.is_some());
    let (registry, _) = confluent(chain_of(depth + 1));
    assert_eq!(cause(&registry, &id(0)).await, FetchError::TooDeep.to_string());
    // What is in the cache counts, too.
    let (registry, _) = confluent(chain_of(depth + 1));
    assert!(result(&registry, &id(1)).await.is_some());
    assert_eq!(cause(&registry, &id(0)).await, FetchError::TooDeep.to_string());
    assert!(result(&registry, &id(0)).await.is_none());
}

async fn cause(registry: &Registry, schema: &SchemaRef) -> String {
    let error = registry.fetch(schema).await.expect_err("a limit");
    successors_of(&error).last().unwrap().to_string()
}

#[tokio::test(start_paused = true)]
async fn references_have_a_greatest_number() {
    let most = u32::try_from(MAX_REFERENCES).unwrap();
    // There are more paths from the first to the last than any machine could follow.
    let (registry, asked) = confluent(numbered(|number| number + 1..=50));
    assert!(result(&registry, &id(0)).await.is_some());
    assert_eq!(asked.paths().len(), 1 + 2 * 50);
    // In one list, and in a tree.
    for width in [2 * most, 10] {
        for (last, fits) in [(most, true), (most + 1, false)] {
            let (registry, _) = confluent(numbered(move |number| {
                width * number + 1..=(width * (number + 1)).min(last)
            }));
            match fits {
                true => assert!(registry.fetch(&id(0)).await.is_ok(), "{width} {last}"),
                false => {
                    let found = cause(&registry, &id(0)).await;
                    assert_eq!(found, FetchError::TooManyReferences.to_string(), "{width} {last}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_no_url_can_hold_is_missing() {
    for length in [60_000, 70_000, 1 << 20] {
        let (registry, _) = confluent(move |path, _| match path {
            "/schemas/ids/0" => referring("x", &["n".repeat(length)]),
            path if path.starts_with("/subjects") => Json(200, r#"{"id":1}"#.to_owned()),
            _ => schema("x"),
        });
        let found = registry.fetch(&id(0)).await;
        assert_eq!(found.is_ok(), length == 60_000, "{length}");
        let Err(error) = found else { continue };
        assert!(!error.is_transient());
        assert!(format!("{error:?}").len() < 1000, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_schema_and_its_references_have_a_greatest_size() {
    // Four texts of a quarter fit, with a bit of room for names. A fifth does not.
    let quarter = "x".repeat(MAX_SCHEMA_BYTES / 4 - 100);
    for (count, fits) in [(3_u32, true), (4, false)] {
        let quarter = quarter.clone();
        let (registry, _) = confluent(move |path, _| {
            let end = path.rsplit('/').nth(2).unwrap();
            match path {
                "/schemas/ids/0" => {
                    let names = (1..=count).map(|number| number.to_string());
                    referring(&quarter, &names.collect::<Vec<_>>())
                }
                path if path.starts_with("/schemas") => schema(&quarter),
                _ => Json(200, format!(r#"{{"id":{end}}}"#)),
            }
        });
        match fits {
            true => assert!(registry.fetch(&id(0)).await.is_ok()),
            false => {
                assert_eq!(cause(&registry, &id(0)).await, FetchError::TooMuchText.to_string());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_has_a_greatest_number_of_schemas() {
    let (registry, _) = confluent(|_, _| schema("x"));
    let most = u32::try_from(Registry::MAX_CACHED_SCHEMAS).unwrap();
    for number in 0..most + 10 {
        text(&registry, &id(number)).await;
    }
    assert_eq!(registry.status().schemas, Registry::MAX_CACHED_SCHEMAS);
    // The one that was used least recently went.
    assert!(matches!(look_up(&registry, &id(0)), Lookup::Pending(_)));
    assert!(matches!(look_up(&registry, &id(most)), Lookup::Known(_)));
}

#[tokio::test(start_paused = true)]
async fn a_cache_has_a_greatest_size() {
    let large = "x".repeat(MAX_SCHEMA_BYTES / 2);
    let (registry, _) = registry_of(Apicurio::new(), move |path, _| match path {
        path if path.ends_with("/references") => Json(200, "[]".to_owned()),
        _ => Json(200, large.clone()),
    });
    for number in 0..20 {
        text(&registry, &SchemaRef::Id(SchemaId::GlobalId(number))).await;
        assert!(registry.status().bytes <= Registry::MAX_CACHED_BYTES);
    }
    assert_eq!(registry.status().schemas, 16);
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_has_a_greatest_number_and_the_rest_waits_for_room() {
    let (registry, _) =
        confluent(|_, before| if before == 0 { Reply::Broken } else { schema("x") });
    let most = u32::try_from(MAX_RUNNING).unwrap();
    let waiters: Vec<_> = (0..most).map(|number| look_up(&registry, &id(number))).collect();
    assert_eq!(registry.status().pending, MAX_RUNNING);
    let Lookup::Pending(waiter) = look_up(&registry, &id(most)) else { panic!("unknown") };
    assert_eq!(registry.status().pending, MAX_RUNNING);
    waiter.await;
    assert_eq!(text(&registry, &id(most)).await, "x");
    drop(waiters);
}

/// A schema that takes its time to compile.
fn large_record() -> String {
    let fields = (0..5000).map(|at| format!(r#"{{"name":"f{at}","type":"int"}}"#));
    let fields = fields.collect::<Vec<_>>().join(",");
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

/// The thread of the records looks schemas up, and must not compile one: whatever the registry says of its kind, and
/// however it came into the cache.
#[tokio::test(start_paused = true)]
async fn a_schema_is_known_when_it_is_compiled() {
    let (registry, asked) = registry_of(Apicurio::new(), |path, _| {
        let body = match path.strip_prefix("/apis/registry/v2").expect("the base of the API") {
            "/ids/globalIds/1" | "/ids/globalIds/2" => large_record(),
            "/ids/globalIds/1/references" => {
                r#"[{"artifactId":"a","version":"1","name":"R"}]"#.to_owned()
            }
            "/groups/default/artifacts/a/versions/1/meta" => r#"{"globalId":2}"#.to_owned(),
            "/groups/default/artifacts/t/meta" => r#"{"globalId":2}"#.to_owned(),
            _ => "[]".to_owned(),
        };
        Json(200, body)
    });
    let global = |id| SchemaRef::Id(SchemaId::GlobalId(id));
    let schemas = [
        (global(1), SchemaKind::Avro),
        // It has come as a reference.
        (global(2), SchemaKind::Avro),
        (global(2), SchemaKind::Json),
        (latest("t"), SchemaKind::Protobuf),
        (global(1), SchemaKind::Json),
    ];
    for (schema, kind) in schemas {
        let Lookup::Pending(mut waiter) = registry.look_up(&schema, kind) else {
            panic!("{schema} {kind}")
        };
        let found = loop {
            waiter.await;
            match registry.look_up(&schema, kind) {
                Lookup::Known(found) => break found,
                Lookup::Pending(next) => waiter = next,
                Lookup::Missing => panic!("{schema} {kind}"),
            }
        };
        assert!(found.is_ready(kind), "{schema} {kind}");
        assert!(matches!(registry.look_up(&schema, kind), Lookup::Known(_)));
    }
    assert_eq!(asked.times("/apis/registry/v2/ids/globalIds/2").len(), 1);
    assert_eq!(registry.status().pending, 0);
    // A model of another kind than the registry says rejects the values: there is nothing to compile.
    let (registry, _) = confluent(|_, _| schema("\"string\""));
    text(&registry, &id(9)).await;
    assert!(matches!(registry.look_up(&id(9), SchemaKind::Json), Lookup::Known(_)));
}

#[tokio::test(start_paused = true)]
async fn to_compile_a_schema_says_nothing_of_the_registry() {
    let (registry, _) = registry_of(Apicurio::new(), |path, _| match path.rsplit('/').next() {
        Some("1") => Json(200, "\"string\"".to_owned()),
        Some("references") => Json(200, "[]".to_owned()),
        _ => Reply::Broken,
    });
    let global = |id| SchemaRef::Id(SchemaId::GlobalId(id));
    text(&registry, &global(1)).await;
    drop(look_up(&registry, &global(2)));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(registry.status().error.is_some());
    let Lookup::Pending(waiter) = registry.look_up(&global(1), SchemaKind::Json) else {
        panic!("not compiled")
    };
    waiter.await;
    assert!(matches!(registry.look_up(&global(1), SchemaKind::Json), Lookup::Known(_)));
    assert!(registry.status().error.is_some());
}

/// The schema that leaves the cache last must not be dropped by the thread that holds the lock.
#[test]
fn what_leaves_the_cache_is_given_back() {
    let mut cache = Cache::new(Duration::from_secs(1));
    let large: Arc<str> = "x".repeat(MAX_SCHEMA_BYTES).into();
    let text = |number| Arc::new(SchemaText::new(SchemaId::Confluent(number), Arc::clone(&large)));
    let mut evicted = Vec::new();
    for number in 0..20 {
        evicted.extend(cache.put_schema(text(number)).1);
    }
    assert_eq!(cache.len() + evicted.len(), 20);
    assert!(!evicted.is_empty() && evicted.iter().all(|schema| Arc::strong_count(schema) == 1));
    // One that is there stays, compiled as it is.
    let (kept, left) = cache.put_schema(text(19));
    assert_eq!((Arc::strong_count(&kept), left.len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn apicurio_has_references_at_a_place_of_their_own() {
    let (registry, asked) = registry_of(Apicurio::new().group("g"), |path, _| {
        let body = match path.strip_prefix("/apis/registry/v2").expect("the base of the API") {
            "/groups/g/artifacts/t/meta" => r#"{"type":"AVRO","globalId":7,"version":"3"}"#,
            "/ids/globalIds/7" => "seven",
            "/ids/globalIds/7/references" => {
                r#"[{"artifactId":"a b","groupId":"h","version":"1","name":"x.A"}]"#
            }
            "/groups/h/artifacts/a%20b/versions/1/meta" => r#"{"globalId":8}"#,
            "/ids/globalIds/8" => "eight",
            _ => return Json(404, r#"{"error_code":404}"#.to_owned()),
        };
        Json(200, body.to_owned())
    });
    let found = registry.fetch(&latest("t")).await.unwrap();
    assert_eq!(found.version.as_deref(), Some("3"));
    assert_eq!((found.schema.id(), found.schema.text()), (SchemaId::GlobalId(7), "seven"));
    let [a] = found.schema.references() else { panic!("one reference") };
    assert_eq!((a.name(), a.schema().text()), ("x.A", "eight"));
    // A registry without references: nothing is lost.
    assert!(a.schema().references().is_empty());
    let count = asked.paths().len();
    assert_eq!(text(&registry, &SchemaRef::Id(SchemaId::GlobalId(7))).await, "seven");
    assert_eq!(asked.paths().len(), count);
}

#[tokio::test(start_paused = true)]
async fn an_id_of_another_kind_of_registry_is_missing_without_a_request() {
    let (registry, asked) = confluent(|_, _| schema("x"));
    for id in [SchemaId::GlobalId(9), SchemaId::ContentId(9), SchemaId::Checksum(9)] {
        assert!(result(&registry, &SchemaRef::Id(id)).await.is_none(), "{id}");
    }
    assert!(result(&registry, &SchemaRef::subject("..", "latest")).await.is_none());
    assert!(asked.paths().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_id_that_no_registry_can_have_is_missing() {
    let no_api = || Json(404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#.to_owned());
    let (registry, _) = confluent(move |_, _| no_api());
    let limit = Duration::from_secs(60);
    let greatest = id(u32::MAX);
    assert!(timeout(limit, result(&registry, &greatest)).await.expect("a result").is_none());
    let (registry, _) = registry_of(Apicurio::new(), move |_, _| no_api());
    for id in [SchemaId::GlobalId(u64::MAX), SchemaId::ContentId(u64::MAX)] {
        let greatest = SchemaRef::Id(id);
        assert!(timeout(limit, result(&registry, &greatest)).await.expect("a result").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_without_guids_does_not_hold_up_records() {
    let no_api = || Json(404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#.to_owned());
    let (registry, _) = confluent(move |path, before| match path {
        "/schemas/ids/9" if before >= 5 => schema("x"),
        _ => no_api(),
    });
    assert!(result(&registry, &SchemaRef::Id(SchemaId::Guid([7; 16]))).await.is_none());
    // Where the whole API is not there, the URL is wrong.
    let error = registry.fetch(&id(9)).await.expect_err("no API").to_string();
    assert!(error.ends_with("is its URL right?"), "{error}");
    assert_eq!(text(&registry, &id(9)).await, "x");
}

#[tokio::test(start_paused = true)]
async fn a_karapace_without_guids_does_not_hold_up_records() {
    let guid = SchemaRef::Id(SchemaId::Guid([7; 16]));
    let limit = Duration::from_secs(600);
    for (body, is_karapace) in [
        (r#"{"detail":"Not Found"}"#, true),
        ("404: Not Found", true),
        (r#"{"detail":"Not Found"}"#, false),
        ("<html>", false),
    ] {
        let (registry, _) = confluent(move |path, _| match path {
            "/schemas/types" if is_karapace => Json(200, r#"["JSON","AVRO"]"#.to_owned()),
            _ => Json(404, body.to_owned()),
        });
        // A proxy before a registry that is away is asked again.
        let found = timeout(limit, result(&registry, &guid)).await;
        assert_eq!(found.ok().map(|found| found.is_none()), is_karapace.then_some(true), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_schema_is_missing() {
    for body in ["{}", "[]", r#"{"schema":"x","schemaType":"XSD"}"#] {
        let (registry, asked) = confluent(move |_, _| Json(200, body.to_owned()));
        assert!(result(&registry, &id(9)).await.is_none(), "{body}");
        assert_eq!(asked.paths().len(), 3);
    }
    for status in [204, 300, 304] {
        let (registry, _) = confluent(move |_, _| Json(status, String::new()));
        assert!(result(&registry, &id(9)).await.is_none(), "{status}");
    }
}

/// What a proxy may answer in place of a registry that is away: it must cost no record, and as the answer of a registry
/// that is there it must not stop a partition.
fn answers_of_a_proxy() -> Vec<fn() -> Reply> {
    vec![
        || Reply::Page,
        || Json(200, "<html>".to_owned()),
        || Json(200, String::new()),
        || Json(404, "default backend - 404".to_owned()),
        || Json(400, "<html>".to_owned()),
        || Json(404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#.to_owned()),
    ]
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_proxy_costs_no_schema() {
    for reply in answers_of_a_proxy() {
        let (registry, asked) = confluent(move |path, before| match (path, before) {
            ("/schemas/ids/9", 10..) => schema("x"),
            _ => reply(),
        });
        assert_eq!(text(&registry, &id(9)).await, "x");
        assert_eq!(asked.times("/schemas/ids/9").len(), 11);
    }
    // The body of Apicurio's answer is the schema: a page must not be taken for one.
    let (registry, _) = registry_of(Apicurio::new(), |path, before| match path {
        path if path.ends_with("/ids/globalIds/9") && before >= 10 => Json(200, "x".to_owned()),
        path if path.ends_with("/references") => Json(200, "[]".to_owned()),
        _ => Reply::Page,
    });
    assert_eq!(text(&registry, &SchemaRef::Id(SchemaId::GlobalId(9))).await, "x");
}

#[tokio::test(start_paused = true)]
async fn an_odd_answer_of_a_registry_that_is_there_is_final() {
    let limit = Duration::from_secs(60);
    for reply in answers_of_a_proxy() {
        let (registry, asked) = confluent(move |path, _| match path {
            "/schemas/types" => Json(200, r#"["AVRO"]"#.to_owned()),
            _ => reply(),
        });
        let seven = id(7);
        let found = timeout(limit, result(&registry, &seven)).await;
        assert!(found.expect("a result").is_none());
        assert_eq!(asked.times("/schemas/ids/7").len(), 3);
        // What a registry has answered once tells that it is there, too.
        for answered in [no_schema, || schema("x")] {
            let (registry, _) = confluent(move |path, _| match path {
                "/schemas/ids/9" => answered(),
                _ => reply(),
            });
            assert!(timeout(limit, result(&registry, &seven)).await.is_err());
            let _ = result(&registry, &id(9)).await;
            let found = timeout(limit, result(&registry, &seven)).await;
            assert!(found.expect("a result").is_none());
        }
        let (registry, _) = registry_of(Apicurio::new(), move |path, _| match path {
            "/apis/registry/v2/system/info" => Json(200, r#"{"version":"2.6.13"}"#.to_owned()),
            _ => reply(),
        });
        let seven = SchemaRef::Id(SchemaId::GlobalId(7));
        let Reply::Page = reply() else { continue };
        let found = timeout(limit, result(&registry, &seven)).await;
        assert!(found.expect("a result").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reference_with_an_odd_answer_does_not_hold_up_records() {
    for reply in answers_of_a_proxy() {
        let (registry, _) = confluent(move |path, _| match path {
            "/schemas/types" => Json(200, r#"["AVRO"]"#.to_owned()),
            "/schemas/ids/1" => referring("x", &["a/b".to_owned()]),
            _ => reply(),
        });
        let one = id(1);
        let found = timeout(Duration::from_secs(60), result(&registry, &one)).await;
        assert!(found.expect("a result").is_none());
        // The subject of a configuration is waited for.
        let subject = latest("t");
        assert!(timeout(Duration::from_secs(60), result(&registry, &subject)).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn many_missing_schemas_make_few_lines() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let (registry, _) = confluent(|_, _| no_schema());
    let waiters = (0..100).map(|number| {
        let registry = registry.clone();
        tokio::spawn(async move { assert!(result(&registry, &id(number)).await.is_none()) })
    });
    for waiter in waiters.collect::<Vec<_>>() {
        waiter.await.unwrap();
    }
    assert!(result(&registry, &id(100)).await.is_none());
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[1].ends_with("schema=id 100 others=99"), "{lines:#?}");
}

/// What a registry may do with a request before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    NoSchema,
    NotASchema,
    /// Final if the registry answers another request at this time.
    Page,
    Unavailable,
    RetryAfter,
    Broken,
    Never,
}

impl Fault {
    fn is_final(self) -> bool {
        matches!(self, Self::NoSchema | Self::NotASchema | Self::Page)
    }

    fn reply(self) -> Reply {
        match self {
            Self::NoSchema => no_schema(),
            Self::NotASchema => Json(200, "{}".to_owned()),
            Self::Page => Reply::Page,
            Self::Unavailable => Json(503, String::new()),
            Self::RetryAfter => Reply::RetryAfter(429, 7),
            Self::Broken => Reply::Broken,
            Self::Never => Reply::Never,
        }
    }
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    use Fault::*;
    let all = vec![NoSchema, NotASchema, Page, Unavailable, RetryAfter, Broken, Never];
    let fault = prop::sample::select(all);
    prop::collection::vec(fault, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// A schema is missing only if three answers say so. Whatever else a registry does, each look-up gets the schema
    /// in the end, and no request is left.
    #[test]
    fn no_fault_of_a_registry_costs_a_schema(
        scripts in prop::collection::vec(faults(), 1..20),
        waits in prop::collection::vec((0..20_usize, 0..60_000_u64, any::<bool>()), 0..60),
    ) {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let expected: Vec<bool> = scripts
                .iter()
                .map(|faults| faults.iter().filter(|fault| fault.is_final()).count() < 3)
                .collect();
            let count = scripts.len();
            let (registry, _) = confluent(move |path, before| {
                let Ok(number) = path.rsplit('/').next().unwrap().parse::<usize>() else {
                    return Reply::Page;
                };
                scripts[number].get(before).map_or_else(|| schema(path), |fault| fault.reply())
            });
            let awaited = (0..count).map(|number| (number, 0, true));
            let waits = waits.into_iter().map(|(number, pause, stays)| (number % count, pause, stays));
            let tasks: Vec<_> = awaited.chain(waits).map(|(number, pause, stays)| {
                let registry = registry.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    let schema = id(u32::try_from(number).unwrap());
                    if !stays {
                        drop(look_up(&registry, &schema));
                        return None;
                    }
                    let found = result(&registry, &schema).await;
                    Some((number, found.map(|found| found.text().to_owned())))
                })
            }).collect();
            for task in tasks {
                let Some((number, found)) = task.await.unwrap() else { continue };
                match found {
                    Some(text) => assert_eq!(text, format!("/schemas/ids/{number}")),
                    // A later look-up asks a missing one again, and may find it.
                    None => assert!(!expected[number], "{number} is missing"),
                }
            }
            tokio::time::sleep(Duration::from_secs(100)).await;
            let status = registry.status();
            assert_eq!((status.pending, status.error), (0, None));
        });
    }
    /// Whatever refers to whatever: a schema is known with exactly what it refers to, each of which is asked for once,
    /// or refers to itself.
    #[test]
    fn any_graph_of_references_is_resolved_or_refused(
        edges in prop::collection::vec(prop::collection::vec(0..10_u32, 0..4), 10),
    ) {
        fn has_cycle(edges: &[Vec<u32>], node: u32, path: &mut Vec<u32>) -> bool {
            if path.contains(&node) {
                return true;
            }
            path.push(node);
            let found = edges[node as usize].iter().any(|next| has_cycle(edges, *next, path));
            path.pop();
            found
        }
        fn matches(schema: &SchemaText, edges: &[Vec<u32>], node: u32) -> bool {
            let next = &edges[node as usize];
            schema.id() == SchemaId::Confluent(node)
                && schema.references().len() == next.len()
                && schema.references().iter().zip(next).all(|(reference, next)| {
                    reference.name() == next.to_string() && matches(reference.schema(), edges, *next)
                })
        }
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let served = edges.clone();
            let (registry, asked) = confluent(move |path, _| {
                let parts: Vec<&str> = path.split('/').collect();
                match parts[..] {
                    ["", "schemas", "ids", number] => {
                        let next = &served[number.parse::<usize>().unwrap()];
                        referring("x", &next.iter().map(u32::to_string).collect::<Vec<_>>())
                    }
                    _ => Json(200, format!(r#"{{"id":{}}}"#, parts[2])),
                }
            });
            match registry.fetch(&id(0)).await {
                Ok(found) => assert!(matches(&found.schema, &edges, 0)),
                Err(error) => {
                    let cause = successors_of(&error).last().unwrap().to_string();
                    assert!(cause.ends_with("refers to itself"), "{cause}");
                    assert!(has_cycle(&edges, 0, &mut Vec::new()));
                }
            }
            let mut paths = asked.paths();
            let count = paths.len();
            paths.sort();
            paths.dedup();
            assert_eq!(paths.len(), count);
        });
    }
}
