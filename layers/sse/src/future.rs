use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use pin_project_lite::pin_project;

use crate::options::Options;
use crate::{Events, Lease, Rejection, SseBody};

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Events contain text of other users. A browser that guesses the content type could render it as a page.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

pin_project! {
    /// Future of [`Sse`](crate::Sse): waits for the source, and makes a response.
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Asking {
            #[pin]
            answer: F,
            options: Arc<Options>,
            lease: Option<Box<dyn Lease>>,
            timestamps: bool,
            head: bool,
        },
        Rejected { rejection: Option<Rejection> },
    }
}

impl<F> ResponseFuture<F> {
    pub(crate) fn asking(
        answer: F,
        options: Arc<Options>,
        lease: Option<Box<dyn Lease>>,
        timestamps: bool,
        head: bool,
    ) -> Self {
        Self { state: State::Asking { answer, options, lease, timestamps, head } }
    }

    pub(crate) fn rejected(rejection: Rejection) -> Self {
        Self { state: State::Rejected { rejection: Some(rejection) } }
    }
}

impl<F, E, R> Future for ResponseFuture<F>
where
    F: Future<Output = Result<E, R>>,
    E: Events,
    R: Into<Rejection>,
{
    type Output = Result<Response<SseBody<E>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(match self.project().state.project() {
            StateProjection::Asking { answer, options, lease, timestamps, head } => {
                match ready!(answer.poll(cx)) {
                    Ok(_) if *head => opened(SseBody::default(), *timestamps),
                    Ok(events) => {
                        opened(SseBody::new(events, Arc::clone(options), lease.take()), *timestamps)
                    }
                    Err(error) => rejected(error.into()),
                }
            }
            StateProjection::Rejected { rejection } => {
                let rejection = rejection.take().expect("polled after completion");
                rejected(rejection)
            }
        }))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

fn opened<B>(body: B, timestamps: bool) -> Response<B> {
    // Some clients compare the whole value, so there is no charset.
    let content_type =
        if timestamps { "text/event-stream;ext=timestamp" } else { "text/event-stream" };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // `no-transform`: a proxy that compresses would buffer events until a block is full.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    // nginx buffers responses by default.
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    response
}

fn rejected<E>(rejection: Rejection) -> Response<SseBody<E>> {
    let mut response = match rejection.text() {
        Some(text) => {
            let mut response = Response::new(SseBody::text(text));
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, text);
            response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
            response
        }
        None => Response::new(SseBody::default()),
    };
    *response.status_mut() = rejection.status();
    if rejection.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response.extensions_mut().insert(Arc::new(rejection));
    response
}
