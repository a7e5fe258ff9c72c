//! A client of librdkafka that consumes, and its late fetches.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use tokio::time::Instant;

/// How long the leaders of a topic count as known.
const KNOWN: Duration = Duration::from_secs(60);
/// The most topics whose leaders count as known.
const TOPICS: usize = 1000;

pub(super) struct Handle<C: ConsumerContext> {
    pub(super) consumer: BaseConsumer<C>,
    /// When it queried the leaders of a topic.
    known: Mutex<HashMap<String, Instant>>,
}

impl<C: ConsumerContext> Handle<C> {
    pub(super) fn new(consumer: BaseConsumer<C>) -> Self {
        Self { consumer, known: Mutex::default() }
    }

    /// Queries the leaders of the topic, unless it did a moment ago.
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

/// When the last two fetches of each server timed out. The server's name may be unknown.
#[derive(Debug, Default)]
pub(super) struct LateFetches(HashMap<String, (Option<Instant>, Instant)>);

/// The most servers whose late fetches are remembered.
const SERVERS: usize = 1000;

impl LateFetches {
    pub(super) fn note(&mut self, server: &str, at: Instant) {
        if let Some((before, last)) = self.0.get_mut(server) {
            (*before, *last) = (Some(*last), at);
        } else if self.0.len() < SERVERS {
            self.0.insert(server.to_owned(), (None, at));
        }
    }

    /// Whether two fetches of the same server timed out one right after the other. Connections to several brokers
    /// that die one after the other do not count: each is made anew.
    pub(super) fn take_repeated(&mut self, request_timeout: Duration) -> bool {
        let repeated = self.0.values().any(|(before, last)| {
            before.is_some_and(|before| {
                let between = *last - before;
                request_timeout / 2 <= between && between <= 2 * request_timeout
            })
        });
        if repeated {
            self.0.clear();
        }
        repeated
    }

    /// Whether no fetch was late within this time.
    pub(super) fn is_over(&self, calm: Duration) -> bool {
        self.0.values().all(|(_, last)| last.elapsed() >= calm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetches_that_time_out_one_after_the_other_are_repeated_and_those_at_once_are_not() {
        let request_timeout = Duration::from_secs(8);
        for (late, repeated) in [
            (&[("a", 0)][..], false),
            (&[("a", 0), ("a", 0), ("a", 0)], false),
            (&[("a", 0), ("a", 1)], false),
            (&[("a", 0), ("a", 8)], true),
            (&[("a", 0), ("a", 9)], true),
            (&[("a", 0), ("a", 0), ("a", 9)], true),
            (&[("a", 0), ("a", 60)], false),
            (&[("a", 0), ("b", 8)], false),
            (&[("a", 0), ("b", 4), ("a", 8)], true),
        ] {
            let mut noted = LateFetches::default();
            let start = Instant::now();
            for (server, after) in late {
                noted.note(server, start + Duration::from_secs(*after));
            }
            assert_eq!(noted.take_repeated(request_timeout), repeated, "{late:?}");
            assert!(!noted.take_repeated(request_timeout), "{late:?}");
        }
    }

    #[test]
    fn no_more_servers_are_remembered_than_there_are_brokers() {
        let mut late = LateFetches::default();
        (0..2 * SERVERS).for_each(|at| late.note(&at.to_string(), Instant::now()));
        assert_eq!(late.0.len(), SERVERS);
        assert!(late.is_over(Duration::ZERO) && !late.is_over(Duration::from_secs(60)));
    }
}
