use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use crate::head::Head;
use crate::{ResponseFuture, Routes};

/// Service of [`RouteLayer`](crate::RouteLayer). The inner service finds a
/// [`Matched`](crate::Matched) and the target of the route in the extensions of the request.
pub struct Route<S, T> {
    inner: S,
    routes: Arc<Routes<T>>,
}

impl<S, T> Route<S, T> {
    pub(crate) fn new(inner: S, routes: Arc<Routes<T>>) -> Self {
        Self { inner, routes }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, to change it.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service, without the routes.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, T, B, R> Service<Request<B>> for Route<S, T>
where
    S: Service<Request<B>, Response = Response<R>>,
    T: Clone + Send + Sync + 'static,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let found = self.routes.find(&Head::new(&request));
        match found {
            Ok((matched, target)) => {
                matched.insert_into(request.extensions_mut());
                request.extensions_mut().insert(target.clone());
                ResponseFuture::inner(self.inner.call(request))
            }
            Err(rejection) => ResponseFuture::answer(Ok(rejection.response())),
        }
    }
}

impl<S: Clone, T> Clone for Route<S, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), routes: Arc::clone(&self.routes) }
    }
}

impl<S: fmt::Debug, T: fmt::Debug> fmt::Debug for Route<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("inner", &self.inner).field("routes", &self.routes).finish()
    }
}
