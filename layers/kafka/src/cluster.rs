use std::fmt;
use std::future::{Ready, ready};
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either};
use tokio::sync::oneshot;
use tower_service::Service;
use tracing::error;

use crate::Error;
use crate::backend::Backend;
use crate::backend::librdkafka::Librdkafka;
use crate::compaction;
use crate::contact::Reachability;
use crate::control::Control;
use crate::filter::{self, Filter, Index};
use crate::gap::{self, Extent};
use crate::health::{Contact, Health};
use crate::history::History;
use crate::options::{ClusterOptions, StreamOptions};
use crate::remains::Remains;
use crate::requests::Job;
use crate::resume::ResumeFrom;
use crate::snapshot::Tables;
use crate::start::Start;
use crate::stream::Stream;
use crate::tail::{self, Ended};
use crate::topic::{Opened, Refused, Topic};
use crate::topics::Topics;
use crate::unreadable::Looks;

/// What a stream asks of a [`Cluster`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Query {
    topic: String,
    filters: Vec<Filter>,
    last_event_id: Option<Bytes>,
    start: Option<Start>,
    options: StreamOptions,
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

    /// Goes on after this id. One that does not decode is told by an `event:gap`.
    pub fn last_event_id(mut self, id: Option<Bytes>) -> Self {
        self.last_event_id = id;
        self
    }

    /// Where the stream begins if the client brings no id, or none that decodes. By default at the
    /// topic's [default offset](ClusterOptions::default_offset).
    pub fn start(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }

    /// The form of the events. [`StreamOptions::new`] by default.
    pub fn options(mut self, options: StreamOptions) -> Self {
        self.options = options;
        self
    }
}

/// One Kafka cluster: one consumer and one log per topic, however many clients listen.
///
/// The innermost service of the stack: a [`Query`] in, a [`Stream`] out, at once for a topic that is known.
/// For another one it is waited up to a second for what Kafka says of it, so that a refusal can be
/// answered; whatever else takes time is waited for by the stream. Cloning shares the cluster; its threads end when the last clone and
/// the last stream are dropped.
#[derive(Clone, Debug)]
pub struct Cluster(Arc<Shared>);

/// What cluster, streams and threads share.
pub(crate) struct Shared {
    pub(crate) options: ClusterOptions,
    pub(crate) index: Index,
    pub(crate) history: Arc<History>,
    pub(crate) tables: Tables,
    pub(crate) topics: Topics,
    pub(crate) looks: Arc<Looks>,
    pub(crate) reachability: Arc<Reachability>,
    /// How often a log was opened anew because it stood still.
    pub(crate) restarts: AtomicU64,
    /// How often a thread panicked.
    panics: Arc<AtomicU64>,
    control: Sender<Job>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Starts the threads that consume. Kafka need not be there.
    ///
    /// # Errors
    /// [`Error::Property`] and [`Error::Kafka`] if librdkafka does not take what the options say,
    /// [`Error::NoAuthority`] if they want TLS and trust nobody.
    pub fn new(options: ClusterOptions) -> Result<Self, Error> {
        let properties = options.properties()?;
        let reachability = Arc::new(options.reachability());
        let reached = Arc::clone(&reachability);
        let backend = Arc::new(Librdkafka::new(&properties, options.max_record_bytes, reached));
        let index = Index::new(options.indexed_headers.clone());
        Self::start(backend, reachability, index, options)
    }

    /// How the cluster is doing now. Costs a look at each topic that is held, and asks nobody.
    #[must_use]
    pub fn health(&self) -> Health {
        let mut topics: Vec<_> = self.0.held().iter().map(|topic| topic.tell_health()).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        let restarts = self.0.restarts.load(Ordering::Relaxed);
        let panics = self.0.panics.load(Ordering::Relaxed);
        let servers = self.0.reachability.servers().to_vec();
        let (contact, since, last_error) = self.0.reachability.now();
        Health { servers, contact, since, last_error, restarts, panics, topics }
    }

