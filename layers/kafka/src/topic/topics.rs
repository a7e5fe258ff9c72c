//! The topics that are held, and how many may be: what requests name takes no room from what the
//! configuration names, and what Kafka does not have takes none from what it has.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::topic::Topic;
use crate::{ClusterOptions, Error};

#[derive(Debug)]
pub(crate) struct Topics {
    held: Mutex<HashMap<Arc<str>, Arc<Topic>>>,
    /// How many topics of requests there may be that Kafka has.
    max_there: usize,
    /// How many there may be that Kafka does not have, or does not permit.
    max_missing: usize,
}

impl Topics {
    pub(crate) fn new(options: &ClusterOptions) -> Self {
        let mut held = HashMap::new();
        for (names, pinned) in [(&options.preloaded, true), (&options.named, false)] {
            for name in names {
                let name: Arc<str> = name.as_str().into();
                let topic = || Arc::new(Topic::named(Arc::clone(&name), pinned));
                held.entry(Arc::clone(&name)).or_insert_with(topic);
            }
        }
        let held = Mutex::new(held);
        Self { held, max_there: options.max_topics, max_missing: options.max_missing_topics }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Topic>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topics that are held, used or not.
    pub(crate) fn held(&self) -> Vec<Arc<Topic>> {
        self.lock().values().cloned().collect()
    }

    /// The topic of this name with a stream more, and whether that is its first one.
    pub(crate) fn hold(&self, name: &str) -> Result<(Arc<Topic>, bool), Error> {
        let mut held = self.lock();
        let topic = match held.get(name) {
            Some(topic) => Arc::clone(topic),
            None => {
                // Any that Kafka was not asked for yet may be there.
                let most = self.max_missing.saturating_add(self.max_there);
                if count(&held, |topic| !topic.is_there()) >= most {
                    // A look at the topics lets go of them, and none succeeds while Kafka is away.
                    held.retain(|_, topic| topic.named || topic.is_used() || topic.is_there());
                }
                if count(&held, |topic| !topic.is_there()) >= most {
                    return Err(Error::TooManyTopics(name.to_owned()));
                }
                let topic = Arc::new(Topic::new(name.into()));
                held.insert(Arc::clone(&topic.name), Arc::clone(&topic));
                topic
            }
        };
        // Under the lock, so that nobody lets go of it between.
        let first = topic.streams.fetch_add(1, Ordering::AcqRel) == 0;
        Ok((topic, first))
    }

    /// Lets go of a topic, or of the log of one that the configuration names, unless somebody began to use
    /// it. Whether it was let go.
    pub(crate) fn release(&self, topic: &Topic) -> bool {
        let mut held = self.lock();
        if topic.is_used() {
            return false;
        }
        if topic.named { topic.opened().is_some() } else { held.remove(&topic.name).is_some() }
    }

    /// Lets go of a topic that there is no room for. Who asks for its name again asks for another one.
    pub(crate) fn remove(&self, topic: &Topic) {
        self.lock().remove(&topic.name);
    }

    /// Whether there is room for one more topic that Kafka has.
    pub(crate) fn has_room(&self) -> bool {
        count(&self.lock(), Topic::is_there) < self.max_there
    }

    /// Whether there is room for one more name that Kafka does not have.
    pub(crate) fn has_room_for_missing(&self) -> bool {
        count(&self.lock(), is_missing) < self.max_missing
    }

    /// Lets go of names that Kafka does not have and nobody waits for, if there is no room for another one.
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

/// How many topics of requests are such.
fn count(held: &HashMap<Arc<str>, Arc<Topic>>, is: impl Fn(&Topic) -> bool) -> usize {
    held.values().filter(|topic| !topic.named && is(topic)).count()
}
