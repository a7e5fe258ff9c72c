//! How are the event streams of another server forwarded, and read without a gap?
//!
//! `cargo run -p tailwater-client --example relay` starts a server that breaks off each stream after two
//! events, a relay in front of it, and reads six events through the relay.
#![expect(clippy::print_stdout, reason = "shows what is read")]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tailwater_client::{EventSource, TcpConnector, UpstreamLayer};
use tailwater_sse::{BoxError, Event, Events, Rejection, Sse, SseLayer, Subscription, from_stream};
use tokio::net::TcpListener;
use tower::{Layer, Service, service_fn};

/// Serves one event stream on each connection.
async fn serve<S>(listener: TcpListener, service: Sse<S>) -> Result<(), BoxError>
where
    S: Service<Subscription> + Clone + Send + 'static,
    S::Response: Events + 'static,
    S::Error: Into<Rejection>,
    S::Future: Send,
{
    loop {
        let (socket, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).keep_alive(false);
            let served = builder.serve_connection(TokioIo::new(socket), service).await;
            if let Err(error) = served {
                println!("a client left: {error}");
            }
        });
    }
}

async fn listen() -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn show() -> Result<(), BoxError> {
    let (listener, address) = listen().await?;
    let source = service_fn(async |subscription: Subscription| {
        let seen: u32 = subscription.parse_last_event_id().unwrap_or(0);
        println!("server: a stream after {seen}");
        let next = stream::iter(seen.saturating_add(1)..seen.saturating_add(3));
        let ticks = next.map(|number| Event::data("tick").id(number.to_string()));
        Ok::<_, Rejection>(from_stream(ticks.map(Ok::<_, Infallible>)))
    });
    let retry = Duration::from_millis(300);
    tokio::spawn(serve(listener, SseLayer::new().retry(retry).layer(source)));

    let (listener, relay) = listen().await?;
    let base = format!("http://{address}").parse()?;
    let upstream = UpstreamLayer::new(base)?.layer(TcpConnector::new());
    tokio::spawn(serve(listener, SseLayer::new().layer(upstream)));

    let uri = format!("http://{relay}/ticks").parse()?;
    let mut ticks = EventSource::builder(uri).build()?;
    for _ in 0..6 {
        let tick = ticks.next().await.ok_or("the stream ended")??;
        println!("{} {}", tick.data_lossy(), String::from_utf8_lossy(ticks.last_event_id()));
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    tokio::time::timeout(Duration::from_secs(30), show()).await?
}
