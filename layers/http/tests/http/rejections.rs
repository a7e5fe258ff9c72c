//! Requests that do not reach the service.

use tailwater_http::Peer;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use crate::support::{Server, layer};

#[tokio::test]
async fn a_request_that_does_not_reach_the_service_is_told_with_its_status() {
    let (sender, mut told) = mpsc::unbounded_channel();
    let layer = layer().max_head_bytes(2048).on_rejection(move |rejection| {
        let path = rejection.request.map(|request| request.uri().path().to_owned());
        let has_peer = rejection.extensions.get::<Peer>().is_some();
        sender.send((rejection.status.as_u16(), path, has_peer)).expect("the test waits");
    });
    let server = Server::start(layer);
    let long = "x".repeat(4096);
    for (request, status, path) in [
        ("nonsense\r\n\r\n", 400, None),
        ("GET / HTTP/1.1\r\nhost: a\r\nx\r\n\r\n", 400, None),
        ("GET /\x01 HTTP/1.1\r\nhost: a\r\n\r\n", 400, None),
        (&*format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"), 431, None),
        ("GET /a?b HTTP/1.1\r\nconnection: close\r\n\r\n", 400, Some("/a")),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n", 400, Some("/")),
    ] {
        let mut client = server.connect().await;
        client.send(request).await;
        let answer = client.read_to_end().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        let expected = (status, path.map(str::to_owned), true);
        assert_eq!(told.recv().await, Some(expected), "{request}");
    }
    // A head that is cut off is no request, and neither is a request that is served.
    for request in ["GET / HT", "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"] {
        let mut client = server.connect().await;
        client.send(request).await;
        client.io.shutdown().await.expect("it is open");
        client.read_to_end().await;
    }
    server.end().await;
    assert!(told.try_recv().is_err());
}
