//! A connection within TLS.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::bounded::BoundedHandshake;
use crate::handshake::Handshake;

/// A connection whose handshake is over, on either side.
///
/// What is written is encrypted in records of up to 16 KiB, of all slices of a vectored write
/// together, and goes to the connection below at once. When that takes nothing, at most
/// [`send_buffer_bytes`](crate::TlsLayer::send_buffer_bytes) wait here, and then writing waits;
/// flushing waits for all of it. Shutting down writes what waits, says `close_notify`, and shuts
/// the connection below down; a stream that is dropped without it loses what waits.
///
/// A peer that ends the connection without `close_notify` is an
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) for the reader: what was read may have been cut
/// short by somebody else.
pub struct TlsStream<Io> {
    inner: tokio_rustls::TlsStream<BoundedHandshake<Io>>,
    handshake: Arc<Handshake>,
}

impl<Io> TlsStream<Io> {
    pub(crate) fn new(
        mut inner: tokio_rustls::TlsStream<BoundedHandshake<Io>>,
        send_buffer_bytes: usize,
        handshake: Handshake,
    ) -> Self {
        match &mut inner {
            tokio_rustls::TlsStream::Client(stream) => {
                let (io, session) = stream.get_mut();
                io.lift_limit();
                session.set_buffer_limit(Some(send_buffer_bytes));
            }
            tokio_rustls::TlsStream::Server(stream) => {
                let (io, session) = stream.get_mut();
                io.lift_limit();
                session.set_buffer_limit(Some(send_buffer_bytes));
            }
        }
        Self { inner, handshake: Arc::new(handshake) }
    }

    /// What the handshake found out.
    #[must_use]
    pub fn handshake(&self) -> &Arc<Handshake> {
        &self.handshake
    }

    /// The connection below.
    #[must_use]
    pub fn io(&self) -> &Io {
        self.inner.get_ref().0.io()
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<Io> fmt::Debug for TlsStream<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("handshake", &self.handshake).finish_non_exhaustive()
    }
}