    pub(crate) fn start(
        backend: Arc<dyn Backend>,
        reachability: Arc<Reachability>,
        index: Index,
        options: ClusterOptions,
    ) -> Result<Self, Error> {
        let consumer = backend.consumer(false)?;
        let (control, jobs) = mpsc::channel();
        let (tail, commands) = mpsc::channel();
        let remains = Arc::new(Remains::default());
        let history =
            Arc::new(History::new(options.pace, options.max_record_bytes, Arc::clone(&remains)));
        let topics = Topics::new(&options);
        let (tables, mut requests) = Tables::new(options.memory_bytes);
        let panics = Arc::default();
        let looks = Arc::new(Looks::new(Arc::clone(&backend), options.pace));
        let shared = Shared {
            options,
            index,
            history: Arc::clone(&history),
            tables,
            topics,
            looks,
            reachability,
            restarts: AtomicU64::new(0),
            panics: Arc::clone(&panics),
            control: control.clone(),
        };
        let shared = Arc::new(shared);
        shared.ask(Job::Look);

        let pace = shared.options.pace;
        for _ in 0..shared.options.history_readers {
            let (backend, index) = (Arc::clone(&backend), shared.index.clone());
            let (history, looks) = (Arc::clone(&history), Arc::clone(&shared.looks));
            keep("kafka-history", pace.soon, &panics, move || {
                history.read(&*backend, &index, &looks);
            })?;
        }
        let (mut consumer, of_tail) = (Some(consumer), Arc::clone(&backend));
        keep("kafka-tail", pace.soon, &panics, move || {
            // What one followed that panicked, or was given up, is lost.
            while let Some(consumer) =
                consumer.take().or_else(|| tail::again(&*of_tail, &commands, &control))
            {
                if tail::run(consumer, &commands, &control) == Ended::Left {
                    return;
                }
            }
        })?;
        let (weak, budget) = (Arc::downgrade(&shared), shared.tables.budget());
        keep("kafka-compacted", pace.soon, &panics, move || {
            compaction::run(&mut requests, &weak, &history, &budget, pace);
        })?;
        let (weak, name) = (Arc::downgrade(&shared), shared.reachability.name().to_owned());
        keep("kafka-control", pace.soon, &panics, move || {
            let (backend, remains) = (Arc::clone(&backend), Arc::clone(&remains));
            Control::new(backend, tail.clone(), &jobs, pace, remains, name.clone()).run(&weak);
        })?;
        Ok(Self(shared))
    }
}

#[cfg(test)]
impl Cluster {
    /// How many streams are carried through the history.
    pub(crate) fn carried(&self) -> usize {
        self.0.history.carried()
    }

    /// How many streams wait for a backfill.
    pub(crate) fn waiting(&self) -> usize {
        self.0.history.waiting()
    }

    /// What logs and backfills keep that ended.
    pub(crate) fn remaining_bytes(&self) -> usize {
        self.0.history.remaining_bytes()
    }

    /// Whether history is being read, or waited for.
    pub(crate) fn is_read(&self) -> bool {
        self.0.history.is_busy()
    }

    /// What the log of a topic keeps in memory.
    pub(crate) fn bytes(&self, topic: &str) -> usize {
        let opened = self.topic(topic).and_then(|topic| topic.opened());
        opened.map_or(0, |opened| opened.hub.bytes())
    }

    fn topic(&self, topic: &str) -> Option<Arc<Topic>> {
        self.0.held().into_iter().find(|held| *held.name == *topic)
    }

    /// The end of a topic's log, if it is open.
    pub(crate) fn head(&self, topic: &str) -> Option<crate::positions::Positions> {
        Some(self.topic(topic)?.opened()?.hub.head())
    }

    pub(crate) fn is_missing(&self, topic: &str) -> bool {
        self.topic(topic).is_some_and(|topic| topic.is_missing())
    }

    /// Whether a compacted topic is replayed as Kafka has it.
    pub(crate) fn is_given_up(&self, topic: &str) -> bool {
        let opened = self.topic(topic).and_then(|topic| topic.opened());
        opened.is_some_and(|opened| opened.latest.is_given_up())
    }

    /// The names of the topics that are held.
    pub(crate) fn held(&self) -> Vec<Arc<str>> {
        self.0.held().iter().map(|topic| Arc::clone(&topic.name)).collect()
    }
}

/// Works on a thread of its own until `work` returns. If it panics, it is begun anew: what it did not
/// finish is asked for again by the streams that wait for it.
fn keep(
    name: &'static str,
    pause: Duration,
    panics: &Arc<AtomicU64>,
    mut work: impl FnMut() + Send + 'static,
) -> Result<(), Error> {
    let panics = Arc::clone(panics);
    let run = move || {
        // What a panic leaves half done goes with it; what is shared is valid whenever a lock is free.
        while panic::catch_unwind(AssertUnwindSafe(&mut work)).is_err() {
            panics.fetch_add(1, Ordering::Relaxed);
            error!(thread = name, "a thread panicked and is begun anew");
            thread::sleep(pause);
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop).map_err(Error::kafka)
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.history.close();
    }
}

