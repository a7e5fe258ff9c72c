//! How does an axum server stream its own events, to clients that resume?
//!
//! `cargo run --example axum`, then `curl -N http://127.0.0.1:8080/messages`, and in another terminal
//! `curl -d hello http://127.0.0.1:8080/messages`; Ctrl-C ends the streams within three seconds.
//!
//! The messages are kept in an [`EventLog`] of 1 MiB. A client that reconnects with its last event id receives
//! the messages that it has missed. If they are not kept any more, it receives an event of type `gap` first.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::routing::get_service;
use http::StatusCode;
use tailwater::http::{HttpLayer, ListenOptions, ServeOptions, Shutdown, raise_open_files, serve};
use tailwater::sse::{Event, EventLog, SseLayer};
use tower::Layer as _;

const KEPT_BYTES: usize = 1 << 20;
const MESSAGE_BYTES: usize = 4096;
const DRAIN: Duration = Duration::from_secs(3);

/// Appends a message, which has ten seconds to arrive.
async fn post(State(log): State<EventLog>, body: Body) -> StatusCode {
    let body = tokio::time::timeout(Duration::from_secs(10), to_bytes(body, MESSAGE_BYTES));
    match body.await {
        Ok(Ok(message)) => {
            log.send(Event::data(message));
            StatusCode::NO_CONTENT
        }
        Ok(Err(_)) => StatusCode::PAYLOAD_TOO_LARGE,
        Err(_) => StatusCode::REQUEST_TIMEOUT,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:8080").parse()?;
    raise_open_files()?;

    let shutdown = Shutdown::new();
    let log = EventLog::new(KEPT_BYTES);
    let events = SseLayer::new().drain(&tailwater::drain(&shutdown)).layer(log.source());
    let router = Router::new().route("/messages", get_service(events).post(post)).with_state(log);

    // This replaces `axum::serve`, which never closes the connection of a silent client.
    let service = HttpLayer::new().shutdown(shutdown.clone()).layer(router);
    let listener = ListenOptions::new().bind(address)?;
    eprintln!("curl -N http://{}/messages", listener.local_address()?);
    let server = tokio::spawn(serve([listener], service, ServeOptions::new(), shutdown.clone()));

    tokio::signal::ctrl_c().await?;
    shutdown.begin(DRAIN);
    server.await?;
    Ok(())
}
