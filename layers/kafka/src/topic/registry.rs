//! What the streams and the threads of a cluster share, and the topics that are held.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tailwater_hub::Hub;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::Error;
use crate::broker::contact::Reachability;
use crate::data::convert::Converters;
use crate::data::events::Records;
use crate::data::filter::Index;
use crate::data::gap::{self, Watermarks};
use crate::options::ClusterOptions;
use crate::threads::Threads;
use crate::topic::conversion::Converter;
use crate::topic::counts::StreamStart;
use crate::topic::history::History;
use crate::topic::requests::Request;
use crate::topic::snapshot::Tables;
use crate::topic::streams::{StreamEntry, Streams};
use crate::topic::totals::Totals;
use crate::topic::{Refused, Topic, TopicLog};

/// Indexes a log on a thread of the engine. The receiver is ready when that has ended.
pub(crate) type BuildIndex = Box<dyn Fn(Hub<Records>) -> oneshot::Receiver<()> + Send + Sync>;

/// What cluster, streams and threads share.
pub(crate) struct Shared {
    pub(crate) options: ClusterOptions,
    pub(crate) index: Index,
    pub(crate) history: Arc<History>,
    pub(crate) tables: Tables,
    pub(crate) topics: Topics,
    pub(crate) totals: Totals,
    pub(crate) streams: Arc<Streams>,
    pub(crate) build_index: BuildIndex,
    pub(crate) reachability: Arc<Reachability>,
    /// How often the watchdog restarted a log.
    pub(crate) restarts: AtomicU64,
    /// How often a thread panicked.
    pub(crate) panics: Arc<AtomicU64>,
    pub(crate) control: UnboundedSender<Request>,
    pub(crate) threads: Threads,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.history.close();
        self.ask(Request::Close);
    }
}

impl Shared {
    /// Sends a request to the control task, which runs as long as this exists.
    pub(crate) fn ask(&self, job: Request) {
        let _ = self.control.send(job);
    }

    /// Requests the watermarks of a topic for a stream that names these offsets. `since`: a timestamp in
    /// milliseconds since 1970 whose offsets are wanted, too. There is no answer if the topic's log ends meanwhile.
    pub(crate) fn request_watermarks(
        &self,
        topic: &Arc<Topic>,
        log: &Arc<TopicLog>,
        offsets: &[(i32, i64)],
        since: Option<i64>,
    ) -> oneshot::Receiver<Watermarks> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Watermarks {
            topic: Arc::clone(topic),
            log: Arc::clone(log),
            partitions: gap::named_partitions(offsets),
            resumes: gap::resumes(offsets),
            since,
            reply,
        });
        answer
    }

    /// Whether a thread has panicked.
    pub(crate) fn has_panicked(&self) -> bool {
        self.panics.load(Ordering::Relaxed) > 0
    }

    /// A sender of requests to the control task.
    pub(crate) fn sender(&self) -> UnboundedSender<Request> {
        self.control.clone()
    }

    /// All topics of the registry, with or without streams.
    pub(crate) fn held(&self) -> Vec<Arc<Topic>> {
        self.topics.held()
    }

    /// Gives each open topic the same share of the memory.
    pub(crate) fn share_memory(&self) {
        let held = self.held();
        let log: Vec<_> = held.iter().filter_map(|topic| topic.log()).collect();
        let memory_bytes = self.options.memory_bytes.saturating_sub(self.tables.bytes());
        let share = memory_bytes / log.len().max(1);
        for log in log {
            log.hub.set_capacity_bytes(share);
        }
    }

    /// The topic of this name, for one more stream.
    pub(crate) fn hold(self: &Arc<Self>, name: &str) -> Result<TopicHandle, Error> {
        let (topic, first) = self.topics.hold(name)?;
        let held = TopicHandle { topic, shared: Arc::clone(self) };
        if let Some(error) = held.error() {
            return Err(error);
        }
        if first && held.topic.log().is_none() {
            self.ask(Request::FindTopic);
        }
        Ok(held)
    }
}

/// A topic that a stream uses.
pub(crate) struct TopicHandle {
    topic: Arc<Topic>,
    shared: Arc<Shared>,
}

impl TopicHandle {
    pub(crate) fn topic(&self) -> Arc<Topic> {
        Arc::clone(&self.topic)
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Adds a stream of the topic to the open ones.
    pub(crate) fn enter(&self, start: StreamStart) -> StreamEntry {
        let counters = self.shared.totals.of(&self.topic);
        self.shared.streams.add(self.topic(), counters, start)
    }

    /// The error for a topic whose streams are refused.
    pub(crate) fn error(&self) -> Option<Error> {
        let name = self.topic.name.to_string();
        Some(match self.topic.refused()? {
            Refused::Forbidden => Error::Forbidden(name),
            Refused::NoRoom => Error::TooManyTopics(name),
        })
    }
}

impl Deref for TopicHandle {
    type Target = Topic;

