//! How is a `Stream` served over hyper, and ended cleanly? The stream is a clock.
//!
//! `cargo run -p tailwater-sse --example clock`, then `curl -N http://127.0.0.1:8080/`; Ctrl-C ends the
//! streams within three seconds. The event id is the second, so that a client that reconnects receives the
//! seconds that it has missed, a minute at most.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{Stream, stream};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tailwater_sse::{BoxError, Drain, Event, Rejection, SseLayer, Subscription, from_stream};
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tower::{Layer, service_fn};

const DRAIN: Duration = Duration::from_secs(3);

/// The seconds after the last one that the client has seen.
fn clock(subscription: &Subscription) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
    let now = seconds();
    let seen = subscription.parse_last_event_id().unwrap_or(now);
    let seen: u64 = seen.clamp(now.saturating_sub(60), now);
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    stream::unfold((interval, seen), async |(mut interval, seen)| {
        while seen >= seconds() {
            interval.tick().await;
        }
        let second = (seen + 1).to_string();
        let event = Event::data(second.clone()).id(second);
        Some((Ok(event), (interval, seen + 1)))
    })
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let address: SocketAddr =
        std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:8080").parse()?;
    let listener = TcpListener::bind(address).await?;
    eprintln!("curl -N http://{}/", listener.local_addr()?);

    let drain = Drain::new();
    let layer = SseLayer::new().max_age(Duration::from_secs(3600)).drain(&drain);
    let source = service_fn(async |subscription: Subscription| {
        Ok::<_, Rejection>(from_stream(clock(&subscription)))
    });
    let service = TowerToHyperService::new(layer.layer(source));

    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .max_buf_size(64 << 10);
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: closing connections give some back.
                    eprintln!("cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            stopped = &mut stop => break stopped?,
        };
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("a connection closed at once: {error}");
            continue;
        }
        let connection =
            connections.watch(server.serve_connection(TokioIo::new(stream), service.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("a connection failed: {error}");
            }
        });
    }

    drop(listener);
    drain.start(DRAIN);
    let ended = tokio::time::timeout(DRAIN + Duration::from_secs(1), connections.shutdown()).await;
    if ended.is_err() {
        eprintln!("some clients did not take the end of their stream");
    }
    Ok(())
}
