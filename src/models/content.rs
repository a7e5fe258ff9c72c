//! Models for the data of events of other servers, for each stream by itself.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Map};
use pin_project_lite::pin_project;
use tailwater_kafka_types::Limits;
use tailwater_schema::{Input, Model, Outcome, Rejection};
use tailwater_sse::{
    BoxError, Encoded, EventRef, Events, Item, Message, Parser, Subscription, encode_comment,
    encode_event, encode_id,
};
use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::warn;

use crate::config::PathExpression;
use crate::models::Warnings;

/// Beside its data, an event has an id, a type and the names of its fields.
const FRAME_BYTES: usize = 64 * 1024;
/// So often an event is judged again without a pause, if its schema seems to be known and is not.
const ATTEMPTS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(100);
/// How long the events of one stream may be judged before other tasks get their turn.
const SHARE: Duration = Duration::from_millis(10);

/// The models of an `sse` binding, by the path of requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents(pub(crate) Arc<[(PathExpression, Model)]>);

impl Contents {
    /// The model of the first path that matches.
    fn of(&self, path: &str) -> Option<&Model> {
        let found = self.0.iter().find(|(expression, _)| expression.matches(path));
        found.map(|(_, model)| model)
    }
}

/// Applies the model of the first path that matches a request.
#[derive(Clone, Debug)]
pub(crate) struct ContentLayer {
    contents: Contents,
    warnings: Arc<Warnings>,
}

impl ContentLayer {
    pub(crate) fn new(contents: Contents) -> Self {
        Self { contents, warnings: Arc::default() }
    }
}

