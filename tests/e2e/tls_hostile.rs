//! Clients that do not mean to shake hands.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rustls::ClientConnection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval};

use crate::support::{Server, Version, raw, site, soon};

#[tokio::test]
async fn who_speaks_no_tls_is_closed_and_told_so_if_it_speaks_http() {
    let server = site().run().await;
    // In their own language, and nothing of the page.
    let http: fn(&[u8]) -> bool = |read| {
        read.starts_with(b"HTTP/1.1 400 ") && read.ends_with(b"\r\n\r\nThis port speaks HTTPS.\n")
    };
    // RFC 8446, 6: a record of type 21, fatal; or no word at all.
    let closed: fn(&[u8]) -> bool =
        |read| read.is_empty() || (read.starts_with(&[21, 3]) && read.get(5) == Some(&2));
    for (bytes, answered) in [
        (&b"GET /page.txt HTTP/1.1\r\nhost: localhost\r\n\r\n"[..], http),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", http),
        // So would a method begin.
        (b"SSH-2.0-client\r\n", http),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09", closed),
        // A record of a handshake, of a length that no record has.
        (b"\x16\x03\x01\xff\xff\x01\x00\xff\xfc", closed),
        // SSL 2.
        (b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80", closed),
    ] {
        let begun = Instant::now();
        let read = raw(server.address(), bytes, |_| false).await;
        let case = bytes.escape_ascii().to_string();
        assert!(answered(&read), "{case}: {}", read.escape_ascii());
        // Not by the deadline of a handshake.
        assert!(begun.elapsed() < Duration::from_secs(8), "{case}");
    }
    assert_eq!(server.get("/page.txt").send().await.text().await, "first");
}

/// How long a handshake may take, and what a loaded machine takes to see it.
const DEADLINE: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(10);

/// A ClientHello.
fn hello(server: &Server) -> Vec<u8> {
    let tls = server.tls().expect("it is encrypted");
    let mut connection =
        ClientConnection::new(Arc::new(tls.config()), tls.server_name()).expect("a connection");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("it is written");
    assert!(!connection.wants_write() && hello.len() > 100);
    hello
}

/// Says this at once, and no more; reads until it is closed, and how long that took.
async fn stops_after(server: &Server, said: &[u8]) -> Duration {
    let begun = Instant::now();
    let mut socket = TcpStream::connect(server.address()).await.expect("a connection");
    socket.write_all(said).await.expect("it is written");
    // Closed in whatever way.
    let _ = soon("the deadline", socket.read_to_end(&mut Vec::new())).await;
    begun.elapsed()
}

/// Says a byte of it every half a second.
async fn drips(server: &Server, said: &[u8]) -> Duration {
    let begun = Instant::now();
    let socket = TcpStream::connect(server.address()).await.expect("a connection");
    let (mut from, mut to) = socket.into_split();
    let mut pace = interval(Duration::from_millis(500));
    let mut read = Vec::new();
    let dripping = async {
        for byte in said {
            pace.tick().await;
            if to.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = dripping => {}
        _ = soon("the deadline", from.read_to_end(&mut read)) => {}
    }
    begun.elapsed()
}

#[tokio::test]
async fn hundreds_that_do_not_finish_are_closed_in_time_and_disturb_nobody() {
    let server = site().run().await;
    let hello = hello(&server);
    let half = &hello[..hello.len() / 2];
    let connected = server.http2().await;
    let silent = join_all((0..300).map(|_| stops_after(&server, b"")));
    let halves = join_all((0..50).map(|_| stops_after(&server, half)));
    let unfinished = join_all((0..50).map(|_| stops_after(&server, &hello)));
    let slow = join_all((0..20).map(|_| drips(&server, &hello)));
    let hostile = async { tokio::join!(silent, halves, unfinished, slow) };
    // Meanwhile others come and are served, as are those who were there.
    let others = async {
        let mut longest = Duration::ZERO;
        loop {
            let begun = Instant::now();
            for version in Version::BOTH {
                let answer = server.get("/page.txt").over(version).send().await;
                assert_eq!(answer.text().await, "first");
            }
            let answer = connected.get("/page.txt").send().await;
            assert_eq!(answer.text().await, "first");
            longest = longest.max(begun.elapsed());
            assert!(longest < Duration::from_secs(5), "{longest:?}");
        }
    };
    let (silent, halves, unfinished, slow) = tokio::select! {
        ended = hostile => ended,
        () = others => unreachable!("it goes on"),
    };
    for (case, ended) in
        [("silent", silent), ("halves", halves), ("unfinished", unfinished), ("slow", slow)]
    {
        for time in ended {
            // It is closed by the deadline, and not for another reason.
            assert!(time > DEADLINE - Duration::from_secs(1), "{case}: {time:?}");
            assert!(time < DEADLINE + SLACK, "{case}: {time:?}");
        }
    }
}
