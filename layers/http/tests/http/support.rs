//! Clients, and a server whose handler answers by the path of the request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Channel, Empty, Full, channel};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tailwater_http::{
    Connection, ConnectionLimit, Error, HttpLayer, ListenOptions, Peer, ServeOptions, Shutdown,
    serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower::{Service, service_fn};
use tower_layer::Layer;

pub(crate) type TestBody = UnsyncBoxBody<Bytes, Infallible>;

/// A timeout for an event that has to happen, even on a loaded machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// A timeout that no test reaches: it is not the one under test.
pub(crate) const FAR: Duration = Duration::from_secs(600);

pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(SOON, future).await.expect("it did not happen")
}

/// What a request opened.
pub(crate) enum Opened {
    /// `/stream`, `/events`: the data sent here is the body.
    Stream(channel::Sender<Bytes>),
    /// `/endless`, `/endless-events`: the receiver fails when the body is dropped.
    Endless(oneshot::Receiver<()>),
}

impl Opened {
    pub(crate) fn stream(self) -> channel::Sender<Bytes> {
        match self {
            Opened::Stream(sender) => sender,
            Opened::Endless(_) => panic!("another path was asked for"),
        }
    }

    pub(crate) fn endless(self) -> oneshot::Receiver<()> {
        match self {
            Opened::Endless(dropped) => dropped,
            Opened::Stream(_) => panic!("another path was asked for"),
        }
    }
}

/// A body of endless chunks of 16 KiB.
struct Endless {
    _dropped: oneshot::Sender<()>,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16 * 1024])))))
    }
}

struct Panics;

impl Body for Panics {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("a body that panics")
    }
}

/// The handler, and a receiver of the bodies that its requests open. A path that ends in `events` is
/// answered by an event stream, which hyper does not write over HTTP/1.1.
pub(crate) fn handler() -> (
    impl Service<Request<Incoming>, Response = Response<TestBody>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static,
    mpsc::UnboundedReceiver<Opened>,
) {
    let (opened, receiver) = mpsc::unbounded_channel();
    let handler = service_fn(move |request: Request<Incoming>| {
        let opened = opened.clone();
        async move {
            let body: TestBody = match request.uri().path() {
                "/stream" | "/events" => {
                    let (sender, body) = Channel::<Bytes, Infallible>::new(4);
                    opened.send(Opened::Stream(sender)).ok();
                    body.boxed_unsync()
                }
                "/endless" | "/endless-events" => {
                    let (_dropped, receiver) = oneshot::channel();
                    opened.send(Opened::Endless(receiver)).ok();
                    Endless { _dropped }.boxed_unsync()
                }
                "/empty" => Empty::new().boxed_unsync(),
                "/panic" => panic!("a service that panics"),
                "/panic-body" | "/panic-events" => Panics.boxed_unsync(),
                "/peer" => {
                    let peer = request.extensions().get::<Peer>().expect("serve puts it there");
                    Full::new(Bytes::from(peer.0.to_string())).boxed_unsync()
                }
                "/id" => {
                    let id = request.headers().get("last-event-id").map_or(0, |id| id.len());
                    Full::new(Bytes::from(id.to_string())).boxed_unsync()
                }
                _ => Full::new(Bytes::from_static(b"hello")).boxed_unsync(),
            };
            let mut response = Response::new(body);
            if request.uri().path().ends_with("events") {
                let content_type = HeaderValue::from_static("text/event-stream");
                response.headers_mut().insert(CONTENT_TYPE, content_type);
            }
            Ok(response)
        }
    });
    (handler, receiver)
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) connections: ConnectionLimit,
    pub(crate) opened: mpsc::UnboundedReceiver<Opened>,
    pub(crate) task: JoinHandle<()>,
}

/// A layer with timeouts that no test reaches by accident.
pub(crate) fn layer() -> HttpLayer {
    HttpLayer::new().first_request_timeout(FAR).idle_timeout(FAR)
}

