//! The server's own log, by `tracing`: as text for people or as JSON for machines.

use std::io::{self, IsTerminal};

use tracing::Metadata;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::access_log;

/// The form of a line of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// Text, in colour where the standard error is a terminal.
    #[default]
    Text,
    /// A JSON object, its fields beside `timestamp`, `level`, `target` and `message`.
    Json,
}

/// Why the log was not set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The levels are not understood.
    #[error("`{0}` is no log level")]
    Level(String, #[source] tracing_subscriber::filter::ParseError),
    /// There is one already in this process.
    #[error("the log is set up already")]
    SetUp(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up the log of this process, on the standard error; and on the standard output, if `access`
/// says so, the access log in the same form, whatever the levels.
///
/// `levels` is a level (`error`, `warn`, `info`, `debug`, `trace`), or several with the part of
/// the program that each is for, as `info,tailwater_kafka=debug`.
///
/// # Errors
/// [`Error::Level`] where `levels` is not understood, [`Error::SetUp`] the second time.
pub fn init(format: LogFormat, levels: &str, access: bool) -> Result<(), Error> {
    let filter =
        EnvFilter::try_new(levels).map_err(|error| Error::Level(levels.to_owned(), error))?;
    let is_access = |metadata: &Metadata<'_>| metadata.target() == access_log::TARGET;
    let log = fmt::layer().with_writer(io::stderr);
    let access_log = fmt::layer().with_writer(io::stdout).with_target(false);
    let (log, access_log) = match format {
        LogFormat::Text => (
            log.with_ansi(io::stderr().is_terminal()).boxed(),
            access_log.with_ansi(io::stdout().is_terminal()).boxed(),
        ),
        LogFormat::Json => {
            (log.json().flatten_event(true).boxed(), access_log.json().flatten_event(true).boxed())
        }
    };
    let log = log.with_filter(filter).with_filter(filter_fn(move |metadata| !is_access(metadata)));
    let access_log = access.then(|| access_log.with_filter(filter_fn(is_access)));
    tracing_subscriber::registry().with(log).with(access_log).try_init()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_are_not_understood_are_named() {
        let error = init(LogFormat::Text, "tailwater=loud", false).unwrap_err();
        assert_eq!(error.to_string(), "`tailwater=loud` is no log level");
    }
}
