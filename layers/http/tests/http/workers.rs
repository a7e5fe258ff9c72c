use std::collections::HashMap;
use std::convert::Infallible;
use std::num::NonZero;
use std::thread::{self, ThreadId};
use std::time::Duration;

use tailwater_http::{
    Connection, ConnectionLimit, ListenOptions, ServeOptions, Shutdown, Workers, WriteDeadline,
    serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tower::service_fn;

use crate::support::soon;

/// A byte that makes a connection panic.
const PANIC: u8 = b'!';

/// Each connection tells its thread after each byte that it reads, and then echoes the byte.
#[tokio::test]
async fn a_connection_stays_on_its_worker_through_panics_of_others_until_the_shutdown() {
    let workers = Workers::start(NonZero::new(2).unwrap()).unwrap();
    let (sender, mut threads) = mpsc::unbounded_channel::<ThreadId>();
    let service = service_fn(move |connection: Connection<WriteDeadline<TcpStream>>| {
        let sender = sender.clone();
        async move {
            let (mut io, _) = connection.into_parts();
            while let Ok(byte) = io.read_u8().await {
                assert_ne!(byte, PANIC);
                sender.send(thread::current().id()).unwrap();
                // A task of the connection runs on the same thread.
                let sender = sender.clone();
                let spawned = async move { sender.send(thread::current().id()) };
                tokio::spawn(spawned).await.unwrap().unwrap();
                io.write_u8(byte).await.unwrap();
            }
            Ok::<_, Infallible>(())
        }
    });
    let listener = ListenOptions::new().bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_address().unwrap();
    let shutdown = Shutdown::new();
    let connections = ConnectionLimit::new(6);
    let options = ServeOptions::new().connection_limit(connections.clone()).workers(&workers);
    let server = tokio::spawn(serve([listener], service, options, shutdown.clone()));

    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_u8(0).await.unwrap();
        assert_eq!(soon(client.read_u8()).await.unwrap(), 0);
        let thread = soon(threads.recv()).await.unwrap();
        assert_ne!(thread, thread::current().id());
        assert_eq!(soon(threads.recv()).await.unwrap(), thread, "that of its task");
        clients.push((client, thread));
    }
    let mut counts = HashMap::new();
    clients.iter().for_each(|(_, thread)| *counts.entry(*thread).or_insert(0) += 1);
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [3, 3]);

    let (mut panics, of_panic) = clients.pop().unwrap();
    panics.write_u8(PANIC).await.unwrap();
    assert!(soon(panics.read_u8()).await.is_err());
    soon(async {
        while connections.counts().panicked == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for (client, thread) in &mut clients {
        client.write_u8(1).await.unwrap();
        assert_eq!(soon(client.read_u8()).await.unwrap(), 1);
        assert_eq!(soon(threads.recv()).await.unwrap(), *thread);
        assert_eq!(soon(threads.recv()).await.unwrap(), *thread);
    }
    // Its slot is free again, and its permit, too.
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_u8(2).await.unwrap();
    assert_eq!(soon(client.read_u8()).await.unwrap(), 2);
    assert_eq!(soon(threads.recv()).await.unwrap(), of_panic);

    shutdown.begin(Duration::ZERO);
    soon(server).await.unwrap();
    clients.push((client, of_panic));
    for (mut client, _) in clients {
        assert_eq!(soon(client.read(&mut [0])).await.unwrap_or(0), 0, "dropped on both workers");
    }
    assert_eq!(connections.counts().open, 0);
}
