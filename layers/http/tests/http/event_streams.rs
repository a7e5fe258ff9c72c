//! Event streams over HTTP/1.1, which hyper reads and does not write.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use tailwater_http::{Connection, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, join, simplex};
use tower::{Service, service_fn};
use tower_layer::Layer;

use crate::support::{Server, get, handler, layer, soon};

type Frames<D> = VecDeque<Result<Frame<D>, io::Error>>;

/// The bytes that a client gets for these frames through a pipe of this capacity.
async fn written<D>(
    request: &'static str,
    frames: impl Fn() -> Frames<D> + Clone + Send + 'static,
    pipe_bytes: usize,
) -> (String, Result<(), Error>)
where
    D: Buf + Send + Unpin + 'static,
{
    let (mut client, io) = duplex(pipe_bytes);
    let handler = service_fn(move |_: Request<Incoming>| {
        let frames = frames();
        async move {
            Ok::<_, Infallible>(
                Response::builder()
                    .header("content-type", "text/event-stream")
                    .header("date", "Thu, 01 Jan 1970 00:00:00 GMT")
                    .header("connection", "keep-alive")
                    .body(StreamBody::new(stream_of(frames)))
                    .expect("a response"),
            )
        }
    });
    let server = tokio::spawn(layer().layer(handler).call(Connection::new(io)));
    let mut read = Vec::new();
    let (mut reader, mut writer) = tokio::io::split(&mut client);
    let (sent, received) =
        tokio::join!(writer.write_all(request.as_bytes()), reader.read_to_end(&mut read));
    sent.expect("the server reads");
    received.expect("a duplex does not fail");
    (String::from_utf8(read).expect("text"), server.await.expect("no panic"))
}

fn stream_of<T: Unpin>(items: VecDeque<T>) -> impl futures_core::Stream<Item = T> {
    struct Items<T>(VecDeque<T>);
    impl<T: Unpin> futures_core::Stream for Items<T> {
        type Item = T;

        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<T>> {
            std::task::Poll::Ready(self.0.pop_front())
        }
    }
    Items(items)
}

