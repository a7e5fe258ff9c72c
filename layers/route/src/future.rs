use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

pin_project! {
    /// Future of [`Route`](crate::Route): that of the inner service, or the rejection of the layer.
    #[derive(Debug)]
    pub struct ResponseFuture<F: Future> {
        #[pin]
        inner: Option<F>,
        answer: Option<F::Output>,
    }
}

impl<F: Future> ResponseFuture<F> {
    pub(crate) fn inner(inner: F) -> Self {
        Self { inner: Some(inner), answer: None }
    }

    pub(crate) fn answer(answer: F::Output) -> Self {
        Self { inner: None, answer: Some(answer) }
    }
}

impl<F: Future> Future for ResponseFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match this.inner.as_pin_mut() {
            Some(inner) => inner.poll(cx),
            None => Poll::Ready(this.answer.take().expect("polled after completion")),
        }
    }
}
