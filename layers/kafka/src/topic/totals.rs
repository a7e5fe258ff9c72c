//! The counters of all topics of a cluster, which outlive the topics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::data::counters::{Counters, OTHER};
use crate::topic::Topic;

/// The most topics that are counted by themselves.
const MAX_TOPICS: usize = 1000;

#[derive(Debug)]
pub(crate) struct Totals {
    topics: Mutex<BTreeMap<Arc<str>, Arc<Counters>>>,
    other: Arc<Counters>,
}

impl Default for Totals {
    fn default() -> Self {
        Self { topics: Mutex::default(), other: Arc::new(Counters::new(OTHER.into())) }
    }
}

impl Totals {
    fn topics(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Counters>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters of a topic. Topics that clients make up have no counters of their own.
    pub(crate) fn of(&self, topic: &Topic) -> Arc<Counters> {
        let is_known = topic.named || topic.exists();
        let mut topics = self.topics();
        match topics.get(&topic.name) {
            Some(counters) => Arc::clone(counters),
            None if is_known && topics.len() < MAX_TOPICS => {
                let counters = Arc::new(Counters::new(Arc::clone(&topic.name)));
                topics.insert(Arc::clone(&topic.name), Arc::clone(&counters));
                counters
            }
            None => Arc::clone(&self.other),
        }
    }

    /// All counters. Those of the other topics come last.
    pub(crate) fn all(&self) -> Vec<Arc<Counters>> {
        let mut all: Vec<_> = self.topics().values().cloned().collect();
        all.push(Arc::clone(&self.other));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::State;

    #[test]
    fn topics_that_exist_have_their_own_counters_up_to_a_bound() {
        let totals = Totals::default();
        let topic = |name: &str, state: State| {
            let topic = Topic::new(name.into());
            topic.state.send_replace(state);
            topic
        };
        for number in 0..2 * MAX_TOPICS {
            for state in [State::Unknown, State::Missing, State::Forbidden] {
                let made_up = topic(&format!("made up {number}"), state);
                assert_eq!(*totals.of(&made_up).name, *OTHER);
            }
        }
        for number in 0..2 * MAX_TOPICS {
            let name = format!("{number}");
            let counters = totals.of(&topic(&name, State::Found));
            let expected = if number < MAX_TOPICS { &name } else { OTHER };
            assert_eq!(*counters.name, *expected);
        }
        assert_eq!(totals.all().len(), MAX_TOPICS + 1);
        assert_eq!(*totals.of(&topic("0", State::Missing)).name, *"0", "it was there");
    }
}