    fn deref(&self) -> &Topic {
        &self.topic
    }
}

impl Drop for TopicHandle {
    fn drop(&mut self) {
        self.topic.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The topics that are held, and how many there may be. Topics that requests name take no room from those of
/// the configuration, and topics that do not exist take no room from those that do.
#[derive(Debug)]
pub(crate) struct Topics {
    /// The name of the cluster in the log.
    cluster: Arc<str>,
    held: Mutex<BTreeMap<Arc<str>, Arc<Topic>>>,
    /// The most topics of requests that exist.
    max_there: usize,
    /// The most topics of requests that do not exist or are not permitted.
    max_missing: usize,
    converters: Converters,
    max_record_bytes: usize,
}

impl Topics {
    pub(crate) fn new(options: &ClusterOptions) -> Self {
        let mut held = BTreeMap::new();
        let cluster: Arc<str> = options.reachability().name().into();
        for (names, pinned) in [(&options.preloaded, true), (&options.named, false)] {
            for name in names {
                let name: Arc<str> = name.as_str().into();
                let max_record_bytes = options.max_record_bytes;
                let topic = || {
                    let named = (&*name, &cluster);
                    let converter = Converter::of(named, &options.converters, max_record_bytes);
                    let topic = Topic::named(Arc::clone(&name), pinned).of_cluster(&cluster);
                    Arc::new(topic.converted_by(converter))
                };
                held.entry(Arc::clone(&name)).or_insert_with(topic);
            }
        }
        Self {
            held: Mutex::new(held),
            cluster,
            max_there: options.max_topics,
            max_missing: options.max_missing_topics,
            converters: options.converters.clone(),
            max_record_bytes: options.max_record_bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Topic>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All topics of the registry, with or without streams.
    pub(crate) fn held(&self) -> Vec<Arc<Topic>> {
        self.lock().values().cloned().collect()
    }

    /// The topic of this name with one more stream, and whether that stream is its first.
    pub(crate) fn hold(&self, name: &str) -> Result<(Arc<Topic>, bool), Error> {
        let mut held = self.lock();
        let topic = match held.get(name) {
            Some(topic) => Arc::clone(topic),
            None => {
                // A topic that Kafka was not asked for yet may exist.
                let most = self.max_missing.saturating_add(self.max_there);
                if count(&held, |topic| !topic.exists()) >= most {
                    // A metadata refresh would remove them, but none succeeds while Kafka is unreachable.
                    held.retain(|_, topic| topic.named || topic.is_used() || topic.exists());
                }
                if count(&held, |topic| !topic.exists()) >= most {
                    return Err(Error::TooManyTopics(name.to_owned()));
                }
                let named = (name, &self.cluster);
                let converter = Converter::of(named, &self.converters, self.max_record_bytes);
                let topic = Topic::new(name.into()).of_cluster(&self.cluster);
                let topic = Arc::new(topic.converted_by(converter));
                held.insert(Arc::clone(&topic.name), Arc::clone(&topic));
                topic
            }
        };
        // Counted under the lock, so that the topic is not released in between.
        let first = topic.streams.fetch_add(1, Ordering::AcqRel) == 0;
        Ok((topic, first))
    }

    /// The topic of this name, if it is held.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.lock().get(name).cloned()
    }

    /// Releases a topic, or the log of a topic of the configuration, unless a stream uses it. Returns whether it
    /// was released.
    pub(crate) fn release(&self, topic: &Topic) -> bool {
        let mut held = self.lock();
        if topic.is_used() {
            return false;
        }
        if topic.named { topic.log().is_some() } else { held.remove(&topic.name).is_some() }
    }

    /// Removes a topic for which there is no room. The next request for its name gets a new topic.
    pub(crate) fn remove(&self, topic: &Topic) {
        self.lock().remove(&topic.name);
    }

    /// Whether there is room for one more topic that exists.
    pub(crate) fn has_room(&self) -> bool {
        count(&self.lock(), Topic::exists) < self.max_there
    }

    /// Whether there is room for one more topic that does not exist.
    pub(crate) fn has_room_for_missing(&self) -> bool {
        count(&self.lock(), is_missing) < self.max_missing
    }

    /// If there is no room for another topic that does not exist, removes those without streams.
    pub(crate) fn make_room_for_missing(&self) {
        let mut held = self.lock();
        if count(&held, is_missing) >= self.max_missing {
            held.retain(|_, topic| topic.named || topic.is_used() || !is_missing(topic));
        }
    }
}

fn is_missing(topic: &Topic) -> bool {
    topic.is_missing() || topic.is_forbidden()
}

/// How many topics of requests fulfil this condition.
fn count(held: &BTreeMap<Arc<str>, Arc<Topic>>, is: impl Fn(&Topic) -> bool) -> usize {
    held.values().filter(|topic| !topic.named && is(topic)).count()
}
