//! Collects the frames of an HTTP/2 connection, so that they are written together.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The maximum number of bytes that are collected: two full records of TLS. A connection whose peer takes nothing
/// keeps them.
const MAX_BYTES: usize = 32 * 1024;

/// A byte stream that collects what is written to it until [`poll_uncork`](Self::poll_uncork). A flush does
/// nothing.
///
/// h2 writes and flushes each DATA frame by itself. Each would be a record of TLS, or two, and a write to the
/// socket.
///
/// A clone is a handle of the same byte stream: hyper has one, and the connection around hyper has the other.
/// Both are used by the task of the connection only, so that the lock is always free.
#[derive(Debug)]
pub(crate) struct Cork<Io>(Arc<Mutex<Corked<Io>>>);

#[derive(Debug)]
struct Corked<Io> {
    io: Io,
    /// It is freed when it is empty: the connection may be idle for hours.
    buffer: BytesMut,
    is_flushed: bool,
    /// Whether a write waits for room, or a shutdown for the end of the buffer.
    has_waiter: bool,
}

impl<Io> Clone for Cork<Io> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Io> Cork<Io> {
    pub(crate) fn new(io: Io) -> Self {
        let buffer = BytesMut::new();
        Self(Arc::new(Mutex::new(Corked { io, buffer, is_flushed: true, has_waiter: false })))
    }

