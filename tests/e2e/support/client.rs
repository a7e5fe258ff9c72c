//! Clients over HTTP/1.1 and HTTP/2, and bare sockets.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Tls, soon};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

impl Version {
    pub(crate) const BOTH: [Version; 2] = [Version::Http1, Version::Http2];
}

/// A request before it is sent.
#[derive(Clone)]
pub(crate) struct Get {
    address: SocketAddr,
    tls: Option<Tls>,
    connection: Option<Http2>,
    receive_buffer: Option<u32>,
    version: Version,
    method: Method,
    authority: String,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
}

impl Get {
    pub(crate) fn new(address: SocketAddr, path: &str) -> Self {
        Self {
            address,
            tls: None,
            connection: None,
            receive_buffer: None,
            version: Version::Http1,
            method: Method::GET,
            authority: address.to_string(),
            path: path.to_owned(),
            headers: Vec::new(),
        }
    }

    pub(crate) fn over(self, version: Version) -> Self {
        Self { version, ..self }
    }

    pub(crate) fn tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// How much the kernel takes of an answer that nobody reads.
    pub(crate) fn receive_buffer(self, bytes: u32) -> Self {
        Self { receive_buffer: Some(bytes), ..self }
    }

    pub(crate) fn method(self, method: &str) -> Self {
        Self { method: method.parse().expect("a method"), ..self }
    }

    pub(crate) fn authority(self, authority: &str) -> Self {
        Self { authority: authority.to_owned(), ..self }
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn last_event_id(self, id: impl AsRef<[u8]>) -> Self {
        self.header("last-event-id", id)
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Makes a challenge response of it.
    pub(crate) fn answer(self) -> Self {
        self.method("POST").header("content-type", "application/x-challenge-response")
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::builder().method(&self.method);
        for (name, value) in &self.headers {
            request = request.header(name, &value[..]);
        }
        request = match self.version {
            Version::Http1 => request.uri(&self.path).header("host", &self.authority),
            Version::Http2 => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                request.uri(format!("{scheme}://{}{}", self.authority, self.path))
            }
        };
        request.body(Empty::new()).expect("a request")
    }

    /// Sends it and waits for the head of the answer.
    pub(crate) async fn send(self) -> Answer {
        let request = self.request();
        if let Some(connection) = self.connection {
            return connection.send(request).await;
        }
        if self.version == Version::Http2 {
            return Http2::connect(self.address, self.tls).await.send(request).await;
        }
        let socket = self.tcp().await;
        let io = encrypted(socket, self.tls.as_ref(), "http/1.1").await;
        let (mut sender, connection) = http1::handshake(io).await.expect("a handshake");
        let connection = tokio::spawn(connection);
        let what = format!("an answer to {} {}", self.method, self.path);
        let response = soon(&what, sender.send_request(request)).await.expect("an answer");
        Answer::of(response, connection.abort_handle())
    }

    async fn tcp(&self) -> TcpStream {
        let Some(bytes) = self.receive_buffer else { return connect(self.address).await };
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(bytes).expect("it can be set");
        soon("a connection", socket.connect(self.address)).await.expect("a connection")
    }

    /// Sends it and expects an event stream.
    pub(crate) async fn open(self) -> Stream {
        self.send().await.stream()
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    soon("a connection", TcpStream::connect(address)).await.expect("a connection")
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn encrypted(socket: TcpStream, tls: Option<&Tls>, alpn: &str) -> TokioIo<Box<dyn Io>> {
    TokioIo::new(match tls {
        None => Box::new(socket),
        Some(tls) => {
            let tls = tls.clone().alpn(&[alpn]);
            let handshake = soon("a TLS handshake", tls.handshake(socket)).await;
            Box::new(handshake.expect("a TLS handshake"))
        }
    })
}

/// One HTTP/2 connection.
#[derive(Clone)]
pub(crate) struct Http2 {
    address: SocketAddr,
    tls: Option<Tls>,
    sender: http2::SendRequest<Empty<Bytes>>,
    connection: tokio::task::AbortHandle,
}

impl Http2 {
    pub(crate) async fn connect(address: SocketAddr, tls: Option<Tls>) -> Self {
        Self::with(&http2::Builder::new(TokioExecutor::new()), address, tls).await
    }

    /// One that gives each stream a window of so many bytes, and all together room for many.
    pub(crate) async fn narrow(address: SocketAddr, tls: Option<Tls>, window: u32) -> Self {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window).initial_connection_window_size(64 << 20);
        Self::with(&builder, address, tls).await
    }

    async fn with(
        builder: &http2::Builder<TokioExecutor>,
        address: SocketAddr,
        tls: Option<Tls>,
    ) -> Self {
        let io = encrypted(connect(address).await, tls.as_ref(), "h2").await;
        let (sender, connection) = builder.handshake(io).await.expect("a handshake");
        let connection = tokio::spawn(connection).abort_handle();
        Self { address, tls, sender, connection }
    }

    /// A request on this connection.
    pub(crate) fn get(&self, path: &str) -> Get {
        let get = Get::new(self.address, path).over(Version::Http2).tls(self.tls.clone());
        Get { connection: Some(self.clone()), ..get }
    }

    pub(crate) async fn open(&self, path: &str) -> Stream {
        self.get(path).open().await
    }

    async fn send(&self, request: Request<Empty<Bytes>>) -> Answer {
        let what = format!("an answer to {} {}", request.method(), request.uri());
        let mut sender = self.sender.clone();
        let response = soon(&what, sender.send_request(request)).await.expect("an answer");
        Answer::of(response, self.connection.clone())
    }
}

/// The head of an answer; its body is still to come.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    connection: tokio::task::AbortHandle,
}

impl Answer {
    fn of(response: http::Response<Incoming>, connection: tokio::task::AbortHandle) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status, headers: parts.headers, body, connection }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a text"))
    }

    /// The whole body.
    pub(crate) async fn text(self) -> String {
        let body = soon("the whole body", self.body.collect()).await.expect("a body").to_bytes();
        String::from_utf8(body.into()).expect("a text")
    }

    pub(crate) fn stream(self) -> Stream {
        assert_eq!(self.status, 200);
        let content_type = self.header("content-type").unwrap_or_default();
        assert!(content_type.starts_with("text/event-stream"), "{content_type}");
        Stream {
            body: self.body,
            connection: self.connection,
            line: Vec::new(),
            block: Vec::new(),
            blocks: VecDeque::new(),
            comments: VecDeque::new(),
            retries: VecDeque::new(),
            ended: None,
        }
    }
}

