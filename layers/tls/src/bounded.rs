use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{error, fmt, io};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::macros::forward_write;

/// The connection below TLS. It bounds the bytes that are read until the handshake is over, and returns the
/// first byte again, which was read to detect TLS.
#[derive(Debug)]
pub(crate) struct BoundedHandshake<Io> {
    io: Io,
    first: Option<u8>,
    /// The bytes that may still be read. `None` after the handshake.
    remaining: Option<usize>,
}

/// The error of a read beyond the limit.
#[derive(Debug)]
pub(crate) struct TooManyBytes;

impl fmt::Display for TooManyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many bytes")
    }
}

impl error::Error for TooManyBytes {}

impl<Io> BoundedHandshake<Io> {
    pub(crate) fn new(io: Io, first: Option<u8>, max_bytes: usize) -> Self {
        Self { io, first, remaining: Some(max_bytes) }
    }

    /// Ends the limit. To be called when the handshake is over.
    pub(crate) fn lift_limit(&mut self) {
        self.remaining = None;
    }

    pub(crate) fn io(&self) -> &Io {
        &self.io
    }

    pub(crate) fn into_io(self) -> Io {
        self.io
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for BoundedHandshake<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(remaining) = self.remaining else {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        };
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if remaining == 0 {
            return Poll::Ready(Err(io::Error::other(TooManyBytes)));
        }
        if let Some(first) = self.first.take() {
            buffer.put_slice(&[first]);
            self.remaining = Some(remaining - 1);
            return Poll::Ready(Ok(()));
        }
        let length = remaining.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(length));
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
        let count = part.filled().len();
        buffer.advance(count);
        self.remaining = Some(remaining - count);
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for BoundedHandshake<Io> {
    forward_write!(io);
}
