use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::bounded::BoundedHandshake;
use crate::handshake::Handshake;
use crate::macros::forward_write;

/// A TLS connection after its handshake, of a server or a client.
///
/// A write is encrypted in records of up to 16 KiB, with all slices of a vectored write together, and is
/// passed to the connection below at once. If that connection accepts nothing, at most
/// [`send_buffer_bytes`](crate::TlsLayer::send_buffer_bytes) are buffered. Then writes wait. A flush waits
/// until the buffer is empty. A shutdown writes the buffer and `close_notify`, and shuts down the connection
/// below. Dropping the stream without a shutdown loses the buffer.
///
/// If the peer ends the connection without `close_notify`, a read fails with
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof): an attacker may have truncated the data.
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

    /// The result of the handshake.
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
    forward_write!(inner);
}

impl<Io> fmt::Debug for TlsStream<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("handshake", &self.handshake).finish_non_exhaustive()
    }
}
