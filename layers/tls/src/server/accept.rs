//! The handshake of a server.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::ready;
use std::time::Duration;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use crate::bounded::BoundedHandshake;
use crate::error::Error;
use crate::handshake::Handshake;
use crate::limits::Limits;
use crate::server::config::ServerConfig;
use crate::stream::TlsStream;

/// RFC 8446, 5.1: the type of a record with a message of the handshake.
const HANDSHAKE: u8 = 22;

/// RFC 8446, 5.1 and 6: a record of version 3.3 with a fatal alert, `no_application_protocol`.
const NO_APPLICATION_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 24\r\n\r\nThis port speaks HTTPS.\n";

/// How long a rejected client has to read the reason, and how many of its further bytes are read.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;

/// Waits for the first byte of the client. Until then only the connection itself takes memory.
pub(crate) async fn first_byte<Io>(io: &mut Io) -> Result<u8, Error>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut byte = [0];
    let read = poll_fn(|cx| {
        let mut buffer = ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer))?;
        std::task::Poll::Ready(Ok(buffer.filled().first().copied()))
    });
    let first = read.await.map_err(Error::Io)?.ok_or(Error::Closed)?;
    if first == HANDSHAKE {
        return Ok(first);
    }
    // The first letter of an HTTP method. Another client would not understand the response.
    if first.is_ascii_uppercase() && io.write_all(PLAIN_HTTP).await.is_ok() {
        linger(io).await;
    }
    Err(Error::NotTls)
}

pub(crate) async fn handshake<Io>(
    io: Io,
    first: u8,
    config: ServerConfig,
    limits: Limits,
) -> Result<TlsStream<Io>, Error>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let io = BoundedHandshake::new(io, Some(first), limits.max_handshake_bytes);
    let mut hello = read_client_hello(io, limits).await?;
    let current = config.current();
    let name = hello.client_hello().server_name().map(str::to_ascii_lowercase);
    if current.requires_alpn && hello.client_hello().alpn().is_none() {
        if hello.io.write_all(&NO_APPLICATION_PROTOCOL).await.is_ok() {
            linger(&mut hello.io.into_io()).await;
        }
        return Err(Error::NoAlpn);
    }
    let identity = current.identity(&hello.client_hello());
    let identity = identity.map(|identity| identity.alias().to_owned());
    match hello.into_stream(current.config.clone()).into_fallible().await {
        Ok(stream) => {
            let handshake = Handshake::new(name, identity, stream.get_ref().1);
            Ok(TlsStream::new(stream.into(), limits.send_buffer_bytes, handshake))
        }
        Err((error, io)) => {
            linger(&mut io.into_io()).await;
            Err(limits.error(error))
        }
    }
}

/// Reads the first message. The handshake calls it, so that the acceptor takes no memory afterwards.
async fn read_client_hello<Io>(
    io: BoundedHandshake<Io>,
    limits: Limits,
) -> Result<StartHandshake<BoundedHandshake<Io>>, Error>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut acceptor = pin!(LazyConfigAcceptor::new(Acceptor::default(), io));
    match acceptor.as_mut().await {
        Ok(hello) => Ok(hello),
        Err(error) => {
            if let Some(io) = acceptor.take_io() {
                linger(&mut io.into_io()).await;
            }
            Err(limits.error(error))
        }
    }
}

/// Lets a rejected client read the reason. The kernel resets a connection that is closed with unread bytes,
/// and the client may then lose the bytes that were sent to it.
async fn linger<Io: AsyncRead + AsyncWrite + Unpin>(io: &mut Io) {
    let closing = async {
        io.shutdown().await?;
        let mut buffer = [0; 512];
        let mut rest = io.take(LINGER_BYTES);
        while rest.read(&mut buffer).await? > 0 {}
        std::io::Result::Ok(())
    };
    // The connection is closed in any case.
    let _ = timeout(LINGER, closing).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::*;

    fn size_of_future<A, B, C, D, F: Future>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_a_handshake_is_small() {
        let size = size_of_future(handshake::<DuplexStream>);
        assert!(size < 6656, "{size} bytes");
    }
}
