//! How many streams were opened and have ended, by binding and topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Reason, Start};

/// The label of topics that have none of their own.
const OTHER: &str = "_other_";
/// The maximum number of topics with a label. The sources of streams have the same bound.
const TOPICS: usize = 1000;

/// The counts of one binding and topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamCounts {
    pub(crate) binding: Arc<str>,
    /// `None` for streams without a topic.
    pub(crate) topic: Option<Arc<str>>,
    opened: [u64; Start::ALL.len()],
    ended: [u64; Reason::ALL.len()],
}

impl StreamCounts {
    fn new(binding: Arc<str>, topic: Option<Arc<str>>) -> Self {
        Self { binding, topic, opened: Default::default(), ended: Default::default() }
    }

    /// The number of streams that were opened.
    pub(crate) fn opened(&self) -> impl Iterator<Item = (Start, u64)> {
        Start::ALL.iter().copied().zip(self.opened)
    }

    /// The number of streams that have ended.
    pub(crate) fn ended(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.iter().copied().zip(self.ended)
    }

    /// The number of open streams.
    pub(crate) fn open(&self) -> u64 {
        let opened: u64 = self.opened.iter().sum();
        opened - self.ended.iter().sum::<u64>()
    }
}

type Key = (Arc<str>, Option<Arc<str>>);

/// All counts. It is changed when a stream opens or ends.
#[derive(Debug, Default)]
pub(super) struct Table {
    series: BTreeMap<Key, StreamCounts>,
    topics: std::collections::BTreeSet<Arc<str>>,
}

impl Table {
    pub(super) fn opened(&mut self, binding: &Arc<str>, topic: Option<&Arc<str>>, start: Start) {
        let counts = self.of(binding, topic);
        counts.opened[start as usize] += 1;
    }

    pub(super) fn ended(&mut self, binding: &Arc<str>, topic: Option<&Arc<str>>, reason: Reason) {
        let counts = self.of(binding, topic);
        counts.ended[reason as usize] += 1;
    }

    pub(super) fn all(&self) -> Vec<StreamCounts> {
        self.series.values().cloned().collect()
    }

    fn of(&mut self, binding: &Arc<str>, topic: Option<&Arc<str>>) -> &mut StreamCounts {
        let topic = topic.map(|topic| self.label(topic));
        let key = (Arc::clone(binding), topic);
        self.series.entry(key).or_insert_with_key(|(binding, topic)| {
            StreamCounts::new(Arc::clone(binding), topic.clone())
        })
    }

    fn label(&mut self, topic: &Arc<str>) -> Arc<str> {
        if !self.topics.contains(topic) {
            if self.topics.len() >= TOPICS {
                return OTHER.into();
            }
            self.topics.insert(Arc::clone(topic));
        }
        Arc::clone(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_beyond_the_bound_share_a_label() {
        let mut table = Table::default();
        let binding: Arc<str> = "a".into();
        for number in 0..100_000 {
            let topic: Arc<str> = number.to_string().into();
            table.opened(&binding, Some(&topic), Start::Live);
            table.ended(&binding, Some(&topic), Reason::Client);
        }
        let topic: Arc<str> = "0".into();
        table.opened(&binding, Some(&topic), Start::Id);
        table.opened(&binding, None, Start::Live);
        let all = table.all();
        assert_eq!(all.len(), TOPICS + 2);
        let of =
            |name: Option<&str>| all.iter().find(|counts| counts.topic.as_deref() == name).unwrap();
        let opened: u64 = of(Some(OTHER)).opened().map(|(_, count)| count).sum();
        assert_eq!(opened, 100_000 - TOPICS as u64);
        assert_eq!((of(Some(OTHER)).open(), of(Some("0")).open(), of(None).open()), (0, 1, 1));
    }
}
