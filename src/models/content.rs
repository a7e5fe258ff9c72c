//! Models for the data of events, for each stream by itself.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::future::FutureExt as _;
use futures_util::future::Map;
use pin_project_lite::pin_project;
use tailwater_schema::catalog::Waiter;
use tailwater_schema::{Input, Model, Outcome};
use tailwater_sse::{
    BoxError, Encoded, EventRef, Events, Item, Message, Parser, Subscription, encode_comment,
    encode_event, encode_id,
};
use tower::{Layer, Service};
use tracing::{debug, warn};

use crate::config::PathExpression;

/// Beside its data, an event has an id, a type and the names of its fields.
const FRAME_BYTES: usize = 64 * 1024;
/// So often an event is judged again in one poll, if its schema seems to be known and is not.
const MOST_ATTEMPTS: usize = 8;
/// What tailwater itself sends in a stream of a topic. No model judges it.
const OWN: [&[u8]; 4] = [b"delete", b"gap", b"live", b"challenge"];

/// The models of an `sse` binding, by the path of requests.
#[derive(Clone, Debug)]
pub(crate) struct Contents(pub(crate) Arc<[(PathExpression, Model)]>);

/// How a model is applied to the events of a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContentOptions {
    /// Whether events with a type of tailwater's own pass.
    pub(crate) of_topic: bool,
    /// Whether the id of an event that is left out is sent alone.
    pub(crate) positions: bool,
    /// The largest data of an event.
    pub(crate) max_bytes: usize,
}

/// Applies the model of the first path that matches a request.
#[derive(Clone, Debug)]
pub(crate) struct ContentLayer {
    contents: Contents,
    options: ContentOptions,
}

impl ContentLayer {
    pub(crate) fn new(contents: Contents, options: ContentOptions) -> Self {
        Self { contents, options }
    }
}

impl ContentLayer {
    /// A layer that leaves all events as they are.
    pub(crate) fn none(options: ContentOptions) -> Self {
        Self::new(Contents(Arc::default()), options)
    }
}

impl<S> Layer<S> for ContentLayer {
    type Service = ContentService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ContentService { inner, contents: self.contents.clone(), options: self.options }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ContentService<S> {
    inner: S,
    contents: Contents,
    options: ContentOptions,
}

/// Wraps the events of a response.
type Wrap<E, F> = Box<dyn FnOnce(Result<E, F>) -> Result<Content<E>, F> + Send>;

impl<S> Service<Subscription> for ContentService<S>
where
    S: Service<Subscription>,
    S::Response: Events + 'static,
    S::Error: 'static,
{
    type Response = Content<S::Response>;
    type Error = S::Error;
    type Future = Map<S::Future, Wrap<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, subscription: Subscription) -> Self::Future {
        let path = subscription.parts().uri.path();
        let found = self.contents.0.iter().find(|(expression, _)| expression.matches(path));
        let judge = found.map(|(_, model)| Judge::new(model.clone(), path, self.options));
        let wrap: Wrap<_, _> =
            Box::new(move |answer| answer.map(|events| Content { events, judge }));
        self.inner.call(subscription).map(wrap)
    }
}

pin_project! {
    /// Events whose data fits a model.
    pub(crate) struct Content<E> {
        #[pin]
        events: E,
        judge: Option<Judge>,
    }
}

/// Applies a model to encoded events.
struct Judge {
    model: Model,
    path: String,
    options: ContentOptions,
    parser: Parser,
    /// Events to be sent.
    out: BytesMut,
    /// The next event, whose schema is not known yet.
    waiting: Option<(Message, Waiter)>,
    buffer: Vec<u8>,
    has_warned: bool,
}

impl Judge {
    fn new(model: Model, path: &str, options: ContentOptions) -> Self {
        let limit = options.max_bytes.saturating_add(FRAME_BYTES);
        Self {
            model,
            path: path.to_owned(),
            options,
            parser: Parser::new().max_line_bytes(limit).max_event_bytes(limit),
            out: BytesMut::new(),
            waiting: None,
            buffer: Vec::new(),
            has_warned: false,
        }
    }

    /// Takes what is to be sent, at most `limit` bytes.
    fn take(&mut self, limit: usize) -> Option<Encoded> {
        match self.out.len() {
            0 => None,
            length if length <= limit => Some(Encoded::trusted(self.out.split().freeze())),
            _ => Some(Encoded::part(self.out.split_to(limit.max(1)).freeze())),
        }
    }

