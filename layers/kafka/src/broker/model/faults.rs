//! The faults that tests inject into the model.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::broker::model::Model;
use crate::simulation::Random;

/// The calls that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    Consumer,
    Topics,
    /// The metadata of one topic.
    Presence,
    /// The check whether topics may be read.
    Access,
    Watermarks,
    /// The query for the first offsets at or after a timestamp.
    Times,
    Ends,
    /// A poll of the tail.
    Fetch,
    /// A poll of a history consumer.
    FetchHistory,
    /// Taking the events of connections.
    DrainEvents,
    /// A poll of a history consumer without partitions.
    DrainEventsHistory,
}

/// For how long the tail gets nothing of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stall {
    /// Until the partition is assigned again.
    Assignment,
    /// Until there is another consumer.
    Consumer,
    Always,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    unreachable: bool,
    /// History consumers get nothing.
    history_held: bool,
    /// Grows with each loss of the connection. Consumers that see it repeat some records.
    pub(super) reconnects: u64,
    failures: HashMap<Call, usize>,
    panics: HashSet<Call>,
    /// How many panics of reads of history schedules have caused.
    history_panics: u32,
    /// How long a query for a partition without a leader takes to fail.
    pub(super) failure: Duration,
    /// So many lists of topics are empty.
    forgotten: usize,
    /// So many metadata responses show at most so many partitions of a topic.
    stale: Option<(usize, usize)>,
    /// The longest duration of a call.
    slowness: Duration,
    counted: u64,
    /// Kafka does not say whether a topic exists.
    pub(super) hides_missing: bool,
    /// Partitions of which the tail gets nothing and no error.
    stalls: Vec<(String, i32, Stall)>,
}

impl Faults {
    /// How long the current call takes.
    pub(super) fn delay(&mut self) -> Duration {
        self.counted += 1;
        self.slowness.mul_f64(Random(self.counted).below(1000) as f64 / 1000.0)
    }

    /// Whether the current call panics.
    pub(super) fn panics(&mut self, call: Call) -> bool {
        self.panics.remove(&call)
    }

    /// Whether the current call fails.
    pub(super) fn fails(&mut self, call: Call) -> bool {
        let failures = self.failures.entry(call).or_default();
        let fails = *failures > 0;
        *failures = failures.saturating_sub(1);
        fails || self.unreachable
    }

    /// Whether calls of this kind have ever failed, or the next one will panic.
    pub(super) fn touches(&self, call: Call) -> bool {
        self.failures.contains_key(&call) || self.panics.contains(&call)
    }

    /// Whether the current list of topics is empty.
    pub(super) fn forgets_topics(&mut self) -> bool {
        let forgets = self.forgotten > 0;
        self.forgotten = self.forgotten.saturating_sub(1);
        forgets
    }

    /// How many of these partitions the current metadata response shows.
    pub(super) fn found(&mut self, partitions: usize) -> usize {
        let Some((times, most)) = &mut self.stale else { return partitions };
        let found = if *times > 0 { partitions.min(*most) } else { partitions };
        *times = times.saturating_sub(1);
        found
    }

    /// Whether these consumers, of history or the tail, get nothing.
    pub(super) fn holds(&self, history: bool) -> bool {
        self.unreachable || (history && self.history_held)
    }

    /// For how long the tail gets nothing of this partition.
    pub(super) fn stalls(&mut self, topic: &str, partition: i32) -> Option<Stall> {
        let of = |(name, number, _): &(String, i32, Stall)| *name == topic && *number == partition;
        let at = self.stalls.iter().position(of)?;
        let (_, _, stall) = self.stalls[at];
        if stall != Stall::Always {
            self.stalls.remove(at);
        }
        Some(stall)
    }
}

impl Model {
    pub(crate) fn set_reachable(&self, reachable: bool) {
        self.change(|state| {
            state.faults.unreachable = !reachable;
            state.faults.reconnects += 1;
        });
    }

    /// Stops history consumers, or lets them continue.
    pub(crate) fn hold_history(&self, held: bool) {
        self.change(|state| state.faults.history_held = held);
    }

