//! Records of a topic that can't be delivered. Streams get a gap, and losses are counted, logged and remembered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::data::gap::{Gap, Reason};
use crate::data::record::Record;
use crate::topic::health::{Lost, TopicHealth};

/// How many losses of a topic are remembered.
const KNOWN: usize = 1024;

/// How long a loss is certain without another inspection: another replica may have what this one lacks.
const CERTAIN: Duration = Duration::from_secs(600);

/// How many of the last losses the topic's health reports.
const MAX_REPORTED: usize = 16;

/// How many warnings are logged within [`WARNING_INTERVAL`].
const WARNINGS: u32 = 10;
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The reason in the log for a record that is larger than the limit.
pub(crate) const TOO_LARGE: &str = "a record is larger than is served";

/// The losses of a topic.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// The name of the cluster in the log.
    cluster: Arc<str>,
    state: Mutex<State>,
}

/// The losses of a topic, as the logs before or after a truncation know them. What is still read for an earlier log
/// tells nothing of the offsets of a later one.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogLosses {
    all: Arc<Losses>,
    known: Arc<Mutex<Known>>,
}

/// The offsets of losses.
#[derive(Debug, Default)]
struct Known {
    /// By partition and last offset.
    losses: BTreeMap<(i32, i64), Loss>,
    /// Some losses were forgotten, because there were more than [`KNOWN`].
    has_forgotten: bool,
    /// The last offset of each partition that was counted.
    counted: BTreeMap<i32, i64>,
}

#[derive(Clone, Copy, Debug)]
struct Loss {
    from: i64,
    reason: Reason,
    /// When it was last found.
    found: Instant,
}

#[derive(Debug, Default)]
struct State {
    /// The offsets in the logs since the last truncation.
    known: Arc<Mutex<Known>>,
    unreadable: u64,
    too_large: u64,
    last: VecDeque<Lost>,
    /// Since when warnings are counted, and how many there were.
    warned: Option<(Instant, u32)>,
    suppressed: u64,
}

