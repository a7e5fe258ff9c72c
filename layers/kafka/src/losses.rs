//! What a topic has that no stream can be given: each is told of it, and it is counted and remembered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::gap::{Gap, Reason};
use crate::health::{Lost, TopicHealth};

/// So many are remembered of a topic.
const KNOWN: usize = 1024;

/// So long one is taken for lost without another look: another replica may have what this one lacks.
const CERTAIN: Duration = Duration::from_secs(600);

/// So many of the last ones are told by the topic's health.
const TOLD: usize = 16;

/// How often it is warned of them within that time.
const WARNINGS: u32 = 10;
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Those of a topic.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By partition and last offset: the first one, and when it was met.
    known: BTreeMap<(i32, i64), (i64, Instant)>,
    unreadable: u64,
    too_large: u64,
    last: VecDeque<Lost>,
    /// Since when warnings are counted, how many there were, and what was not told.
    warned: Option<(Instant, u32)>,
    untold: u64,
}

impl Losses {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a gap in place of records; it may have been met before.
    pub(crate) fn note(&self, topic: &str, gap: &Gap, why: &str) {
        let Gap { partition: Some(partition), from: Some(from), to: Some(to), reason } = *gap
        else {
            return;
        };
        let mut state = self.lock();
        let now = Instant::now();
        let known = state.known.entry((partition, to - 1)).or_insert((i64::MAX, now));
        let (before, first) = (known.0, known.0.min(from));
        *known = (first, now);
        if before <= from {
            return;
        }
        if state.known.len() > KNOWN {
            let oldest = state.known.iter().min_by_key(|(_, (_, at))| *at).map(|(place, _)| *place);
            oldest.map(|place| state.known.remove(&place));
        }
        match reason {
            Reason::TooLarge => state.too_large += 1,
            _ => state.unreadable += 1,
        }
        state.last.push_back(Lost { partition, from, to, reason: reason.name() });
        if state.last.len() > TOLD {
            state.last.pop_front();
        }
        let (since, warnings) = state.warned.unwrap_or((now, 0));
        let (since, warnings) = match now.duration_since(since) < WARNING_INTERVAL {
            true => (since, warnings + 1),
            false => (now, 1),
        };
        state.warned = Some((since, warnings));
        if warnings > WARNINGS {
            state.untold += 1;
            return;
        }
        let untold = std::mem::take(&mut state.untold);
        drop(state);
        warn!(
            topic,
            partition,
            offset = from,
            to,
            reason = reason.name(),
            why,
            untold,
            "records can't be delivered, streams are told of a gap"
        );
    }

    /// Up to where nothing can be read of a partition from this offset on, if that is known.
    pub(crate) fn until(&self, partition: i32, offset: i64) -> Option<i64> {
        let state = self.lock();
        let (&(of, last), &(first, since)) = state.known.range((partition, offset)..).next()?;
        let certain = of == partition && first <= offset && since.elapsed() < CERTAIN;
        certain.then_some(last + 1)
    }

    /// The offsets mean other records from now on.
    pub(crate) fn forget(&self) {
        self.lock().known.clear();
    }

    pub(crate) fn tell(&self, health: &mut TopicHealth) {
        let state = self.lock();
        (health.unreadable, health.too_large) = (state.unreadable, state.too_large);
        health.lost = state.last.iter().copied().collect();
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
        let losses = Losses::default();
        losses.note("orders", &unreadable(3, 7), "x");
        losses.note("orders", &unreadable(5, 7), "x");
        losses.note("orders", &Gap::new(0, 9, 10, Reason::TooLarge), "x");
        let mut health = TopicHealth::new("orders".into());
        losses.tell(&mut health);
        assert_eq!((health.unreadable, health.too_large, health.lost.len()), (1, 1, 2));
        for (offset, until) in [(2, None), (3, Some(7)), (6, Some(7)), (7, None)] {
            assert_eq!(losses.until(0, offset), until, "{offset}");
            assert_eq!(losses.until(1, offset), None, "of another partition");
        }
        tokio::time::advance(CERTAIN).await;
        assert_eq!(losses.until(0, 3), None, "it is looked at again");
        losses.note("orders", &unreadable(3, 7), "x");
        losses.forget();
        assert_eq!(losses.until(0, 3), None);
    }

    #[test]
    fn what_is_remembered_of_many_is_bounded() {
        let losses = Losses::default();
        for offset in 0..3000 {
            losses.note("orders", &unreadable(offset, offset + 1), "x");
        }
        let mut health = TopicHealth::new("orders".into());
        losses.tell(&mut health);
        assert_eq!((health.unreadable, health.lost.len()), (3000, TOLD));
        let state = losses.lock();
        assert_eq!((state.known.len(), state.last.len()), (KNOWN, TOLD));
        assert_eq!(state.untold, 3000 - u64::from(WARNINGS));
    }
}
