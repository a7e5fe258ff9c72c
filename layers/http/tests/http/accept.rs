use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use tailwater_http::{
    Accept, ConnectionLimit, ListenOptions, ServeOptions, Shutdown, raise_open_files, serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tower_layer::Layer;

use crate::support::{FAR, Server, handler, layer, soon};

#[tokio::test]
async fn requests_know_their_peer() {
    let server = Server::start(layer());
    let mut client = server.connect().await;
    client.get("/peer").await;
    let address = client.io.local_addr().unwrap();
    client.read_until(&format!("\r\n\r\n{address}")).await;
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn connections_over_the_cap_are_closed_at_once_and_places_come_back() {
    let connections = ConnectionLimit::new(2);
    let server = Server::start_with(layer(), ListenOptions::new(), connections.clone(), FAR);
    let mut inside = [server.connect().await, server.connect().await];
    for client in &mut inside {
        client.get("/").await;
        client.read_until("hello").await;
    }
    for _ in 0..3 {
        assert_eq!(server.connect().await.read_to_end().await, "");
    }
    let counts = connections.counts();
    assert_eq!((counts.open, counts.accepted, counts.refused), (2, 2, 3));

    let [left, mut stays] = inside;
    drop(left);
    soon(async {
        while connections.counts().open == 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut client = server.connect().await;
    for client in [&mut client, &mut stays] {
        client.get("/").await;
        client.read_until("hello").await;
    }
    drop((client, stays));
    server.end().await;
}

/// A listener that returns the given errors and connections, and reports each call with its time.
struct Injected {
    script: VecDeque<io::Error>,
    asked: mpsc::UnboundedSender<Instant>,
    connections: mpsc::UnboundedReceiver<DuplexStream>,
}

impl Accept for Injected {
    type Io = DuplexStream;

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(DuplexStream, SocketAddr)>> {
        if let Some(error) = self.script.pop_front() {
            self.asked.send(Instant::now()).ok();
            return Poll::Ready(Err(error));
        }
        match self.connections.poll_recv(cx) {
            Poll::Ready(Some(io)) => {
                self.asked.send(Instant::now()).ok();
                Poll::Ready(Ok((io, ([192, 0, 2, 1], 1).into())))
            }
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

const OUT_OF_FILES: i32 = 24; // EMFILE

/// The times of the calls, from the start on, until the connection after the errors was accepted.
async fn asked_at(script: Vec<io::Error>) -> (Vec<Duration>, u64) {
    let (asked, mut times) = mpsc::unbounded_channel();
    let (connect, receiver) = mpsc::unbounded_channel();
    let errors = script.len();
    let listener = Injected { script: script.into(), asked, connections: receiver };
    let (mut client, io) = duplex(1024);
    connect.send(io).expect("the listener lives");

    let (handler, _opened) = handler();
    let connections = ConnectionLimit::default();
    let options = ServeOptions::new().connection_limit(connections.clone());
    let shutdown = Shutdown::new();
    let service = layer().shutdown(shutdown.clone()).layer(handler);
    let start = Instant::now();
    let server = tokio::spawn(serve([listener], service, options, shutdown.clone()));
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.expect("it is accepted");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.ends_with("hello"), "{answer}");
    shutdown.begin(FAR);
    server.await.expect("no panic");

    let mut all = Vec::new();
    while let Some(time) = times.recv().await {
        all.push(time - start);
    }
    assert_eq!(all.len(), errors + 1);
    (all, connections.counts().accept_errors)
}

#[tokio::test(start_paused = true)]
async fn out_of_files_backs_off_and_goes_on() {
    let script = (0..7).map(|_| io::Error::from_raw_os_error(OUT_OF_FILES)).collect();
    let (times, errors) = asked_at(script).await;
    let waits: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    for (wait, expected) in waits.iter().zip([50, 100, 200, 400, 800, 1000, 1000]) {
        assert!((expected..expected + 3).contains(wait), "{waits:?}");
    }
    assert_eq!(errors, 7);
}

#[tokio::test(start_paused = true)]
async fn errors_of_one_connection_are_skipped() {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied};
    let kinds = [ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied];
    let script = (0..1000).map(|index: usize| kinds[index % 4].into()).collect();
    let (times, errors) = asked_at(script).await;
    assert!(times.iter().all(|time| time.is_zero()), "{times:?}");
    assert_eq!(errors, 1000);
}

#[tokio::test]
async fn several_listeners_have_their_turn() {
    let listeners =
        [(); 3].map(|()| ListenOptions::new().bind(([127, 0, 0, 1], 0).into()).unwrap());
    let addresses: Vec<_> =
        listeners.iter().map(|listener| listener.local_address().unwrap()).collect();
    let (handler, _opened) = handler();
    let shutdown = Shutdown::new();
    let service = layer().shutdown(shutdown.clone()).layer(handler);
    let server = tokio::spawn(serve(listeners, service, ServeOptions::new(), shutdown.clone()));
    for address in addresses {
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        soon(client.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.ends_with("hello"));
    }
    shutdown.begin(FAR);
    soon(server).await.unwrap();
}

#[test]
fn open_files_are_raised_to_the_hard_limit() {
    let first = raise_open_files().unwrap();
    assert_eq!(raise_open_files().unwrap(), first);
    #[cfg(target_os = "linux")]
    {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let mut numbers = line.split_whitespace().skip(3);
        assert_eq!(numbers.next(), numbers.next(), "{line}");
    }
}
