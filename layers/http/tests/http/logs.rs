//! The log lines that clients can cause.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tailwater_http::{Accept, ConnectionLimit, ServeOptions, Shutdown, serve};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::advance;
use tower_layer::Layer;
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber, set_default};

use crate::support::{FAR, handler, layer, soon};

/// The lines logged at WARN and ERROR.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn subscribe(&self) -> (DefaultGuard, Dispatch) {
        // With one subscriber only, a line of code that the thread of another test reaches first would
        // never be logged by any thread.
        let another = Dispatch::new(NoSubscriber::new());
        let lines = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer(move || lines.clone())
            .finish();
        (set_default(subscriber), another)
    }

    fn all(&self) -> Vec<String> {
        let bytes = self.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A listener that returns what is sent to it.
struct Given(mpsc::UnboundedReceiver<io::Result<DuplexStream>>);

impl Accept for Given {
    type Io = DuplexStream;

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(DuplexStream, SocketAddr)>> {
        match self.0.poll_recv(cx) {
            Poll::Ready(Some(given)) => {
                Poll::Ready(given.map(|io| (io, ([192, 0, 2, 1], 1).into())))
            }
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

struct Flood {
    connections: ConnectionLimit,
    give: mpsc::UnboundedSender<io::Result<DuplexStream>>,
    shutdown: Shutdown,
    server: JoinHandle<()>,
}

impl Flood {
    fn start(connections: ConnectionLimit) -> Self {
        let (give, given) = mpsc::unbounded_channel();
        let (handler, _opened) = handler();
        let options = ServeOptions::new().connection_limit(connections.clone());
        let shutdown = Shutdown::new();
        let service = layer().shutdown(shutdown.clone()).layer(handler);
        let server = tokio::spawn(serve([Given(given)], service, options, shutdown.clone()));
        Self { connections, give, shutdown, server }
    }

    /// A client that connects.
    fn connect(&self) -> DuplexStream {
        let (client, io) = duplex(1024);
        self.give.send(Ok(io)).expect("it listens");
        client
    }

    fn out_of_files(&self) {
        const EMFILE: i32 = 24;
        self.give.send(Err(io::Error::from_raw_os_error(EMFILE))).expect("it listens");
    }

    /// Waits until the counters satisfy a condition.
    async fn until(&self, so: impl Fn(tailwater_http::ConnectionCounts) -> bool) {
        soon(async {
            while !so(self.connections.counts()) {
                yield_now().await;
            }
        })
        .await;
    }

    async fn end(self) {
        self.shutdown.begin(FAR);
        soon(self.server).await.expect("no panic");
    }
}

/// 120 clients at a limit of 60 open files once caused 82 lines in 10 ms: after each accept that succeeded
/// the next failure counted as a first one.
#[tokio::test(start_paused = true)]
async fn a_shortage_of_files_that_comes_and_goes_is_told_once() {
    let lines = Lines::default();
    let _guard = lines.subscribe();
    let flood = Flood::start(ConnectionLimit::default());
    for round in 1..=100 {
        flood.out_of_files();
        flood.until(|counts| counts.accept_errors == round).await;
        drop(flood.connect());
        advance(Duration::from_millis(50)).await;
        flood.until(|counts| counts.accepted == round && counts.open == 0).await;
    }
    let told = lines.all();
    let [first] = &told[..] else { panic!("{told:?}") };
    assert!(first.contains("ERROR") && first.contains("earlier=0"), "{first}");

    advance(Duration::from_secs(10)).await;
    flood.out_of_files();
    flood.until(|counts| counts.accept_errors == 101).await;
    let told = lines.all();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].contains("earlier=99"), "{told:?}");
    flood.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_cap_that_is_reached_again_and_again_is_told_once() {
    let lines = Lines::default();
    let _guard = lines.subscribe();
    let flood = Flood::start(ConnectionLimit::new(1));
    for round in 1..=100 {
        let stays = flood.connect();
        let _refused = flood.connect();
        flood.until(|counts| (counts.accepted, counts.refused) == (round, round)).await;
        drop(stays);
        flood.until(|counts| counts.open == 0).await;
    }
    let told = lines.all();
    let [first] = &told[..] else { panic!("{told:?}") };
    assert!(first.contains("WARN") && first.contains("cap=1 earlier=0"), "{first}");

    advance(Duration::from_secs(10)).await;
    let _stays = flood.connect();
    let _refused = flood.connect();
    flood.until(|counts| counts.refused == 101).await;
    let told = lines.all();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].contains("earlier=99"), "{told:?}");
    flood.end().await;
}
