//! What bounds a handshake and what waits behind it.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::bounded::TooManyBytes;
use crate::error::Error;

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
    /// When a handshake that begins now has to be over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.handshake_timeout.is_zero() {
            None
        } else {
            Instant::now().checked_add(self.handshake_timeout)
        }
    }

    /// The future's output, or the error of the deadline.
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

    /// What the libraries put into an [`io::Error`], taken out of it.
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
