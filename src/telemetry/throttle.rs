//! Bounds the log: messages that clients, peers or records repeat are counted, and their number is logged at most
//! every ten seconds.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, error, info, warn};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Filter};

/// The time from the first line until the number of suppressed lines is logged.
const WINDOW: Duration = Duration::from_secs(10);
/// The maximum number of lines of one callsite in that time.
const MOST: usize = 100;
/// The maximum for targets in [`OFTEN`], whose lines may all be different.
const MOST_OFTEN: usize = 10;
/// The targets that log for each request, connection or stream. Of these no line is written twice in a window.
const OFTEN: [&str; 4] =
    ["tailwater_client", "tailwater_http", "tailwater_sse", super::PANIC_TARGET];
/// The length to which the example of a suppressed line is cut.
const MOST_BYTES: usize = 200;
/// The target of the throttle's own messages, which are not bounded.
const TARGET: &str = "tailwater::log";

/// A filter of events at INFO and above, for the layer of the log. Clones share their state.
#[derive(Clone, Debug, Default)]
pub(super) struct Throttle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    callsites: Mutex<HashMap<Identifier, Callsite>>,
    left_out: Condvar,
    hasher: RandomState,
}

/// The state of a callsite.
#[derive(Debug)]
struct Callsite {
    since: Instant,
    written: usize,
    /// The hashes of the written lines, for targets in [`OFTEN`].
    seen: HashSet<u64>,
    left_out: u64,
    level: Level,
    like: String,
}

/// A number of suppressed lines, with an example.
#[derive(Debug, PartialEq, Eq)]
struct LeftOut {
    level: Level,
    lines: u64,
    like: String,
}

impl Throttle {
    /// Whether a line is written. `text` returns its text.
    fn passes(
        &self,
        metadata: &'static Metadata<'static>,
        now: Instant,
        text: impl FnOnce() -> String,
    ) -> bool {
        let is_often = OFTEN.iter().any(|value| metadata.target().starts_with(value));
        let mut callsites = self.lock();
        let callsite = callsites.entry(metadata.callsite()).or_insert_with(|| Callsite {
            since: now,
            written: 0,
            seen: HashSet::new(),
            left_out: 0,
            level: *metadata.level(),
            like: String::new(),
        });
        if callsite.left_out == 0 && now.duration_since(callsite.since) >= WINDOW {
            (callsite.since, callsite.written) = (now, 0);
            callsite.seen.clear();
        }
        let line = if is_often {
            let line = text();
            if callsite.written < MOST_OFTEN && callsite.seen.insert(self.0.hasher.hash_one(&line))
            {
                callsite.written += 1;
                return true;
            }
            line
        } else {
            if callsite.written < MOST {
                callsite.written += 1;
                return true;
            }
            if callsite.left_out == 0 { text() } else { String::new() }
        };
        if callsite.left_out == 0 {
            callsite.like = line;
            self.0.left_out.notify_one();
        }
        callsite.left_out = callsite.left_out.saturating_add(1);
        false
    }

    /// The suppressed lines whose number is due, and the time when the next are due.
    fn due(&self, now: Instant) -> (Vec<LeftOut>, Option<Instant>) {
        let mut due = Vec::new();
        let mut next = None;
        for callsite in self.lock().values_mut().filter(|value| value.left_out > 0) {
            let end = callsite.since + WINDOW;
            if end > now {
                next = Some(next.map_or(end, |next: Instant| next.min(end)));
                continue;
            }
            let lines = std::mem::take(&mut callsite.left_out);
            due.push(LeftOut {
                level: callsite.level,
                lines,
                like: std::mem::take(&mut callsite.like),
            });
            // While the lines continue, only their number is logged.
            (callsite.since, callsite.written) = (now, 0);
            if callsite.seen.len() >= MOST_OFTEN {
                callsite.seen.clear();
            }
        }
        (due, next)
    }

