use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::bounded::TooManyBytes;
use crate::error::Error;

/// The limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_handshake_bytes: usize,
    pub(crate) send_buffer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            max_handshake_bytes: 64 * 1024,
            send_buffer_bytes: 64 * 1024,
        }
    }
}

impl Limits {
    /// The deadline of a handshake that begins now.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.handshake_timeout.is_zero() {
            None
        } else {
            Instant::now().checked_add(self.handshake_timeout)
        }
    }

    /// The output of the future, or [`Error::HandshakeTimeout`] at the deadline.
    pub(crate) async fn before<T>(
        &self,
        deadline: Option<Instant>,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match deadline {
            Some(deadline) => timeout_at(deadline, future)
                .await
                .unwrap_or(Err(Error::HandshakeTimeout(self.handshake_timeout))),
            None => future.await,
        }
    }

    /// Extracts the error that rustls or [`BoundedHandshake`](crate::bounded::BoundedHandshake) has wrapped.
    pub(crate) fn error(&self, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Error::Closed;
        }
        if error.get_ref().is_some_and(|cause| cause.is::<TooManyBytes>()) {
            return Error::HandshakeBytes(self.max_handshake_bytes);
        }
        match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
            Some(cause) => Error::Handshake(cause.clone()),
            None => Error::Io(error),
        }
    }
}
