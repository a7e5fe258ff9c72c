use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::Routes;
use crate::head::Head;

/// Sends each request to the service that is the target of its route, or rejects it.
///
/// The service finds [`Matched`](crate::Matched) in the extensions of the request. Its answer is
/// final: a 404 from there leads to no other route.
///
/// Each request gets a clone of its service, and the clone is made ready within the response's
/// future: a service that is not ready delays its own requests only.
///
/// ```
/// use std::convert::Infallible;
///
/// use http::{Request, Response};
/// use tailwater_route::{Pattern, Router, Routes};
/// use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let answer = |text: &'static str| {
///     BoxCloneSyncService::new(service_fn(move |_: Request<()>| async move {
///         Ok::<_, Infallible>(Response::new(text))
///     }))
/// };
/// let routes = Routes::new()
///     .route([Pattern::new("/orders")?], answer("orders"))
///     .route([Pattern::new("/trades")?], answer("trades"));
///
/// let response = Router::new(routes).oneshot(Request::get("/trades").body(())?).await?;
/// assert_eq!(*response.body(), "trades");
/// # Ok(())
/// # }
/// ```
pub struct Router<S> {
    routes: Arc<Routes<S>>,
}

impl<S> Router<S> {
    /// A router of these routes. Its clones share them.
    #[must_use]
    pub fn new(routes: Routes<S>) -> Self {
        Self { routes: Arc::new(routes) }
    }
}

impl<S> Clone for Router<S> {
    fn clone(&self) -> Self {
        Self { routes: Arc::clone(&self.routes) }
    }
}

impl<S: fmt::Debug> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("routes", &self.routes).finish()
    }
}

impl<S, B, R> Service<Request<B>> for Router<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RouterFuture<S, B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let found = self.routes.find(&Head::new(&request));
        let state = match found {
            Ok((matched, service)) => {
                matched.insert_into(request.extensions_mut());
                State::Waiting { service: service.clone(), request: Some(request) }
            }
            Err(rejection) => State::Rejected { response: Some(rejection.response()) },
        };
        RouterFuture { state }
    }
}

pin_project! {
    /// Future of [`Router`]. It waits until the service is ready, and then for the response. A rejection
    /// is ready at once.
    pub struct RouterFuture<S: Service<Request<B>>, B> {
        #[pin]
        state: State<S, B, S::Future, S::Response>,
    }
}

pin_project! {
    #[project = Project]
    enum State<S, B, F, R> {
        Waiting { service: S, request: Option<Request<B>> },
        Called { #[pin] future: F },
        Rejected { response: Option<R> },
    }
}

impl<S: Service<Request<B>>, B> Future for RouterFuture<S, B> {
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
                Project::Rejected { response } => {
                    return Poll::Ready(Ok(response.take().expect("polled after completion")));
                }
            };
            state.set(State::Called { future });
        }
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for RouterFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterFuture").finish_non_exhaustive()
    }
}
