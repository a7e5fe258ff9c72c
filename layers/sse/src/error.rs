use http::StatusCode;

/// The error of a service or source of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a source does not serve a subscription, and the status that the client is told.
#[derive(Debug, thiserror::Error)]
#[error("subscription refused with {status}")]
pub struct Refusal {
    status: StatusCode,
    #[source]
    reason: BoxError,
}

impl Refusal {
    /// A refusal that is answered with `status`; `reason` is for the operator and never sent.
    pub fn new(status: StatusCode, reason: impl Into<BoxError>) -> Self {
        Self { status, reason: reason.into() }
    }

    /// The status that the client is answered with.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<std::convert::Infallible> for Refusal {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
