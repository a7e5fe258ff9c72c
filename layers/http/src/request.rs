//! From hyper's requests to the inner service, and back.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::{Extensions, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    activity::{Activity, Open},
    error::BoxError,
    stream,
};

/// What the inner service has to be, in one name.
pub(crate) trait Inner:
    Service<
        Request<Incoming>,
        Response = Response<<Self as Inner>::Body>,
        Error: Into<BoxError>,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
    type Body: Body<Data: Send, Error: Into<BoxError>> + Send + 'static;
}

impl<S, B> Inner for S
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Body = B;
}

/// The inner service as one connection's hyper calls it.
pub(crate) struct Requests<S: Inner> {
    // Boxed so that hyper's connection can be moved.
    inner: Box<S>,
    extensions: Extensions,
    activity: Arc<Activity>,
    taken: Taken<S::Body>,
}

/// A response that is written without hyper: see [`stream`]. hyper is told an error, and ends.
pub(crate) type Taken<B> = Arc<Mutex<Option<Response<OpenBody<B>>>>>;

/// What hyper is told then; nobody sees it.
#[derive(Debug, thiserror::Error)]
#[error("the response is written elsewhere")]
struct WrittenElsewhere;

impl<S: Inner> Requests<S> {
    pub(crate) fn new(inner: S, extensions: Extensions, activity: Arc<Activity>) -> Self {
        Self { inner: Box::new(inner), extensions, activity, taken: Arc::default() }
    }

    /// Where a response is put that is not for hyper.
    pub(crate) fn taken(&self) -> Taken<S::Body> {
        Arc::clone(&self.taken)
    }
}

impl<S: Inner> hyper::service::Service<Request<Incoming>> for Requests<S> {
    type Response = Response<OpenBody<S::Body>>;
    type Error = BoxError;
    // Boxed so that it is freed when the head of the response is there: hyper keeps room for one
    // future as long as the connection lasts, and a stream is idle for hours.
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let open = self.activity.open();
        request.extensions_mut().extend(self.extensions.clone());
        let mut inner = S::clone(&self.inner);
        let taken = stream::is_possible(&request).then(|| self.taken());
        let activity = Arc::clone(&self.activity);
        // The service is called within the future: over HTTP/2 it panics in the stream's task and
        // not in that of the connection.
        Box::pin(async move {
            poll_fn(|cx| inner.poll_ready(cx).map_err(Into::into)).await?;
            let response = inner.call(request);
            drop(inner);
            let response = response.await.map_err(Into::into)?;
            let response = response.map(|body| OpenBody { body, _open: open });
            match taken {
                // Of a response before this one hyper may still hold bytes, which are lost when it
                // is told an error. It has tried to write them before it comes here, so that it
                // holds none unless a write had to wait; then this response is hyper's as well.
                Some(taken) if stream::is_event_stream(&response) && !activity.is_blocked() => {
                    *taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
                    Err(WrittenElsewhere.into())
                }
                _ => Ok(response),
            }
        })
    }
}

pin_project! {
    /// A response body: its request is open as long as it lives.
    pub(crate) struct OpenBody<B> {
        #[pin]
        body: B,
        _open: Open,
    }
}

impl<B: Body> Body for OpenBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
