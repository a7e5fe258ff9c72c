use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use tailwater_sse::{Item, Message, Parser};
use tokio::task::coop;
use tokio::time::{Instant, Sleep};

use crate::connect::{BoxFuture, Connect};
use crate::exchange::{self, Body, Target};
use crate::options::Options;
use crate::{Error, backoff};

/// The length of a field's name, by which a line may be longer than the data of an event.
const FIELD_BYTES: usize = 16;

/// Reads an event stream, and reconnects whenever it is lost (HTML 9.2.3).
pub(crate) struct Reader {
    connector: Box<dyn Connect>,
    target: Target,
    options: Arc<Options>,
    parser: Parser,
    /// The id of the next request. The parser has none before the stream has sent one.
    last_event_id: Vec<u8>,
    retry: Duration,
    /// The number of connections in a row that brought nothing.
    failures: u32,
    /// Whether the stream was open before.
    was_open: bool,
    state: State,
}

enum State {
    Start,
    Opening(BoxFuture<Result<Body, Error>>),
    Open(Open),
    Waiting(Pin<Box<Sleep>>),
    Ended,
}

impl Reader {
    pub(crate) fn new(
        connector: impl Connect + 'static,
        target: Target,
        last_event_id: &[u8],
        options: Arc<Options>,
    ) -> Self {
        let parser = Parser::new()
            .max_event_bytes(options.max_event_bytes)
            .max_line_bytes(options.max_event_bytes.saturating_add(FIELD_BYTES));
        Self {
            connector: Box::new(connector),
            target,
            parser,
            last_event_id: last_event_id.to_vec(),
            retry: options.retry,
            failures: 0,
            was_open: false,
            state: State::Start,
            options,
        }
    }

    /// The id after which the next connection begins.
    pub(crate) fn last_event_id(&self) -> &[u8] {
        &self.last_event_id
    }

    /// Host and port of the server.
    pub(crate) fn server(&self) -> Option<&Authority> {
        self.target.uri.authority()
    }

    pub(crate) fn retry(&self) -> Duration {
        self.retry
    }

    /// Ready when the first response is an event stream. Any other response ends the reader.
    pub(crate) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            match &mut self.state {
                State::Start => self.open(),
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(body) => {
                        self.on_open(body);
                        return Poll::Ready(Ok(()));
                    }
                    Err(error) => {
                        self.state = State::Ended;
                        return Poll::Ready(Err(error));
                    }
                },
                State::Open(_) | State::Waiting(_) | State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// The next item, from any number of connections. `None` after `204 No Content`, and after an error.
    pub(crate) fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Item, Error>>> {
        loop {
            match &mut self.state {
                State::Start => self.open(),
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(body) => self.on_open(body),
                    Err(error) => {
                        if let Some(end) = self.on_lost(Some(error)) {
                            return Poll::Ready(end);
                        }
                    }
                },
                State::Open(open) => {
                    match self.parser.pull() {
                        Ok(Some(item)) => return Poll::Ready(Some(Ok(self.on_item(item)))),
                        Ok(None) => {}
                        Err(error) => {
                            self.state = State::Ended;
                            return Poll::Ready(Some(Err(error.into())));
                        }
                    }
                    match ready!(open.poll_piece(cx)) {
                        Some(Ok(piece)) => self.parser.push(&piece),
                        ended => {
                            if let Some(end) = self.on_lost(ended.and_then(Result::err)) {
                                return Poll::Ready(end);
                            }
                        }
                    }
                }
                State::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.options.reconnects.fetch_add(1, Relaxed);
                    self.open();
                }
                State::Ended => return Poll::Ready(None),
            }
        }
    }

    fn open(&mut self) {
        let connecting = self.connector.connect(self.target.uri.clone());
        let opening = exchange::open(connecting, &self.target, &self.last_event_id, &self.options);
        self.state = State::Opening(opening);
    }

    fn on_open(&mut self, body: Body) {
        self.was_open = true;
        self.state = State::Open(Open::new(body, &self.options));
    }

    fn on_item(&mut self, item: Item) -> Item {
        self.failures = 0;
        match item {
            // The bounds hold for this client's reconnects only. The item is forwarded unchanged.
            Item::Retry(retry) => {
                self.retry = retry.min(self.options.max_retry).max(self.options.min_retry);
            }
            Item::Id(ref id) | Item::Message(Message { id: Some(ref id), .. }) => {
                self.last_event_id.clear();
                self.last_event_id.extend_from_slice(id);
            }
            _ => {}
        }
        item
    }

    /// A connection has ended. Returns the last item of the stream, if no other connection follows.
    fn on_lost(&mut self, error: Option<Error>) -> Option<Option<Result<Item, Error>>> {
        match error {
            Some(Error::NoContent) => {
                self.state = State::Ended;
                return Some(None);
            }
            Some(error) if error.is_final() && !(self.was_open && error.is_passing()) => {
                self.state = State::Ended;
                return Some(Some(Err(error)));
            }
            _ => {}
        }
        let delay = backoff::delay(self.retry, self.failures, self.options.max_delay);
        let server = self.server().map(tracing::field::display);
        let error = error.as_ref().map(|error| error as &dyn std::error::Error);
        // One warning is enough until the server is back.
        if self.failures == 0 && error.is_some() {
            tracing::warn!(error, server, ?delay, "an event stream was lost, connecting again");
        } else {
            tracing::debug!(error, server, ?delay, "an event stream is over, connecting again");
        }
        self.failures = self.failures.saturating_add(1);
        self.parser.reconnect();
        self.state = State::Waiting(Box::pin(tokio::time::sleep(delay)));
        None
    }
}

/// Leaves out path and query, which may hold credentials.
impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Start => "start",
            State::Opening(_) => "opening",
            State::Open(_) => "open",
            State::Waiting(_) => "waiting",
            State::Ended => "ended",
        };
        f.debug_struct("Reader")
            .field("server", &self.server())
            .field("state", &state)
            .field("retry", &self.retry)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

/// A response that is an event stream.
struct Open {
    body: Body,
    idle: Option<Idle>,
}

struct Idle {
    timeout: Duration,
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Open {
    fn new(body: Body, options: &Options) -> Self {
        let idle = options.idle_timeout.map(|timeout| Idle {
            timeout,
            since: Instant::now(),
            timer: Box::pin(tokio::time::sleep(timeout)),
        });
        Self { body, idle }
    }

    /// A piece is polled before the timer, so that a slow reader does not lose a piece that arrived in
    /// time.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        // A server that sends only comments must not occupy a thread.
        let turn = ready!(coop::poll_proceed(cx));
        if let Poll::Ready(piece) = self.body.poll_piece(cx) {
            turn.made_progress();
            if let Some(idle) = &mut self.idle {
                idle.since = Instant::now();
            }
            return Poll::Ready(piece);
        }
        let Some(idle) = &mut self.idle else { return Poll::Pending };
        loop {
            ready!(idle.timer.as_mut().poll(cx));
            // A piece does not move the timer.
            match idle.since.checked_add(idle.timeout) {
                Some(due) if due > Instant::now() => idle.timer.as_mut().reset(due),
                _ => return Poll::Ready(Some(Err(Error::IdleTimeout))),
            }
        }
    }
}
