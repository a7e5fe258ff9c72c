//! What the streams and the threads of a cluster share.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use tokio::sync::oneshot;

use crate::Error;
use crate::broker::contact::Reachability;
use crate::data::filter::Index;
use crate::data::gap::{self, Watermarks};
use crate::options::ClusterOptions;
use crate::topic::history::History;
use crate::topic::requests::Request;
use crate::topic::snapshot::Tables;
use crate::topic::topics::Topics;
use crate::topic::unreadable::Looks;
use crate::topic::{Refused, Topic, TopicLog};

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
    pub(crate) panics: Arc<AtomicU64>,
    pub(crate) control: Sender<Request>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.history.close();
    }
}

impl Shared {
    /// A question to the control thread, which is there as long as this is.
    pub(crate) fn ask(&self, job: Request) {
        let _ = self.control.send(job);
    }

    /// Asks what Kafka has of a topic, of which a stream names these offsets; with what is no older than
    /// `since`, in milliseconds since 1970. There is no answer if the topic's log ends meanwhile.
    pub(crate) fn request_watermarks(
        &self,
        topic: &Arc<Topic>,
        opened: &Arc<TopicLog>,
        offsets: &[(i32, i64)],
        since: Option<i64>,
    ) -> oneshot::Receiver<Watermarks> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Watermarks {
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
    pub(crate) fn sender(&self) -> Sender<Request> {
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

    /// The topic of this name, for a stream more.
    pub(crate) fn hold(self: &Arc<Self>, name: &str) -> Result<TopicHandle, Error> {
        let (topic, first) = self.topics.hold(name)?;
        let held = TopicHandle { topic, shared: Arc::clone(self) };
        if let Some(error) = held.error() {
            return Err(error);
        }
        if first && held.topic.opened().is_none() {
            self.ask(Request::Look);
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

    /// Why the topic is refused, if it is.
    pub(crate) fn error(&self) -> Option<Error> {
        let name = self.topic.name.to_string();
        Some(match self.topic.refused()? {
            Refused::Forbidden => Error::Forbidden(name),
            Refused::Crowded => Error::TooManyTopics(name),
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