/// An event stream, its comments and `retry` fields apart from its blocks.
pub(crate) struct Stream {
    body: Incoming,
    connection: tokio::task::AbortHandle,
    line: Vec<u8>,
    block: Vec<u8>,
    blocks: VecDeque<Vec<u8>>,
    comments: VecDeque<Vec<u8>>,
    retries: VecDeque<u64>,
    ended: Option<Result<(), hyper::Error>>,
}

impl Stream {
    /// Reads on; false at the end.
    async fn read(&mut self) -> bool {
        match self.body.frame().await {
            None => self.ended = Some(Ok(())),
            Some(Err(error)) => self.ended = Some(Err(error)),
            Some(Ok(frame)) => {
                for byte in frame.into_data().expect("no trailers") {
                    self.line.push(byte);
                    if byte == b'\n' {
                        self.take_line();
                    }
                }
            }
        }
        self.ended.is_none()
    }

    fn take_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if let Some(comment) = line.strip_prefix(b":") {
            self.comments.push_back(comment.trim_ascii_end().to_vec());
        } else if let Some(retry) = line.strip_prefix(b"retry:") {
            let retry =
                std::str::from_utf8(retry).ok().and_then(|text| text.trim_end().parse().ok());
            self.retries.push_back(retry.expect("a number"));
        } else if line == b"\n" {
            self.blocks.push_back(std::mem::take(&mut self.block));
        } else {
            self.block.extend(line);
        }
    }

    /// The next block as it stands on the wire, without the empty line that ends it.
    pub(crate) async fn next_bytes(&mut self) -> Vec<u8> {
        let read = async { while self.blocks.is_empty() && self.read().await {} };
        soon("an event", read).await;
        self.blocks.pop_front().unwrap_or_else(|| panic!("the stream ended: {:?}", self.ended))
    }

    pub(crate) async fn next(&mut self) -> String {
        String::from_utf8(self.next_bytes().await).expect("a text")
    }

    /// The next `count` blocks.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<String> {
        let mut blocks = Vec::with_capacity(count);
        while blocks.len() < count {
            blocks.push(self.next().await);
        }
        blocks
    }

    /// What came next, as it came.
    pub(crate) async fn piece(&mut self) -> Bytes {
        let frame = soon("a piece of the stream", self.body.frame()).await.expect("it goes on");
        frame.expect("a frame").into_data().expect("no trailers")
    }

    /// The data and the id of a gap, which has to be next.
    pub(crate) async fn gap(&mut self) -> (serde_json::Value, String) {
        let gap = self.next().await;
        assert_eq!(field(&gap, "event"), Some("gap"), "{gap}");
        let data = field(&gap, "data").expect("data");
        let id = field(&gap, "id").expect("an id").to_owned();
        (serde_json::from_str(data).expect("JSON"), id)
    }

    /// The next comment.
    pub(crate) async fn comment(&mut self) -> String {
        let read = async { while self.comments.is_empty() && self.read().await {} };
        soon("a comment", read).await;
        let comment = self.comments.pop_front().expect("the stream goes on");
        String::from_utf8(comment).expect("a text")
    }

    /// The next reconnection time.
    pub(crate) async fn retry(&mut self) -> u64 {
        let read = async { while self.retries.is_empty() && self.read().await {} };
        soon("a reconnection time", read).await;
        self.retries.pop_front().expect("the stream goes on")
    }

    /// The reconnection time that came last.
    pub(crate) fn last_retry(&mut self) -> Option<u64> {
        self.retries.pop_back()
    }

    /// Reads to the end: the blocks until then, whether it was clean, and what was left of a block.
    pub(crate) async fn end(&mut self) -> (Vec<Vec<u8>>, bool, Vec<u8>) {
        let read = async { while self.ended.is_none() && self.read().await {} };
        soon("the end of the stream", read).await;
        let left = [&self.block[..], &self.line[..]].concat();
        (self.blocks.drain(..).collect(), matches!(self.ended, Some(Ok(()))), left)
    }

    /// What has come already.
    pub(crate) fn seen(&self) -> usize {
        self.blocks.len()
    }

    /// Cuts the connection, with all of its streams.
    pub(crate) fn cut(self) {
        self.connection.abort();
    }
}

/// The value of a field of a block.
pub(crate) fn field<'a>(block: &'a str, name: &str) -> Option<&'a str> {
    block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

/// Writes bytes to a bare socket and reads until `done`, or until the server closes.
pub(crate) async fn raw(
    address: SocketAddr,
    bytes: &[u8],
    mut done: impl FnMut(&[u8]) -> bool,
) -> Vec<u8> {
    let mut socket = connect(address).await;
    // A server that has answered and closed need not take all of it.
    let _ = socket.write_all(bytes).await;
    let mut read = Vec::new();
    let reading = async {
        while !done(&read) {
            match socket.read_buf(&mut read).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    };
    soon("an answer on a bare socket", reading).await;
    read
}