    fn corked(&self) -> MutexGuard<'_, Corked<Io>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Io: AsyncWrite + Unpin> Cork<Io> {
    /// Writes and flushes what was collected. It must be called whenever hyper has been polled.
    pub(crate) fn poll_uncork(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut corked = self.corked();
        ready!(corked.poll_drain(cx))?;
        if !corked.is_flushed {
            ready!(Pin::new(&mut corked.io).poll_flush(cx))?;
            corked.is_flushed = true;
        }
        if std::mem::take(&mut corked.has_waiter) {
            cx.waker().wake_by_ref(); // the byte stream has no reason to wake it any more
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> Corked<Io> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.buffer.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, &self.buffer))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.buffer.advance(count);
            self.is_flushed = false;
        }
        self.buffer = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Makes room in the buffer, and returns how much there is.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.len() >= MAX_BYTES {
            self.has_waiter = true;
            ready!(self.poll_drain(cx))?;
            self.has_waiter = false;
        }
        Poll::Ready(Ok(MAX_BYTES - self.buffer.len()))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Cork<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.corked().io).poll_read(cx, buffer)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Cork<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut corked = self.corked();
        let room = ready!(corked.poll_room(cx))?;
        let mut rest = room;
        for slice in slices {
            let (now, _) = slice.split_at(slice.len().min(rest));
            corked.buffer.extend_from_slice(now);
            rest -= now.len();
        }
        Poll::Ready(Ok(room - rest))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut corked = self.corked();
        corked.has_waiter = true;
        ready!(corked.poll_drain(cx))?;
        corked.has_waiter = false;
        Pin::new(&mut corked.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};

    use super::*;

    /// A byte stream that records each write, and takes as many bytes as it is told.
    #[derive(Debug, Default)]
    struct Recorder {
        writes: Vec<Vec<u8>>,
        flushes: usize,
        shutdowns: usize,
        room: usize,
    }

    impl AsyncWrite for Recorder {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Poll::Pending;
            }
            self.room -= count;
            self.writes.push(bytes[..count].to_vec());
            Poll::Ready(Ok(count))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shutdowns += 1;
            Poll::Ready(Ok(()))
        }
    }

    fn cork(room: usize) -> Cork<Recorder> {
        Cork::new(Recorder { room, ..Recorder::default() })
    }

    fn write(cork: &Cork<Recorder>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut cork.clone()).poll_write(cx, bytes);
        assert_ready_ok!(Pin::new(&mut cork.clone()).poll_flush(cx));
        written
    }

    #[test]
    fn what_is_written_until_the_uncork_is_one_write_and_one_flush() {
        let cork = cork(usize::MAX);
        let cx = &mut Context::from_waker(Waker::noop());
        for frame in [&b"one"[..], b"two"] {
            assert_eq!(assert_ready_ok!(write(&cork, cx, frame)), 3);
        }
        let slices = [io::IoSlice::new(b"thr"), io::IoSlice::new(b"ee")];
        let written = Pin::new(&mut cork.clone()).poll_write_vectored(cx, &slices);
        assert_eq!(assert_ready_ok!(written), 5);
        assert!(cork.corked().io.writes.is_empty());

        for _ in 0..2 {
            assert_ready_ok!(cork.poll_uncork(cx));
            assert_eq!(cork.corked().io.writes, [b"onetwothree"]);
            assert_eq!(cork.corked().io.flushes, 1);
            assert_eq!(cork.corked().buffer.capacity(), 0, "an idle connection has no buffer");
        }
    }

    #[test]
    fn a_peer_that_takes_nothing_bounds_what_is_collected() {
        let cork = cork(0);
        let cx = &mut Context::from_waker(Waker::noop());
        let frame = vec![7; MAX_BYTES / 4 * 3];
        assert_eq!(assert_ready_ok!(write(&cork, cx, &frame)), frame.len());
        assert_eq!(assert_ready_ok!(write(&cork, cx, &frame)), MAX_BYTES / 4);
        assert_pending!(write(&cork, cx, &frame));
        assert_pending!(cork.poll_uncork(cx));

        cork.corked().io.room = MAX_BYTES + 1;
        assert_eq!(assert_ready_ok!(write(&cork, cx, b"ab")), 2);
        assert_pending!(cork.poll_uncork(cx));
        cork.corked().io.room = 1;
        assert_ready_ok!(cork.poll_uncork(cx));
        assert_eq!(cork.corked().io.writes.concat().len(), MAX_BYTES + 2);
        assert!(cork.corked().io.writes.concat().ends_with(b"ab"));
    }

    #[test]
    fn a_write_that_waits_is_woken_when_the_uncork_made_room() {
        let cork = cork(0);
        let mut task = task::spawn(());
        task.enter(|cx, _| {
            assert_ready_ok!(write(&cork, cx, &[7; MAX_BYTES]));
            assert_pending!(write(&cork, cx, b"more"));
            // The socket takes bytes again, between the poll of hyper and the uncork.
            cork.corked().io.room = MAX_BYTES;
            assert_ready_ok!(cork.poll_uncork(cx));
        });
        assert!(task.is_woken());
    }

    #[test]
    fn a_shutdown_comes_after_what_was_collected() {
        let cork = cork(1);
        let mut task = task::spawn(());
        task.enter(|cx, _| {
            assert_ready_ok!(write(&cork, cx, b"goaway"));
            assert_pending!(Pin::new(&mut cork.clone()).poll_shutdown(cx));
            cork.corked().io.room = 5;
            assert_ready_ok!(cork.poll_uncork(cx));
            assert_eq!(cork.corked().io.shutdowns, 0);
        });
        assert!(task.is_woken());
        task.enter(|cx, _| assert_ready_ok!(Pin::new(&mut cork.clone()).poll_shutdown(cx)));
        assert_eq!(cork.corked().io.writes.concat(), b"goaway");
        assert_eq!(cork.corked().io.shutdowns, 1);
    }

    #[test]
    fn an_error_of_the_byte_stream_is_returned() {
        let cork = Cork::new(
            tokio_test::io::Builder::new().write_error(io::ErrorKind::Other.into()).build(),
        );
        let cx = &mut Context::from_waker(Waker::noop());
        assert_ready_ok!(Pin::new(&mut cork.clone()).poll_write(cx, b"one"));
        assert!(assert_ready!(cork.poll_uncork(cx)).is_err());
    }
}
