//! Requests and their responses, as the meters of bindings count them.
//!
//! The `http` binding begins an [`Exchange`] for each request, and each binding behind it that records something
//! enters its meter there. The body of the response counts for all of them at once. An event stream has no such
//! body: the list of open streams has its bytes, and a scrape adds them to the meters, so that a write costs nothing.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use ::http::header::CONTENT_LENGTH;
use ::http::{HeaderMap, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use pin_project_lite::pin_project;
use tailwater_route::Scheme;
use tailwater_sse::BoxError;
use tokio::time::Instant;
use tower::Service;

use crate::metrics::labels::LabelSet;
use crate::metrics::meter::{Finished, Meter};
use crate::metrics::requests::Requests;
use crate::stack::Body;
use crate::streams::{Opened, Place};

/// The meters of a request. It is among the extensions of the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange(Arc<Mutex<Vec<EnteredBinding>>>);

/// A binding on the way of a request.
#[derive(Debug)]
struct EnteredBinding {
    meter: Arc<Meter>,
    labels: LabelSet,
    /// The gauge of active requests, which has this one.
    active: Option<Arc<AtomicU64>>,
}

impl Exchange {
    fn enter(&self, meter: &Arc<Meter>, labels: LabelSet) {
        meter.open_received();
        let active = meter.active(&labels);
        if let Some(active) = &active {
            active.fetch_add(1, Relaxed);
        }
        let entered = EnteredBinding { meter: Arc::clone(meter), labels, active };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entered);
    }

    fn take(&self) -> Vec<EnteredBinding> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Enters the meter of a binding behind an `http` binding.
pub(crate) fn enter<B>(meter: &Arc<Meter>, request: Request<B>) -> Request<B> {
    let (parts, body) = request.into_parts();
    if let Some(exchange) = parts.extensions.get::<Exchange>() {
        exchange.enter(meter, meter.request_labels(&parts));
    }
    Request::from_parts(parts, body)
}

/// Counts the requests of an `http` binding.
#[derive(Clone, Debug)]
pub(crate) struct Metered<S> {
    inner: S,
    /// The meter of the `http` binding itself.
    meter: Option<Arc<Meter>>,
    /// Where durations are counted, if they are pushed.
    requests: Option<Arc<Requests>>,
}

impl<S> Metered<S> {
    pub(crate) fn new(
        inner: S,
        meter: Option<Arc<Meter>>,
        requests: Option<Arc<Requests>>,
    ) -> Self {
        Self { inner, meter, requests }
    }
}

impl<S, B> Service<Request<B>> for Metered<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = MeteredFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let exchange = Exchange::default();
        let timed = self.requests.clone().map(|requests| Timed {
            requests,
            method: request.method().clone(),
            scheme: request.extensions().get().copied(),
        });
        let open = Open {
            begun: Instant::now(),
            has_body: *request.method() != Method::HEAD,
            request_bytes: content_length(request.headers()).unwrap_or(0),
            exchange: exchange.clone(),
            is_over: false,
        };
        request.extensions_mut().insert(exchange);
        if let Some(meter) = &self.meter {
            request = enter(meter, request);
        }
        MeteredFuture { open: Some(open), timed, inner: self.inner.call(request) }
    }
}

/// A request whose duration is counted.
#[derive(Debug)]
struct Timed {
    requests: Arc<Requests>,
    method: Method,
    scheme: Option<Scheme>,
}

/// A request without a response.
#[derive(Debug)]
struct Open {
    begun: Instant,
    has_body: bool,
    request_bytes: u64,
    exchange: Exchange,
    is_over: bool,
}

impl Open {
    /// The response has begun.
    fn answered(mut self, status: StatusCode, headers: &HeaderMap) -> Answered {
        self.is_over = true;
        let entries = self.exchange.take().into_iter().map(|mut entered| {
            entered.meter.open_sent();
            entered.meter.add_response_labels(&mut entered.labels, status, headers);
            entered.into()
        });
        Answered {
            begun: self.begun,
            request_bytes: self.request_bytes,
            entries: entries.collect(),
            was_answered: true,
            is_over: AtomicBool::new(false),
        }
    }
}

/// The client has left before the response.
impl Drop for Open {
    fn drop(&mut self) {
        if !self.is_over {
            drop(Answered {
                begun: self.begun,
                request_bytes: self.request_bytes,
                entries: self.exchange.take().into_iter().map(AnsweringBinding::from).collect(),
                was_answered: false,
                is_over: AtomicBool::new(false),
            });
        }
    }
}

/// A binding that has passed a response on.
#[derive(Debug)]
struct AnsweringBinding {
    meter: Arc<Meter>,
    active: Option<Arc<AtomicU64>>,
    finished: Option<Arc<Finished>>,
}

impl From<EnteredBinding> for AnsweringBinding {
    fn from(EnteredBinding { meter, labels, active }: EnteredBinding) -> Self {
        let finished = meter.finished(labels);
        Self { meter, active, finished }
    }
}

/// A response that is being sent, until its end. Dropping it ends it.
#[derive(Debug)]
struct Answered {
    begun: Instant,
    request_bytes: u64,
    entries: Box<[AnsweringBinding]>,
    was_answered: bool,
    is_over: AtomicBool,
}

impl Answered {
    fn add(&self, bytes: u64) {
        for entry in &self.entries {
            entry.meter.add_sent(bytes);
        }
    }

    /// `is_good`: the whole response was handed over. `size` is that of the body.
    fn end(&self, is_good: bool, size: u64) {
        if self.is_over.swap(true, Relaxed) {
            return;
        }
        let elapsed = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        for AnsweringBinding { meter, active, finished } in &self.entries {
            if is_good {
                meter.add_received(self.request_bytes);
            }
            meter.end(is_good, self.was_answered);
            if let Some(active) = active {
                active.fetch_sub(1, Relaxed);
            }
            if let Some(finished) = finished {
                finished.duration.record(elapsed);
                finished.request_bytes.record(self.request_bytes);
                finished.response_bytes.record(size);
            }
        }
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.end(false, 0);
    }
}