    /// Logs the numbers of suppressed lines until the process ends.
    pub(super) fn run(&self) {
        loop {
            let (due, next) = self.due(Instant::now());
            for LeftOut { level, lines, like } in due {
                match level {
                    Level::ERROR => {
                        error!(target: TARGET, lines, "{lines} more lines like: {like}")
                    }
                    Level::WARN => warn!(target: TARGET, lines, "{lines} more lines like: {like}"),
                    _ => info!(target: TARGET, lines, "{lines} more lines like: {like}"),
                }
            }
            let callsites = self.lock();
            match next {
                Some(next) => {
                    let time = next.saturating_duration_since(Instant::now());
                    drop(self.0.left_out.wait_timeout(callsites, time));
                }
                None if callsites.values().any(|callsite| callsite.left_out > 0) => {}
                None => drop(self.0.left_out.wait(callsites)),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Callsite>> {
        self.0.callsites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Filter<S> for Throttle {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // The operator asked for lower levels, so that they are not bounded.
        let is_bounded = *metadata.level() <= Level::INFO
            && ![TARGET, super::OUTPUT_TARGET].contains(&metadata.target());
        !is_bounded || self.passes(metadata, Instant::now(), || Line::of(event))
    }
}

/// The text of an event, its message first.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn of(event: &Event<'_>) -> String {
        let mut line = Self::default();
        event.record(&mut line);
        let mut text = line.message + &line.fields;
        text.truncate(text.floor_char_boundary(MOST_BYTES));
        text
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a `String` never fails.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::with_default;
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::super::output::Output;
    use super::super::{LogFormat, layer};
    use super::*;

    /// The lines that are written when `log` runs.
    fn written(throttle: &Throttle, log: impl FnOnce()) -> Vec<String> {
        let output = Output::without_writer();
        let layer = layer(&output, LogFormat::Text, false);
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(throttle.clone()));
        with_default(subscriber, log);
        output.queued().lines().map(str::to_owned).collect()
    }

    fn left_out(throttle: &Throttle, after: Duration) -> Vec<u64> {
        throttle.due(Instant::now() + after).0.into_iter().map(|due| due.lines).collect()
    }

    #[test]
    fn what_requests_cause_again_and_again_is_written_once_and_counted() {
        let throttle = Throttle::default();
        let refused = |server: &str| warn!(target: "tailwater_client", server, "no event stream");
        let lines = written(&throttle, || (0..200).for_each(|_| refused("a")));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(left_out(&throttle, Duration::ZERO).is_empty());
        let due = throttle.due(Instant::now() + WINDOW).0;
        let like = "no event stream server=\"a\"".to_owned();
        assert_eq!(due, [LeftOut { level: Level::WARN, lines: 199, like }]);
        // While the lines continue, their number is logged. A different line is written.
        let lines = written(&throttle, || ["a", "b", "a"].into_iter().for_each(refused));
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert!(line.contains("server=\"b\""), "{line}");
        assert_eq!(left_out(&throttle, 3 * WINDOW), [2]);
    }

    #[test]
    fn no_line_of_code_writes_more_than_its_share() {
        let throttle = Throttle::default();
        let lines = written(&throttle, || (0..1000).for_each(|number| info!(number, "different")));
        assert_eq!(lines.len(), MOST);
        let of_client = |number: u32| warn!(target: "tailwater_client", number, "different");
        assert_eq!(written(&throttle, || (0..1000).for_each(of_client)).len(), MOST_OFTEN);
        let mut left_out = left_out(&throttle, WINDOW);
        left_out.sort_unstable();
        assert_eq!(left_out, [900, 990]);
    }

    #[test]
    fn what_was_asked_for_is_written() {
        let throttle = Throttle::default();
        let lines = written(&throttle, || {
            (0..1000).for_each(|_| tracing::debug!(target: "tailwater_client", "the same"));
        });
        assert_eq!(lines.len(), 1000);
    }
}
