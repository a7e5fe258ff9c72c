//! A simulated server at the other end of in-memory pipes.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::future::Ready;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tower::Service;

/// The head of an event stream that ends with its connection.
pub(crate) const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

/// Connects to a [`Server`].
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    peers: mpsc::UnboundedSender<DuplexStream>,
    pipe_bytes: usize,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    refuse: usize,
    calls: Vec<(Uri, Instant)>,
}

#[derive(Debug)]
pub(crate) struct Server {
    peers: mpsc::UnboundedReceiver<DuplexStream>,
    log: Arc<Mutex<Log>>,
}

pub(crate) fn server() -> (Connector, Server) {
    server_with_pipe(64 << 10)
}

/// A server whose connections buffer this many bytes.
pub(crate) fn server_with_pipe(pipe_bytes: usize) -> (Connector, Server) {
    let (sender, peers) = mpsc::unbounded_channel();
    let log = Arc::<Mutex<Log>>::default();
    (Connector { peers: sender, pipe_bytes, log: Arc::clone(&log) }, Server { peers, log })
}

impl Service<Uri> for Connector {
    type Response = DuplexStream;
    type Error = io::Error;
    type Future = Ready<io::Result<DuplexStream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.calls.push((uri, Instant::now()));
        if log.refuse > 0 {
            log.refuse -= 1;
            return std::future::ready(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        let (here, there) = tokio::io::duplex(self.pipe_bytes);
        let sent = self.peers.send(there).map_err(|_| io::ErrorKind::ConnectionRefused.into());
        std::future::ready(sent.map(|()| here))
    }
}

impl Server {
    /// Refuses the next connections.
    pub(crate) fn refuse(&self, connections: usize) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).refuse = connections;
    }

    /// The URLs and times of all connections.
    pub(crate) fn calls(&self) -> Vec<(Uri, Instant)> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).calls.clone()
    }

    /// The next connection.
    pub(crate) async fn accept(&mut self) -> DuplexStream {
        self.peers.recv().await.expect("the connector is there")
    }

    /// The next connection, after its request.
    pub(crate) async fn request(&mut self) -> Peer {
        let mut io = self.accept().await;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(io.read_u8().await.expect("a whole request"));
        }
        let request = String::from_utf8(request).expect("a request in text");
        Peer { io, request }
    }

    /// The next connection, after its request was answered with these bytes.
    pub(crate) async fn answer(&mut self, response: impl AsRef<[u8]>) -> Peer {
        let mut peer = self.request().await;
        peer.send(response).await;
        peer
    }

    /// Answers the next request with an event stream, and closes the connection. Returns the request.
    pub(crate) async fn stream(&mut self, body: &str) -> String {
        self.answer(format!("{STREAM}{body}")).await.request
    }

    /// Answers the next request with 204. Returns the request.
    pub(crate) async fn stop(&mut self) -> String {
        self.answer("HTTP/1.1 204 No Content\r\n\r\n").await.request
    }
}

/// The server's end of a connection over HTTP/1.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) io: DuplexStream,
    pub(crate) request: String,
}

impl Peer {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.expect("the client reads");
    }

    /// Ready when the client has closed the connection.
    pub(crate) async fn closed(&mut self) {
        let read = self.io.read(&mut [0]).await.expect("a pipe does not fail");
        assert_eq!(read, 0, "the client sent something after its request");
    }

    /// Whether the client has closed the connection by now.
    pub(crate) async fn is_closed(&mut self) -> bool {
        tokio::time::timeout(Duration::ZERO, self.closed()).await.is_ok()
    }

    /// Sends the same bytes until the client no longer reads. Returns their number.
    pub(crate) async fn flood(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Ok(written) = self.io.write(bytes).await {
            taken += written;
        }
        taken
    }
}

/// The value of a header in a request's text.
pub(crate) fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let lines = request.lines().filter_map(|line| line.split_once(": "));
    let mut values = lines.filter(|(other, _)| other.eq_ignore_ascii_case(name));
    let (_, value) = values.next()?;
    assert!(values.next().is_none(), "more than one {name}: {request}");
    Some(value)
}

/// The intervals between times.
pub(crate) fn gaps(calls: &[(Uri, Instant)]) -> Vec<Duration> {
    calls.windows(2).map(|pair| pair[1].1 - pair[0].1).collect()
}
