use std::collections::HashMap;
use std::fmt;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either};
use tokio::sync::oneshot;
use tower_service::Service;

use crate::Error;
use crate::broker::Backend;
use crate::broker::contact::Contact;
use crate::broker::contact::Reachability;
use crate::broker::librdkafka::Librdkafka;
use crate::data::convert::ConvertRecord;
use crate::data::filter::{self, Filter, Index};
use crate::data::start::{DefaultOffset, Start};
use crate::engine;
use crate::options::{ClusterOptions, StreamOptions};
use crate::stream::Stream;
use crate::stream::conversion::EventConverter;
use crate::stream::resume::ResumeFrom;
use crate::threads::Threads;
use crate::topic::counts::{Counts, StreamStart, TopicCounts};
use crate::topic::health::Health;
use crate::topic::registry::Shared;
use crate::topic::requests::Request;

/// A request for a stream of a [`Cluster`]: the topic, the filters, and where to begin.
#[derive(Clone)]
#[must_use]
pub struct Query {
    topic: String,
    filters: Vec<Filter>,
    last_event_id: Option<Bytes>,
    start: Option<Start>,
    options: StreamOptions,
    converter: Option<Arc<dyn ConvertRecord>>,
}

impl Query {
    /// All records of a topic, from its [default offset](ClusterOptions::default_offset) on.
    pub fn new(topic: impl Into<String>) -> Self {
        let topic = topic.into();
        Self {
            topic,
            filters: Vec::new(),
            last_event_id: None,
            start: None,
            options: StreamOptions::new(),
            converter: None,
        }
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Only records that pass this filter or another one that was added.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filters.push(filter);
        self
    }

    /// Resumes after this id. If the id does not decode, the stream begins with an `event:gap`.
    pub fn last_event_id(mut self, id: Option<Bytes>) -> Self {
        self.last_event_id = id;
        self
    }

    /// Where the stream begins if the client sends no id, or none that decodes. By default at the
    /// topic's [default offset](ClusterOptions::default_offset).
    pub fn start(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }

    /// The format of the events. [`StreamOptions::new`] by default.
    pub fn options(mut self, options: StreamOptions) -> Self {
        self.options = options;
        self
    }

    /// Converts the values of records for this stream alone. Default: they are as they are in the log of the topic.
    ///
    /// It comes after the topic's own [converter](ClusterOptions::converter), the filters and the compaction of
    /// the topic, and runs in the task that polls the stream. Of its [`Changes`](crate::Changes) only that of the
    /// value has an effect. It is not called for tombstones. A record that it rejects is left out as if the
    /// topic's converter had rejected it, but it is neither counted nor logged above the level `debug`.
    pub fn converter(mut self, converter: Arc<dyn ConvertRecord>) -> Self {
        self.converter = Some(converter);
        self
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("topic", &self.topic)
            .field("filters", &self.filters)
            .field("last_event_id", &self.last_event_id)
            .field("start", &self.start)
            .field("options", &self.options)
            .field("is_converted", &self.converter.is_some())
            .finish()
    }
}

/// One Kafka cluster: one consumer and one log for each topic, no matter how many clients are connected.
///
/// The innermost service of the stack: it answers a [`Query`] with a [`Stream`]. For a topic that is known
/// it answers at once. For another topic it waits up to a second until Kafka has said whether it permits the
/// topic, so that an error can be the answer. The stream itself waits for everything else.
///
/// A clone is a handle to the same cluster. Its threads end when the last clone and the last stream are
/// dropped. [`Cluster::close`] waits for that, as a process should before it exits.
#[derive(Clone, Debug)]
pub struct Cluster(Arc<Shared>);

impl Cluster {
    /// Starts the threads that consume. Kafka need not be available.
    ///
    /// # Errors
    /// [`Error::Property`] and [`Error::Kafka`] if librdkafka rejects the options,
    /// [`Error::NoAuthority`] if they have TLS and no authority to trust.
    pub fn new(options: ClusterOptions) -> Result<Self, Error> {
        let properties = options.properties()?;
        let reachability = Arc::new(options.reachability());
        let reached = Arc::clone(&reachability);
        let threads = Threads::default();
        let max_record_bytes = options.max_record_bytes;
        let backend = Librdkafka::new(&properties, max_record_bytes, reached, threads.clone());
        let index = Index::new(options.indexed_headers.clone());
        Self::start(Arc::new(backend), reachability, index, options, threads)
    }

