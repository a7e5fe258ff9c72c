//! A proxy that has the whole traffic of a client of the real Kafka, and may carry nothing any more.

use std::env;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::task::JoinHandle;

use super::{LOOK, soon};

/// Kafka advertises one address for it.
static ADDRESS: Mutex<()> = Mutex::const_new(());

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
        let turn = ADDRESS.lock().await;
        let of = |name| env::var(name).expect("kafka.sh run sets it");
        let (address, kafka) =
            (of("TAILWATER_TEST_KAFKA_PROXY"), of("TAILWATER_TEST_KAFKA_PROXIED"));
        // The one before may not have left it yet.
        let free = async {
            loop {
                match TcpListener::bind(&address).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::time::sleep(LOOK).await,
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
                tokio::spawn(carry(from_client, to_broker, number, silenced.clone()));
                tokio::spawn(carry(from_broker, to_client, number, silenced.clone()));
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
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    mut silent: watch::Receiver<u64>,
) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        // Until the test ends.
        if silent.wait_for(|silent| *silent <= number).await.is_err() || count == 0 {
            return Ok(());
        }
        to.write_all(&bytes[..count]).await?;
    }
}
