use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tailwater_sse::Rejection;

use crate::Error;
use crate::reader::Reader;
use crate::upstream::UpstreamEvents;

/// Future of [`Upstream`](crate::Upstream): ready when the server has answered. The timeouts of
/// [`UpstreamLayer`](crate::UpstreamLayer) bound it. Dropping it closes the connection.
#[derive(Debug)]
pub struct UpstreamFuture {
    state: Option<State>,
}

#[derive(Debug)]
enum State {
    Opening { reader: Box<Reader>, timestamps: bool },
    Rejected(Rejection),
}

impl UpstreamFuture {
    pub(crate) fn opening(reader: Reader, timestamps: bool) -> Self {
        Self { state: Some(State::Opening { reader: Box::new(reader), timestamps }) }
    }

    pub(crate) fn rejected(rejection: Rejection) -> Self {
        Self { state: Some(State::Rejected(rejection)) }
    }
}

impl Future for UpstreamFuture {
    type Output = Result<UpstreamEvents, Rejection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.state {
            Some(State::Opening { reader, .. }) => ready!(reader.poll_open(cx)),
            Some(State::Rejected(_)) | None => Ok(()),
        };
        match self.state.take().expect("polled after completion") {
            State::Opening { reader, timestamps } => Poll::Ready(match answer {
                Ok(()) => Ok(UpstreamEvents::new(reader, timestamps)),
                Err(error) => Err(rejection(error, &reader)),
            }),
            State::Rejected(rejection) => Poll::Ready(Err(rejection)),
        }
    }
}

fn rejection(error: Error, reader: &Reader) -> Rejection {
    if matches!(error, Error::NoContent) {
        return Rejection::new(StatusCode::NO_CONTENT, error);
    }
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        server = reader.server().map(tracing::field::display),
        "no event stream of the server above"
    );
    Rejection::new(StatusCode::BAD_GATEWAY, error)
}
