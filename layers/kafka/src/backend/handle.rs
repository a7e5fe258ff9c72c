//! A handle of librdkafka that reads.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use tokio::time::Instant;

/// How long the leaders of a topic are taken as known.
const KNOWN: Duration = Duration::from_secs(60);
/// Of how many topics that is remembered.
const TOPICS: usize = 1000;

pub(super) struct Handle<C: ConsumerContext> {
    pub(super) consumer: BaseConsumer<C>,
    /// When it asked for the leaders of a topic.
    known: Mutex<HashMap<String, Instant>>,
}

impl<C: ConsumerContext> Handle<C> {
    pub(super) fn new(consumer: BaseConsumer<C>) -> Self {
        Self { consumer, known: Mutex::default() }
    }

    /// Asks for the leaders of the topic, unless it did a moment ago.
    pub(super) fn learn(&self, topic: &str, timeout: Duration) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |at: &Instant| at.elapsed() < KNOWN;
        if known.get(topic).is_some_and(is_known) {
            return;
        }
        known.retain(|_, at| is_known(at));
        if known.len() < TOPICS {
            known.insert(topic.to_owned(), Instant::now());
        }
        drop(known);
        let _ = self.consumer.fetch_metadata(Some(topic), timeout);
    }
}

/// When fetches timed out.
#[derive(Debug, Default)]
pub(super) struct Late {
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Late {
    pub(super) fn note(&mut self, at: Instant) {
        (self.first, self.last) = (self.last, Some(at));
    }

    /// Whether one followed the other as fast as it can. Connections that die at the same time, to several
    /// brokers, are another matter: each is made anew.
    pub(super) fn take_repeated(&mut self, patience: Duration) -> bool {
        let (Some(first), Some(last)) = (self.first, self.last) else { return false };
        let between = last - first;
        let repeated = patience / 2 <= between && between <= 2 * patience;
        if repeated {
            *self = Self::default();
        }
        repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetches_that_time_out_one_after_the_other_are_repeated_and_those_at_once_are_not() {
        let patience = Duration::from_secs(8);
        for (seconds, repeated) in [
            (&[0][..], false),
            (&[0, 0, 0], false),
            (&[0, 1], false),
            (&[0, 8], true),
            (&[0, 9], true),
            (&[0, 0, 9], true),
            (&[0, 60], false),
        ] {
            let (mut late, start) = (Late::default(), Instant::now());
            seconds.iter().for_each(|after| late.note(start + Duration::from_secs(*after)));
            assert_eq!(late.take_repeated(patience), repeated, "{seconds:?}");
            assert!(!late.take_repeated(patience), "{seconds:?}");
        }
    }
}
