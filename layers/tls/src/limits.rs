use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Timeout, timeout, timeout_at};

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
    pub(crate) fn before<F: Future>(&self, deadline: Option<Instant>, future: F) -> Before<F> {
        let future = match deadline {
            Some(deadline) => timeout_at(deadline, future),
            None => timeout(Duration::MAX, future),
        };
        Before { future, timeout: self.handshake_timeout }
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

pin_project! {
    /// A future with a deadline. An `async fn` would reserve memory for the future three times.
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct Before<F> {
        #[pin]
        future: Timeout<F>,
        timeout: Duration,
    }
}

impl<F, T> Future for Before<F>
where
    F: Future<Output = Result<T, Error>>,
{
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Error>> {
        let this = self.project();
        let output = ready!(this.future.poll(cx));
        Poll::Ready(output.unwrap_or(Err(Error::HandshakeTimeout(*this.timeout))))
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::mem::size_of_val;

    use super::*;

    #[tokio::test]
    async fn a_future_with_a_deadline_is_stored_once() {
        let limits = Limits::default();
        let future = ready(Result::<[u8; 4096], Error>::Ok([0; 4096]));
        let size = size_of_val(&future);
        let before = limits.before(limits.deadline(), future);
        assert!(size_of_val(&before) < size + 512, "{} of {size}", size_of_val(&before));
        before.await.expect("it is ready");
    }
}
