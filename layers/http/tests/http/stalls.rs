//! What a body learns about the end of its connection.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tailwater_http::{Connection, Error, HttpLayer, StallFlag, WriteDeadline};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tower::{Service as _, service_fn};
use tower_layer::Layer as _;

const DEADLINE: Duration = Duration::from_secs(60);

/// An endless body that tells, when it is dropped, whether its connection has stalled.
struct Telling {
    flag: StallFlag,
    told: mpsc::UnboundedSender<bool>,
}

impl Body for Telling {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 4096])))))
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.told.send(self.flag.is_set()).ok();
    }
}

struct Test {
    client: DuplexStream,
    told: mpsc::UnboundedReceiver<bool>,
    server: JoinHandle<Result<(), Error>>,
}

/// A connection whose only response has this content type.
fn serve(content_type: &'static str) -> Test {
    let (client, io) = duplex(1024);
    let (sender, told) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        let flag = request.extensions().get::<StallFlag>().expect("it is there").clone();
        let body = Telling { flag, told: sender.clone() };
        let response = Response::builder().header("content-type", content_type).body(body);
        async { Ok::<_, Infallible>(response.expect("a response")) }
    });
    let layer = HttpLayer::new().ping(None, Duration::ZERO);
    let io = Connection::new(WriteDeadline::new(io, DEADLINE));
    let server = tokio::spawn(layer.layer(service).call(io));
    Test { client, told, server }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_a_stalled_connection_learns_it_and_that_of_one_that_left_does_not() {
    for content_type in ["text/event-stream", "text/plain"] {
        for stalls in [true, false] {
            let Test { mut client, mut told, server } = serve(content_type);
            client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
            client.read_exact(&mut [0; 100]).await.unwrap();
            let client = Some(client).filter(|_| stalls);
            assert_eq!(told.recv().await, Some(stalls), "{content_type}");
            assert!(server.await.unwrap().is_err());
            drop(client);
        }
    }
}

/// Over HTTP/2 the body is dropped in a task of its own, on any thread.
#[tokio::test(start_paused = true)]
async fn a_body_of_a_stalled_http2_connection_learns_it() {
    for stalls in [true, false] {
        let Test { mut client, mut told, server } = serve("text/event-stream");
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        // HEADERS of stream 1, with its end: GET http://localhost/.
        let get = b"\0\0\x0e\x01\x05\0\0\0\x01\x82\x86\x84\x41\x09localhost";
        client.write_all(preface).await.unwrap();
        client.write_all(get).await.unwrap();
        client.read_exact(&mut [0; 100]).await.unwrap();
        let client = Some(client).filter(|_| stalls);
        assert_eq!(told.recv().await, Some(stalls));
        assert!(server.await.unwrap().is_err());
        drop(client);
    }
}
