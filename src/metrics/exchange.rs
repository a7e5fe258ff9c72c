//! Requests and their responses, as the meters of bindings count them.
//!
//! The `http` binding begins an [`Exchange`] for each request, and each binding behind it that records something
//! enters its meter there. The body of the response counts for all of them at once: a body of each binding would
//! cost a cache miss for each event of each stream.

use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use ::http::header::CONTENT_LENGTH;
use ::http::{HeaderMap, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tailwater_route::Scheme;
use tokio::time::Instant;
use tower::Service;

use crate::metrics::labels::LabelSet;
use crate::metrics::meter::Meter;
use crate::metrics::requests::Requests;
use crate::streams::Place;

/// The meters of a request. It is among the extensions of the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange(Arc<Mutex<Vec<Entry>>>);

/// A binding on the way of a request.
#[derive(Debug)]
struct Entry {
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
        let entry = Entry { meter: Arc::clone(meter), labels, active };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    fn take(&self) -> Vec<Entry> {
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

impl<S, B, R> Service<Request<B>> for Metered<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body<Data = Bytes>,
{
    type Response = Response<MeteredBody<R>>;
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
    fn answered(mut self, status: StatusCode, headers: &HeaderMap, size: &SizeHint) -> Answered {
        self.is_over = true;
        let has_body =
            self.has_body && ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
        let mut entries = Vec::new();
        for mut entry in self.exchange.take() {
            entry.meter.open_sent();
            entry.meter.add_response_labels(&mut entry.labels, status, headers);
            entries.push(entry);
        }
        let declared = content_length(headers);
        Answered {
            begun: self.begun,
            request_bytes: self.request_bytes,
            entries: entries.into(),
            sent: 0,
            declared,
            expected: if has_body { size.exact().or(declared) } else { Some(0) },
            was_answered: true,
            is_over: false,
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
                entries: self.exchange.take().into(),
                sent: 0,
                declared: None,
                expected: None,
                was_answered: false,
                is_over: false,
            });
        }
    }
}

/// A response that is being sent.
#[derive(Debug)]
struct Answered {
    begun: Instant,
    request_bytes: u64,
    entries: Box<[Entry]>,
    sent: u64,
    /// The length that the head of the response tells.
    declared: Option<u64>,
    /// The length of the body, if it is known.
    expected: Option<u64>,
    was_answered: bool,
    is_over: bool,
}

impl Answered {
    fn add(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.sent += bytes;
        for entry in &self.entries {
            entry.meter.add_sent(bytes);
        }
    }

    fn end(&mut self, is_good: bool) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let elapsed = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let sent = self.declared.filter(|_| is_good).unwrap_or(self.sent);
        for Entry { meter, labels, active } in std::mem::take(&mut self.entries) {
            if is_good {
                meter.add_received(self.request_bytes);
            }
            meter.end(is_good, self.was_answered);
            if let Some(active) = active {
                active.fetch_sub(1, Relaxed);
            }
            if let Some(finished) = meter.finished(labels) {
                finished.duration.record(elapsed);
                finished.request_bytes.record(self.request_bytes);
                finished.response_bytes.record(sent);
            }
        }
    }
}

/// A body is dropped when its connection ends, and also when all of it was sent.
impl Drop for Answered {
    fn drop(&mut self) {
        let is_good = self.was_answered && self.expected == Some(self.sent);
        self.end(is_good);
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

impl<F, R, E> Future for MeteredFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body<Data = Bytes>,
{
    type Output = Result<Response<MeteredBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let (head, inner) = response.into_parts();
        let open = this.open.take();
        if let Some((Timed { requests, method, scheme }, open)) =
            this.timed.take().zip(open.as_ref())
        {
            let place = head.extensions.get::<Arc<Place>>();
            let route = place.and_then(|place| place.route.as_ref());
            requests.answered(&method, scheme, head.status, route, open.begun.elapsed());
        }
        let answered =
            open.map(|open| open.answered(head.status, &head.headers, &inner.size_hint()));
        // Without a meter the body of a stream keeps nothing.
        let answered = answered.filter(|answered| !answered.entries.is_empty()).map(Box::new);
        Poll::Ready(Ok(Response::from_parts(head, MeteredBody { answered, inner })))
    }
}

pin_project! {
    /// Body of a response of [`Metered`].
    #[derive(Debug)]
    pub(crate) struct MeteredBody<B> {
        answered: Option<Box<Answered>>,
        #[pin]
        inner: B,
    }
}

impl<B: Body<Data = Bytes>> Body for MeteredBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        if let Some(answered) = this.answered {
            match &frame {
                Some(Ok(frame)) => {
                    answered.add(frame.data_ref().map_or(0, Bytes::len));
                    // Then it is not polled again.
                    if this.inner.is_end_stream() {
                        answered.end(true);
                    }
                }
                Some(Err(_)) => answered.end(false),
                None => answered.end(true),
            }
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
