use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tailwater_sse::Refusal;

use super::UpstreamEvents;
use crate::Error;
use crate::reader::Reader;

/// Future of [`Upstream`](crate::Upstream): ready when the server has answered. The deadlines of
/// [`Options`](crate::Options) bound it. Dropping it closes the connection.
#[derive(Debug)]
pub struct UpstreamFuture {
    state: Option<State>,
}

#[derive(Debug)]
enum State {
    Opening { reader: Box<Reader>, timestamps: bool },
    Refused(Refusal),
}

impl UpstreamFuture {
    pub(crate) fn opening(reader: Reader, timestamps: bool) -> Self {
        Self { state: Some(State::Opening { reader: Box::new(reader), timestamps }) }
    }

    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self { state: Some(State::Refused(refusal)) }
    }
}

impl Future for UpstreamFuture {
    type Output = Result<UpstreamEvents, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.state {
            Some(State::Opening { reader, .. }) => ready!(reader.poll_open(cx)),
            Some(State::Refused(_)) | None => Ok(()),
        };
        match self.state.take().expect("polled after completion") {
            State::Opening { reader, timestamps } => Poll::Ready(match answer {
                Ok(()) => Ok(UpstreamEvents::new(reader, timestamps)),
                Err(error) => Err(refusal(error, &reader)),
            }),
            State::Refused(refusal) => Poll::Ready(Err(refusal)),
        }
    }
}

fn refusal(error: Error, reader: &Reader) -> Refusal {
    if matches!(error, Error::NoContent) {
        return Refusal::new(StatusCode::NO_CONTENT, error);
    }
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        server = reader.server().map(tracing::field::display),
        "no event stream of the server above"
    );
    Refusal::new(StatusCode::BAD_GATEWAY, error)
}
