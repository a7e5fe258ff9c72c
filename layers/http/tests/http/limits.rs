use http_body_util::BodyExt;
use hyper::StatusCode;
use tailwater_http::{Connection, Negotiated, Versions};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tower::Service;
use tower_layer::Layer;

use crate::support::{Server, get, handler, layer, soon};

/// A request with a head of this many bytes, and the length of its event id.
fn head_of(bytes: usize) -> (String, usize) {
    let around = "GET /id HTTP/1.1\r\nhost: localhost\r\nlast-event-id: \r\n\r\n".len();
    let id = "x".repeat(bytes - around);
    (format!("GET /id HTTP/1.1\r\nhost: localhost\r\nlast-event-id: {id}\r\n\r\n"), id.len())
}

#[tokio::test]
async fn an_event_id_up_to_the_head_limit_is_accepted() {
    let server = Server::start(layer());
    let mut client = server.connect().await;
    let (head, id_length) = head_of(32 * 1024);
    client.send(head).await;
    let answer = client.read_until(&format!("\r\n\r\n{id_length}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn a_head_over_the_limit_is_431_and_the_connection_closed() {
    let server = Server::start(layer());
    for over in [32 * 1024 + 1, 33 * 1024] {
        let mut client = server.connect().await;
        client.send(head_of(over).0).await;
        let answer = client.read_to_end().await;
        assert!(
            answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"),
            "{over}: {answer}"
        );
    }
    server.end().await;
}

/// RFC 9112, 3.2.
#[tokio::test]
async fn a_request_for_no_host_or_for_several_is_400() {
    let server = Server::start(layer());
    for (version, hosts, status) in [
        ("1.1", "host: localhost:8080\r\n", "200 OK"),
        ("1.1", "host: [::1]\r\n", "200 OK"),
        ("1.1", "host:\r\n", "200 OK"),
        ("1.1", "", "400 Bad Request"),
        ("1.1", "host: a\r\nhost: a\r\n", "400 Bad Request"),
        ("1.1", "host: a b\r\n", "400 Bad Request"),
        ("1.1", "host: a/b\r\n", "400 Bad Request"),
        ("1.1", "host: user@a\r\n", "400 Bad Request"),
        ("1.1", "host: a, b\r\n", "400 Bad Request"),
        ("1.0", "", "200 OK"),
        ("1.0", "host: a\r\nhost: b\r\n", "400 Bad Request"),
    ] {
        let mut client = server.connect().await;
        let head = format!("GET /id HTTP/{version}\r\n{hosts}connection: close\r\n\r\n");
        client.send(head).await;
        let answer = client.read_to_end().await;
        let expected = format!("HTTP/{version} {status}\r\n");
        assert!(answer.starts_with(&expected), "{version} {hosts:?}: {answer}");
    }
    server.end().await;
}

#[tokio::test]
async fn an_endless_head_is_cut() {
    let server = Server::start(layer());
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\n").await;
    let field = format!("x: {}\r\n", "y".repeat(1000));
    let mut sent = 0;
    while client.io.write_all(field.as_bytes()).await.is_ok() {
        sent += field.len();
        assert!(sent < 64 * 1024 * 1024, "it is read for ever");
    }
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn too_many_fields_are_431() {
    for (layer, most) in [(layer(), 100), (layer().max_headers(7), 7)] {
        let server = Server::start(layer);
        for (count, status) in [(most, "200"), (most + 1, "431")] {
            let mut client = server.connect().await;
            let fields = "x: y\r\n".repeat(count - 2);
            let head = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
            client.send(format!("{head}{fields}\r\n")).await;
            let answer = client.read_to_end().await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{count}: {answer}");
        }
        server.end().await;
    }
}

#[tokio::test]
async fn http2_header_lists_have_the_same_limit() {
    let server = Server::start(layer());
    let (mut client, _connection) = server.http2().await;
    let mut request = get("/id");
    request.headers_mut().insert("last-event-id", "x".repeat(31 * 1024).parse().unwrap());
    let response = soon(client.send_request(request)).await.unwrap();
    let length = soon(response.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(length, "31744");

    let mut request = get("/id");
    request.headers_mut().insert("last-event-id", "x".repeat(33 * 1024).parse().unwrap());
    let refused = soon(client.send_request(request)).await;
    if let Ok(response) = &refused {
        assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    // The connection still serves requests.
    let response = soon(client.send_request(get("/"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn streams_over_the_limit_wait() {
    let mut server = Server::start(layer().max_concurrent_streams(2));
    let (client, _connection) = server.http2().await;
    let mut first = client.clone();
    let _one = soon(first.send_request(get("/stream"))).await.unwrap();
    let stream = server.opened().await.stream();
    let _two = soon(first.send_request(get("/stream"))).await.unwrap();
    let _other = server.opened().await;
    let mut third = client.clone();
    let third = tokio::spawn(async move { third.send_request(get("/")).await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!third.is_finished());
    drop(stream);
    assert_eq!(soon(third).await.unwrap().unwrap().status(), StatusCode::OK);
    server.shutdown.begin(std::time::Duration::ZERO);
    soon(server.task).await.unwrap();
}

#[tokio::test]
async fn each_version_can_be_had_alone() {
    let server = Server::start(layer().versions(Versions::Http1));
    let mut client = server.connect().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let answer = client.read_to_end().await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    server.end().await;

    let server = Server::start(layer().versions(Versions::Http2));
    let mut client = server.connect().await;
    client.get("/").await;
    let answer = client.read_to_end_bytes().await;
    assert!(!answer.starts_with(b"HTTP/1.1"), "{answer:?}");
    let (mut client, _connection) = server.http2().await;
    assert_eq!(soon(client.send_request(get("/"))).await.unwrap().status(), StatusCode::OK);
    drop(client);
    server.end().await;
}

/// The first bytes from a connection with this protocol negotiated, of a layer with the other version only.
async fn answer_of(negotiated: Negotiated, versions: Versions, request: &[u8]) -> Vec<u8> {
    let (mut client, io) = duplex(1024);
    let (handler, _opened) = handler();
    let mut connection = Connection::new(io);
    connection.extensions_mut().insert(negotiated);
    let server = tokio::spawn(layer().versions(versions).layer(handler).call(connection));
    soon(client.write_all(request)).await.expect("the server reads");
    let mut answer = vec![0; 1024];
    let count = soon(client.read(&mut answer)).await.expect("a duplex does not fail");
    answer.truncate(count);
    drop(client);
    // Many of these end in an error, and none in a panic.
    let _ = soon(server).await.expect("no panic");
    answer
}

#[tokio::test]
async fn the_negotiated_version_counts_whatever_the_first_bytes_are() {
    // The first frame in HTTP/2 is SETTINGS (RFC 9113, 3.4): type 4 on stream 0.
    let is_http2 = |answer: &[u8]| answer.get(3..9) == Some(&b"\x04\0\0\0\0\0"[..]);
    let http1 = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for versions in [Versions::Both, Versions::Http1, Versions::Http2] {
        let answer = answer_of(Negotiated::Http2, versions, http2).await;
        assert!(is_http2(&answer), "{answer:?} of {versions:?}");
        let answer = answer_of(Negotiated::Http2, versions, http1).await;
        assert!(!answer.starts_with(b"HTTP/1.1"), "{answer:?} of {versions:?}");

        let answer = answer_of(Negotiated::Http1, versions, http2).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
        let get = b"GET / HTTP/1.0\r\n\r\n";
        let answer = answer_of(Negotiated::Http1, versions, get).await;
        assert!(answer.starts_with(b"HTTP/1.0 200 OK\r\n"), "{answer:?} of {versions:?}");
    }
    assert_eq!(Negotiated::from_alpn(b"h2"), Some(Negotiated::Http2));
    assert_eq!(Negotiated::from_alpn(b"http/1.1"), Some(Negotiated::Http1));
    assert_eq!(Negotiated::from_alpn(b"h3"), None);
}

#[tokio::test]
async fn no_bytes_of_a_client_panic() {
    let server = Server::start(layer());
    let vectors: [&[u8]; 9] = [
        b"\0",
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x04\x08\0\0\0\0\x01\0\0\0\0",
    ];
    for bytes in vectors {
        let mut client = server.connect().await;
        client.send(bytes).await;
        client.finish().await;
        client.read_to_end_bytes().await;
    }
    let mut client = server.connect().await;
    client.get("/").await;
    client.read_until("hello").await;
    assert_eq!(server.connections.counts().panicked, 0);
    drop(client);
    server.end().await;
}
