//! From hyper's requests to the inner service, and back.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
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
};

/// The inner service as one connection's hyper calls it.
#[derive(Clone)]
pub(crate) struct Requests<S> {
    inner: S,
    extensions: Extensions,
    activity: Arc<Activity>,
}

impl<S> Requests<S> {
    pub(crate) fn new(inner: S, extensions: Extensions, activity: Arc<Activity>) -> Self {
        Self { inner, extensions, activity }
    }
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Requests<S>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Response = Response<OpenBody<B>>;
    type Error = S::Error;
    // Boxed so that it is freed when the head of the response is there: hyper keeps room for one
    // future as long as the connection lasts, and a stream is idle for hours.
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let open = self.activity.open();
        request.extensions_mut().extend(self.extensions.clone());
        let mut inner = self.inner.clone();
        // The service is called within the future: over HTTP/2 it panics in the stream's task and
        // not in that of the connection.
        Box::pin(async move {
            poll_fn(|cx| inner.poll_ready(cx)).await?;
            let response = inner.call(request);
            drop(inner);
            let response = response.await?;
            Ok(response.map(|body| OpenBody { body, _open: open }))
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
