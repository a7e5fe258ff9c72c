//! HTTP/2 with prior knowledge, against hyper's server, with the clock paused.

mod support;

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode, Uri};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{Connector, Server, server};
use tailwater_client::{EventSource, Version};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn source(connector: Connector) -> EventSource {
    let uri = Uri::from_static("http://events.test:8080/prices?of=all");
    let builder = EventSource::builder(uri).connector(connector).version(Version::Http2);
    builder.build().expect("a URL of a server")
}

/// A body that a test feeds, and the number of pieces that were read.
struct Feed {
    pieces: mpsc::UnboundedReceiver<String>,
    taken: Arc<AtomicUsize>,
}

impl Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = ready!(self.pieces.poll_recv(cx));
        self.taken.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece.into()))))
    }
}

/// One connection of a server over HTTP/2, answered with `response` and fed through what is returned.
struct Connection {
    pieces: mpsc::UnboundedSender<String>,
    taken: Arc<AtomicUsize>,
    requests: mpsc::UnboundedReceiver<Request<Incoming>>,
    freeze: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
}

fn serve(io: DuplexStream, response: http::response::Builder) -> Connection {
    let (pieces, receiver) = mpsc::unbounded_channel();
    let (sender, requests) = mpsc::unbounded_channel();
    let taken = Arc::<AtomicUsize>::default();
    let body = Feed { pieces: receiver, taken: Arc::clone(&taken) };
    let response = Mutex::new(Some(response.body(body).expect("a response")));
    let service = service_fn(move |request: Request<Incoming>| {
        sender.send(request).expect("the test is there");
        let mut response = response.lock().unwrap_or_else(PoisonError::into_inner);
        let response = response.take().expect("one request on a connection");
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), service);
    let (freeze, frozen) = oneshot::channel::<()>();
    let served = tokio::spawn(async {
        let mut connection = pin!(connection);
        tokio::select! {
            _ = &mut connection => {}
            // The connection stays open, but is not served.
            Ok(()) = frozen => std::future::pending().await,
        }
    });
    Connection { pieces, taken, requests, freeze, served }
}

fn stream() -> http::response::Builder {
    Response::builder().header(CONTENT_TYPE, "text/event-stream")
}

#[tokio::test(start_paused = true)]
async fn streams_over_http2_are_read_and_asked_for_again() {
    let (connector, mut server) = server();
    let mut source = source(connector);
    let serve = async {
        let mut first = serve(server.accept().await, stream());
        let request = first.requests.recv().await.unwrap();
        assert_eq!(request.version(), http::Version::HTTP_2);
        assert_eq!(request.uri(), "http://events.test:8080/prices?of=all");
        assert_eq!(request.headers()["accept"], "text/event-stream");
        assert_eq!(request.headers().get("host"), None);
        first.pieces.send("data:a\nid:1\n".to_owned()).unwrap();
        // This is longer than the interval of pings.
        tokio::time::sleep(SECOND * 1000).await;
        first.pieces.send("\ndata:b\nid:2\n\ndata:cut\n".to_owned()).unwrap();
        drop(first.pieces);
        first.served.await.unwrap();

        assert_eq!(stop(&mut server).await.headers()["last-event-id"], "2");
    };
    let follow = async {
        for data in ["a", "b"] {
            assert_eq!(source.next().await.unwrap().unwrap().data, data);
        }
        assert!(source.next().await.is_none());
    };
    tokio::join!(follow, serve);
    assert_eq!(server.calls().len(), 2);
}

/// Answers the next request with 204. Returns the request.
async fn stop(server: &mut Server) -> Request<Incoming> {
    let response = Response::builder().status(StatusCode::NO_CONTENT);
    let mut connection = serve(server.accept().await, response);
    drop(connection.pieces);
    connection.requests.recv().await.expect("a request")
}

#[tokio::test(start_paused = true)]
async fn dropping_the_source_closes_its_connection_over_http2() {
    let (connector, mut server) = server();
    let mut source = source(connector);
    let accept = async {
        let connection = serve(server.accept().await, stream());
        connection.pieces.send("data:a\n\n".to_owned()).unwrap();
        connection
    };
    let (event, connection) = tokio::join!(source.next(), accept);
    event.unwrap().unwrap();
    tokio::time::timeout(SECOND, source.next()).await.unwrap_err();
    drop(source);
    connection.served.await.unwrap();
    assert!(connection.pieces.is_closed());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_asked_for_is_not_read_over_http2() {
    let (connector, mut server) = server();
    let mut source = source(connector);
    let accept = async { serve(server.accept().await, stream()) };
    let (next, connection) = tokio::join!(tokio::time::timeout(SECOND, source.next()), accept);
    next.unwrap_err();
    for _ in 0..1000 {
        connection.pieces.send(format!("data:{}\n\n", "x".repeat(1017))).unwrap();
    }
    // The paused clock advances only when no task can run: no more pieces are read then.
    tokio::time::sleep(SECOND).await;
    let taken = connection.taken.load(Ordering::Relaxed);
    assert!(taken < 128, "{taken} KiB were read that nobody asked for");
    for _ in 0..1000 {
        assert_eq!(source.next().await.unwrap().unwrap().data.len(), 1017);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_no_ping_is_lost() {
    let (connector, mut server) = server();
    let mut source = source(connector);
    let accept = async {
        let connection = serve(server.accept().await, stream());
        connection.pieces.send("data:a\n\n".to_owned()).unwrap();
        connection
    };
    let (event, connection) = tokio::join!(source.next(), accept);
    event.unwrap().unwrap();
    connection.freeze.send(()).unwrap();
    let frozen = Instant::now();
    let again = async { tokio::join!(source.next(), stop(&mut server)) };
    let (end, _) = tokio::time::timeout(SECOND * 1000, again).await.expect("the peer is lost");
    assert!(end.is_none(), "{end:?}");
    // A ping every 60 s, 20 s for its answer, then the reconnection time.
    let lost = frozen.elapsed();
    assert!(lost > SECOND * 20 && lost < SECOND * 85, "{lost:?}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_long_is_cut_off_over_http2() {
    let (connector, mut server) = server();
    let mut source = source(connector);
    let serve = async {
        let long = "x".repeat(60 << 10);
        let connection = serve(server.accept().await, stream().header("x-long", long));
        connection.pieces.send("data:a\n\n".to_owned()).unwrap();
        stop(&mut server).await;
    };
    let (event, ()) = tokio::join!(source.next(), serve);
    assert!(event.is_none(), "{event:?}");
}
