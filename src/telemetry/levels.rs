//! The levels of the log, which may change while the process runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tracing_subscriber::{EnvFilter, Registry, reload};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// The longest text of levels.
const MAX_BYTES: usize = 1024;

/// The levels of the log of this process. Clones change the same log.
#[derive(Clone, Debug)]
pub struct LogLevels {
    filter: reload::Handle<EnvFilter, Registry>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// The levels without a time.
    lasting: String,
    /// Counts the changes, so that the end of a time changes nothing that was set after it began.
    changes: u64,
    /// What ends the time of the levels in force.
    end: Option<AbortHandle>,
}

/// The error of levels that are not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "levels are LEVEL or TARGET=LEVEL, with commas between them; \
     a level is off, error, warn, info, debug or trace"
)]
#[non_exhaustive]
pub struct InvalidLevels;

impl LogLevels {
    pub(super) fn new(
        levels: &str,
    ) -> Result<(reload::Layer<EnvFilter, Registry>, Self), InvalidLevels> {
        let (layer, filter) = reload::Layer::new(parse(levels)?);
        let state = State { lasting: levels.to_owned(), changes: 0, end: None };
        Ok((layer, Self { filter, state: Arc::new(Mutex::new(state)) }))
    }

    /// Sets the levels: a level, or several levels for parts of the program, with commas between them. After the
    /// time, the log goes back to the levels that were set last without a time.
    ///
    /// # Errors
    /// The levels are not of the form `LEVEL` or `TARGET=LEVEL`, or longer than 1 KiB. Those before stay in force.
    ///
    /// # Panics
    /// With a time, if it is called outside of a Tokio runtime.
    pub fn set(&self, levels: &str, time: Option<Duration>) -> Result<(), InvalidLevels> {
        let filter = parse(levels)?;
        let mut state = self.lock();
        self.reload(filter);
        state.changes += 1;
        if let Some(earlier) = state.end.take() {
            earlier.abort();
        }
        let Some(time) = time else {
            levels.clone_into(&mut state.lasting);
            return Ok(());
        };
        let change = state.changes;
        let this = self.clone();
        let end = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            this.go_back(change);
        });
        state.end = Some(end.abort_handle());
        Ok(())
    }

    fn go_back(&self, change: u64) {
        let state = self.lock();
        if state.changes == change
            && let Ok(filter) = parse(&state.lasting)
        {
            self.reload(filter);
            tracing::info!(levels = state.lasting, "levels of the log are as before");
        }
    }

    fn reload(&self, filter: EnvFilter) {
        // It fails only if the log is gone, with the process.
        let _ = self.filter.reload(filter);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(levels: &str) -> Result<EnvFilter, InvalidLevels> {
    if !is_plain(levels) {
        return Err(InvalidLevels);
    }
    EnvFilter::try_new(levels).map_err(|_| InvalidLevels)
}

/// Whether a text is levels alone and levels of parts. A misspelt level would be taken for the name of a part, and
/// spans and fields are of no use to an operator.
fn is_plain(levels: &str) -> bool {
    let is_level = |text: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text));
    let is_target = |target: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-');
        !target.is_empty() && target.bytes().all(is_part)
    };
    levels.len() <= MAX_BYTES
        && levels.split(',').all(|directive| match directive.split_once('=') {
            Some((target, level)) => is_target(target) && is_level(level),
            None => is_level(directive),
        })
}

#[cfg(test)]
mod tests {
    use tracing::{debug, info};
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::telemetry::output::Output;
    use crate::telemetry::{LogFormat, layer};

    #[test]
    fn levels_are_words_with_or_without_a_part() {
        let long = format!("info,{}=debug", "a".repeat(MAX_BYTES));
        for (levels, is_valid) in [
            ("info", true),
            ("OFF", true),
            ("info,tailwater_kafka=debug,tailwater::access=Trace", true),
            ("loud", false),
            ("tailwater=loud", false),
            ("info,tailwater", false),
            ("info,", false),
            ("", false),
            ("=info", false),
            ("a=", false),
            ("[span]=info", false),
            ("a[b{c=d}]=info", false),
            (long.as_str(), false),
        ] {
            assert_eq!(parse(levels).is_ok(), is_valid, "{levels}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn levels_of_a_time_go_back_to_those_that_last() {
        let output = Output::without_writer();
        let (filter, levels) = LogLevels::new("info").unwrap();
        let log = layer(&output, LogFormat::Text, false).with_filter(filter);
        let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(log));
        let logged = |what: &str| output.queued().contains(what);
        debug!("first");
        assert!(!logged("first"));
        let minute = Duration::from_secs(60);
        levels.set("debug", Some(minute)).unwrap();
        debug!("second");
        assert!(logged("second"));
        // The earlier time has no effect any more.
        tokio::time::sleep(minute / 2).await;
        levels.set("trace", Some(minute)).unwrap();
        tokio::time::sleep(minute * 3 / 4).await;
        debug!("third");
        assert!(logged("third"));
        tokio::time::sleep(minute).await;
        debug!("fourth");
        assert!(!logged("fourth") && logged("as before"), "{}", output.queued());

        levels.set("debug", Some(minute)).unwrap();
        levels.set("warn", None).unwrap();
        tokio::time::sleep(minute * 2).await;
        info!("fifth");
        assert!(!logged("fifth"));
        assert_eq!(levels.set("loud", None), Err(InvalidLevels));
        info!("sixth");
        assert!(!logged("sixth"));
    }
}
