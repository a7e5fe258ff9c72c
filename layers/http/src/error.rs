//! Why a connection failed.

use std::io;
use std::time::Duration;

/// An error of an inner service or of a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a connection failed.
///
/// The regular ends of a connection are no errors: its peer closed it between two requests, it was idle
/// for too long, or its streams ended at a shutdown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The head of the first request did not arrive in time.
    #[error("no request within {0:?}")]
    FirstRequestTimeout(Duration),
    /// Streams were still open when the drain window of a [`Shutdown`](crate::Shutdown) ended.
    #[error("streams were still open at the end of the drain window")]
    DrainTimeout,
    /// The connection failed before its HTTP version was known.
    #[error("reading the first bytes failed")]
    Read(#[source] io::Error),
    /// The peer sent something that is not HTTP or that exceeds a limit, or the connection failed.
    #[error("the HTTP connection failed")]
    Http(#[source] hyper::Error),
    /// An event stream could not be written.
    #[error("writing an event stream failed")]
    Write(#[source] io::Error),
    /// The body of an event stream failed. For the client the stream ends in the middle.
    #[error("the body of an event stream failed")]
    Body(#[source] BoxError),
}
