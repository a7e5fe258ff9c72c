//! A source that a test drives, and a stream whose frames it reads one by one.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tailwater_sse::{
    BoxError, Encoded, End, Events, Rejection, Sse, SseBody, SseLayer, Subscription,
};
use tokio::sync::mpsc;
use tokio_test::task::{Spawn, spawn};
use tower::{Layer, Service, ServiceExt, service_fn};

/// A test's handle to a [`Source`].
pub(crate) struct Feed {
    pub(crate) events: mpsc::UnboundedSender<Result<Encoded, BoxError>>,
    pub(crate) position: Arc<Mutex<Option<Encoded>>>,
    pub(crate) limit: Arc<Mutex<Option<usize>>>,
}

impl Feed {
    pub(crate) fn send(&self, bytes: &'static str) {
        self.events
            .send(Ok(Encoded::trusted(Bytes::from_static(bytes.as_bytes()))))
            .expect("the stream is open");
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.events.is_closed()
    }
}

#[derive(Debug)]
pub(crate) struct Source {
    events: mpsc::UnboundedReceiver<Result<Encoded, BoxError>>,
    position: Arc<Mutex<Option<Encoded>>>,
    limit: Arc<Mutex<Option<usize>>>,
}

pub(crate) fn source() -> (Feed, Source) {
    let (sender, events) = mpsc::unbounded_channel();
    let position = Arc::default();
    let limit = Arc::default();
    let feed = Feed { events: sender, position: Arc::clone(&position), limit: Arc::clone(&limit) };
    (feed, Source { events, position, limit })
}

impl Events for Source {
    fn poll_events(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Option<Result<Encoded, BoxError>>> {
        *self.limit.lock().expect("not poisoned") = Some(limit);
        Poll::Ready(ready!(self.events.poll_recv(cx)))
    }

    fn position(self: Pin<&mut Self>) -> Option<Encoded> {
        self.position.lock().expect("not poisoned").take()
    }
}

/// Always has one more event.
#[derive(Debug)]
pub(crate) struct Endless;

impl Events for Endless {
    fn poll_events(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: usize,
    ) -> Poll<Option<Result<Encoded, BoxError>>> {
        Poll::Ready(Some(Ok(Encoded::trusted(Bytes::from_static(b"data:x\n\n")))))
    }
}

/// A stream of `layer` over `source`.
pub(crate) async fn open<E: Events + 'static>(layer: &SseLayer, source: E) -> Stream<E> {
    let mut source = Some(source);
    let service = layer.layer(service_fn(move |_: Subscription| {
        let source = source.take().expect("one request");
        async { Ok::<_, Rejection>(source) }
    }));
    let response = get(service, Request::new(())).await;
    Stream { body: spawn(Box::pin(response.into_body())) }
}

/// The response of `service` to `request`.
pub(crate) async fn get<S>(service: Sse<S>, request: Request<()>) -> Response<SseBody<S::Response>>
where
    S: Service<Subscription>,
    S::Response: Events + 'static,
    S::Error: Into<Rejection>,
{
    let Ok(response) = service.oneshot(request).await;
    response
}

pub(crate) struct Stream<E> {
    body: Spawn<Pin<Box<SseBody<E>>>>,
}

impl<E: Events> Stream<E> {
    pub(crate) fn end(&mut self, retry: Option<Duration>) {
        self.body.enter(|_, body| body.as_deref_mut().end(retry));
    }

    pub(crate) fn ended(&self) -> Option<End> {
        self.body.ended()
    }

    /// The next frame; `None` when the stream has ended cleanly.
    pub(crate) fn poll(&mut self) -> Poll<Option<String>> {
        self.body.enter(|cx, body| {
            let frame = ready!(body.poll_frame(cx));
            Poll::Ready(frame.map(|frame| {
                let bytes = frame.expect("no error on the wire").into_data().expect("data");
                String::from_utf8(bytes.to_vec()).expect("UTF-8")
            }))
        })
    }

    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<String> {
        match self.poll() {
            Poll::Ready(frame) => frame,
            Poll::Pending => panic!("pending"),
        }
    }

    /// Asserts that nothing is to be written now.
    #[track_caller]
    pub(crate) fn assert_quiet(&mut self) {
        assert_eq!(self.poll(), Poll::Pending);
    }

    /// Whether somebody has woken the stream since it was polled.
    pub(crate) fn is_woken(&self) -> bool {
        self.body.is_woken()
    }

    pub(crate) fn into_body(self) -> Pin<Box<SseBody<E>>> {
        self.body.into_inner()
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    /// Reads the first write; gives the reconnection time.
    #[track_caller]
    pub(crate) fn first_write(&mut self) -> u64 {
        let write = self.next().expect("the stream is open");
        retry(write.strip_suffix(":\n").unwrap_or_else(|| panic!("no comment: {write:?}")))
    }
}

/// The milliseconds of a `retry` field, which stands alone and without an empty line.
#[track_caller]
pub(crate) fn retry(write: &str) -> u64 {
    let digits = write.strip_prefix("retry:").and_then(|write| write.strip_suffix('\n'));
    digits
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("no retry field: {write:?}"))
}

/// All of a body, until it ends.
pub(crate) async fn read<E: Events>(mut body: Pin<Box<SseBody<E>>>) -> String {
    let mut read = String::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let bytes = frame.expect("no error on the wire").into_data().expect("data");
        read.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
    }
    read
}