    /// Takes away the leader of a partition, or gives it one again.
    pub(crate) fn set_leaderless(&self, topic: &str, partition: i32, leaderless: bool) {
        self.partition(topic, partition, |log| log.leaderless = leaderless);
    }

    /// Gives a partition a new leader that does not know yet what was committed: it ends here and does not report
    /// its offsets. `None`: the leader knows everything.
    pub(crate) fn lag(&self, topic: &str, partition: i32, end: Option<i64>) {
        self.partition(topic, partition, |log| log.lagging = end);
    }

    /// Lets consumers of history find an end here for so many times, as a leader that was just elected may show one.
    /// The records behind the last of them come with it.
    pub(crate) fn end_early(&self, topic: &str, partition: i32, end: i64, times: usize) {
        self.partition(topic, partition, |log| log.early_ends = Some((end, times)));
    }

    /// Lets the tail get nothing of this partition, as if nothing were written.
    pub(crate) fn stall(&self, topic: &str, partition: i32, stall: Stall) {
        self.change(|state| state.faults.stalls.push((topic.to_owned(), partition, stall)));
    }

    /// Queries for the offsets of partitions without a leader fail after this time.
    pub(crate) fn fail_after(&self, failure: Duration) {
        self.change(|state| state.faults.failure = failure);
    }

    /// The next `times` calls of this kind fail.
    pub(crate) fn fail(&self, call: Call, times: usize) {
        self.change(|state| state.faults.failures.insert(call, times));
    }

    /// The next call of this kind panics.
    pub(crate) fn panic_at(&self, call: Call) {
        self.change(|state| state.faults.panics.insert(call));
    }

    /// As `panic_at`, but of reads of history only twice: three would prove that a record can't be read.
    pub(crate) fn panic_seldom_at(&self, call: Call) {
        if call == Call::FetchHistory {
            let panics = &mut self.lock().faults.history_panics;
            *panics += 1;
            if *panics > 2 {
                return;
            }
        }
        self.panic_at(call);
    }

    /// Whether a panic is still to come.
    pub(crate) fn will_panic(&self) -> bool {
        !self.lock().faults.panics.is_empty()
    }

    /// Whether a failure of this call is still to come.
    pub(crate) fn will_fail(&self, call: Call) -> bool {
        self.lock().faults.failures.get(&call).is_some_and(|times| *times > 0)
    }

    /// Makes the next lists of topics empty.
    pub(crate) fn forget_topics(&self, lists: usize) {
        self.change(|state| state.faults.forgotten = lists);
    }

    /// Makes the next answers those of a broker that knows only so many partitions.
    pub(crate) fn be_stale(&self, answers: usize, partitions: usize) {
        self.change(|state| state.faults.stale = Some((answers, partitions)));
    }

    /// Lets metadata have an error for the topic, or not any more.
    pub(crate) fn set_unreadable(&self, topic: &str, unreadable: bool) {
        self.change(|state| {
            state.topics.get_mut(topic).expect("the topic exists").unreadable = unreadable;
        });
    }

    /// Forbids to describe and to read the topic, or permits both. A forbidden topic is not in the list.
    pub(crate) fn set_hidden(&self, topic: &str, hidden: bool) {
        self.change(|state| {
            let topic = state.topics.get_mut(topic).expect("the topic exists");
            (topic.hidden, topic.forbidden) = (hidden, hidden);
        });
    }

    /// Adds the topic to the list of topics or removes it from there, whether it may be read or not.
    pub(crate) fn set_described(&self, topic: &str, described: bool) {
        self.change(|state| {
            state.topics.get_mut(topic).expect("the topic exists").hidden = !described;
        });
    }

    /// Forbids to read the topic, or permits it. It may be described.
    pub(crate) fn set_forbidden(&self, topic: &str, forbidden: bool) {
        self.change(|state| {
            state.topics.get_mut(topic).expect("the topic exists").forbidden = forbidden;
        });
    }

    /// Forbids all topics that do not exist.
    pub(crate) fn hide_missing(&self) {
        self.change(|state| state.faults.hides_missing = true);
    }

    /// Delays each call by up to this time.
    pub(crate) fn slow(&self, slowness: Duration) {
        self.change(|state| state.faults.slowness = slowness);
    }
}