    /// Judges the events that were pushed, until there is one to be sent.
    fn poll_out(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<Result<(), BoxError>> {
        for attempt in 0.. {
            let Some((_, waiter)) = &mut self.waiting else { break };
            if attempt == MOST_ATTEMPTS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(waiter.poll_unpin(cx));
            if let Some((message, _)) = self.waiting.take() {
                self.message(message);
            }
        }
        while self.waiting.is_none() && self.out.len() < limit {
            match self.parser.pull()? {
                Some(Item::Message(message)) => self.message(message),
                Some(Item::Id(id)) => self.encode(|out| encode_id(&id, out)),
                Some(Item::Comment(text)) => self.encode(|out| encode_comment(&text, out)),
                Some(Item::Retry(time)) => {
                    let milliseconds = time.as_millis();
                    self.encode(|out| out.extend(format!("retry:{milliseconds}\n").bytes()));
                }
                _ => return Poll::Ready(Ok(())),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn encode(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut out = std::mem::take(&mut self.buffer);
        out.clear();
        encode(&mut out);
        self.out.extend_from_slice(&out);
        self.keep(out);
    }

    /// Keeps a buffer for the next event.
    fn keep(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        buffer.shrink_to(FRAME_BYTES);
        self.buffer = buffer;
    }

    fn message(&mut self, message: Message) {
        let is_own = message.event.as_ref().is_some_and(|event| OWN.contains(&&**event));
        if self.options.of_topic && is_own {
            return self.send(&message, &message.data);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let data: Bytes = message.data.clone();
        match self.model.convert(&Input::value(&data), &mut buffer) {
            Outcome::Unchanged(data) => self.send(&message, data),
            Outcome::Converted => self.send(&message, &buffer),
            Outcome::Tolerated(data, reason) => {
                self.warn(&reason, "an event violates its model, which is lenient");
                self.send(&message, data.unwrap_or(&buffer));
            }
            Outcome::Rejected(reason) => {
                self.warn(&reason, "an event was left out");
                if let Some(id) = message.id.as_ref().filter(|_| self.options.positions) {
                    let mut block = Vec::with_capacity(id.len() + 5);
                    encode_id(id, &mut block);
                    self.out.extend_from_slice(&block);
                }
            }
            Outcome::Pending(waiter) => self.waiting = Some((message, waiter)),
            _ => {}
        }
        self.keep(buffer);
    }

    fn send(&mut self, message: &Message, data: &[u8]) {
        let event = EventRef {
            timestamp: message.timestamp,
            event: message.event.as_deref(),
            data: Some(data),
            id: message.id.as_deref(),
        };
        let mut block = Vec::new();
        encode_event(event, &mut block);
        self.out.extend_from_slice(&block);
    }

    /// Logs the first such event of a stream for all, and further ones for those who look for them.
    fn warn(&mut self, reason: &tailwater_schema::Rejection, message: &str) {
        let path = crate::escape::one_line(&self.path);
        let model = self.model.name();
        let kind = reason.class().as_str();
        if std::mem::replace(&mut self.has_warned, true) {
            debug!(%path, model, reason = kind, detail = %reason, "{message}");
        } else {
            warn!(%path, model, reason = kind, detail = %reason, "{message}");
        }
    }
}

impl<E: Events> Events for Content<E> {
    fn poll_events(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Option<Result<Encoded, BoxError>>> {
        let mut this = self.project();
        let Some(judge) = this.judge else { return this.events.poll_events(cx, limit) };
        loop {
            if let Some(encoded) = judge.take(limit) {
                return Poll::Ready(Some(Ok(encoded)));
            }
            ready!(judge.poll_out(cx, limit))?;
            // An event that waits now is polled, so that its schema wakes the stream.
            if !judge.out.is_empty() || judge.waiting.is_some() {
                continue;
            }
            match ready!(this.events.as_mut().poll_events(cx, limit)) {
                Some(Ok(encoded)) => judge.parser.push(&encoded.into_bytes()),
                other => return Poll::Ready(other),
            }
        }
    }

    fn position(self: Pin<&mut Self>) -> Option<Encoded> {
        let this = self.project();
        // Events that wait here come before the position.
        let is_waiting = this.judge.as_ref().is_some_and(|judge| judge.waiting.is_some());
        if is_waiting { None } else { this.events.position() }
    }
}
