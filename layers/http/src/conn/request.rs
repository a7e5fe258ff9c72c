//! Calls the inner service for the requests that hyper reads.

use std::future::{poll_fn, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::header::{self, CONTENT_LENGTH, CONTENT_TYPE};
use http::uri::Authority;
use http::{Extensions, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::config::OnRejection;
use crate::conn::state::{ConnState, OpenRequest};
use crate::connection::Rejection;
use crate::error::BoxError;

/// The bounds of an inner service, under one name.
pub(crate) trait InnerService:
    Service<
        Request<Incoming>,
        Response = Response<<Self as InnerService>::Body>,
        Error: Into<BoxError>,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
    type Body: Body<Data: Send, Error: Into<BoxError>> + Send + 'static;
}

impl<S, B> InnerService for S
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Body = B;
}

/// The service that hyper calls for the requests of one connection.
pub(crate) struct RequestService<S: InnerService> {
    // Boxed, so that a connection of hyper can be moved.
    inner: Box<S>,
    extensions: Extensions,
    state: Arc<ConnState>,
    handed_off: HandedOff<S::Body>,
    on_rejection: OnRejection,
}

/// A response that is written without hyper: see [`super::event_stream`]. hyper gets an error in place
/// of it, and ends.
pub(crate) type HandedOff<B> = Arc<Mutex<Option<Response<OpenBody<B>>>>>;

/// The error that hyper gets in place of such a response. It is never reported.
#[derive(Debug, thiserror::Error)]
#[error("the response is written elsewhere")]
struct WrittenElsewhere;

impl<S: InnerService> RequestService<S> {
    pub(crate) fn new(
        inner: S,
        extensions: Extensions,
        state: Arc<ConnState>,
        on_rejection: OnRejection,
    ) -> Self {
        let handed_off = Arc::default();
        Self { inner: Box::new(inner), extensions, state, handed_off, on_rejection }
    }

    /// Reports a request that hyper has answered, if it has.
    pub(crate) fn rejected(&self, error: &hyper::Error) {
        // It can't answer while it writes another response.
        if !error.is_parse() || self.state.is_busy() {
            return;
        }
        let status = match () {
            () if error.is_parse_version_h2() => return,
            () if !error.is_parse_too_large() => StatusCode::BAD_REQUEST,
            () if error.to_string().contains("URI") => StatusCode::URI_TOO_LONG,
            () => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        };
        self.on_rejection.call(Rejection { status, extensions: &self.extensions, request: None });
    }

    /// The place for a response that is written without hyper.
    pub(crate) fn handed_off(&self) -> HandedOff<S::Body> {
        Arc::clone(&self.handed_off)
    }
}

impl<S: InnerService> hyper::service::Service<Request<Incoming>> for RequestService<S> {
    type Response = Response<OpenBody<S::Body>>;
    type Error = BoxError;
    // Boxed, so that it is freed when the head of the response is there: hyper keeps room for one
    // future as long as the connection lasts, and a stream may be idle for hours.
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let open = self.state.open();
        if !has_valid_host(&request) {
            let mut response = Response::new(OpenBody { body: None, open });
            let status = StatusCode::BAD_REQUEST;
            *response.status_mut() = status;
            let extensions = &self.extensions;
            self.on_rejection.call(Rejection { status, extensions, request: Some(&request) });
            return Box::pin(ready(Ok(response)));
        }
        request.extensions_mut().extend(self.extensions.clone());
        let mut inner = S::clone(&self.inner);
        let handed_off = allows_handing_off(&request).then(|| self.handed_off());
        let state = Arc::clone(&self.state);
        // The service is called within the future, so that over HTTP/2 a panic of it happens in the
        // task of the stream and not in that of the connection.
        Box::pin(async move {
            poll_fn(|cx| inner.poll_ready(cx).map_err(Into::into)).await?;
            let response = inner.call(request);
            drop(inner);
            let response = response.await.map_err(Into::into)?;
            let response = response.map(|body| OpenBody { body: Some(body), open });
            match handed_off {
                // hyper may still hold bytes of an earlier response, and would lose them with the
                // error. It tries to write them before it calls this service, so that it holds some
                // only if a write had to wait. hyper then writes this response, too.
                Some(handed_off) if is_event_stream(&response) && !state.is_blocked() => {
                    *handed_off.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
                    Err(WrittenElsewhere.into())
                }
                _ => Ok(response),
            }
        })
    }
}

/// Whether the response to this request may be written without hyper.
fn allows_handing_off(request: &Request<Incoming>) -> bool {
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && request.body().is_end_stream()
}

/// Whether this response is an event stream, which is written without hyper.
fn is_event_stream<B: Body>(response: &Response<B>) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type.map_or(&b""[..], |value| value.as_bytes());
    response.status() == StatusCode::OK
        && content_type.starts_with(b"text/event-stream")
        && !response.headers().contains_key(CONTENT_LENGTH)
        && response.body().size_hint().exact().is_none()
        && !response.body().is_end_stream()
}

/// Whether the `Host` of a request is valid by RFC 9112, 3.2: exactly one in HTTP/1.1, at most one before,
/// with the name of a host or empty. Otherwise two servers on the way may choose two different hosts.
fn has_valid_host<B>(request: &Request<B>) -> bool {
    if request.version() > Version::HTTP_11 {
        return true;
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => {
            host.is_empty()
                || Authority::try_from(host.as_bytes())
                    .is_ok_and(|host| !host.as_str().contains('@'))
        }
        (Some(_), Some(_)) => false,
    }
}

pin_project! {
    /// A response body. Its request is open as long as it lives. `None` is the empty body.
    pub(crate) struct OpenBody<B> {
        #[pin]
        body: Option<B>,
        open: OpenRequest,
    }
}

impl<B> OpenBody<B> {
    /// The state of its connection.
    pub(crate) fn connection(&self) -> &ConnState {
        self.open.connection()
    }
}

impl<B: Body> Body for OpenBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().body.as_pin_mut() {
            Some(body) => body.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
