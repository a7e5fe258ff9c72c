//! The body of a response that is no stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use pin_project_lite::pin_project;
use tailwater_sse::BoxError;

use super::layer::Answer;
use crate::stack::Body;

pin_project! {
    /// Counts the bytes of a response, whose line is written when it has ended or is dropped.
    pub(super) struct LoggedBody {
        #[pin]
        body: Body,
        answer: Answer,
    }
}

impl LoggedBody {
    pub(super) fn new(body: Body, mut answer: Answer) -> Self {
        answer.is_complete |= body.is_end_stream();
        Self { body, answer }
    }
}

impl http_body::Body for LoggedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let frame = ready!(this.answer.within(|| this.body.as_mut().poll_frame(cx)));
        match &frame {
            Some(Ok(frame)) => {
                this.answer.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
            }
            Some(Err(_)) => this.answer.has_failed = true,
            None => {}
        }
        this.answer.is_complete = frame.is_none() || this.body.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
