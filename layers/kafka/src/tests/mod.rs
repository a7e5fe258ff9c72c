//! Tests of the crate over a model of Kafka. They wait for what they expect; a timeout only says that it did not
//! come.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use tailwater_sse::{Events as _, Item, Parser};
use tower::ServiceExt as _;

use crate::broker::Backend;
use crate::broker::model::{Message, Model};
use crate::data::filter::Index;
use crate::data::positions::Positions;
use crate::simulation;
use crate::threads::Threads;
use crate::timing::Timing;
use crate::{Cluster, ClusterOptions, DefaultOffset, Error, Filter, Query, Stream, StreamOptions};

mod closing;
mod compacted;
mod conversion;
mod converted_streams;
mod counts;
mod filters;
mod gaps;
mod held_up;
mod history;
mod instances;
mod large;
mod live;
mod lost;
mod order;
mod partitions;
mod permissions;
mod schedules;
mod seeds;
mod slow_conversions;
mod start;
mod topics;
mod transactions;
mod trouble;
mod watchdog;
mod wire;

const TOPIC: &str = "orders";
const IN_VAIN: Duration = Duration::from_secs(20);

/// How long something is waited for. On the simulated clock that is no time.
fn in_vain() -> Duration {
    if simulation::is_running() { 3 * IN_VAIN } else { IN_VAIN }
}

/// A Kafka with one topic.
fn kafka(partitions: usize) -> Model {
    let model = Model::default();
    model.create(TOPIC, partitions);
    model
}

fn text(value: &str) -> Message<'_> {
    Message { value: Some(value.as_bytes()), ..Message::default() }
}

fn keyed<'a>(key: &'a str, value: &'a str) -> Message<'a> {
    Message { key: Some(key.as_bytes()), ..text(value) }
}

/// Writes records whose values are `partition:offset`.
fn fill(model: &Model, partition: i32, count: usize) {
    for _ in 0..count {
        fill_one(model, partition, None, 0);
    }
}

fn fill_one(model: &Model, partition: i32, key: Option<&str>, padding: usize) -> i64 {
    let next = model.high(TOPIC, partition);
    let value = format!("{partition}:{next}:{}", " ".repeat(padding));
    let message = Message {
        key: key.map(str::as_bytes),
        value: Some(value.as_bytes()),
        ..Message::default()
    };
    model.produce(TOPIC, partition, message)
}

/// An instance of tailwater.
struct Instance {
    options: ClusterOptions,
    index: Option<Index>,
    seed: u64,
    batch: usize,
}

fn instance() -> Instance {
    let mut options = ClusterOptions::new(["model"]);
    options.timing = Timing {
        retry: Duration::from_millis(10),
        min_refresh: Duration::from_millis(1),
        refresh: Duration::from_millis(20),
        turn: Duration::ZERO,
        stalled_read: Duration::from_millis(100),
        stall: Duration::from_millis(200),
        snapshot: Duration::ZERO,
        inspect_after: Duration::from_millis(10),
        ..Timing::default()
    };
    Instance { options, index: None, seed: 1, batch: 5 }
}

impl Instance {
    fn live(mut self) -> Self {
        self.options = self.options.default_offset(TOPIC, DefaultOffset::Live);
        self
    }

    fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    fn batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    fn options(mut self, change: impl FnOnce(ClusterOptions) -> ClusterOptions) -> Self {
        self.options = change(self.options);
        self
    }

    fn idle_timeout(mut self, idle_timeout: Duration) -> Self {
        self.options.timing.idle_timeout = idle_timeout;
        self
    }

    /// Lets the watchdog check often, but not so often that a busy machine seems to stall.
    fn watched(mut self) -> Self {
        self.options.timing.watch = Duration::from_millis(150);
        self
    }

    fn index(self, index: Index) -> Self {
        Self { index: Some(index), ..self }
    }

    fn of(self, model: &Model) -> Cluster {
        let backend = model.backend(self.seed, self.batch);
        self.over(backend)
    }

    fn over(self, backend: Arc<dyn Backend>) -> Cluster {
        let index = self.index.unwrap_or_else(|| Index::new(self.options.indexed_headers.clone()));
        let reachability = Arc::new(self.options.reachability());
        Cluster::start(backend, reachability, index, self.options, Threads::default()).unwrap()
    }
}

fn query() -> Query {
    Query::new(TOPIC)
}

fn key(key: &str) -> Query {
    query().filter(Filter::any().key(key.to_owned()))
}

fn id_of(offsets: &[i64]) -> String {
    Positions::new(offsets).progress()
}

fn after(offsets: &[i64]) -> Query {
    query().last_event_id(Some(id_of(offsets).into()))
}

/// The topics that an instance holds.
fn held(cluster: &Cluster) -> Vec<String> {
    cluster.held().iter().map(ToString::to_string).collect()
}

async fn open(cluster: &Cluster, query: Query) -> Client {
    try_open(cluster, query).await.unwrap()
}

async fn try_open(cluster: &Cluster, query: Query) -> Result<Client, Error> {
    let stream = Box::pin(cluster.clone().oneshot(query).await?);
    Ok(Client {
        stream,
        parser: Parser::new(),
        wire: Vec::new(),
        limit: 64 * 1024,
        seen: Seen::default(),
    })
}

/// Yields until this holds.
async fn eventually(mut holds: impl FnMut() -> bool) {
    let since = tokio::time::Instant::now();
    while !holds() {
        assert!(since.elapsed() < in_vain(), "waited in vain");
        pause().await;
    }
}

/// Lets the tasks of the engine run.
async fn pause() {
    if simulation::is_running() {
        return tokio::time::sleep(Duration::from_millis(1)).await;
    }
    std::thread::yield_now();
    tokio::task::yield_now().await;
}

