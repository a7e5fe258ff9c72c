use std::convert::Infallible;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use tailwater_http::{
    Connection, ListenOptions, ServeOptions, Shutdown, Spillover, WriteDeadline, serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tower::service_fn;

use crate::support::soon;

/// A server whose connections send the name of their runtime, and then read until they are dropped.
#[tokio::test]
async fn connections_above_the_bound_run_on_the_secondary_runtime() {
    let mut builder = Builder::new_multi_thread();
    let secondary =
        builder.worker_threads(1).thread_name("secondary").enable_all().build().unwrap();
    let spillover = Spillover::new(secondary.handle(), NonZero::<usize>::MIN, 2);
    let service = service_fn(async |connection: Connection<WriteDeadline<TcpStream>>| {
        let (mut io, _) = connection.into_parts();
        let on_secondary = thread::current().name() == Some("secondary");
        let told: &[u8] = if on_secondary { b"secondary" } else { b"own" };
        io.write_all(told).await.unwrap();
        while io.read_u8().await.is_ok() {}
        Ok::<_, Infallible>(())
    });
    let listener = ListenOptions::new().bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_address().unwrap();
    let shutdown = Shutdown::new();
    let options = ServeOptions::new().spillover(spillover);
    let server = tokio::spawn(serve([listener], service, options, shutdown.clone()));

    let mut clients = Vec::new();
    let mut told = Vec::new();
    for _ in 0..6 {
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut bytes = [0; 16];
        let count = soon(client.read(&mut bytes)).await.unwrap();
        told.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
        clients.push(client);
    }
    assert_eq!(told, ["own", "own", "secondary", "secondary", "own", "secondary"]);

    shutdown.begin(Duration::ZERO);
    soon(server).await.unwrap();
    for mut client in clients {
        assert_eq!(
            soon(client.read(&mut [0])).await.unwrap_or(0),
            0,
            "it is dropped, wherever it ran"
        );
    }
    secondary.shutdown_background();
}
