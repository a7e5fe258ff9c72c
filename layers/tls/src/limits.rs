//! What bounds a handshake and what waits behind it.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::guarded::TooManyBytes;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) deadline: Duration,
    pub(crate) handshake_bytes: usize,
    pub(crate) send_buffer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            handshake_bytes: 64 * 1024,
            send_buffer_bytes: 64 * 1024,
        }
    }
}

impl Limits {
    /// When a handshake that begins now has to be over.
    pub(crate) fn end(&self) -> Option<Instant> {
        if self.deadline.is_zero() { None } else { Instant::now().checked_add(self.deadline) }
    }

    /// The future's output, or the error of the deadline.
    pub(crate) async fn within<T>(
        &self,
        end: Option<Instant>,
        future: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match end {
            Some(end) => {
                timeout_at(end, future).await.unwrap_or(Err(Error::Deadline(self.deadline)))
            }
            None => future.await,
        }
    }

    /// What the libraries put into an [`io::Error`], taken out of it.
    pub(crate) fn error(&self, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Error::Closed;
        }
        if error.get_ref().is_some_and(|cause| cause.is::<TooManyBytes>()) {
            return Error::HandshakeBytes(self.handshake_bytes);
        }
        match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
            Some(cause) => Error::Handshake(cause.clone()),
            None => Error::Io(error),
        }
    }
}