impl Losses {
    pub(crate) fn new(cluster: Arc<str>) -> Self {
        Self { cluster, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The losses for a log that begins now.
    pub(crate) fn of_log(self: &Arc<Self>) -> LogLosses {
        LogLosses { all: Arc::clone(self), known: Arc::clone(&self.lock().known) }
    }

    /// Forgets the offsets of losses: they mean other records in the logs from now on.
    pub(crate) fn forget(&self) {
        self.lock().known = Arc::default();
    }

    pub(crate) fn report(&self, health: &mut TopicHealth) {
        let state = self.lock();
        (health.unreadable, health.too_large) = (state.unreadable, state.too_large);
        health.lost = state.last.iter().copied().collect();
    }
}

impl LogLosses {
    /// The name of the cluster in the log.
    pub(crate) fn cluster(&self) -> &str {
        &self.all.cluster
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a range of a partition that can't be read, and returns its gap.
    pub(crate) fn unreadable(
        &self,
        topic: &str,
        partition: i32,
        (from, to): (i64, i64),
        why: &str,
    ) -> Record {
        self.note(topic, &Gap::new(partition, from, to, Reason::Unreadable), why);
        Record::gap(partition, (from, to), Reason::Unreadable, None)
    }

    /// Notes a gap in place of records. It may have been noted before.
    pub(crate) fn note(&self, topic: &str, gap: &Gap, why: &str) {
        let Gap { partition: Some(partition), from: Some(from), to: Some(to), reason } = *gap
        else {
            return;
        };
        let now = Instant::now();
        let loss = Loss { from, reason, found: now };
        if !self.known().is_new((partition, to - 1), loss) {
            return;
        }
        let mut state = self.all.lock();
        match reason {
            Reason::TooLarge => state.too_large += 1,
            _ => state.unreadable += 1,
        }
        state.last.push_back(Lost { partition, from, to, reason: reason.name() });
        if state.last.len() > MAX_REPORTED {
            state.last.pop_front();
        }
        let (since, warnings) = state.warned.unwrap_or((now, 0));
        let (since, warnings) = match now.duration_since(since) < WARNING_INTERVAL {
            true => (since, warnings + 1),
            false => (now, 1),
        };
        state.warned = Some((since, warnings));
        if warnings > WARNINGS {
            state.suppressed += 1;
            return;
        }
        let suppressed = std::mem::take(&mut state.suppressed);
        drop(state);
        warn!(
            cluster = self.cluster(),
            topic,
            partition,
            offset = from,
            to,
            reason = reason.name(),
            why,
            untold = suppressed,
            "records can't be delivered, streams get a gap"
        );
    }

    /// The end of the unreadable range that contains this offset, if one is known and certain.
    pub(crate) fn until(&self, partition: i32, offset: i64) -> Option<i64> {
        let known = self.known();
        let (&(of, last), loss) = known.losses.range((partition, offset)..).next()?;
        let certain = of == partition
            && loss.from <= offset
            && loss.reason == Reason::Unreadable
            && loss.found.elapsed() < CERTAIN;
        certain.then_some(last + 1)
    }
}

impl Known {
    /// Remembers a loss that ends with the offset `last`. Returns whether it was not counted before.
    fn is_new(&mut self, (partition, last): (i32, i64), loss: Loss) -> bool {
        let is_known = self.losses.contains_key(&(partition, last));
        let known = self.losses.entry((partition, last)).or_insert(loss);
        *known = Loss { from: known.from.min(loss.from), ..loss };
        if self.losses.len() > KNOWN {
            let oldest = self.losses.iter().min_by_key(|(_, loss)| loss.found).map(|(key, _)| *key);
            oldest.map(|key| self.losses.remove(&key));
            self.has_forgotten = true;
        }
        // A replay finds all of them again, and there may be more than are remembered.
        let is_further = self.counted.get(&partition).is_none_or(|counted| *counted < last);
        if is_known || (self.has_forgotten && !is_further) {
            return false;
        }
        if is_further {
            self.counted.insert(partition, last);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreadable(from: i64, to: i64) -> Gap {
        Gap::new(0, from, to, Reason::Unreadable)
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_is_counted_once_and_known_for_a_while() {
        let all = Arc::<Losses>::default();
        let losses = all.of_log();
        losses.note("orders", &unreadable(5, 7), "x");
        losses.note("orders", &unreadable(3, 7), "x");
        losses.note("orders", &unreadable(5, 7), "x");
        losses.note("orders", &Gap::new(0, 9, 10, Reason::TooLarge), "x");
        let mut health = TopicHealth::new("orders".into());
        all.report(&mut health);
        assert_eq!((health.unreadable, health.too_large, health.lost.len()), (1, 1, 2));
        // A fetch error at a record that is too large is another matter.
        for (offset, until) in [(2, None), (3, Some(7)), (6, Some(7)), (7, None), (9, None)] {
            assert_eq!(losses.until(0, offset), until, "{offset}");
            assert_eq!(losses.until(1, offset), None, "of another partition");
        }
        tokio::time::advance(CERTAIN).await;
        assert_eq!(losses.until(0, 3), None, "it is looked at again");
        losses.note("orders", &unreadable(3, 7), "x");
        all.forget();
        assert_eq!(all.of_log().until(0, 3), None);
    }

    /// Records that could be read were passed over with a gap.
    #[test]
    fn what_is_read_for_a_log_before_a_truncation_is_unknown_to_the_next_log() {
        let all = Arc::<Losses>::default();
        let before = all.of_log();
        all.forget();
        let after = all.of_log();
        for _ in 0..2 {
            before.note("orders", &unreadable(3, 7), "x");
        }
        assert_eq!((before.until(0, 3), after.until(0, 3)), (Some(7), None));
        after.note("orders", &unreadable(5, 6), "x");
        assert_eq!((before.until(0, 5), after.until(0, 5)), (Some(7), Some(6)));
        let mut health = TopicHealth::new("orders".into());
        all.report(&mut health);
        assert_eq!(health.unreadable, 2);
    }

    #[test]
    fn what_is_remembered_of_many_is_bounded() {
        let losses = Arc::<Losses>::default();
        for offset in 0..3000 {
            losses.of_log().note("orders", &unreadable(offset, offset + 1), "x");
        }
        let mut health = TopicHealth::new("orders".into());
        losses.report(&mut health);
        assert_eq!((health.unreadable, health.lost.len()), (3000, MAX_REPORTED));
        let state = losses.lock();
        let known = state.known.lock().unwrap();
        assert_eq!((known.losses.len(), state.last.len()), (KNOWN, MAX_REPORTED));
        assert_eq!(state.suppressed, 3000 - u64::from(WARNINGS));
    }

    #[test]
    fn a_replay_counts_nothing_twice_of_more_than_are_remembered() {
        let losses = Arc::<Losses>::default();
        let count = |losses: &Losses| {
            let mut health = TopicHealth::new("orders".into());
            losses.report(&mut health);
            (health.too_large, health.lost.last().map(|lost| lost.from))
        };
        let meet = |offsets: std::ops::Range<i64>| {
            for offset in offsets {
                let gap = Gap::new(0, offset, offset + 1, Reason::TooLarge);
                losses.of_log().note("orders", &gap, "x");
            }
        };
        // A live log, and what a replay finds before it while all are remembered.
        meet(500..1000);
        meet(0..1000);
        assert_eq!(count(&losses), (1000, Some(499)));
        meet(1000..3000);
        assert_eq!(count(&losses), (3000, Some(2999)));
        meet(0..3000);
        assert_eq!(count(&losses), (3000, Some(2999)), "a replay");
        losses.forget();
        meet(0..10);
        assert_eq!(count(&losses), (3010, Some(9)), "other records");
    }
}
