//! The byte stream that hyper reads and writes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::conn::state::ConnState;

/// The connection preface of HTTP/2 (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A protocol version, detected by the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// A byte stream that detects its version, returns the bytes read for that a second time, and records
/// in the [`ConnState`] whether the peer takes the bytes written.
///
/// hyper-util's `auto` server detects the version, too. It is not used because its connection is as
/// large as the larger of the two versions: 1512 bytes, while one of HTTP/1.1 alone has 616.
#[derive(Debug)]
pub(crate) struct DetectVersion<Io> {
    io: Io,
    state: Arc<ConnState>,
    first: [u8; PREFACE.len()],
    filled: u8,
    taken: u8,
}

impl<Io> DetectVersion<Io> {
    pub(crate) fn new(io: Io, state: Arc<ConnState>) -> Self {
        Self { io, state, first: [0; PREFACE.len()], filled: 0, taken: 0 }
    }
}

impl<Io> DetectVersion<Io> {
    /// Unwraps the byte stream.
    pub(crate) fn into_inner(self) -> Io {
        self.io
    }

    /// Records an error before hyper learns of it: over HTTP/2 the bodies are dropped in tasks of their own.
    fn recorded<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &written {
            self.state.record_error(error);
        }
        written
    }
}

impl<Io: AsyncRead + Unpin> DetectVersion<Io> {
    /// Reads until the first bytes differ from the preface, or are all of it. Must not be called again
    /// once it was ready. It has no timeout of its own: the caller has one.
    pub(crate) fn poll_version(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Version>> {
        loop {
            let (read, rest) = self.first.split_at_mut(usize::from(self.filled));
            if !PREFACE.starts_with(read) {
                return Poll::Ready(Ok(Version::Http1));
            }
            if rest.is_empty() {
                return Poll::Ready(Ok(Version::Http2));
            }
            let mut buffer = ReadBuf::new(rest);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            let count = u8::try_from(buffer.filled().len()).expect("at most the preface");
            if count == 0 {
                return Poll::Ready(Ok(Version::Http1)); // hyper reads the end of the stream, too
            }
            self.filled += count;
        }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for DetectVersion<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let first =
            this.first.get(usize::from(this.taken)..usize::from(this.filled)).unwrap_or_default();
        if first.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buffer);
        }
        let (now, _) = first.split_at(first.len().min(buffer.remaining()));
        buffer.put_slice(now);
        this.taken += u8::try_from(now.len()).expect("at most the preface");
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for DetectVersion<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.state.record_write(written.is_ready());
        self.state.record_waiting(if written.is_ready() { 0 } else { bytes.len() });
        self.recorded(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.state.record_write(written.is_ready());
        let bytes = || slices.iter().map(|slice| slice.len()).sum();
        self.state.record_waiting(if written.is_ready() { 0 } else { bytes() });
        self.recorded(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.state.record_flush(flushed.is_ready());
        self.recorded(flushed)
    }

    forward_io!(io: is_write_vectored, poll_shutdown);
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;

    use super::*;

    async fn detect(pieces: &[&[u8]]) -> (Version, Vec<u8>) {
        let mut io = tokio_test::io::Builder::new();
        for piece in pieces {
            io.read(piece);
        }
        let mut watched = DetectVersion::new(io.build(), Arc::default());
        let version = poll_fn(|cx| watched.poll_version(cx)).await.unwrap();
        let mut all = Vec::new();
        watched.read_to_end(&mut all).await.unwrap();
        (version, all)
    }

    #[tokio::test]
    async fn version_and_bytes_are_the_same_wherever_the_first_bytes_are_cut() {
        let vectors: [(&[u8], Version); 6] = [
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04", Version::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Version::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", Version::Http1),
            (b"PRI", Version::Http1),
            (b"GET / HTTP/1.1\r\n\r\n", Version::Http1),
            (b"POST / HTTP/1.1\r\n\r\n", Version::Http1),
        ];
        for (bytes, version) in vectors {
            for cut in 1..bytes.len() {
                let (before, after) = bytes.split_at(cut);
                let detected = detect(&[before, after]).await;
                assert_eq!(detected, (version, bytes.to_vec()), "{bytes:?} cut at {cut}");
            }
        }
    }

    #[tokio::test]
    async fn an_empty_stream_is_left_to_http1() {
        assert_eq!(detect(&[]).await, (Version::Http1, Vec::new()));
    }
}
