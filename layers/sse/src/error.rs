use http::{Method, StatusCode};

/// The error of a service or source of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a source does not serve a subscription, and the status that the client is told.
#[derive(Debug, thiserror::Error)]
#[error("subscription refused with {status}")]
pub struct Refusal {
    status: StatusCode,
    #[source]
    reason: BoxError,
    told: bool,
}

impl Refusal {
    /// A refusal that is answered with `status`; `reason` is for the operator and not sent.
    pub fn new(status: StatusCode, reason: impl Into<BoxError>) -> Self {
        Self { status, reason: reason.into(), told: false }
    }

    /// The client is sent the reason, as plain text. For mistakes in a request, which its author can
    /// mend; the text is what the reason shows, without its causes.
    #[must_use]
    pub fn told(mut self) -> Self {
        self.told = true;
        self
    }

    /// The status that the client is answered with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What the client is sent beside the status.
    pub(crate) fn text(&self) -> Option<String> {
        self.told.then(|| format!("{}\n", self.reason))
    }
}

impl From<std::convert::Infallible> for Refusal {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// What a middleware between this layer and the source boxed: a [`Refusal`] is taken out again,
/// anything else is `503 Service Unavailable`.
impl From<BoxError> for Refusal {
    fn from(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(refusal) => *refusal,
            Err(error) => Self::new(StatusCode::SERVICE_UNAVAILABLE, error),
        }
    }
}

/// What this crate itself finds wrong: with a request, or with an event stream that it reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The method of a request is neither GET nor HEAD. The reason of the [`Refusal`] with status 405.
    #[error("method {0} is not allowed for an event stream")]
    Method(Method),
    /// A line is longer than [`Parser::max_line_bytes`](crate::Parser::max_line_bytes) allows.
    #[error("line {line} of the event stream is longer than {limit} bytes")]
    LineTooLong {
        /// The number of the line, from 1.
        line: u64,
        /// What is allowed.
        limit: usize,
    },
    /// An event's data is longer than [`Parser::max_event_bytes`](crate::Parser::max_event_bytes) allows.
    #[error("the event that reaches line {line} of the event stream is longer than {limit} bytes")]
    EventTooLong {
        /// The number of the line that went over the limit, from 1.
        line: u64,
        /// What is allowed.
        limit: usize,
    },
}
