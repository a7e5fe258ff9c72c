//! How does an axum server stream what it learns itself, to clients that resume?
//!
//! `cargo run --example axum`, then `curl -N http://127.0.0.1:8080/messages`, and in another terminal
//! `curl -d hello http://127.0.0.1:8080/messages`; Ctrl-C ends the streams within three seconds.
//!
//! The messages are kept once, in a [`Hub`] of 1 MiB, for all who read them. A client that comes back
//! with its last event id is given what it missed; one that missed what is not kept any more begins
//! with the oldest message that is.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::routing::get_service;
use bytes::Bytes;
use http::StatusCode;
use tailwater::http::{HttpLayer, ListenOptions, ServeOptions, Shutdown, raise_open_files, serve};
use tailwater::hub::{Content, Cursor, Hub, Lost, Want};
use tailwater::sse::{
    BoxError, Drain, Encoded, Event, Events, Rejection, SseLayer, Subscription, encode_event,
};
use tower::{Layer as _, service_fn};

const KEPT_BYTES: usize = 1 << 20;
const MESSAGE_BYTES: usize = 4096;
const DRAIN: Duration = Duration::from_secs(3);

/// A place in the log is the number of the next message.
struct Messages;

impl Content for Messages {
    type Record = Bytes;
    type Mark = u64;
    type View = ();

    fn weight(&self, message: &Bytes) -> usize {
        message.len()
    }

    fn values(&self, _: &Bytes, _: &mut dyn FnMut(u64)) {}

    fn advance(&self, mark: &u64, messages: &[Bytes]) -> u64 {
        mark + messages.len() as u64
    }

    fn render(
        &self,
        (): &(),
        mark: &u64,
        messages: &[Bytes],
        out: &mut Vec<u8>,
        ends: &mut Vec<usize>,
    ) {
        for (number, message) in (*mark..).zip(messages) {
            let event = Event::data(message.clone()).id((number + 1).to_string());
            encode_event(&event, out);
            ends.push(out.len());
        }
    }
}

/// One client.
struct Reader {
    hub: Hub<Messages>,
    cursor: Cursor<Messages>,
}

impl Reader {
    fn new(hub: &Hub<Messages>, subscription: &Subscription) -> Self {
        let id = subscription.last_event_id().and_then(|id| str::from_utf8(id).ok()?.parse().ok());
        let cursor = match id {
            Some(id) => Self::from(hub, id),
            None => hub.tail(Want::All),
        };
        Self { hub: hub.clone(), cursor }
    }

    /// From this message on, or from the next one that is there.
    fn from(hub: &Hub<Messages>, id: u64) -> Cursor<Messages> {
        let from = id.clamp(hub.first(), hub.head());
        hub.seek(|mark| *mark <= from, Want::All).unwrap_or_else(|| hub.tail(Want::All))
    }
}

impl Events for Reader {
    fn poll_events(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Option<Result<Encoded, BoxError>>> {
        match ready!(self.cursor.poll_batch(cx, &(), limit)) {
            Ok(batch) => Poll::Ready(Some(Ok(Encoded::trusted(batch.into_bytes())))),
            Err(Lost::Closed) => Poll::Ready(None),
            // Too slow: it goes on with what is kept, and a comment says so.
            Err(lost) => {
                let first = self.hub.first();
                self.cursor = Self::from(&self.hub, first);
                Poll::Ready(Some(Ok(Encoded::comment(lost.to_string().as_bytes()))))
            }
        }
    }
}

/// Appends a message, which has ten seconds to arrive.
async fn post(State(hub): State<Hub<Messages>>, body: Body) -> StatusCode {
    let body = tokio::time::timeout(Duration::from_secs(10), to_bytes(body, MESSAGE_BYTES));
    match body.await {
        Ok(Ok(message)) => {
            hub.append(vec![message]);
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

    let hub = Hub::new(Messages, 0, KEPT_BYTES);
    let (shutdown, drain) = (Shutdown::new(), Drain::new());
    let readers = hub.clone();
    let source = service_fn(move |subscription: Subscription| {
        std::future::ready(Ok::<_, Rejection>(Reader::new(&readers, &subscription)))
    });
    let events = SseLayer::new().drain(&drain).layer(source);
    let router =
        Router::new().route("/messages", get_service(events).post(post)).with_state(hub.clone());

    // In place of `axum::serve`, which lets a client that says nothing stay as long as it likes.
    let service = HttpLayer::new().shutdown(shutdown.clone()).layer(router);
    let listener = ListenOptions::new().bind(address)?;
    eprintln!("curl -N http://{}/messages", listener.local_address()?);
    let server = tokio::spawn(serve([listener], service, ServeOptions::new(), shutdown.clone()));

    tokio::signal::ctrl_c().await?;
    drain.start(DRAIN.mul_f32(0.9));
    shutdown.begin(DRAIN);
    server.await?;
    Ok(())
}
