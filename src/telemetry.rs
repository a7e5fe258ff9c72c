//! The server's own log, by `tracing`, as text for people or as JSON for machines.
//!
//! Threads that serve never write the log. The standard output and the standard error have a thread each. Lines
//! are dropped and counted if nobody reads the output.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::panic::{self, PanicHookInfo};
use std::thread;
use std::time::Duration;

use tailwater_schema::model::reads_value;
use tokio::time::Instant;
use tracing::{Level, Metadata, Subscriber, error, warn};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

use self::access::AccessLines;
pub use self::levels::{InvalidLevels, LogLevels};
use self::output::{LinesOf, Output, Reports};
use self::throttle::Throttle;
use crate::access_log;
pub use crate::escape::{error_line, one_line};
use crate::otlp::records;

mod access;
mod escape;
mod levels;
mod output;
mod throttle;

/// The maximum number of queued lines of the access log. Clients can cause any number of them.
const ACCESS_LINES: usize = 1024;
/// The maximum number of queued lines of the log. The levels `debug` and `trace` write many at once.
const LOG_LINES: usize = 8192;
/// The target of messages about the outputs themselves.
const OUTPUT_TARGET: &str = "tailwater::output";
/// The target of panics.
const PANIC_TARGET: &str = "tailwater::panic";
/// The time that the end of the process waits for a reader of the outputs.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The form of a line of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// Text, in colour if the standard error is a terminal.
    #[default]
    Text,
    /// A JSON object with `timestamp`, `level`, `target`, `message` and the fields.
    Json,
}

/// The error of [`init`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The levels are invalid.
    #[error("log level `{0}`")]
    Level(String, #[source] InvalidLevels),
    /// The standard output or the standard error is closed, or the system allows no thread to write it.
    #[error("the output can't be written")]
    Output(#[from] io::Error),
    /// This process already has a log.
    #[error("the log is set up already")]
    SetUp(#[from] tracing_subscriber::util::TryInitError),
}

/// The outputs of this process while it serves. When it is dropped, it waits at most a second for the last lines
/// to be written.
#[derive(Debug)]
#[must_use = "if it is dropped at once, the last lines of the process are lost"]
pub struct Outputs {
    stdout: Output,
    stderr: Output,
    levels: LogLevels,
}

impl Outputs {
    /// The levels of the log, to change them.
    #[must_use]
    pub fn levels(&self) -> LogLevels {
        self.levels.clone()
    }

    /// Writes a text to the standard output.
    pub fn print(&self, text: &str) {
        self.stdout.write(text.as_bytes());
    }

    /// Writes a text to the standard error.
    pub fn print_error(&self, text: &str) {
        self.stderr.write(text.as_bytes());
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        let deadline = Instant::now() + LAST_LINES;
        self.stderr.flush(deadline);
        self.stdout.flush(deadline);
    }
}

/// Sets up the log of this process. The log goes to the standard error. If `access` is `true`, the access log goes
/// to the standard output in the same format, whatever the levels: as `key=value` pairs, or as a JSON object. Panics are logged, too.
///
/// `levels` is a level (`error`, `warn`, `info`, `debug`, `trace`), or several levels for parts of the program,
/// such as `info,tailwater_kafka=debug`. Below `info`, of other crates only the modules `codec` and `proto` of h2 are
/// logged, since others may write headers and paths.
///
/// Messages that clients, peers or records repeat are counted, and their number is logged at most every 10 s. One
/// statement of the code logs at most 100 lines in that time. These bounds do not apply to the access log and to
/// the levels `debug` and `trace`.
///
/// Exporters of type `otlp` get the log from the level `info` on, and the access log.
///
/// Logging never waits for a reader. If nobody reads, at most 1 MiB is queued, with at most 1024 lines of the
/// access log and 8192 lines of the log. Further lines are dropped. Their number is logged when the output can be
/// written again.
///
/// # Errors
/// - [`Error::Level`]: `levels` is invalid.
/// - [`Error::SetUp`]: this process already has a log.
/// - [`Error::Output`]: an output is closed, or the system allows no further thread.
pub fn init(format: LogFormat, levels: &str, access: bool) -> Result<Outputs, Error> {
    let (filter, levels) =
        LogLevels::new(levels).map_err(|error| Error::Level(levels.to_owned(), error))?;
    let stdout = Output::start("stdout", unbuffered(io::stdout())?, ACCESS_LINES, STDOUT)?;
    let stderr = Output::start("stderr", unbuffered(io::stderr())?, LOG_LINES, STDERR)?;
    let log = layer(&stderr, format, io::stderr().is_terminal());
    let throttle = Throttle::default();
    let log = log.with_filter(log_filter(filter, &throttle));
    let access_log = access.then(|| access_layer(&stdout, format).with_filter(access_filter()));
    tracing_subscriber::registry().with(log).with(access_log).with(records::layer()).try_init()?;
    thread::Builder::new().name("log".to_owned()).spawn(move || throttle.run())?;
    // The hook of std would print a panic on the thread that serves.
    panic::set_hook(Box::new(log_panic));
    Ok(Outputs { stdout, stderr, levels })
}

/// The events and spans of the log. A layer must have one filter, and the filter a greatest level. Otherwise each
/// span of a dependency is made, although no layer wants it. h2 has several for each event of a stream.
fn log_filter(
    levels: impl Filter<Registry> + Send + Sync + 'static,
    throttle: &Throttle,
) -> impl Filter<Registry> + Send + Sync + 'static {
    let others = filter_fn(|metadata| !is_access(metadata) && is_free_of_secrets(metadata));
    levels.and(throttle.clone()).and(others.with_max_level_hint(LevelFilter::TRACE))
}

/// The events of the access log.
fn access_filter<S>() -> impl Filter<S> + Send + Sync + 'static {
    filter_fn(is_access).with_max_level_hint(LevelFilter::INFO)
}

