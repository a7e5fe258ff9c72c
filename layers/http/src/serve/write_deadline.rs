//! Ends connections whose socket takes no byte at all.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::serve::{ConnectionLimit, Socket};

/// A byte stream that fails with [`io::ErrorKind::TimedOut`] if the peer takes **no byte at all** within
/// the deadline although there are bytes to write. A slow reader, however slow, is never ended. It belongs
/// directly around the socket, below TLS, where [`serve`](crate::serve()) puts it.
///
/// A write that is taken at once costs nothing. The first write that has to wait arms the timer. Once armed,
/// the timer is moved only when it fires.
///
/// Linux reports room in the buffer of a socket only when a third of it is free. For a slow reader that can
/// take longer than any deadline. So at the deadline the write is tried once more with
/// [`Socket::try_write`], whatever the runtime reports.
///
/// If that fails, too, [`Socket::abort`] resets the connection. A close would leave the bytes in the kernel
/// for minutes, and a client that reads again would have to take them before it notices the end.
///
/// An HTTP/2 stream whose client grants it no window does not write, so that the deadline does not apply.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// use std::{io, time::Duration};
/// use tailwater_http::WriteDeadline;
/// use tokio::io::AsyncWriteExt;
///
/// let (io, _who_never_reads) = tokio::io::duplex(16);
/// let mut io = WriteDeadline::new(io, Duration::from_secs(60));
/// let error = io.write_all(&[0; 17]).await.unwrap_err();
/// assert_eq!(error.kind(), io::ErrorKind::TimedOut);
/// # }
/// ```
#[derive(Debug)]
pub struct WriteDeadline<Io> {
    io: Io,
    deadline: Duration,
    // Boxed, since most peers take each write at once.
    blocked: Option<Pin<Box<Blocked>>>,
    limit: Option<ConnectionLimit>,
}

pin_project! {
    #[derive(Debug)]
    struct Blocked {
        since: Option<Instant>,
        #[pin]
        timer: Sleep,
    }
}

/// The error of a missed deadline, within an [`io::Error`]. TLS passes it on.
#[derive(Debug, thiserror::Error)]
#[error("the peer took no byte in time")]
pub(crate) struct Stalled;

impl<Io> WriteDeadline<Io> {
    /// A byte stream with this deadline. Zero is no deadline.
    pub fn new(io: Io, deadline: Duration) -> Self {
        Self { io, deadline, blocked: None, limit: None }
    }

    /// Counts a missed deadline as [`stalled`](crate::ConnectionCounts::stalled).
    #[must_use]
    pub fn counted(mut self, limit: ConnectionLimit) -> Self {
        self.limit = Some(limit);
        self
    }

    accessors!(io: Io, "byte stream");
}

impl<Io: Socket> WriteDeadline<Io> {
    fn unblock(&mut self) {
        if let Some(blocked) = &mut self.blocked {
            *blocked.as_mut().project().since = None;
        }
    }

    fn check_deadline(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.unblock();
            return written;
        }
        if self.deadline.is_zero() {
            return Poll::Pending;
        }
        let since = self.blocked.as_ref().and_then(|blocked| blocked.since);
        let since = since.unwrap_or_else(Instant::now);
        let Some(end) = since.checked_add(self.deadline) else { return Poll::Pending };
        let blocked = self.blocked.get_or_insert_with(|| {
            self.io.on_write_blocked();
            Box::pin(Blocked { since: None, timer: sleep_until(end) })
        });
        let mut blocked = blocked.as_mut().project();
        *blocked.since = Some(since);
        loop {
            ready!(blocked.timer.as_mut().poll(cx));
            if blocked.timer.deadline() >= end {
                break;
            }
            blocked.timer.as_mut().reset(end); // an earlier wait armed it
        }
        match self.io.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => {
                self.unblock();
                return Poll::Ready(written);
            }
        }
        self.io.abort();
        if let Some(limit) = self.limit.take() {
            limit.record_stalled();
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, Stalled)))
    }
}

impl<Io: Socket> AsyncWrite for WriteDeadline<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.check_deadline(cx, bytes, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        let bytes = filled.next().map_or(&[][..], |slice| slice);
        // TLS passes a single record as a vector. The kernel takes a slice at less cost.
        if filled.next().is_none() {
            return self.poll_write(cx, bytes);
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.check_deadline(cx, bytes, written)
    }

    forward_io!(io: is_write_vectored, poll_flush, poll_shutdown);
}

impl<Io: AsyncRead + Unpin> AsyncRead for WriteDeadline<Io> {
    forward_io!(io: poll_read);
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::sleep;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_byte_before_each_deadline_is_never_closed() {
        let (io, mut reader) = duplex(1);
        let connections = ConnectionLimit::default();
        let mut io = WriteDeadline::new(io, DEADLINE).counted(connections.clone());
        let read = async {
            for _ in 0..10 {
                sleep(DEADLINE - Duration::from_millis(10)).await;
                reader.read_u8().await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(io.write_all(&[7; 11]), read);
        written.unwrap();
        assert_eq!(connections.counts().stalled, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_counts_from_the_last_byte_that_was_taken() {
        let (io, mut reader) = duplex(1);
        let connections = ConnectionLimit::default();
        let mut io = WriteDeadline::new(io, DEADLINE).counted(connections.clone());
        let start = Instant::now();
        let read = async {
            sleep(Duration::from_secs(50)).await;
            reader.read_u8().await.unwrap();
        };
        let (written, ()) = tokio::join!(io.write_all(&[7; 9]), read);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let waited = start.elapsed();
        let expected = Duration::from_secs(110)..Duration::from_millis(110_010);
        assert!(expected.contains(&waited), "{waited:?}");
        assert_eq!(connections.counts().stalled, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_to_write_is_no_stall() {
        let (io, _reader) = duplex(1);
        let mut io = WriteDeadline::new(io, DEADLINE);
        io.write_all(&[1]).await.unwrap();
        sleep(DEADLINE * 10).await;
        io.flush().await.unwrap();
        let error = io.write_all(&[1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn zero_is_no_deadline() {
        let (io, _reader) = duplex(1);
        let mut io = WriteDeadline::new(io, Duration::ZERO);
        let write = tokio::time::timeout(DEADLINE * 100, io.write_all(&[7; 2]));
        assert!(write.await.is_err());
    }
}
