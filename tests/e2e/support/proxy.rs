//! A proxy that has the whole traffic of a client of the real Kafka, and may be slow, or carry nothing any
//! more.

use std::env;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, MutexGuard, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::{LOOK, soon};

/// Kafka advertises one address for it.
static ADDRESS: Mutex<()> = Mutex::const_new(());

/// How much is on its way in one direction of a connection, in pieces of up to 64 KiB.
const ON_THE_WAY: usize = 64;

pub(crate) struct Proxy {
    address: String,
    connections: Arc<AtomicU64>,
    /// The connections before this one carry nothing.
    silent: watch::Sender<u64>,
    accepts: JoinHandle<()>,
    _turn: MutexGuard<'static, ()>,
}

impl Proxy {
    /// Before the real Kafka.
    pub(crate) async fn start() -> Self {
        Self::distant(Duration::ZERO).await
    }

    /// As [`start`](Self::start), before a Kafka so far away: what is sent takes so long in either
    /// direction, and a connection takes a round trip.
    pub(crate) async fn distant(one_way: Duration) -> Self {
        let turn = ADDRESS.lock().await;
        let of = |name| env::var(name).expect("kafka.sh run sets it");
        let address = of("TAILWATER_TEST_KAFKA_PROXY");
        let kafka = of("TAILWATER_TEST_KAFKA_PROXIED");
        // The one before may not have left it yet.
        let free = async {
            loop {
                match TcpListener::bind(&address).await {
                    Ok(listener) => return listener,
                    Err(_) => sleep(LOOK).await,
                }
            }
        };
        let listener = soon("the advertised port", free).await;
        let connections = Arc::new(AtomicU64::new(0));
        let (silent, silenced) = watch::channel(0);
        let count = Arc::clone(&connections);
        let accepts = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let Ok(broker) = TcpStream::connect(&kafka).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_broker, to_broker) = broker.into_split();
                let silenced = silenced.clone();
                tokio::spawn(async move {
                    sleep(2 * one_way).await;
                    tokio::join!(
                        carry(from_client, to_broker, number, silenced.clone(), one_way),
                        carry(from_broker, to_client, number, silenced, one_way),
                    )
                });
            }
        });
        Self { address, connections, silent, accepts, _turn: turn }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The connections that are there stay open, and carry nothing any more. New ones do.
    pub(crate) fn silence(&self) {
        self.silent.send_replace(self.connections.load(Ordering::SeqCst));
    }

    /// As [`silence`](Self::silence), and new ones carry nothing either until it is called.
    pub(crate) fn silence_all(&self) {
        self.silent.send_replace(u64::MAX);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

async fn carry(
    from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    mut silent: watch::Receiver<u64>,
    one_way: Duration,
) -> io::Result<()> {
    let (sent, mut on_the_way) = mpsc::channel(ON_THE_WAY);
    tokio::spawn(take(from, sent));
    while let Some((at, bytes)) = on_the_way.recv().await {
        sleep_until(at + one_way).await;
        // Until the test ends.
        if silent.wait_for(|silent| *silent <= number).await.is_err() {
            break;
        }
        to.write_all(&bytes).await?;
    }
    Ok(())
}

/// Takes what is sent, with the time at which it was.
async fn take(mut from: OwnedReadHalf, sent: mpsc::Sender<(Instant, Vec<u8>)>) -> io::Result<()> {
    loop {
        let mut bytes = vec![0; 64 * 1024];
        let count = from.read(&mut bytes).await?;
        bytes.truncate(count);
        if count == 0 || sent.send((Instant::now(), bytes)).await.is_err() {
            return Ok(());
        }
    }
}