fn is_access(metadata: &Metadata<'_>) -> bool {
    metadata.target() == access_log::TARGET
}

/// Whether a statement writes no header, path or payload. Below the level `info`, other crates may write them: h2 quotes
/// a path that is invalid, with its query. Two modules of h2 write of frames and states alone.
fn is_free_of_secrets(metadata: &Metadata<'_>) -> bool {
    let is_within = |module: &&str| {
        let rest = metadata.target().strip_prefix(module);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '_']))
    };
    *metadata.level() <= Level::INFO
        || ["tailwater", "h2::codec", "h2::proto"].iter().any(is_within)
}

/// The layer that writes lines of this format.
fn layer<S>(
    output: &Output,
    format: LogFormat,
    is_terminal: bool,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let has_colours = is_terminal && format == LogFormat::Text;
    let lines = LinesOf { output: output.clone(), format, has_colours };
    let layer = fmt::layer().with_writer(lines).with_ansi(false);
    // It would print internal errors on the thread that logs.
    let layer = layer.log_internal_errors(false);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

/// The layer that writes the lines of the access log in this format.
fn access_layer<S>(output: &Output, format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let lines = LinesOf { output: output.clone(), format, has_colours: false };
    let layer = fmt::layer().with_writer(lines).with_ansi(false).log_internal_errors(false);
    layer.event_format(AccessLines(format)).boxed()
}

/// The file behind an output. The buffer of std would be locked while a write waits for the reader.
fn unbuffered(output: impl AsFd) -> io::Result<File> {
    Ok(File::from(output.as_fd().try_clone_to_owned()?))
}

const STDOUT: Reports = Reports {
    dropped: |lines| {
        warn!(target: access_log::TARGET, lines, "{lines} lines were not written");
        warn!(target: OUTPUT_TARGET, lines, "{lines} lines of the standard output were not written");
    },
    failed: |error| warn!(target: OUTPUT_TARGET, %error, "the standard output can't be written"),
};

const STDERR: Reports = Reports {
    dropped: |lines| warn!(target: OUTPUT_TARGET, lines, "{lines} lines were not written"),
    failed: |_| {},
};

/// The message of a panic, unless a value is read: a parser may quote it.
fn panic_message(payload: Option<&str>) -> &str {
    if reads_value() { "a value was read" } else { payload.unwrap_or_default() }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let thread = thread.name();
    let place = panic.location().map(tracing::field::display);
    let message = panic_message(panic.payload_as_str());
    let backtrace = Backtrace::capture();
    let is_captured = backtrace.status() == BacktraceStatus::Captured;
    let backtrace = is_captured.then(|| tracing::field::display(&backtrace));
    error!(target: PANIC_TARGET, thread, place, backtrace, "panicked: {message}");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tailwater_schema::catalog::{Catalog, Framing, Lookup, SchemaKind, SchemaRef};
    use tailwater_schema::model::{AvroModel, SchemaSource};
    use tailwater_schema::{Input, Model};

    use super::*;

    #[derive(Debug)]
    struct Panics;

    impl Catalog for Panics {
        fn look_up(&self, _: &SchemaRef, _: SchemaKind) -> Lookup {
            assert_eq!(panic_message(Some("quotes the value")), "a value was read");
            Lookup::Missing
        }

        fn framing(&self) -> Framing {
            Framing::None
        }
    }

    #[test]
    fn a_panic_while_a_value_is_read_is_logged_without_its_message() {
        assert_eq!(panic_message(Some("quotes no value")), "quotes no value");
        let source = SchemaSource::new(Arc::new(Panics), SchemaRef::subject("a", "1"));
        let model = Model::from(AvroModel::new(source));
        drop(model.convert(&Input::value(b"value"), &mut Vec::new()));
        assert_eq!(panic_message(Some("quotes no value")), "quotes no value");
    }

    #[test]
    fn levels_that_are_not_understood_are_named() {
        // A word alone would be the name of a part, which turns off all others.
        for levels in ["loud", "tailwater=loud", ""] {
            let error = init(LogFormat::Text, levels, false).unwrap_err();
            assert_eq!(error.to_string(), format!("log level `{levels}`"));
        }
    }

    /// Spans that are not logged took a fifth of the time of a stream over HTTP/2, when a filter had no greatest
    /// level, and when the log had two filters, one of which took spans of all levels.
    #[test]
    fn a_span_below_the_levels_of_the_log_is_not_made() {
        let output = Output::without_writer();
        let (filter, levels) = LogLevels::new("info").unwrap();
        let log = layer(&output, LogFormat::Text, false)
            .with_filter(log_filter(filter, &Throttle::default()));
        let access_log = Some(access_layer(&output, LogFormat::Text).with_filter(access_filter()));
        let subscriber =
            tracing_subscriber::registry().with(log).with(access_log).with(records::layer());
        let subscriber = Arc::new(subscriber);
        assert_eq!(subscriber.max_level_hint(), Some(LevelFilter::INFO));
        tracing::subscriber::with_default(Arc::clone(&subscriber), || {
            assert!(tracing::debug_span!("below").is_disabled());
            assert!(!tracing::info_span!("of the log").is_disabled());
        });
        levels.set("debug", None).unwrap();
        assert_eq!(subscriber.max_level_hint(), Some(LevelFilter::DEBUG));
    }

    /// The line that a layer of this format writes for an event with foreign text: in its message, as the text of
    /// an error, and as a text.
    fn written(format: LogFormat, is_terminal: bool) -> String {
        let foreign = "a\nb\x1b[2J\u{202e}\u{9b}\r\u{7f}";
        let error = io::Error::other(foreign);
        let output = Output::without_writer();
        let layer = layer(&output, format, is_terminal);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let source = &error as &dyn std::error::Error;
            warn!(%error, source, text = foreign, debug = ?foreign, "said: {foreign}");
        });
        output.queued()
    }

    #[test]
    fn foreign_text_is_on_its_line_and_rules_no_terminal() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let line = written(format, false);
            let text = line.strip_suffix('\n').expect("a line");
            assert!(
                text.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{}",
                line.escape_debug()
            );
            assert!(text.contains("202e") && text.contains("said"), "{text}");
        }
        let line = written(LogFormat::Text, true);
        assert!(line.contains("\x1b[33m WARN\x1b[0m"), "{}", line.escape_debug());
        assert_eq!(line.matches('\x1b').count(), 4, "{}", line.escape_debug());
    }
}
