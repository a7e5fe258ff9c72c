//! Written data arrives, and the buffer is bounded.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use proptest::prelude::*;
use tailwater_tls::{
    BoxError, ClientOptions, ConnectLayer, Credentials, ServerOptions, TlsLayer, TlsStream, Version,
};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex,
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{client, connector, localhost, server};

/// One byte for each read, seven for each write, and pending before each of them.
struct Hostile {
    io: DuplexStream,
    read_pending: bool,
    write_pending: bool,
}

impl Hostile {
    fn new(io: DuplexStream) -> Self {
        Self { io, read_pending: false, write_pending: false }
    }
}

fn pend(pending: &mut bool, cx: &Context<'_>) -> bool {
    *pending = !*pending;
    if *pending {
        cx.waker().wake_by_ref();
    }
    *pending
}

impl AsyncRead for Hostile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if pend(&mut self.read_pending, cx) {
            return Poll::Pending;
        }
        let mut byte = [0];
        let mut one = ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut one))?;
        buffer.put_slice(one.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Hostile {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if pend(&mut self.write_pending, cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_write(cx, &bytes[..bytes.len().min(7)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if pend(&mut self.write_pending, cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Both ends of a connection over `server_io` and `client_io`.
async fn pair<A, B>(
    version: Version,
    limit: usize,
    server_io: A,
    client_io: B,
) -> (TlsStream<A>, TlsStream<B>)
where
    A: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (credentials, roots) = localhost();
    let server = server(credentials, ServerOptions::new());
    let client = client(Credentials::new().roots(roots), ClientOptions::new().only(version));
    let inner = service_fn(async |stream: TlsStream<A>| Ok::<_, BoxError>(stream));
    let accepting = TlsLayer::new(server).send_buffer_bytes(limit).layer(inner).oneshot(server_io);
    let connecting = ConnectLayer::new(client).layer(connector(client_io));
    let (accepted, connected) =
        tokio::join!(accepting, connecting.oneshot("https://localhost".parse().expect("a URI")));
    (accepted.expect("a server"), connected.expect("a client"))
}

/// Writes `chunks`, `parts` of them at once, with a flush now and then, and then shuts down.
async fn write<Io>(mut stream: TlsStream<Io>, chunks: Vec<Vec<u8>>, parts: usize)
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    assert!(stream.is_write_vectored());
    for (index, several) in chunks.chunks(parts).enumerate() {
        let mut slices: Vec<_> = several.iter().map(|chunk| IoSlice::new(chunk)).collect();
        let mut slices = &mut slices[..];
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            let written = stream.write_vectored(slices).await.expect("a write");
            assert_ne!(written, 0);
            IoSlice::advance_slices(&mut slices, written);
        }
        if index % 3 == 0 {
            stream.flush().await.expect("a flush");
        }
    }
    stream.shutdown().await.expect("a shutdown");
}

async fn read<Io>(mut stream: TlsStream<Io>) -> Vec<u8>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("a clean end");
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_written_arrives_whatever_the_connection_does(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 0..9),
        parts in 1_usize..5,
        tls12: bool,
        from_server: bool,
    ) {
        let version = if tls12 { Version::Tls12 } else { Version::Tls13 };
        let expected = chunks.concat();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let received = runtime.block_on(async {
            let (a, b) = duplex(1000);
            let (server, client) =
                pair(version, 16 * 1024, Hostile::new(a), Hostile::new(b)).await;
            if from_server {
                tokio::join!(write(server, chunks, parts), read(client)).1
            } else {
                tokio::join!(write(client, chunks, parts), read(server)).1
            }
        });
        prop_assert!(received == expected);
    }
}

/// How many bytes a stream accepts while its peer reads nothing.
async fn taken(limit: usize, pipe: usize) -> usize {
    let (a, b) = duplex(pipe);
    let (mut server, client) = pair(Version::Tls13, limit, a, b).await;
    let piece = [0; 10_000];
    let mut taken = 0;
    while let Poll::Ready(result) =
        poll_fn(|cx| Poll::Ready(Pin::new(&mut server).poll_write(cx, &piece))).await
    {
        taken += result.expect("a write");
    }
    drop(client);
    taken
}

#[tokio::test]
async fn a_reader_that_does_not_read_makes_the_writer_wait() {
    for (limit, expected) in [(0, 16 * 1024), (16 * 1024, 16 * 1024), (40_000, 40_000)] {
        let taken = taken(limit, 1000).await;
        assert!((expected..=expected + 1000).contains(&taken), "{limit}: {taken}");
    }
}

/// Keeps the written bytes.
struct Recording {
    io: DuplexStream,
    written: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Recording {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Recording {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.written.lock().expect("no panic").extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn records_are_as_large_as_what_is_there() {
    let (io, peer) = duplex(256 * 1024);
    let written = Arc::new(Mutex::new(Vec::new()));
    let recording = Recording { io, written: Arc::clone(&written) };
    let (mut server, client) = pair(Version::Tls13, 64 * 1024, recording, peer).await;
    written.lock().unwrap().clear();
    let head = [1; 100];
    let body = [2; 32 * 1024 - 100];
    let count = server.write_vectored(&[IoSlice::new(&head), IoSlice::new(&body)]).await.unwrap();
    assert_eq!(count, 32 * 1024, "one write takes all slices");
    server.shutdown().await.unwrap();
    assert_eq!(read(client).await.len(), 32 * 1024);
    let written = written.lock().unwrap();
    let mut lengths = Vec::new();
    let mut rest = &written[..];
    while let [23, 3, 3, high, low, ..] = *rest {
        let length = usize::from(u16::from_be_bytes([high, low]));
        lengths.push(length);
        rest = &rest[5 + length..];
    }
    // RFC 8446, 5.2: at most 16 KiB, the type, and the 16 bytes of the tag; then close_notify.
    assert_eq!(lengths, [16 * 1024 + 17, 16 * 1024 + 17, 19]);
}

#[tokio::test]
async fn an_end_without_close_notify_is_an_error() {
    let (a, b) = duplex(64 * 1024);
    let (mut server, mut client) = pair(Version::Tls13, 64 * 1024, a, b).await;
    server.write_all(b"half").await.unwrap();
    server.flush().await.unwrap();
    drop(server);
    let mut bytes = Vec::new();
    let error = client.read_to_end(&mut bytes).await.unwrap_err();
    assert_eq!((error.kind(), &bytes[..]), (io::ErrorKind::UnexpectedEof, &b"half"[..]));
}
