//! The bytes on a connection, through hyper.

mod support;

use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use support::{Feed, Source, source};
use tailwater_sse::{Drain, Rejection, SseLayer, Subscription};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tower::{Layer, service_fn};

/// A connection to a server of one source, without a `date` header.
fn connect(layer: &SseLayer) -> (Feed, DuplexStream) {
    let (client, server) = tokio::io::duplex(1 << 16);
    let (feed, source) = source();
    let source = std::sync::Arc::new(std::sync::Mutex::new(Some(source)));
    let service = layer.layer(service_fn(move |_: Subscription| {
        let source: Source = source.lock().expect("not poisoned").take().expect("one request");
        async { Ok::<_, Rejection>(source) }
    }));
    tokio::spawn(async move {
        let service = TowerToHyperService::new(service);
        http1::Builder::new()
            .auto_date_header(false)
            .serve_connection(TokioIo::new(server), service)
            .await
    });
    (feed, client)
}

async fn read_until(client: &mut DuplexStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        read.push(
            client.read_u8().await.unwrap_or_else(|error| {
                panic!("{error} after {:?}", String::from_utf8_lossy(&read))
            }),
        );
    }
    String::from_utf8(read).expect("UTF-8")
}

/// Removes the digits of each reconnection time, which is random.
fn without_times(text: &str) -> String {
    let mut parts = text.split("retry:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "retry:" + part.trim_start_matches(|digit: char| digit.is_ascii_digit())
    })
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_chunks_and_ends_with_the_last_one() {
    let drain = Drain::new();
    let (feed, mut client) = connect(&SseLayer::new().retry(Duration::from_secs(5)).drain(&drain));
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // The head and the first write come before the first event.
    assert_eq!(
        without_times(&read_until(&mut client, ":\n\r\n").await),
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache, no-transform\r\n\
         x-accel-buffering: no\r\nx-content-type-options: nosniff\r\ntransfer-encoding: chunked\r\n\r\nD\r\nretry:\n:\n\r\n",
    );
    feed.send("data:x\nid:1\n\n");
    assert_eq!(read_until(&mut client, "\n\n\r\n").await, "D\r\ndata:x\nid:1\n\n\r\n");
    // Nothing else happens, so that the paused clock goes on to the first idle write.
    assert_eq!(read_until(&mut client, ":\n\r\n").await, "2\r\n:\n\r\n");
    drain.start(Duration::ZERO);
    assert_eq!(
        without_times(&read_until(&mut client, "0\r\n\r\n").await),
        "B\r\nretry:\n\r\n0\r\n\r\n"
    );
}

#[tokio::test(start_paused = true)]
async fn head_has_the_headers_and_no_length() {
    let (feed, mut client) = connect(&SseLayer::new());
    client.write_all(b"HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache, no-transform\r\n\
         x-accel-buffering: no\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n",
    );
    assert!(feed.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn another_method_is_answered_and_the_connection_goes_on() {
    let (_feed, mut client) = connect(&SseLayer::new());
    client.write_all(b"DELETE / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(
        read_until(&mut client, "\r\n\r\n").await,
        "HTTP/1.1 405 Method Not Allowed\r\nallow: GET, HEAD\r\ncontent-length: 0\r\n\r\n",
    );
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(read_until(&mut client, ":\n\r\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_frees_its_source() {
    let (feed, mut client) = connect(&SseLayer::new());
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut client, ":\n\r\n").await;
    drop(client);
    feed.events.closed().await;
}