const GET: &str = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    date: Thu, 01 Jan 1970 00:00:00 GMT\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn the_bytes_are_the_same_however_little_a_write_takes() {
    let [copied, long] = [300, 3000].map(|bytes| "x".repeat(bytes));
    let expected = format!(
        "{HEAD}6\r\nfirst\n\r\n4\r\nabcd\r\n12c\r\n{copied}\r\nbb8\r\n{long}\r\nbb8\r\n{long}\r\n0\r\n\r\n"
    );
    for pipe_bytes in [1, 2, 3, 7, 64, 100_000] {
        let frames = || {
            let copied = Bytes::from("x".repeat(300));
            let long = Bytes::from("x".repeat(3000));
            let empty = Bytes::new();
            // Data of two pieces, as in a chain, with an empty frame in between.
            VecDeque::from([
                Ok(Frame::data(Bytes::from("first\n").chain(Bytes::new()))),
                Ok(Frame::data(empty.clone().chain(empty))),
                Ok(Frame::data(Bytes::from("ab").chain(Bytes::from("cd")))),
                Ok(Frame::data(Bytes::new().chain(copied))),
                Ok(Frame::data(Bytes::new().chain(long.clone()))),
                Ok(Frame::data(long.slice(..1000).chain(long.slice(1000..)))),
            ])
        };
        let (text, ended) = written(GET, frames, pipe_bytes).await;
        assert_eq!(text, expected, "{pipe_bytes}");
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_chunk_has_its_size_in_front_whether_it_is_copied_or_not() {
    for (bytes, size) in [
        (1, "1"),
        (15, "f"),
        (16, "10"),
        (255, "ff"),
        (256, "100"),
        (1023, "3ff"),
        (1024, "400"),
        (1025, "401"),
        (4096, "1000"),
    ] {
        let expected = format!("{HEAD}{size}\r\n{}\r\n0\r\n\r\n", "x".repeat(bytes));
        for pipe_bytes in [1, 7, 100_000] {
            let frames = move || VecDeque::from([Ok(Frame::data(Bytes::from("x".repeat(bytes))))]);
            let (text, ended) = written(GET, frames, pipe_bytes).await;
            assert_eq!(text, expected, "{bytes}");
            ended.unwrap();
        }
    }
}

#[tokio::test]
async fn more_frames_than_one_write_holds_stay_in_order() {
    // Every third frame is too long to be copied.
    let padded = |number: u32| {
        let width = if number.is_multiple_of(3) { 2000 } else { 0 };
        format!("{number:0width$}")
    };
    let frames = move || {
        (0..1000)
            .map(|number| {
                let halves = Bytes::from(padded(number)).chain(Bytes::from_static(b";"));
                Ok(Frame::data(halves))
            })
            .collect()
    };
    let (text, ended) = written(GET, frames, 100_000).await;
    ended.unwrap();
    let body = text.strip_prefix(HEAD).unwrap().strip_suffix("0\r\n\r\n").unwrap();
    let numbers: Vec<_> = body.split("\r\n").filter(|line| line.ends_with(';')).collect();
    let expected: Vec<_> = (0..1000).map(|number| format!("{};", padded(number))).collect();
    assert_eq!(numbers, expected);
}

#[tokio::test]
async fn a_body_that_fails_is_a_stream_that_is_cut() {
    let frames = || {
        VecDeque::from([
            Ok(Frame::data(Bytes::from("ab"))),
            Err(io::Error::other("the source is gone")),
        ])
    };
    let (text, ended) = written(GET, frames, 100_000).await;
    assert!(!text.ends_with("0\r\n\r\n"), "{text}");
    assert!(matches!(ended, Err(Error::Body(_))), "{ended:?}");
}

#[tokio::test]
async fn anything_but_a_plain_get_is_left_to_hyper() {
    let frames = || VecDeque::from([Ok(Frame::data(Bytes::from("ab")))]);
    let vectors = [
        ("GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\r\n", "\r\n\r\nab"),
        (
            "HEAD / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
            "\r\n\r\n",
        ),
        (
            "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx",
            "HTTP/1.1 200 OK\r\n",
            "\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ),
    ];
    for (request, begin, end) in vectors {
        let (text, ended) = written(request, frames, 100_000).await;
        assert!(text.starts_with(begin) && text.ends_with(end), "{request}: {text}");
        ended.unwrap();
    }
}

#[tokio::test]
async fn one_comes_after_requests_on_the_same_connection_and_is_the_last() {
    let mut server = Server::start(layer());
    let mut client = server.connect().await;
    client.get("/").await;
    client.read_until("hello").await;
    client.get("/events").await;
    let mut stream = server.opened().await.stream();
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
    assert!(head.contains("\r\ndate: "), "{head}");
    // The bytes that the client sends now are dropped, and do not stop the stream.
    client.get("/").await;
    soon(stream.send_data(":\n".into())).await.unwrap();
    assert_eq!(client.read_until("\n\r\n").await, "2\r\n:\n\r\n");
    drop(stream);
    assert_eq!(client.read_to_end().await, "0\r\n\r\n");
    server.end().await;
}

/// hyper once was ended while it held bytes of the previous response. It waits until the socket takes them
/// before it reads the next request, unless the previous request ended with a body that the handler did not
/// read. So this request has such a body, and the pipe to the client holds less than a response.
#[tokio::test]
async fn one_that_was_asked_for_in_advance_comes_whole_after_the_response_before() {
    let vectors = [
        "POST /empty HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n\
            1\r\na\r\n0\r\n\r\n",
        "HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ];
    let events = "GET /events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    for first in vectors {
        for pipe_bytes in [1, 16, 64, 80, 100, 100_000] {
            let (requests, mut to_server) = simplex(1024);
            let (mut from_server, responses) = simplex(pipe_bytes);
            soon(to_server.write_all(format!("{first}{events}").as_bytes())).await.unwrap();
            let (handler, mut opened) = handler();
            let io = join(requests, responses);
            let server = tokio::spawn(layer().layer(handler).call(Connection::new(io)));
            let mut read = String::new();
            let fed = async {
                let mut stream = opened.recv().await.unwrap().stream();
                stream.send_data("data:x\n\n".into()).await.unwrap();
            };
            let (received, ()) =
                soon(async { tokio::join!(from_server.read_to_string(&mut read), fed) }).await;
            received.unwrap();
            soon(server).await.unwrap().unwrap();
            let responses: Vec<_> = read.split("HTTP/1.1 200 OK\r\n").collect();
            let [before, first, second] = responses.as_slice() else {
                panic!("{pipe_bytes}: {read}");
            };
            assert!(before.is_empty() && first.ends_with("\r\n\r\n"), "{pipe_bytes}: {read}");
            let events = "\r\n\r\n8\r\ndata:x\n\n\r\n0\r\n\r\n";
            assert!(second.ends_with(events), "{pipe_bytes}: {read}");
        }
    }
}

#[tokio::test]
async fn a_client_of_hyper_reads_them() {
    let mut server = Server::start(layer());
    let io = hyper_util::rt::TokioIo::new(server.connect().await.io);
    let (mut client, connection) = soon(hyper::client::conn::http1::handshake(io)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = get("/events");
    request.headers_mut().insert("host", HeaderValue::from_static("localhost"));
    let response = soon(client.send_request(request)).await.unwrap();
    let mut stream = server.opened().await.stream();
    for _ in 0..3 {
        soon(stream.send_data("data:x\n\n".into())).await.unwrap();
    }
    drop(stream);
    let body = soon(http_body_util::BodyExt::collect(response.into_body())).await.unwrap();
    assert_eq!(body.to_bytes(), "data:x\n\n".repeat(3));
    soon(connection).await.unwrap().unwrap();
    server.end().await;
}
