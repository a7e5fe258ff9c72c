//! Why a connection ended before its time.

use std::io;
use std::time::Duration;

/// An inner service's error, or that of a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a connection ended otherwise than its peer and we had agreed.
///
/// A connection that its peer closed between two requests, that was idle for too long or that ended
/// its streams at a shutdown is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The head of the first request was not there in time.
    #[error("no request within {0:?}")]
    NoRequest(Duration),
    /// Streams were still open when the drain window of a [`Shutdown`](crate::Shutdown) ended.
    #[error("streams were still open at the end of the drain window")]
    Cut,
    /// The connection failed before its HTTP version was known.
    #[error("reading the first bytes failed")]
    Read(#[source] io::Error),
    /// What the peer sent is not HTTP, goes past a limit, or the connection failed.
    #[error("the HTTP connection failed")]
    Http(#[source] hyper::Error),
    /// An event stream could not be written.
    #[error("writing an event stream failed")]
    Write(#[source] io::Error),
    /// The body of an event stream failed; the client sees a stream that is cut.
    #[error("the body of an event stream failed")]
    Body(#[source] BoxError),
}
