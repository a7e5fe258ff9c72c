use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Request;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::Matched;

/// Services side by side, one of which each request goes to: the one that [`Matched::target`]
/// counts. Made by [`RouteLayer::branches`](crate::RouteLayer::branches).
///
/// A request has a clone of its service, and the clone is made ready within the response's future:
/// a service that is not ready keeps back its own requests only.
#[derive(Debug)]
pub struct Branches<S> {
    services: Arc<[S]>,
}

impl<S> Branches<S> {
    pub(crate) fn new(services: Arc<[S]>) -> Self {
        Self { services }
    }
}

impl<S> Clone for Branches<S> {
    fn clone(&self) -> Self {
        Self { services: Arc::clone(&self.services) }
    }
}

impl<S, B> Service<Request<B>> for Branches<S>
where
    S: Service<Request<B>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BranchFuture<S, B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = request
            .extensions()
            .get::<Matched>()
            .and_then(|matched| self.services.get(matched.target()))
            .expect("`RouteLayer::branches` stands directly above and has counted the services")
            .clone();
        BranchFuture { state: State::Waiting { service, request: Some(request) } }
    }
}

pin_project! {
    /// Future of [`Branches`]: waits until the service is ready, then for its answer.
    pub struct BranchFuture<S: Service<Request<B>>, B> {
        #[pin]
        state: State<S, B, S::Future>,
    }
}

pin_project! {
    #[project = Project]
    enum State<S, B, F> {
        Waiting { service: S, request: Option<Request<B>> },
        Called { #[pin] future: F },
    }
}

impl<S: Service<Request<B>>, B> Future for BranchFuture<S, B> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let future = match state.as_mut().project() {
                Project::Called { future } => return future.poll(cx),
                Project::Waiting { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    service.call(request.take().expect("polled after completion"))
                }
            };
            state.set(State::Called { future });
        }
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for BranchFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BranchFuture").finish_non_exhaustive()
    }
}
