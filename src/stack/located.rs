//! Tells where in the configuration a request is served, for logs and for the list of streams.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::http::{Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use crate::streams::Place;

/// Puts a [`Place`] into the extensions of requests and responses. Of nested ones the innermost that a request has
/// reached counts.
#[derive(Clone, Debug)]
pub(super) struct Located<S> {
    inner: S,
    place: Option<Arc<Place>>,
}

impl<S> Located<S> {
    /// A service of this binding, and the pattern of the route that leads to it. Without a binding, the place of a
    /// request stays as it is.
    pub(super) fn new(inner: S, binding: Option<&Arc<str>>, pattern: Option<String>) -> Self {
        let place = binding.map(|binding| {
            Arc::new(Place { binding: Arc::clone(binding), route: pattern.map(Into::into) })
        });
        Self { inner, place }
    }
}

impl<S, B, R> Service<Request<B>> for Located<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = LocatedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(place) = &self.place {
            request.extensions_mut().insert(Arc::clone(place));
        }
        LocatedFuture { future: self.inner.call(request), place: self.place.clone() }
    }
}

pin_project! {
    /// Future of [`Located`].
    pub(super) struct LocatedFuture<F> {
        #[pin]
        future: F,
        place: Option<Arc<Place>>,
    }
}

impl<F, R, E> Future for LocatedFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut response = ready!(this.future.poll(cx))?;
        if let Some(place) = this.place.take() {
            response.extensions_mut().get_or_insert_with(|| place);
        }
        Poll::Ready(Ok(response))
    }
}
