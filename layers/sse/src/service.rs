use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode};
use tower_service::Service;

use crate::options::Options;
use crate::{Error, Events, Rejection, ResponseFuture, SseBody, Subscription, negotiation};

/// Service of [`SseLayer`](crate::SseLayer).
///
/// GET opens an event stream. HEAD is answered like GET, without a body: the source is called, and its
/// response is dropped. Any other method is answered with `405 Method Not Allowed`. If the source fails, the
/// response has the status of the [`Rejection`]; the rejection itself is in the response's extensions as
/// `Arc<Rejection>`, and its reason is sent only after [`Rejection::expose_reason`].
#[derive(Debug)]
pub struct Sse<S> {
    inner: S,
    options: Arc<Options>,
    /// The error of the inner service's `poll_ready`. It is the response to the next call.
    not_ready: Option<Rejection>,
}

impl<S> Sse<S> {
    pub(crate) fn new(inner: S, options: Arc<Options>) -> Self {
        Self { inner, options, not_ready: None }
    }

    /// A reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// A mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Takes the inner service out.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

/// A clone polls the inner service for readiness itself.
impl<S: Clone> Clone for Sse<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.options))
    }
}

impl<S, B> Service<Request<B>> for Sse<S>
where
    S: Service<Subscription>,
    S::Response: Events + 'static,
    S::Error: Into<Rejection>,
{
    type Response = Response<SseBody<S::Response>>;
    type Error = Infallible; // a rejection is a response
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.not_ready.is_none()
            && let Err(error) = std::task::ready!(self.inner.poll_ready(cx))
        {
            self.not_ready = Some(error.into());
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, _) = request.into_parts();
        let head = parts.method == Method::HEAD;
        if !head && parts.method != Method::GET {
            let reason = Error::Method(parts.method);
            return ResponseFuture::rejected(Rejection::new(
                StatusCode::METHOD_NOT_ALLOWED,
                reason,
            ));
        }
        if let Some(rejection) = self.not_ready.take() {
            return ResponseFuture::rejected(rejection);
        }
        let lease = self.options.lease.as_ref().and_then(|lease| lease(&parts));
        let last_event_id = negotiation::last_event_id(&parts);
        let timestamps = negotiation::timestamps(&parts.headers);
        let answer = self.inner.call(Subscription::new(parts, last_event_id, timestamps));
        ResponseFuture::asking(answer, Arc::clone(&self.options), lease, timestamps, head)
    }
}
