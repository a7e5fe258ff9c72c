//! What goes wrong in the model when it is told to.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Model, Random};

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    Consumer,
    Topics,
    /// For one topic.
    Presence,
    /// Whether topics may be read.
    Access,
    Watermarks,
    /// For the first offsets since a time.
    Times,
    Ends,
    /// By the tail.
    Fetch,
    /// By a reader of history.
    FetchHistory,
    /// While nothing is asked.
    Hear,
    /// By a reader of history that reads nothing.
    HearHistory,
}

/// How long the tail gets nothing of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deaf {
    /// Until the partition is assigned anew.
    Assignment,
    /// Until there is another consumer.
    Consumer,
    Always,
}

#[derive(Debug, Default)]
pub(super) struct Troubles {
    unreachable: bool,
    /// Readers of history get nothing.
    history_held: bool,
    /// Grows with each loss of the connection: consumers that see it read a little once more.
    pub(super) reconnects: u64,
    failures: HashMap<Call, usize>,
    panics: HashSet<Call>,
    /// How long it takes to find that a partition has no leader.
    pub(super) failure: Duration,
    /// So many looks find no topics.
    forgotten: usize,
    /// So many looks, and questions for one topic, find no more than so many partitions of it.
    stale: Option<(usize, usize)>,
    /// Calls take up to so long.
    slowness: Duration,
    counted: u64,
    /// Kafka says of no name whether there is such a topic.
    pub(super) hides_missing: bool,
    /// Partitions of which the tail gets nothing, without a word.
    deaf: Vec<(String, i32, Deaf)>,
}

impl Troubles {
    /// How long the call that begins now takes.
    pub(super) fn delay(&mut self) -> Duration {
        self.counted += 1;
        self.slowness.mul_f64(Random(self.counted).below(1000) as f64 / 1000.0)
    }

    /// Whether the call that was made now is to panic.
    pub(super) fn panics(&mut self, call: Call) -> bool {
        self.panics.remove(&call)
    }

    /// Whether the call that was made now fails.
    pub(super) fn fails(&mut self, call: Call) -> bool {
        let failures = self.failures.entry(call).or_default();
        let fails = *failures > 0;
        *failures = failures.saturating_sub(1);
        fails || self.unreachable
    }

    /// Whether calls of this kind were ever to fail, or the next is to panic.
    pub(super) fn touches(&self, call: Call) -> bool {
        self.failures.contains_key(&call) || self.panics.contains(&call)
    }

    /// Whether the look that is made now finds no topics.
    pub(super) fn forgets_topics(&mut self) -> bool {
        let forgets = self.forgotten > 0;
        self.forgotten = self.forgotten.saturating_sub(1);
        forgets
    }

    /// The partitions that the question that is asked now finds of as many.
    pub(super) fn found(&mut self, partitions: usize) -> usize {
        let Some((times, most)) = &mut self.stale else { return partitions };
        let found = if *times > 0 { partitions.min(*most) } else { partitions };
        *times = times.saturating_sub(1);
        found
    }

    /// Whether readers, of history or the tail, get nothing.
    pub(super) fn holds(&self, history: bool) -> bool {
        self.unreachable || (history && self.history_held)
    }

    /// How long nothing comes of the partition that the tail asks for now.
    pub(super) fn deafens(&mut self, topic: &str, partition: i32) -> Option<Deaf> {
        let of = |(name, number, _): &(String, i32, Deaf)| *name == topic && *number == partition;
        let at = self.deaf.iter().position(of)?;
        let (_, _, deaf) = self.deaf[at];
        if deaf != Deaf::Always {
            self.deaf.remove(at);
        }
        Some(deaf)
    }
}

impl Model {
    pub(crate) fn set_reachable(&self, reachable: bool) {
        self.change(|state| {
            state.troubles.unreachable = !reachable;
            state.troubles.reconnects += 1;
        });
    }

    /// Readers of history wait, or go on.
    pub(crate) fn hold_history(&self, held: bool) {
        self.change(|state| state.troubles.history_held = held);
    }

    /// Nobody serves this partition, or somebody does again.
    pub(crate) fn set_leaderless(&self, topic: &str, partition: i32, leaderless: bool) {
        self.partition(topic, partition, |log| log.leaderless = leaderless);
    }

    /// A new leader that does not know yet what was committed shows this partition up to here, and does
    /// not tell its offsets; `None`: it knows.
    pub(crate) fn lag(&self, topic: &str, partition: i32, end: Option<i64>) {
        self.partition(topic, partition, |log| log.lagging = end);
    }

    /// The tail gets nothing of this partition any more, as if nothing were written.
    pub(crate) fn deafen(&self, topic: &str, partition: i32, deaf: Deaf) {
        self.change(|state| state.troubles.deaf.push((topic.to_owned(), partition, deaf)));
    }

    /// Questions for offsets of partitions without a leader fail after this long.
    pub(crate) fn fail_after(&self, failure: Duration) {
        self.change(|state| state.troubles.failure = failure);
    }

    /// The next `times` calls of this kind fail.
    pub(crate) fn fail(&self, call: Call, times: usize) {
        self.change(|state| state.troubles.failures.insert(call, times));
    }

    /// The next call of this kind panics.
    pub(crate) fn panic_at(&self, call: Call) {
        self.change(|state| state.troubles.panics.insert(call));
    }

    /// Whether a call that was to panic has not come yet.
    pub(crate) fn will_panic(&self) -> bool {
        !self.lock().troubles.panics.is_empty()
    }

    /// Whether a call that was to fail has not come yet.
    pub(crate) fn will_fail(&self, call: Call) -> bool {
        self.lock().troubles.failures.get(&call).is_some_and(|times| *times > 0)
    }

    /// The next looks find no topics.
    pub(crate) fn forget_topics(&self, looks: usize) {
        self.change(|state| state.troubles.forgotten = looks);
    }

    /// The next answers are those of a broker that knows of no more partitions than these.
    pub(crate) fn be_stale(&self, answers: usize, partitions: usize) {
        self.change(|state| state.troubles.stale = Some((answers, partitions)));
    }

    /// Looks find an error in place of the topic's partitions, or its partitions again.
    pub(crate) fn set_unreadable(&self, topic: &str, unreadable: bool) {
        self.change(|state| {
            state.topics.get_mut(topic).expect("the topic exists").unreadable = unreadable;
        });
    }

    /// The list of topics lacks this one, and whoever asks for it or reads it is refused; or not any more.
    pub(crate) fn set_hidden(&self, topic: &str, hidden: bool) {
        self.change(|state| {
            let topic = state.topics.get_mut(topic).expect("the topic exists");
            (topic.hidden, topic.forbidden) = (hidden, hidden);
        });
    }

    /// The list of topics has this one or lacks it, whoever may read it.
    pub(crate) fn set_described(&self, topic: &str, described: bool) {
        self.change(|state| {
            state.topics.get_mut(topic).expect("the topic exists").hidden = !described;
        });
    }

    /// Whoever reads this topic is refused, or not any more. It may be described.
    pub(crate) fn set_forbidden(&self, topic: &str, forbidden: bool) {
        self.change(|state| {
            state.topics.get_mut(topic).expect("the topic exists").forbidden = forbidden;
        });
    }

    /// Whoever asks for a topic that does not exist is refused.
    pub(crate) fn hide_missing(&self) {
        self.change(|state| state.troubles.hides_missing = true);
    }

    /// Each call takes up to so long before anything comes of it.
    pub(crate) fn slow(&self, slowness: Duration) {
        self.change(|state| state.troubles.slowness = slowness);
    }
}
