//! Real sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::Uri;
use tailwater_client::{EventSource, TcpConnector};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tower::{Service, ServiceExt};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata:x\n\n";

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("in ten seconds")
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket");
    let address = listener.local_addr().expect("a socket");
    (listener, address)
}

/// Answers the next request with an event. Returns the connection.
async fn answer(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = listener.accept().await.expect("a socket");
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(socket.read_u8().await.expect("a socket"));
    }
    socket.write_all(HEAD).await.expect("a socket");
    socket
}

#[tokio::test]
async fn a_stream_over_tcp_is_read_and_closed_when_it_is_dropped() {
    let (listener, address) = listener().await;
    // By an address, by a name, and by the address of the connector.
    let fixed = TcpConnector::new().address(address.to_string().parse().unwrap());
    for (connector, uri) in [
        (TcpConnector::new(), format!("http://{address}/")),
        (TcpConnector::new(), format!("http://localhost:{}/", address.port())),
        (fixed, "https://events.invalid/".to_owned()),
    ] {
        let mut source =
            EventSource::builder(uri.parse().unwrap()).connector(connector).build().unwrap();
        let serve = answer(&listener);
        let (event, mut socket) = soon(async { tokio::join!(source.next(), serve) }).await;
        assert_eq!(event.unwrap().unwrap().data, "x", "{uri}");
        drop(source);
        assert_eq!(soon(socket.read(&mut [0])).await.unwrap(), 0, "{uri}");
    }
}

/// The invariant: dropping the stream closes the connection whatever the peer does. A task that first wrote
/// a closing frame to a peer that does not read would never end.
#[tokio::test]
async fn a_connection_is_closed_while_its_peer_floods_it() {
    let (listener, address) = listener().await;
    let uri = format!("http://{address}/").parse().unwrap();
    let mut source = EventSource::builder(uri).build().unwrap();
    let serve = answer(&listener);
    let (event, mut socket) = soon(async { tokio::join!(source.next(), serve) }).await;
    event.unwrap().unwrap();
    let flood = tokio::spawn(async move { while socket.write_all(&[b':'; 4096]).await.is_ok() {} });
    drop(source);
    soon(flood).await.unwrap();
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_given_up_at_the_timeout() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    // Connections that are not accepted, until the backlog is full.
    let mut waiting = Vec::new();
    while let Ok(connection) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        waiting.push(connection.unwrap());
    }
    let uri = format!("http://{address}/").parse::<Uri>().unwrap();
    let mut connector = TcpConnector::new().connect_timeout(Duration::from_millis(100));
    let connecting = connector.ready().await.unwrap().call(uri);
    let error = soon(connecting).await.unwrap_err();
    assert!(error.to_string().contains("connect"), "{error}");
}