impl Shared {
    /// A question to the control thread, which is there as long as this is.
    pub(crate) fn ask(&self, job: Job) {
        let _ = self.control.send(job);
    }

    /// Asks what Kafka has of a topic, of which a stream names these offsets; with what is no older than
    /// `since`, in milliseconds since 1970. There is no answer if the topic's log ends meanwhile.
    pub(crate) fn request_extent(
        &self,
        topic: &Arc<Topic>,
        opened: &Arc<Opened>,
        offsets: &[(i32, i64)],
        since: Option<i64>,
    ) -> oneshot::Receiver<Extent> {
        let (reply, answer) = oneshot::channel();
        self.ask(Job::Extent {
            topic: Arc::clone(topic),
            opened: Arc::clone(opened),
            partitions: gap::named_partitions(offsets),
            resumes: gap::resumes(offsets),
            since,
            reply,
        });
        answer
    }

    /// Whether a thread did.
    pub(crate) fn has_panicked(&self) -> bool {
        self.panics.load(Ordering::Relaxed) > 0
    }

    /// Reaches the control thread, too.
    pub(crate) fn sender(&self) -> Sender<Job> {
        self.control.clone()
    }

    /// The topics that are held, used or not.
    pub(crate) fn held(&self) -> Vec<Arc<Topic>> {
        self.topics.held()
    }

    /// Gives each open topic the same share of the memory.
    pub(crate) fn share_memory(&self) {
        let held = self.held();
        let opened: Vec<_> = held.iter().filter_map(|topic| topic.opened()).collect();
        let memory_bytes = self.options.memory_bytes.saturating_sub(self.tables.bytes());
        let share = memory_bytes / opened.len().max(1);
        for opened in opened {
            opened.hub.set_capacity_bytes(share);
        }
    }

    fn hold(self: &Arc<Self>, name: &str) -> Result<Held, Error> {
        let (topic, first) = self.topics.hold(name)?;
        let held = Held { topic, shared: Arc::clone(self) };
        if let Some(error) = held.error() {
            return Err(error);
        }
        if first && held.topic.opened().is_none() {
            self.ask(Job::Look);
        }
        Ok(held)
    }
}

/// A topic that a stream uses.
pub(crate) struct Held {
    topic: Arc<Topic>,
    shared: Arc<Shared>,
}

impl Held {
    pub(crate) fn topic(&self) -> Arc<Topic> {
        Arc::clone(&self.topic)
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Why the topic is refused, if it is.
    pub(crate) fn error(&self) -> Option<Error> {
        let name = self.topic.name.to_string();
        Some(match self.topic.refused()? {
            Refused::Forbidden => Error::Forbidden(name),
            Refused::Crowded => Error::TooManyTopics(name),
        })
    }
}

impl Deref for Held {
    type Target = Topic;

    fn deref(&self) -> &Topic {
        &self.topic
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.topic.streams.fetch_sub(1, Ordering::AcqRel);
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
        let Query { topic, filters, last_event_id, start, options } = query;
        let default = || self.0.options.defaults.get(&topic).copied().unwrap_or_default().into();
        let start = start.unwrap_or_else(default);
        let want = filter::want(&filters, &self.0.index);
        let from = ResumeFrom::Request(last_event_id, start);
        let held = match self.0.hold(&topic) {
            Ok(held) => held,
            Err(error) => return Opening(Either::Left(ready(Err(error)))),
        };
        let topic = held.topic();
        let stream = Stream::new(held, options, want, from);
        if !topic.is_unknown() || self.0.reachability.now().0 == Contact::Lost {
            return Opening(Either::Left(ready(stream.permitted())));
        }
        let known = self.0.options.pace.known;
        let known = async move {
            // If nobody answers, the stream waits for it.
            let _ = tokio::time::timeout(known, topic.wait_known()).await;
            stream.permitted()
        };
        Opening(Either::Right(known.boxed()))
    }
}

/// Future of [`Cluster`]: ready at once for a topic that is known; for another one when Kafka has said
/// whether it permits it, and after a second at the latest. It must be polled within a tokio runtime with
/// time enabled.
pub struct Opening(Either<Ready<Answer>, BoxFuture<'static, Answer>>);

type Answer = Result<Stream, Error>;

impl Future for Opening {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        self.0.poll_unpin(cx)
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}