    /// Drops this handle. The future is ready when all threads of the cluster have ended and all its connections
    /// to Kafka are closed.
    ///
    /// A process should wait for that before it exits. Otherwise `exit` frees the state of OpenSSL while threads of
    /// librdkafka may still use it, and the process may crash.
    ///
    /// The future ends no streams: it waits until all other clones and all streams are dropped. From then on it
    /// takes less than a second, or some seconds while Kafka does not answer, because queries are not
    /// interrupted. It needs no runtime, and it may be dropped at any time.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # async fn end(cluster: tailwater_kafka::Cluster) {
    /// // The process exits even if Kafka does not answer for a long time, or a stream is left.
    /// let _ = tokio::time::timeout(Duration::from_secs(10), cluster.close()).await;
    /// # }
    /// ```
    pub fn close(self) -> Closing {
        let threads = self.0.threads.clone();
        drop(self);
        Closing(async move { threads.ended().await }.boxed())
    }

    /// The names of all topics that Kafka lists for this client, sorted. It waits until Kafka answers, and may be
    /// dropped at any time. `None` if the request got lost because a thread of the cluster panicked.
    pub async fn topic_names(&self) -> Option<Vec<String>> {
        let (reply, names) = oneshot::channel();
        self.0.ask(Request::List { reply });
        names.await.ok()
    }

    /// The state of the cluster now. It reads the state of each topic that is held, and does not query Kafka.
    #[must_use]
    pub fn health(&self) -> Health {
        let mut topics: Vec<_> = self.0.held().iter().map(|topic| topic.report_health()).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        let restarts = self.0.restarts.load(Ordering::Relaxed);
        let panics = self.0.panics.load(Ordering::Relaxed);
        let servers = self.0.reachability.servers().to_vec();
        let (contact, since, last_error) = self.0.reachability.now();
        Health { servers, contact, since, last_error, restarts, panics, topics }
    }

    /// Whether a topic of this name is counted by itself: the configuration names it, or Kafka is known to have it,
    /// and it is among the first 1000.
    #[must_use]
    pub fn has_topic(&self, name: &str) -> bool {
        let topic = self.0.topics.get(name);
        topic.is_some_and(|topic| self.0.totals.of(&topic).name == topic.name)
    }

    /// What the cluster has counted, and how it is now. It does not query Kafka. It visits each open stream, at
    /// most once a second, however often it is called.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let shared = &self.0;
        let held = shared.held();
        // They are told even if they are missing and no stream has asked for them.
        held.iter().filter(|topic| topic.named).for_each(|topic| drop(shared.totals.of(topic)));
        let mut held: HashMap<_, _> =
            held.into_iter().map(|topic| (Arc::clone(&topic.name), topic)).collect();
        let mut streams = shared.streams.counts();
        let topics = shared.totals.all().into_iter().map(|counters| {
            let topic = held.remove(&counters.name);
            let streams = streams.remove(&counters.name).unwrap_or_default();
            TopicCounts::new(&counters, topic.as_deref(), streams)
        });
        let topics = topics.collect();
        let (history_passes, history_passes_total, history_waiting_streams) =
            shared.history.counts();
        Counts {
            contact_changes: shared.reachability.changes(),
            errors: shared.reachability.errors(),
            log_budget_bytes: shared.options.memory_bytes,
            history_passes,
            history_passes_total,
            history_waiting_streams,
            topics,
        }
    }

    pub(crate) fn start(
        backend: Arc<dyn Backend>,
        reachability: Arc<Reachability>,
        index: Index,
        options: ClusterOptions,
        threads: Threads,
    ) -> Result<Self, Error> {
        engine::start(backend, reachability, index, options, threads).map(Self)
    }
}

#[cfg(test)]
impl Cluster {
    /// How many streams read from backfills.
    pub(crate) fn carried(&self) -> usize {
        self.0.history.carried()
    }

    /// How many streams wait for a backfill.
    pub(crate) fn waiting(&self) -> usize {
        self.0.history.waiting()
    }

    /// How many bytes ended logs and backfills keep.
    pub(crate) fn remaining_bytes(&self) -> usize {
        self.0.history.remaining_bytes()
    }

    /// Whether history is read, or a stream waits for it.
    pub(crate) fn is_read(&self) -> bool {
        self.0.history.is_busy()
    }