/// The meters of an event stream.
#[derive(Debug)]
pub(crate) struct MeteredStream {
    answered: Answered,
    /// The bytes that the meters have.
    added: AtomicU64,
}

impl MeteredStream {
    /// Adds the bytes of the stream that the meters do not have.
    pub(crate) fn add(&self, bytes: u64) {
        if self.added.load(Relaxed) >= bytes {
            return;
        }
        let added = self.added.fetch_max(bytes, Relaxed);
        self.answered.add(bytes.saturating_sub(added));
    }

    pub(crate) fn end(&self, is_good: bool, bytes: u64) {
        self.add(bytes);
        self.answered.end(is_good, bytes);
    }
}

/// A response that is no event stream.
#[derive(Debug)]
struct Sending {
    answered: Answered,
    sent: u64,
    /// The length that the head of the response tells.
    declared: Option<u64>,
    /// The length of the body, if it is known.
    expected: Option<u64>,
}

impl Sending {
    fn add(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.sent += bytes;
        self.answered.add(bytes);
    }

    fn end(&self, is_good: bool) {
        let size = self.declared.filter(|_| is_good).unwrap_or(self.sent);
        self.answered.end(is_good, size);
    }
}

/// A body is dropped when its connection ends, and also when all of it was sent.
impl Drop for Sending {
    fn drop(&mut self) {
        self.end(self.expected == Some(self.sent));
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

pin_project! {
    /// Future of [`Metered`].
    #[derive(Debug)]
    pub(crate) struct MeteredFuture<F> {
        open: Option<Open>,
        timed: Option<Timed>,
        #[pin]
        inner: F,
    }
}

impl<F, E> Future for MeteredFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let Some(open) = this.open.take() else { return Poll::Ready(Ok(response)) };
        let (head, body) = response.into_parts();
        if let Some(Timed { requests, method, scheme }) = this.timed.take() {
            let place = head.extensions.get::<Arc<Place>>();
            let route = place.and_then(|place| place.route.as_ref());
            requests.answered(&method, scheme, head.status, route, open.begun.elapsed());
        }
        let has_body = open.has_body
            && ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
        let answered = open.answered(head.status, &head.headers);
        if answered.entries.is_empty() {
            return Poll::Ready(Ok(Response::from_parts(head, body)));
        }
        if let Some(Opened(stream)) = head.extensions.get() {
            stream.set_meters(MeteredStream { answered, added: AtomicU64::new(0) });
            return Poll::Ready(Ok(Response::from_parts(head, body)));
        }
        let declared = content_length(&head.headers);
        let expected = if has_body { body.size_hint().exact().or(declared) } else { Some(0) };
        let sending = Sending { answered, sent: 0, declared, expected };
        let body = MeteredBody { sending, inner: body }.boxed_unsync();
        Poll::Ready(Ok(Response::from_parts(head, body)))
    }
}

pin_project! {
    /// Body of a response that is no event stream.
    #[derive(Debug)]
    struct MeteredBody {
        sending: Sending,
        #[pin]
        inner: Body,
    }
}

impl http_body::Body for MeteredBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                this.sending.add(frame.data_ref().map_or(0, Bytes::len));
                // Then it is not polled again.
                if this.inner.is_end_stream() {
                    this.sending.end(true);
                }
            }
            Some(Err(_)) => this.sending.end(false),
            None => this.sending.end(true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::metrics::family::Value;
    use crate::metrics::meter::Meters;

    #[test]
    fn the_bytes_of_a_stream_are_added_once_however_often_they_are_read() {
        let file = "name: example
telemetry: { metrics: [stream.active.sent, stream.data.sent, stream.closes.sent, http.response.size] }
bindings:
  web: { type: http, kind: server, exit: pages, telemetry: { metrics: ['.*'] } }
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www } }
";
        let parsed = config::parse("zilla.yaml", file.as_bytes(), &|_| None).unwrap();
        let config = &parsed.namespaces[0];
        let meters = Meters::default();
        let meter = meters.of(config, config.binding("web").unwrap()).unwrap();
        let exchange = Exchange::default();
        let labels = meter.request_labels(&Request::new(()).into_parts().0);
        exchange.enter(&meter, labels);
        let open = Open {
            begun: Instant::now(),
            has_body: true,
            request_bytes: 0,
            exchange,
            is_over: false,
        };
        let answered = open.answered(StatusCode::OK, &HeaderMap::new());
        let stream = MeteredStream { answered, added: AtomicU64::new(0) };
        let read = || {
            let mut families = Vec::new();
            meters.collect(&mut families);
            let value = |family: &crate::metrics::family::Family| match &family.samples[0].value {
                Value::Integer(value) => *value,
                Value::Histogram(histogram) => histogram.counts.iter().sum(),
                Value::Number(_) => unreachable!(),
            };
            families.iter().map(|family| (family.name, value(family))).collect::<Vec<_>>()
        };
        for bytes in [5, 5, 12, 7] {
            stream.add(bytes);
        }
        let names = [
            "stream_active_sent",
            "stream_data_sent_bytes_total",
            "stream_closes_sent_total",
            "http_response_size_bytes",
        ];
        // A histogram has no series before its first value.
        assert_eq!(read(), names.into_iter().zip([1, 12, 0]).collect::<Vec<_>>());
        stream.end(true, 20);
        stream.add(20);
        drop(stream);
        assert_eq!(read(), names.into_iter().zip([0, 20, 1, 1]).collect::<Vec<_>>());
    }
}
