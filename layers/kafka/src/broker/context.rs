//! The logs and errors of librdkafka about its connections and what it reads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::broker::FetchError;
use crate::broker::contact::Reachability;
use crate::broker::failure::Line;
use crate::broker::handle::LateFetches;

/// The interval between two warnings about the same error of librdkafka, which any client may meet repeatedly.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// The most warnings about different errors within that time.
const WARNINGS: usize = 16;

/// Forwards librdkafka's log to ours. Errors of connections come repeatedly while a broker is unreachable, and
/// librdkafka reconnects by itself. So they are reported only as the reason why Kafka is unreachable.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) reachability: Arc<Reachability>,
    pub(super) warned: Arc<Mutex<Vec<(String, Instant)>>>,
    /// When fetches of this client timed out.
    pub(super) late: Arc<Mutex<LateFetches>>,
    /// The reason of the last error of this client.
    pub(super) last: Arc<Mutex<String>>,
}

impl Context {
    pub(super) fn late(&self) -> MutexGuard<'_, LateFetches> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client's fetches time out one after the other.
    pub(super) fn has_late_fetches(&self, request_timeout: Duration) -> bool {
        self.late().take_repeated(request_timeout)
    }

    /// The reason of the error that was polled just now: rust-rdkafka passes the reason to the context, and only the
    /// code to the caller of poll.
    pub(super) fn fetch_error(&self) -> FetchError {
        self.reachability.note_error("fetch");
        let reason = std::mem::take(&mut *self.last());
        FetchError { batch: batch_of(&reason), reason }
    }

    fn last(&self) -> MutexGuard<'_, String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to log a warning. Messages that differ only in numbers (times, attempts) are the same error. A
    /// different error is logged at once, because the first may not be the cause. Group coordinators are not used.
    fn warns(&self, message: &str) -> bool {
        if message.contains("GroupCoordinator") || message.contains("identical error(s) suppressed")
        {
            return false;
        }
        let kind: String =
            message.chars().filter(|character| !character.is_ascii_digit()).collect();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warned.retain(|(_, at)| at.elapsed() < WARNING_INTERVAL);
        let new = warned.len() < WARNINGS && warned.iter().all(|(known, _)| *known != kind);
        if new {
            warned.push((kind, Instant::now()));
        }
        new
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if let "FAIL" | "REQTMOUT" = facility {
            if let Some(line) = Line::parse(message) {
                match line.failure() {
                    Some(failure) => self.reachability.failed(line.server, failure),
                    None => self.reachability.disconnected(),
                }
            }
            if message.contains("Timed out FetchRequest in flight") {
                let server = Line::parse(message).map_or("", |line| line.server);
                self.late().note(server, Instant::now());
            }
            debug!(facility, "librdkafka: {message}");
            return;
        }
        let cluster = self.reachability.name();
        let servers = self.reachability.servers().join(",");
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                warn!(cluster, servers, facility, "librdkafka: {message}");
            }
            RDKafkaLogLevel::Error if self.warns(message) => {
                warn!(cluster, servers, facility, "librdkafka: {message}")
            }
            _ => debug!(facility, "librdkafka: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, "librdkafka: {reason}");
        reason.clone_into(&mut self.last());
    }
}

impl ConsumerContext for Context {}

/// The first offset of the batch that an error of librdkafka is about. Only its text contains it, as
/// `at offset 5` or `of message at 5`.
fn batch_of(reason: &str) -> Option<i64> {
    let rest = ["offset ", "message at "].iter().find_map(|before| {
        let (_, rest) = reason.split_once(before)?;
        rest.starts_with(|digit: char| digit.is_ascii_digit()).then_some(rest)
    })?;
    rest.split(|digit: char| !digit.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batch_is_found_in_the_texts_of_librdkafka() {
        for (reason, batch) in [
            ("Decompression (codec 0x4) of message at 12 of 3000 bytes failed: Local: x", Some(12)),
            (
                "MessageSet at offset 7 (80 bytes) failed CRC32C check (original 0x1 != 0x2)",
                Some(7),
            ),
            ("Unsupported Message(Set) MagicByte 9 at offset 3", Some(3)),
            ("Message at relative offset 0 (9 bytes) failed CRC32 check", Some(0)),
            ("Fetch from broker 1 failed: Broker: Message could not be read", None),
            ("at offset -1", None),
            ("", None),
        ] {
            assert_eq!(batch_of(reason), batch, "{reason}");
        }
    }

    #[test]
    fn each_trouble_is_warned_of_once_and_another_at_once() {
        let reachability = Arc::new(Reachability::new("", "localhost:9092"));
        let warned = Arc::default();
        let late = Arc::default();
        let last = Arc::default();
        let context = Context { reachability, warned, late, last };
        assert!(context.warns("localhost:9092: Connect failed (after 5ms in state CONNECT)"));
        assert!(!context.warns("localhost:9092: Connect failed (after 17ms in state CONNECT)"));
        assert!(context.warns("localhost:9092: SSL handshake failed"));
        for noise in [
            "GroupCoordinator: localhost:9092: Connect failed",
            "localhost:9092: SSL handshake failed (after 5ms in state X, 3 identical error(s) suppressed)",
        ] {
            assert!(!context.warns(noise), "{noise}");
        }
        let others = (0..100).filter(|length| context.warns(&"x".repeat(*length))).count();
        assert_eq!(others, WARNINGS - 2);
    }
}
