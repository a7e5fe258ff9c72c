use std::time::Duration;

use tailwater_http::{Connection, ConnectionLimit, Error, ListenOptions, Versions};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, duplex};
use tokio::time::{Instant, sleep};
use tower::Service;
use tower_layer::Layer;

use crate::support::{Server, connection, get, handler, layer, soon};

const SHORT: Duration = Duration::from_millis(300);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn silent_client_is_cut() {
    let server = Server::start(layer().first_request_timeout(SHORT));
    assert_eq!(server.connect().await.read_to_end().await, "");
    server.end().await;
}

#[tokio::test]
async fn half_a_preface_is_cut() {
    let server = Server::start(layer().first_request_timeout(SHORT));
    let mut client = server.connect().await;
    client.send("PRI * HTTP/2.0\r\n").await;
    assert_eq!(client.read_to_end().await, "");
    server.end().await;
}

#[tokio::test]
async fn half_a_head_is_cut() {
    let server = Server::start(layer().first_request_timeout(SHORT));
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: local").await;
    assert_eq!(client.read_to_end().await, "");
    server.end().await;
}

#[tokio::test]
async fn http2_without_a_request_is_cut() {
    let server = Server::start(layer().first_request_timeout(SHORT));
    let (_sender, connection) = server.http2().await;
    soon(connection).await.unwrap();
    server.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_byte_a_second_does_not_move_the_deadline_of_the_first_request() {
    let vectors: [(&[u8], Versions); 4] = [
        (b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", Versions::Both),
        (b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", Versions::Http1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Versions::Both),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Versions::Http2),
    ];
    for (bytes, versions) in vectors {
        let start = Instant::now();
        let layer = layer().versions(versions).first_request_timeout(10 * SECOND);
        let (mut client, task) = connection(layer);
        for byte in bytes {
            if client.write_u8(*byte).await.is_err() {
                break;
            }
            sleep(SECOND).await;
        }
        let ended = task.await.unwrap();
        assert!(
            matches!(ended, Err(Error::FirstRequestTimeout(deadline)) if deadline == 10 * SECOND),
            "{ended:?} of {versions:?}"
        );
        assert!(start.elapsed() < 12 * SECOND, "{:?} of {versions:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn idle_keep_alive_is_closed_and_a_second_request_moves_it() {
    let start = Instant::now();
    let (mut client, task) = connection(layer().idle_timeout(60 * SECOND));
    for _ in 0..2 {
        client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 1024];
        let count = client.read(&mut answer).await.unwrap();
        assert!(answer[..count].ends_with(b"\r\n\r\nhello"));
        sleep(50 * SECOND).await;
    }
    // A part of a head is no request.
    client.write_all(b"GET / HT").await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    task.await.unwrap().unwrap();
    let lasted = start.elapsed();
    assert!((110 * SECOND..111 * SECOND).contains(&lasted), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn an_open_http1_stream_is_never_idle() {
    for path in ["/stream", "/events"] {
        let (mut client, io) = duplex(1024);
        let (handler, mut opened) = handler();
        let layer = layer().first_request_timeout(10 * SECOND).idle_timeout(60 * SECOND);
        let task = tokio::spawn(layer.layer(handler).call(Connection::new(io)));
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let mut stream = opened.recv().await.unwrap().stream();
        sleep(Duration::from_secs(24 * 60 * 60)).await;
        assert!(!task.is_finished());

        // The response ends late, and the client does not read the rest for longer than the idle timeout.
        stream.send_data(vec![b'x'; 4096].into()).await.unwrap();
        drop(stream);
        sleep(600 * SECOND).await;
        assert!(!task.is_finished());
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.ends_with(b"x\r\n0\r\n\r\n"));
        task.await.unwrap().unwrap();
    }
}

/// TLS takes bytes before the socket does. The connection once counted as idle when everything was written,
/// and was dropped with the bytes that the client had not taken yet.
#[tokio::test(start_paused = true)]
async fn bytes_in_a_buffer_of_the_byte_stream_are_not_dropped_as_idle() {
    let (client, io) = duplex(8);
    let (handler, _opened) = handler();
    let io = BufWriter::with_capacity(64 * 1024, io);
    let task =
        tokio::spawn(layer().idle_timeout(60 * SECOND).layer(handler).call(Connection::new(io)));
    let (mut reader, mut writer) = tokio::io::split(client);
    writer.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nhello") {
        sleep(30 * SECOND).await;
        let mut piece = [0; 8];
        let count = reader.read(&mut piece).await.unwrap();
        assert_ne!(count, 0, "{:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..count]);
    }
    // Then it is idle.
    assert_eq!(reader.read(&mut [0]).await.unwrap(), 0);
    task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn zero_is_no_deadline() {
    let (mut client, task) =
        connection(layer().first_request_timeout(Duration::ZERO).idle_timeout(Duration::ZERO));
    sleep(24 * 60 * 60 * SECOND).await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    sleep(24 * 60 * 60 * SECOND).await;
    assert!(!task.is_finished());
}

#[tokio::test]
async fn http2_without_streams_is_closed_and_one_with_a_stream_stays() {
    let mut server = Server::start(layer().idle_timeout(2 * SECOND));
    let (mut streaming, streaming_connection) = server.http2().await;
    let response = soon(streaming.send_request(get("/stream"))).await.unwrap();
    let mut stream = server.opened().await.stream();

    let (mut idle, idle_connection) = server.http2().await;
    soon(idle.send_request(get("/"))).await.unwrap();
    soon(idle_connection).await.unwrap();

    // The idle timeout of the second connection began after that of the first one would have.
    assert!(!streaming_connection.is_finished());
    soon(stream.send_data("late".into())).await.unwrap();
    drop(stream);
    let body = soon(http_body_util::BodyExt::collect(response.into_body())).await.unwrap();
    assert_eq!(body.to_bytes(), "late");
    // Without its stream it is idle as well, although the stream ended in another task.
    soon(streaming_connection).await.unwrap();
    server.end().await;
}

#[tokio::test]
async fn a_stalled_reader_is_closed_and_its_body_dropped() {
    for path in ["/endless", "/endless-events"] {
        let connections = ConnectionLimit::default();
        let listen = ListenOptions::new().send_buffer_bytes(Some(16 * 1024));
        let mut server = Server::start_with(layer(), listen, connections.clone(), SHORT);
        let mut client = server.connect_narrow().await;
        client.get(path).await;
        let dropped = server.opened().await.endless();
        soon(dropped).await.unwrap_err();
        let counts = connections.counts();
        assert_eq!((counts.stalled, counts.panicked), (1, 0));
        server.end().await;
    }
}

/// Reads pieces of this size for this time, with pauses that are shorter than the deadline. Returns the number of
/// stalled connections.
async fn stalled_by_a_slow_reader(
    path: &str,
    listen: ListenOptions,
    piece_bytes: usize,
    time: Duration,
) -> u64 {
    loop {
        let read = read_slowly(path, listen.clone(), piece_bytes, time).await;
        if let Some(stalled) = read {
            return stalled;
        }
    }
}

/// `None` if a pause was longer than the deadline because the machine was busy.
async fn read_slowly(
    path: &str,
    listen: ListenOptions,
    piece_bytes: usize,
    time: Duration,
) -> Option<u64> {
    const DEADLINE: Duration = Duration::from_millis(1200);
    let connections = ConnectionLimit::default();
    let mut server = Server::start_with(layer(), listen, connections.clone(), DEADLINE);
    let mut client = server.connect_narrow().await;
    client.get(path).await;
    let dropped = server.opened().await.endless();
    let start = Instant::now();
    let mut last_read = start;
    let mut piece = vec![0; piece_bytes];
    while start.elapsed() < time {
        let read = soon(client.io.read_exact(&mut piece)).await;
        if last_read.elapsed() >= DEADLINE {
            return None;
        }
        read.expect("the stream is open");
        last_read = Instant::now();
        sleep(SHORT / 3).await;
    }
    let stalled = connections.counts().stalled;
    if last_read.elapsed() >= DEADLINE {
        return None;
    }
    drop(client);
    soon(dropped).await.expect_err("the body is dropped");
    server.end().await;
    Some(stalled)
}

#[tokio::test]
async fn a_slow_reader_is_not_closed() {
    for path in ["/endless", "/endless-events"] {
        // All of it takes longer than the deadline, and each pause is shorter: this is a rate.
        let listen = ListenOptions::new().send_buffer_bytes(Some(16 * 1024));
        let stalled = stalled_by_a_slow_reader(path, listen, 32 * 1024, 10 * SHORT).await;
        assert_eq!(stalled, 0, "{path}");
    }
}

/// Linux reports room in the buffer of a socket only when a third of it is free. So a slow reader once
/// was closed although it took bytes. The buffer here is so large that this reader takes longer than one
/// deadline to free a third.
#[tokio::test]
async fn a_peer_that_reads_slower_than_the_kernel_reports_is_not_closed() {
    for path in ["/endless", "/endless-events"] {
        let listen = ListenOptions::new();
        let stalled = stalled_by_a_slow_reader(path, listen, 4 * 1024, 14 * SHORT).await;
        assert_eq!(stalled, 0, "{path}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_stream() {
    for path in ["/stream", "/events"] {
        let mut server = Server::start(layer());
        let mut client = server.connect().await;
        client.get(path).await;
        let mut stream = server.opened().await.stream();
        client.read_until("\r\n\r\n").await;
        drop(client);
        soon(async {
            while stream.send_data("x".into()).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        server.end().await;
    }
}
