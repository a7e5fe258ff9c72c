use http::{Method, StatusCode};

/// The error of a service or source of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The reason why a source does not serve a subscription, and the status of the response.
#[derive(Debug, thiserror::Error)]
#[error("subscription rejected with {status}")]
pub struct Rejection {
    status: StatusCode,
    #[source]
    reason: BoxError,
    is_exposed: bool,
}

impl Rejection {
    /// A rejection with this status. The client does not see `reason`: it is in the response's extensions,
    /// for logs.
    pub fn new(status: StatusCode, reason: impl Into<BoxError>) -> Self {
        Self { status, reason: reason.into(), is_exposed: false }
    }

    /// Sends the reason to the client, as plain text without its causes. Use it for mistakes that the
    /// client can correct.
    #[must_use]
    pub fn expose_reason(mut self) -> Self {
        self.is_exposed = true;
        self
    }

    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The body of the response.
    pub(crate) fn text(&self) -> Option<String> {
        self.is_exposed.then(|| format!("{}\n", self.reason))
    }
}

impl From<std::convert::Infallible> for Rejection {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// Unboxes a [`Rejection`] that a middleware between [`SseLayer`](crate::SseLayer) and the source has boxed.
/// Any other error becomes `503 Service Unavailable`.
impl From<BoxError> for Rejection {
    fn from(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(rejection) => *rejection,
            Err(error) => Self::new(StatusCode::SERVICE_UNAVAILABLE, error),
        }
    }
}

/// A request that is not accepted, or an event stream that the [`Parser`](crate::Parser) cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The method of a request is neither GET nor HEAD. This is the reason of a [`Rejection`] with status
    /// 405.
    #[error("method {0} is not allowed for an event stream")]
    Method(Method),
    /// A line is longer than [`Parser::max_line_bytes`](crate::Parser::max_line_bytes) allows.
    #[error("line {line} of the event stream is longer than {limit} bytes")]
    LineTooLong {
        /// The number of the line, from 1.
        line: u64,
        /// The limit, in bytes.
        limit: usize,
    },
    /// An event's data is longer than [`Parser::max_event_bytes`](crate::Parser::max_event_bytes) allows.
    #[error("the event that reaches line {line} of the event stream is longer than {limit} bytes")]
    EventTooLong {
        /// The number of the line that went over the limit, from 1.
        line: u64,
        /// The limit, in bytes.
        limit: usize,
    },
}
