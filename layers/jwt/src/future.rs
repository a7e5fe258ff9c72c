use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::config::Config;
use crate::service::{Refusal, authorize};
use crate::{Rejection, Token};

type Verified = Pin<Box<dyn Future<Output = Result<Arc<Token>, Rejection>> + Send>>;

pin_project! {
    /// Future of [`JwtAuth`](crate::JwtAuth): the future of the inner service, or a response. If the token
    /// needs a key set, the future first waits for its fetch.
    pub struct ResponseFuture<S: Service<Q>, Q> {
        #[pin]
        step: Step<S, Q, S::Future, S::Response>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<S, Q, F, R> {
        Waiting { waiting: Option<Box<Waiting<S, Q>>> },
        Inner { #[pin] future: F, refusal: Option<Refusal> },
        Answer { response: Option<R> },
    }
}

struct Waiting<S, Q> {
    verified: Verified,
    ready: S,
    request: Q,
    config: Arc<Config>,
}

impl<S: Service<Q>, Q> ResponseFuture<S, Q> {
    pub(crate) fn inner(future: S::Future, refusal: Option<Refusal>) -> Self {
        Self { step: Step::Inner { future, refusal } }
    }

    pub(crate) fn answer(response: S::Response) -> Self {
        Self { step: Step::Answer { response: Some(response) } }
    }

    pub(crate) fn waiting(verified: Verified, ready: S, request: Q, config: Arc<Config>) -> Self {
        let waiting = Some(Box::new(Waiting { verified, ready, request, config }));
        Self { step: Step::Waiting { waiting } }
    }
}

impl<S, B, R> Future for ResponseFuture<S, Request<B>>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().step;
        loop {
            let next = match step.as_mut().project() {
                StepProjection::Inner { future, refusal } => {
                    let response = ready!(future.poll(cx))?;
                    if let Some(refusal) = refusal {
                        refusal.answered(response.status());
                    }
                    return Poll::Ready(Ok(response));
                }
                StepProjection::Answer { response } => {
                    return Poll::Ready(Ok(response.take().expect("polled after completion")));
                }
                StepProjection::Waiting { waiting } => {
                    let verified = &mut waiting.as_mut().expect("it waits").verified;
                    let verified = ready!(verified.as_mut().poll(cx));
                    let Waiting { mut ready, request, config, .. } =
                        *waiting.take().expect("it waits");
                    match authorize(&config, request, verified) {
                        Ok((request, refusal)) => {
                            Step::Inner { future: ready.call(request), refusal }
                        }
                        Err(response) => Step::Answer { response: Some(response) },
                    }
                }
            };
            step.set(next);
        }
    }
}

impl<S: Service<Q>, Q> std::fmt::Debug for ResponseFuture<S, Q> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
