//! What an HTTP/2 connection writes at once.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tailwater_http::Connection;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tower::Service;
use tower_layer::Layer;

use crate::support::{get, handler, layer, soon};

const STREAMS: usize = 8;
/// Longer than the frames that h2 copies together.
const EVENT: &[u8] = &[b'x'; 1500];

/// A byte stream whose writes are counted.
struct Counted {
    io: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl Counted {
    fn count<T>(&self, written: Poll<T>) -> Poll<T> {
        self.writes.fetch_add(usize::from(written.is_ready()), SeqCst);
        written
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn events_of_several_streams_that_are_due_together_are_one_write() {
    let (client, io) = duplex(1 << 20);
    let writes = Arc::new(AtomicUsize::new(0));
    let (handler, mut opened) = handler();
    let io = Counted { io, writes: Arc::clone(&writes) };
    let server = tokio::spawn(layer().layer(handler).call(Connection::new(io)));
    let (mut requests, connection) =
        soon(handshake(TokioExecutor::new(), TokioIo::new(client))).await.unwrap();
    tokio::spawn(connection);

    let mut bodies = Vec::new();
    let mut senders = Vec::new();
    for _ in 0..STREAMS {
        let mut body = soon(requests.send_request(get("/events"))).await.unwrap().into_body();
        let mut sender = soon(opened.recv()).await.unwrap().stream();
        sender.send_data(Bytes::from_static(b"start")).await.unwrap();
        soon(body.frame()).await.unwrap().unwrap();
        bodies.push(body);
        senders.push(sender);
    }
    writes.store(0, SeqCst);
    for sender in &mut senders {
        sender.send_data(Bytes::from_static(EVENT)).await.unwrap();
    }
    for body in &mut bodies {
        let frame = soon(body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), EVENT);
    }
    assert_eq!(writes.load(SeqCst), 1);

    drop((senders, bodies, requests));
    soon(server).await.unwrap().unwrap();
}