/// A client that reads a stream as a browser does.
#[derive(Debug)]
struct Client {
    stream: Pin<Box<Stream>>,
    parser: Parser,
    /// All bytes of the stream so far.
    wire: Vec<u8>,
    limit: usize,
    seen: Seen,
}

/// What a client has got, which the stream counts, too.
#[derive(Debug)]
struct Seen {
    parser: Parser,
    events: u64,
    gaps: u64,
    /// The client has got all writes.
    is_whole: bool,
}

impl Default for Seen {
    fn default() -> Self {
        Self { parser: Parser::new(), events: 0, gaps: 0, is_whole: true }
    }
}

impl Seen {
    fn take(&mut self, bytes: &[u8]) {
        self.parser.push(bytes);
        while let Some(item) = self.parser.pull().unwrap() {
            if let Item::Message(message) = item {
                match message.event.as_deref() {
                    Some(b"gap") => self.gaps += 1,
                    Some(b"live") => {}
                    _ => self.events += 1,
                }
            }
        }
    }
}

impl Client {
    /// One write of the stream.
    async fn write(&mut self) -> Bytes {
        let write = poll_fn(|cx| self.stream.as_mut().poll_events(cx, self.limit));
        let write = tokio::time::timeout(in_vain(), write).await;
        let said = || String::from_utf8_lossy(&self.wire);
        let bytes = write
            .unwrap_or_else(|_| panic!("nothing after {}", said()))
            .unwrap()
            .unwrap()
            .into_bytes();
        self.take(&bytes);
        bytes
    }

    /// Whether the stream ends here.
    async fn ends(&mut self) -> bool {
        let write = poll_fn(|cx| self.stream.as_mut().poll_events(cx, self.limit));
        tokio::time::timeout(IN_VAIN, write).await.is_ok_and(|write| write.is_none())
    }

    fn take(&mut self, bytes: &[u8]) {
        simulation::note(bytes);
        self.wire.extend_from_slice(bytes);
        self.parser.push(bytes);
        self.seen.take(bytes);
        // Some that were counted may be due.
        let counted = self.stream.probe();
        assert!(self.seen.events <= counted.events() && self.seen.gaps <= counted.gaps());
    }

    async fn item(&mut self) -> Item {
        loop {
            match self.parser.pull().unwrap() {
                Some(item) => return item,
                None => drop(self.write().await),
            }
        }
    }

    /// The data of the next event, after the event's type and a space if it has one.
    async fn data(&mut self) -> String {
        loop {
            if let Item::Message(message) = self.item().await {
                let data = String::from_utf8(message.data.to_vec()).unwrap();
                return match message.event {
                    Some(event) => format!("{} {data}", String::from_utf8_lossy(&event)),
                    None => data.trim_end_matches([':', ' ']).to_owned(),
                };
            }
        }
    }

    async fn events(&mut self, count: usize) -> Vec<String> {
        let mut events = Vec::new();
        for _ in 0..count {
            events.push(self.data().await);
        }
        events
    }

    /// Reads until each of these events has come. Returns all events.
    async fn until(&mut self, last: &[&str]) -> Vec<String> {
        let mut missing: Vec<_> = last.to_vec();
        let mut events = Vec::new();
        while !missing.is_empty() {
            let event = self.data().await;
            missing.retain(|last| *last != event);
            events.push(event);
        }
        events
    }

    /// The id-only block that an idle stream writes in place of a comment.
    fn idle(&mut self) -> Option<String> {
        let block = self.stream.as_mut().position()?.into_bytes();
        self.take(&block);
        assert!(matches!(self.parser.pull(), Ok(Some(Item::Id(_)))));
        Some(String::from_utf8(block.to_vec()).unwrap())
    }

    /// Asserts that an idle stream has counted what the client has got.
    fn assert_counted(&self) {
        let Seen { events, gaps, is_whole, .. } = self.seen;
        let counted = self.stream.probe();
        assert!(!is_whole || (events, gaps) == (counted.events(), counted.gaps()), "{self:?}");
    }

    /// Whether the stream has nothing to write.
    fn is_idle(&mut self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        let is_idle = self.stream.as_mut().poll_events(cx, self.limit).is_pending();
        // Otherwise a write is lost.
        self.seen.is_whole &= is_idle;
        if is_idle {
            self.assert_counted();
        }
        is_idle
    }

    /// The last event id that a browser has after what was read.
    fn last_event_id(&self) -> Option<Bytes> {
        let id = Bytes::copy_from_slice(self.parser.last_event_id());
        (!id.is_empty()).then_some(id)
    }

    async fn resume(self, cluster: &Cluster, query: Query) -> Client {
        let id = self.last_event_id();
        drop(self);
        open(cluster, query.last_event_id(id)).await
    }
}

/// `partition:offset` of all these offsets.
fn values(partition: i32, offsets: impl IntoIterator<Item = i64>) -> Vec<String> {
    offsets.into_iter().map(|offset| format!("{partition}:{offset}")).collect()
}

/// Asserts each record of these partitions once and in order, however the partitions were mixed.
#[track_caller]
fn assert_each_once(events: &[String], partitions: &[Vec<String>]) {
    let total: usize = partitions.iter().map(Vec::len).sum();
    assert_eq!(events.len(), total, "{events:?}");
    for expected in partitions.iter().filter(|expected| !expected.is_empty()) {
        let prefix = expected[0].split_inclusive(':').next().unwrap();
        let got: Vec<_> = events.iter().filter(|event| event.starts_with(prefix)).collect();
        assert!(got.iter().copied().eq(expected), "{got:?} is not {expected:?}");
    }
}