impl<S> Layer<S> for ContentLayer {
    type Service = ContentService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ContentService { inner, layer: self.clone() }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ContentService<S> {
    inner: S,
    layer: ContentLayer,
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
        let ContentLayer { contents, warnings } = &self.layer;
        let model = contents.of(path).cloned();
        let judge = model.map(|model| Judge::new(model, path, warnings));
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
    warnings: Arc<Warnings>,
    parser: Parser,
    /// Events to be sent.
    out: BytesMut,
    /// The next event, whose schema is not known yet.
    waiting: Option<Waiting>,
    buffer: Vec<u8>,
    /// The last poll took all of its time, so other tasks come before the next one.
    rests: bool,
}

struct Waiting {
    message: Message,
    /// How often it was judged.
    attempts: u32,
    /// When to judge it again.
    retry: BoxFuture<'static, ()>,
}

impl Judge {
    fn new(model: Model, path: &str, warnings: &Arc<Warnings>) -> Self {
        let limit = Limits::default().max_record_bytes.saturating_add(FRAME_BYTES);
        Self {
            model,
            path: path.to_owned(),
            warnings: Arc::clone(warnings),
            parser: Parser::new().max_line_bytes(limit).max_event_bytes(limit),
            out: BytesMut::new(),
            waiting: None,
            buffer: Vec::new(),
            rests: false,
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

    /// Judges the events that were pushed, until there is one to be sent or the time is over.
    fn poll_out(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
        end: Instant,
    ) -> Poll<Result<(), BoxError>> {
        while let Some(waiting) = self.waiting.as_mut().filter(|_| !self.rests) {
            ready!(waiting.retry.poll_unpin(cx));
            if let Some(Waiting { message, attempts, .. }) = self.waiting.take() {
                self.message(message, attempts);
                self.rests = Instant::now() >= end;
            }
        }
        while self.waiting.is_none() && self.out.len() < limit && !self.rests {
            match self.parser.pull()? {
                Some(Item::Message(message)) => {
                    self.message(message, 0);
                    self.rests = Instant::now() >= end;
                }
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

    /// Judges an event that was judged this often before. What another tailwater or Zilla says of its stream is no
    /// content.
    fn message(&mut self, message: Message, attempts: u32) {
        if let Some(b"delete" | b"gap" | b"live" | b"challenge") = message.event.as_deref() {
            self.send(&message, &message.data);
            return;
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
                if let Some(id) = &message.id {
                    let mut block = Vec::with_capacity(id.len() + 5);
                    encode_id(id, &mut block);
                    self.out.extend_from_slice(&block);
                }
            }
            Outcome::Pending(waiter) => {
                let attempts = attempts + 1;
                let retry = match attempts < ATTEMPTS {
                    true => waiter.boxed(),
                    false => tokio::time::sleep(PAUSE).boxed(),
                };
                self.waiting = Some(Waiting { message, attempts, retry });
            }
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

    fn warn(&self, reason: &Rejection, message: &str) {
        let Some(unlogged) = self.warnings.due() else { return };
        let path = crate::escape::one_line(&self.path);
        let model = self.model.name();
        let kind = reason.class().as_str();
        warn!(%path, model, reason = kind, detail = %reason, unlogged, "{message}");
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
        let end = Instant::now() + SHARE;
        loop {
            if let Some(encoded) = judge.take(limit) {
                return Poll::Ready(Some(Ok(encoded)));
            }
            // A server may poll again at once, as long as there is something to write.
            if std::mem::take(&mut judge.rests) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(judge.poll_out(cx, limit, end))?;
            // An event that waits now is polled, so that its schema wakes the stream.
            if !judge.out.is_empty() || judge.waiting.is_some() || judge.rests {
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tailwater_schema::catalog::{
        Catalog, Framing, Lookup, SchemaId, SchemaKind, SchemaRef, SchemaText, Waiter,
    };
    use tailwater_schema::model::{JsonModel, SchemaSource};
    use tailwater_sse::Event;

    use super::*;

    /// Says that the schema is known now, and then that it is not, this many times.
    #[derive(Debug)]
    struct Fickle {
        times: usize,
        asked: AtomicUsize,
    }

    impl Catalog for Fickle {
        fn look_up(&self, _: &SchemaRef, _: SchemaKind) -> Lookup {
            if self.asked.fetch_add(1, Ordering::Relaxed) < self.times {
                return Lookup::Pending(Waiter::new(async {}));
            }
            Lookup::Known(Arc::new(SchemaText::new(SchemaId::Checksum(1), "true")))
        }

        fn framing(&self) -> Framing {
            Framing::None
        }
    }

    struct One(Option<Encoded>);

    impl Events for One {
        fn poll_events(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: usize,
        ) -> Poll<Option<Result<Encoded, BoxError>>> {
            Poll::Ready(self.0.take().map(Ok))
        }
    }

    #[tokio::test]
    async fn what_a_server_says_of_its_stream_is_not_judged() {
        let source = SchemaSource::new(
            Arc::new(Fickle { times: 0, asked: AtomicUsize::new(0) }),
            SchemaRef::subject("a", "1"),
        );
        for (name, is_judged) in
            [("delete", false), ("gap", false), ("live", false), ("challenge", false), ("x", true)]
        {
            let judge = Judge::new(JsonModel::new(source.clone()).into(), "/", &Arc::default());
            let event = Event::data("bm8ganNvbg==").id("7").event(name);
            let events = One(Some(Encoded::event(&event)));
            let mut stream = pin!(Content { events, judge: Some(judge) });
            let encoded = poll_fn(|cx| stream.as_mut().poll_events(cx, 1024)).await;
            let encoded = encoded.expect("an event").expect("no error");
            let text = String::from_utf8(encoded.into_bytes().to_vec()).expect("UTF-8");
            assert_eq!(text.contains("bm8ganNvbg=="), !is_judged, "{text}");
            assert!(text.contains("id:7"), "{text}");
        }
    }

    /// Takes a while to say what it knows.
    #[derive(Debug)]
    struct Slow(AtomicUsize);

    impl Catalog for Slow {
        fn look_up(&self, _: &SchemaRef, _: SchemaKind) -> Lookup {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(SHARE);
            Lookup::Known(Arc::new(SchemaText::new(SchemaId::Checksum(1), "true")))
        }

        fn framing(&self) -> Framing {
            Framing::None
        }
    }

    /// All events that a server had sent were judged before other streams of the worker had their turn.
    #[tokio::test]
    async fn a_poll_ends_while_events_take_long_to_be_judged() {
        let catalog = Arc::new(Slow(AtomicUsize::new(0)));
        let source = SchemaSource::new(Arc::clone(&catalog) as _, SchemaRef::subject("a", "1"));
        let judge = Judge::new(JsonModel::new(source).into(), "/", &Arc::default());
        let expected: String = (0..20).map(|id| format!("data:{id}\nid:{id}\n\n")).collect();
        let events = One(Some(Encoded::trusted(Bytes::from(expected.clone()))));
        let mut stream = pin!(Content { events, judge: Some(judge) });
        let mut sent = String::new();
        let mut turns = 0;
        while sent.len() < expected.len() {
            let encoded = poll_fn(|cx| {
                let before = catalog.0.load(Ordering::Relaxed);
                let polled = stream.as_mut().poll_events(cx, 1024);
                assert!(
                    catalog.0.load(Ordering::Relaxed) <= before + 1,
                    "each takes the whole share"
                );
                turns += usize::from(polled.is_pending());
                polled
            })
            .await;
            let encoded = encoded.expect("events").expect("no error").into_bytes();
            sent.push_str(std::str::from_utf8(&encoded).expect("UTF-8"));
        }
        assert_eq!(sent, expected);
        assert_eq!(turns, 19, "others have a turn before each but the first");
    }

    /// The stream woke itself without end.
    #[tokio::test(start_paused = true)]
    async fn a_schema_that_seems_to_be_known_and_is_not_is_asked_for_after_a_pause() {
        for (times, pauses) in [(0, 0), (7, 0), (8, 1), (20, 13)] {
            let catalog = Arc::new(Fickle { times, asked: AtomicUsize::new(0) });
            let source = SchemaSource::new(Arc::clone(&catalog) as _, SchemaRef::subject("a", "1"));
            let model = JsonModel::new(source).into();
            let judge = Some(Judge::new(model, "/", &Arc::default()));
            let events = One(Some(Encoded::event(&Event::data("1").id("7"))));
            let mut stream = pin!(Content { events, judge });
            let since = tokio::time::Instant::now();
            let encoded = poll_fn(|cx| {
                let before = catalog.asked.load(Ordering::Relaxed);
                let polled = stream.as_mut().poll_events(cx, 1024);
                let asked = catalog.asked.load(Ordering::Relaxed) - before;
                assert!(asked <= ATTEMPTS as usize, "{asked} in one poll");
                polled
            })
            .await;
            let encoded = encoded.unwrap().unwrap();
            assert_eq!(encoded.into_bytes(), "data:1\nid:7\n\n", "{times}");
            // Timers have a resolution of a millisecond.
            let took = since.elapsed();
            assert!(PAUSE * pauses <= took && took <= (PAUSE + Duration::from_millis(2)) * pauses);
        }
    }
}
