use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use crate::{Matched, ResponseFuture, Routes, Verdict, head::Head, layer::Guard};

/// Service of [`RouteLayer`](crate::RouteLayer). The inner one finds a [`Matched`] in the request's
/// extensions.
#[derive(Clone)]
pub struct Routed<S> {
    inner: S,
    routes: Arc<Routes>,
    guard: Option<Arc<Guard>>,
}

impl<S> Routed<S> {
    pub(crate) fn new(inner: S, routes: Arc<Routes>, guard: Option<Arc<Guard>>) -> Self {
        Self { inner, routes, guard }
    }
}

impl<S, B, R> Service<Request<B>> for Routed<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let found = self.routes.find(&Head::new(&request), |guarded| match &self.guard {
            Some(guard) => guard(request.extensions(), guarded),
            None => Verdict::Forbidden,
        });
        match found {
            Ok(matched) => {
                let outer = request.extensions_mut().remove::<Matched>();
                request.extensions_mut().insert(matched.within(outer));
                ResponseFuture::inner(self.inner.call(request))
            }
            Err(refused) => ResponseFuture::answer(Ok(refused.response())),
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Routed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routed")
            .field("inner", &self.inner)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}