    /// How many bytes the log of a topic keeps in memory.
    pub(crate) fn bytes(&self, topic: &str) -> usize {
        let log = self.topic(topic).and_then(|topic| topic.log());
        log.map_or(0, |log| log.hub.bytes())
    }

    fn topic(&self, topic: &str) -> Option<Arc<crate::topic::Topic>> {
        self.0.held().into_iter().find(|held| *held.name == *topic)
    }

    /// The end of a topic's log, if it is open.
    pub(crate) fn head(&self, topic: &str) -> Option<crate::data::positions::Positions> {
        Some(self.topic(topic)?.log()?.hub.head())
    }

    /// The ends of all backfills.
    pub(crate) fn history_heads(&self) -> Vec<crate::data::positions::Positions> {
        self.0.history.heads()
    }

    /// Whether records that were fetched wait for their share of the time.
    pub(crate) fn is_deferred(&self, topic: &str) -> bool {
        let converter = self.topic(topic).and_then(|topic| topic.converter.clone());
        converter.is_some_and(|converter| converter.is_deferred())
    }

    pub(crate) fn is_missing(&self, topic: &str) -> bool {
        self.topic(topic).is_some_and(|topic| topic.is_missing())
    }

    /// Whether a compacted topic is replayed as Kafka has it.
    pub(crate) fn is_given_up(&self, topic: &str) -> bool {
        let log = self.topic(topic).and_then(|topic| topic.log());
        log.is_some_and(|log| log.latest.is_given_up())
    }

    /// The names of the topics that are held.
    pub(crate) fn held(&self) -> Vec<Arc<str>> {
        self.0.held().iter().map(|topic| Arc::clone(&topic.name)).collect()
    }
}

impl Service<Query> for Cluster {
    type Response = Stream;
    type Error = Error;
    type Future = Opening;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, query: Query) -> Self::Future {
        let Query { topic, filters, last_event_id, start, options, converter } = query;
        let default = self.0.options.default_offset_of(&topic);
        let started = match (&last_event_id, &start, default) {
            (Some(_), _, _) => StreamStart::Id,
            (None, Some(Start::Since(_)), _) => StreamStart::Since,
            (None, Some(_), _) => StreamStart::From,
            (None, None, DefaultOffset::Live) => StreamStart::Live,
            (None, None, DefaultOffset::Historical) => StreamStart::Beginning,
        };
        let start = start.unwrap_or_else(|| default.into());
        let selector = filter::selector(&filters, &self.0.index, options.invalid_gaps);
        let from = ResumeFrom::Request(last_event_id, start);
        let held = match self.0.hold(&topic) {
            Ok(held) => held,
            Err(error) => return Opening(Either::Left(ready(Err(error)))),
        };
        let topic = held.topic();
        let converter = converter.map(|by| {
            let topic = Arc::clone(&topic.name);
            let max_record_bytes = self.0.options.max_record_bytes;
            Arc::new(EventConverter { by, topic, max_record_bytes })
        });
        // The stream begins when it is known whether its topic is refused.
        let begin = move || match held.error() {
            Some(error) => Err(error),
            None => Ok(Stream::new(held, options, selector, converter, from, started)),
        };
        if !topic.is_unknown() || self.0.reachability.now().0 == Contact::Lost {
            return Opening(Either::Left(ready(begin())));
        }
        let known = self.0.options.timing.known;
        let known = async move {
            // If Kafka does not answer, the stream waits for it.
            let _ = tokio::time::timeout(known, topic.wait_known()).await;
            begin()
        };
        Opening(Either::Right(known.boxed()))
    }
}

/// Future of [`Cluster`]. It is ready at once for a topic that is known. For another topic it is ready when
/// Kafka has said whether it permits the topic, and after a second at the latest. It must be polled within
/// a tokio runtime with time enabled.
pub struct Opening(Either<Ready<Answer>, BoxFuture<'static, Answer>>);

type Answer = Result<Stream, Error>;

impl Future for Opening {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        self.0.poll_unpin(cx)
    }
}

/// Future of [`Cluster::close`]. It is ready when the cluster has closed its connections and ended its threads.
#[must_use]
pub struct Closing(BoxFuture<'static, ()>);

impl Future for Closing {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_unpin(cx)
    }
}

impl fmt::Debug for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closing").finish_non_exhaustive()
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}
