//! Clients that stall, flood, or speak another protocol.

use std::time::Duration;

use tailwater_tls::{ClientOptions, ConnectLayer, Credentials, Error, ServerOptions, TlsLayer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::time::Instant;
use tower::{Layer as _, ServiceExt as _};

use crate::support::{accept, client, connector, localhost, server};

fn layer() -> TlsLayer {
    TlsLayer::new(server(localhost().0, ServerOptions::new()))
}

/// The complete first message of a client.
async fn client_hello() -> Vec<u8> {
    let (_, roots) = localhost();
    let client = client(Credentials::new().roots(roots), ClientOptions::new());
    let (io, mut peer) = duplex(64 * 1024);
    let connecting = ConnectLayer::new(client).layer(connector(io));
    let connecting = tokio::spawn(connecting.oneshot("https://localhost".parse().expect("a URI")));
    let mut hello = vec![0; 5];
    peer.read_exact(&mut hello).await.expect("a ClientHello");
    hello.resize(5 + usize::from(u16::from_be_bytes([hello[3], hello[4]])), 0);
    peer.read_exact(&mut hello[5..]).await.expect("a ClientHello");
    drop(peer);
    assert!(matches!(connecting.await.expect("no panic"), Err(Error::Closed)));
    hello
}

#[tokio::test(start_paused = true)]
async fn a_stalled_handshake_is_cut_at_the_deadline() {
    let hello = client_hello().await;
    // Nothing; half a record; the whole record and no response to the server.
    for sent in [0, 1, 100, hello.len()] {
        let (io, mut peer) = duplex(64 * 1024);
        peer.write_all(&hello[..sent]).await.unwrap();
        let begun = Instant::now();
        let refused = accept(layer(), io).await.unwrap_err();
        assert!(
            matches!(refused, Error::HandshakeTimeout(after) if after.as_secs() == 10),
            "{refused:?}"
        );
        assert_eq!(begun.elapsed().as_secs(), 10, "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_now_and_then_does_not_move_the_deadline() {
    let hello = client_hello().await;
    let (io, mut peer) = duplex(64 * 1024);
    let begun = Instant::now();
    let drip = async {
        for byte in hello {
            tokio::time::sleep(Duration::from_millis(900)).await;
            if peer.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    };
    let layer = layer().handshake_timeout(Duration::from_secs(3));
    let (refused, ()) = tokio::join!(accept(layer, io), drip);
    assert!(matches!(refused, Err(Error::HandshakeTimeout(_))), "{refused:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_a_client_has_all_day() {
    let (credentials, roots) = localhost();
    let server = server(credentials, ServerOptions::new());
    let client = client(Credentials::new().roots(roots), ClientOptions::new());
    let (io, peer) = duplex(64 * 1024);
    let accepting = accept(TlsLayer::new(server).handshake_timeout(Duration::ZERO), io);
    let connecting = async {
        tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
        crate::support::connect(ConnectLayer::new(client), "localhost", peer).await
    };
    let (accepted, connected) = tokio::join!(accepting, connecting);
    accepted.unwrap();
    connected.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_does_not_wait_for_a_silent_server() {
    let (_, roots) = localhost();
    let client = client(Credentials::new().roots(roots), ClientOptions::new());
    let (io, _peer) = duplex(64 * 1024);
    let begun = Instant::now();
    let connecting = ConnectLayer::new(client).layer(connector(io));
    let refused = connecting.oneshot("https://localhost".parse().unwrap()).await;
    assert!(matches!(refused, Err(Error::HandshakeTimeout(_))));
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn more_bytes_than_a_handshake_takes_are_refused() {
    // One long message. Empty records would be another error, of rustls.
    let mut flood = vec![22, 3, 1, 64, 0, 1, 0, 255, 0];
    flood.resize(5 + 16 * 1024, 0);
    for (bound, reached) in [(1000, true), (100_000, false)] {
        let (io, mut peer) = duplex(64 * 1024);
        peer.write_all(&flood).await.unwrap();
        let refused = accept(layer().max_handshake_bytes(bound), io).await;
        match (refused, reached) {
            (Err(Error::HandshakeBytes(bytes)), true) => assert_eq!(bytes, bound),
            (Err(Error::HandshakeTimeout(_)), false) => {}
            (other, _) => panic!("{bound}: {other:?}"),
        }
    }
    // A limit of exactly the number of bytes is not reached.
    let hello = client_hello().await;
    for (bound, refused) in [(hello.len() - 1, true), (hello.len(), false)] {
        let (io, mut peer) = duplex(64 * 1024);
        peer.write_all(&hello).await.unwrap();
        let (accepted, answer) =
            tokio::join!(accept(layer().max_handshake_bytes(bound), io), async {
                peer.read_u8().await.ok()
            });
        assert!(accepted.is_err());
        assert_eq!(answer, (!refused).then_some(22), "{accepted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plaintext_client_is_told_so() {
    for request in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let (io, mut peer) = duplex(64 * 1024);
        peer.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let reading = async {
            peer.read_to_string(&mut answer).await.unwrap();
            drop(peer);
        };
        let (refused, ()) = tokio::join!(accept(layer(), io), reading);
        assert!(matches!(refused, Err(Error::NotTls)), "{refused:?}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_neither_tls_nor_http_is_closed_without_a_word() {
    // SSH, SSL 2, an alert, PostgreSQL's request for TLS.
    for bytes in [&b"ssh"[..], b"\x80\x2e\x01", b"\x15\x03\x03", b"\0\0\0\x08\x04\xd2\x16\x2f"] {
        let (io, mut peer) = duplex(1024);
        peer.write_all(bytes).await.unwrap();
        let refused = accept(layer(), io).await;
        assert!(matches!(refused, Err(Error::NotTls)), "{bytes:?} {refused:?}");
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"", "{bytes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_known_to_have_left() {
    let hello = client_hello().await;
    for sent in [0, 1, 100, hello.len()] {
        let (io, mut peer) = duplex(64 * 1024);
        peer.write_all(&hello[..sent]).await.unwrap();
        peer.shutdown().await.unwrap();
        let refused = accept(layer(), io).await;
        assert!(matches!(refused, Err(Error::Closed)), "{sent} {refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_none_are_refused_at_once() {
    for bytes in [
        &[22, 3, 1, 0, 4, 99, 0, 0, 0][..], // a message of an unknown type
        &[22, 3, 1, 0, 4, 1, 0, 0, 0],      // an empty ClientHello
        &[22, 3, 1, 0, 0, 22, 3, 1, 0, 0],  // empty records
        &[22, 3, 1, 255, 255, 1],           // a record that is too long
        &[22, 3, 1, 0, 4, 1, 255, 255, 255], // a message of 16 MiB
        &[22, 3, 1, 0, 4, 1, 0, 0, 9, 23, 3, 3, 0, 1, 0], // another type within the message
        b"\x16GET / HTTP/1.1\r\n\r\n",
    ] {
        let (io, mut peer) = duplex(64 * 1024);
        peer.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let (refused, read) = tokio::join!(accept(layer(), io), async {
            let read = peer.read_to_end(&mut rest).await;
            drop(peer);
            read
        });
        read.unwrap();
        assert!(matches!(refused, Err(Error::Handshake(_))), "{bytes:?} {refused:?}");
    }
}

/// A rejected client has time to read the reason, and not more.
#[tokio::test(start_paused = true)]
async fn a_refused_client_cannot_stay() {
    // It neither reads nor closes the connection.
    let (io, mut peer) = duplex(1024);
    peer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    assert!(matches!(accept(layer(), io).await, Err(Error::NotTls)));
    assert_eq!(begun.elapsed().as_secs(), 1);

    // It continues to send.
    let (io, mut peer) = duplex(1024);
    let mut sent = 0;
    let flood = async {
        while peer.write_all(&[b'A'; 1000]).await.is_ok() {
            sent += 1000;
        }
    };
    let begun = Instant::now();
    let (refused, ()) = tokio::join!(accept(layer(), io), flood);
    assert!(matches!(refused, Err(Error::NotTls)));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert!((64_000..70_000).contains(&sent), "{sent}");
}