/// One connection over a duplex.
pub(crate) fn connection(layer: HttpLayer) -> (DuplexStream, JoinHandle<Result<(), Error>>) {
    let (client, io) = duplex(1024);
    let (handler, opened) = handler();
    let connection = layer.layer(handler).call(Connection::new(io));
    let task = tokio::spawn(async move {
        let ended = connection.await;
        drop(opened);
        ended
    });
    (client, task)
}

impl Server {
    pub(crate) fn start(layer: HttpLayer) -> Self {
        Self::start_with(layer, ListenOptions::new(), ConnectionLimit::default(), FAR)
    }

    pub(crate) fn start_with(
        layer: HttpLayer,
        listen: ListenOptions,
        connections: ConnectionLimit,
        write_deadline: Duration,
    ) -> Self {
        let shutdown = Shutdown::new();
        let (handler, opened) = handler();
        let service = layer.shutdown(shutdown.clone()).layer(handler);
        let listener = listen.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.local_address().expect("it is bound");
        let options = ServeOptions::new()
            .connection_limit(connections.clone())
            .write_deadline(write_deadline);
        let task = tokio::spawn(serve([listener], service, options, shutdown.clone()));
        Self { address, shutdown, connections, opened, task }
    }

    pub(crate) async fn opened(&mut self) -> Opened {
        soon(self.opened.recv()).await.expect("the server lives")
    }

    pub(crate) async fn connect(&self) -> Client {
        Client { io: soon(TcpStream::connect(self.address)).await.expect("it listens") }
    }

    /// A client with a small receive buffer.
    pub(crate) async fn connect_narrow(&self) -> Client {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(8 * 1024).expect("a buffer");
        Client { io: soon(socket.connect(self.address)).await.expect("it listens") }
    }

    /// A client of HTTP/2. The task of the handle ends with its connection.
    pub(crate) async fn http2(&self) -> (http2::SendRequest<Empty<Bytes>>, JoinHandle<()>) {
        let io = TokioIo::new(self.connect().await.io);
        let handshake = http2::handshake(TokioExecutor::new(), io);
        let (sender, connection) = soon(handshake).await.expect("a handshake");
        (sender, tokio::spawn(async move { connection.await.unwrap_or_default() }))
    }

    /// Ends the server, which must have no open connection.
    pub(crate) async fn end(self) {
        self.shutdown.begin(FAR);
        soon(self.task).await.expect("the accept loop does not panic");
        assert_eq!(self.connections.counts().open, 0);
    }
}

pub(crate) fn get(path: &str) -> Request<Empty<Bytes>> {
    let uri = format!("http://localhost{path}");
    Request::get(uri).body(Empty::new()).expect("a request")
}

/// A client that is a plain socket.
pub(crate) struct Client {
    pub(crate) io: TcpStream,
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.io.write_all(bytes.as_ref())).await.expect("the server reads");
    }

    pub(crate) async fn get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
    }

    /// Reads up to and including this text.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            let byte = soon(self.io.read_u8()).await;
            read.push(byte.unwrap_or_else(|error| {
                panic!("{error} after {:?}", String::from_utf8_lossy(&read))
            }));
        }
        String::from_utf8(read).expect("text")
    }

    /// Closes the sending half.
    pub(crate) async fn finish(&mut self) {
        // Fails if the server has closed already.
        soon(self.io.shutdown()).await.ok();
    }

    /// Reads until the server closes or resets the connection.
    pub(crate) async fn read_to_end_bytes(&mut self) -> Vec<u8> {
        let mut read = Vec::new();
        if let Err(error) = soon(self.io.read_to_end(&mut read)).await {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        read
    }

    /// The same, of text.
    pub(crate) async fn read_to_end(&mut self) -> String {
        String::from_utf8(self.read_to_end_bytes().await).expect("text")
    }
}
