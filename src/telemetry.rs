//! The server's own log, by `tracing`: as text for people or as JSON for machines.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

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

/// Sets up the log of this process, on the standard error.
///
/// `levels` is a level (`error`, `warn`, `info`, `debug`, `trace`), or several with the part of
/// the program that each is for, as `info,tailwater_kafka=debug`.
///
/// # Errors
/// [`Error::Level`] where `levels` is not understood, [`Error::SetUp`] the second time.
pub fn init(format: LogFormat, levels: &str) -> Result<(), Error> {
    let filter =
        EnvFilter::try_new(levels).map_err(|error| Error::Level(levels.to_owned(), error))?;
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).finish().try_init()?,
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_are_not_understood_are_named() {
        let error = init(LogFormat::Text, "tailwater=loud").unwrap_err();
        assert_eq!(error.to_string(), "`tailwater=loud` is no log level");
    }
}
