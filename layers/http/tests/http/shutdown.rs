use std::time::Duration;

use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::support::{FAR, Server, get, layer, soon};

#[tokio::test]
async fn open_streams_end_cleanly() {
    for path in ["/stream", "/events"] {
        let mut server = Server::start(layer());
        let mut http1 = server.connect().await;
        http1.get(path).await;
        let mut stream1 = server.opened().await.stream();
        http1.read_until("\r\n\r\n").await;

        let (mut http2, connection2) = server.http2().await;
        let response = soon(http2.send_request(get(path))).await.unwrap();
        let mut stream2 = server.opened().await.stream();

        server.shutdown.begin(FAR);
        // New requests are refused from now on, but the open stream continues.
        soon(async { while http2.send_request(get("/")).await.is_ok() {} }).await;
        soon(stream1.send_data("bye".into())).await.unwrap();
        soon(stream2.send_data("bye".into())).await.unwrap();
        drop((stream1, stream2));
        assert_eq!(http1.read_to_end().await, "3\r\nbye\r\n0\r\n\r\n");
        assert_eq!(soon(response.into_body().collect()).await.unwrap().to_bytes(), "bye");
        soon(connection2).await.unwrap();
        soon(server.task).await.unwrap();
    }
}

#[tokio::test]
async fn an_endless_stream_is_dropped_at_the_end_of_the_window() {
    let window = Duration::from_millis(300);
    for path in ["/endless", "/endless-events"] {
        let mut server = Server::start(layer());
        let mut http1 = server.connect().await;
        http1.get(path).await;
        let dropped1 = server.opened().await.endless();
        let (mut http2, _connection) = server.http2().await;
        let mut response = soon(http2.send_request(get(path))).await.unwrap();
        let dropped2 = server.opened().await.endless();
        let reading = tokio::spawn(async move {
            while let Some(frame) = response.frame().await {
                if frame.is_err() {
                    return true;
                }
            }
            false
        });

        let started = Instant::now();
        server.shutdown.begin(window);
        soon(dropped1).await.unwrap_err();
        soon(dropped2).await.unwrap_err();
        assert!(started.elapsed() >= window);
        assert!(soon(reading).await.unwrap(), "a cut stream must not look like one that ended");
        assert!(!http1.read_to_end().await.ends_with("\r\n0\r\n\r\n"));
        soon(server.task).await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_waits_for_a_request_is_closed_at_once() {
    let mut server = Server::start(layer());
    let mut silent = server.connect().await;
    let mut half_a_preface = server.connect().await;
    half_a_preface.send("PRI * HT").await;
    let mut keep_alive = server.connect().await;
    keep_alive.get("/").await;
    keep_alive.read_until("hello").await;
    let (mut http2, connection) = server.http2().await;
    soon(http2.send_request(get("/"))).await.unwrap();
    // The last connection was accepted, so all were.
    assert_eq!(server.connections.counts().open, 4);

    server.shutdown.begin(FAR);
    assert_eq!(silent.read_to_end().await, "");
    assert_eq!(half_a_preface.read_to_end().await, "");
    assert_eq!(keep_alive.read_to_end().await, "");
    soon(connection).await.unwrap();
    soon(&mut server.task).await.unwrap();
    // The listener is closed.
    tokio::net::TcpStream::connect(server.address).await.unwrap_err();
}

#[tokio::test]
async fn a_request_in_flight_is_answered_and_then_closed() {
    let mut server = Server::start(layer());
    let mut client = server.connect().await;
    client.send("GET /stream HTTP/1.1\r\nhost: local").await;
    // An answer on another connection proves that this one was accepted and read.
    let mut other = server.connect().await;
    other.get("/").await;
    other.read_until("hello").await;
    server.shutdown.begin(FAR);
    assert_eq!(other.read_to_end().await, "");
    client.send("host\r\n\r\n").await;
    drop(server.opened().await);
    let answer = client.read_to_end().await;
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n0\r\n\r\n"), "{answer}");
    soon(server.task).await.unwrap();
}

#[tokio::test]
async fn dropping_the_accept_loop_drops_all_connections() {
    let mut server = Server::start(layer());
    let mut client = server.connect().await;
    client.get("/stream").await;
    let mut stream = server.opened().await.stream();
    client.read_until("\r\n\r\n").await;
    server.task.abort();
    assert!(soon(&mut server.task).await.unwrap_err().is_cancelled());
    client.read_to_end().await;
    soon(async { while stream.send_data("x".into()).await.is_ok() {} }).await;
    assert_eq!(server.connections.counts().open, 0);
}
