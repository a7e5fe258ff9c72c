//! Subjects that an operator has blocked for a time: their requests are answered 403.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tailwater_jwt::Session;
use tokio::time::Instant;
use tower::Service;

/// The maximum number of subjects that are blocked at once.
pub(crate) const MOST: usize = 1024;

/// The blocked subjects of the process. A clone is a handle to the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The number of entries, so that a request takes no lock while there are none.
    count: AtomicUsize,
    until: Mutex<HashMap<String, Instant>>,
}

/// Too many subjects are blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Blocks {
    fn until(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks a subject for a time from now.
    pub(crate) fn add(&self, subject: &str, time: Duration) -> Result<(), Full> {
        let now = Instant::now();
        let mut until = self.until();
        until.retain(|_, end| *end > now);
        let result = if until.len() >= MOST && !until.contains_key(subject) {
            Err(Full)
        } else {
            until.insert(subject.to_owned(), now + time);
            Ok(())
        };
        self.0.count.store(until.len(), SeqCst);
        result
    }

    fn are_of(&self, session: &Session) -> bool {
        self.0.count.load(SeqCst) > 0
            && subject(session).is_some_and(|subject| self.contains(subject))
    }

    fn contains(&self, subject: &str) -> bool {
        let mut until = self.until();
        match until.get(subject) {
            Some(end) if *end > Instant::now() => true,
            Some(_) => {
                until.remove(subject);
                self.0.count.store(until.len(), SeqCst);
                false
            }
            None => false,
        }
    }

    /// A service that refuses the requests of blocked subjects. It finds their sessions in the extensions.
    pub(crate) fn service<S>(&self, inner: S) -> Refuse<S> {
        Refuse { inner, blocks: self.clone() }
    }
}

/// The name of a session's client, in lists and logs, too.
pub(crate) fn subject(session: &Session) -> Option<&str> {
    let token = session.token();
    token.identity().or_else(|| token.subject())
}

/// In the extensions of a response: its subject is blocked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocked;

/// Service of [`Blocks::service`].
#[derive(Clone, Debug)]
pub(crate) struct Refuse<S> {
    inner: S,
    blocks: Blocks,
}

impl<S, B, R: Default> Service<Request<B>> for Refuse<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
{
    type Response = Response<R>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let session = request.extensions().get::<Session>().cloned();
        let is_blocked = session.as_ref().is_some_and(|session| self.blocks.are_of(session));
        let future = (!is_blocked).then(|| self.inner.call(request));
        let session = session.map(|session| (session, self.blocks.clone()));
        ResponseFuture { future, session }
    }
}

pin_project! {
    /// Future of [`Refuse`].
    pub(crate) struct ResponseFuture<F> {
        // `None` for a subject that was blocked before.
        #[pin]
        future: Option<F>,
        session: Option<(Session, Blocks)>,
    }
}

impl<F, R: Default> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Some(future) = this.future.as_pin_mut() else { return Poll::Ready(Ok(forbidden())) };
        let response = ready!(future.poll(cx))?;
        // A block ends the streams that are open. This one may have opened after that.
        let is_blocked =
            this.session.as_ref().is_some_and(|(session, blocks)| blocks.are_of(session));
        Poll::Ready(Ok(if is_blocked { forbidden() } else { response }))
    }
}

fn forbidden<R: Default>() -> Response<R> {
    let mut response = Response::new(R::default());
    *response.status_mut() = StatusCode::FORBIDDEN;
    response.extensions_mut().insert(Blocked);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_block_lasts_for_its_time() {
        let blocks = Blocks::default();
        blocks.add("alice", MINUTE).unwrap();
        tokio::time::advance(MINUTE / 2).await;
        assert!(blocks.contains("alice") && !blocks.contains("bob"));
        // The last one counts.
        blocks.add("alice", MINUTE).unwrap();
        tokio::time::advance(MINUTE * 3 / 4).await;
        assert!(blocks.contains("alice"));
        tokio::time::advance(MINUTE / 4).await;
        assert!(!blocks.contains("alice"));
        assert_eq!(blocks.0.count.load(SeqCst), 0, "requests take no lock any more");
    }

    #[tokio::test(start_paused = true)]
    async fn blocks_are_bounded_and_those_that_are_over_make_room() {
        let blocks = Blocks::default();
        for number in 0..MOST {
            blocks.add(&number.to_string(), MINUTE).unwrap();
        }
        assert_eq!(blocks.add("one more", MINUTE), Err(Full));
        assert!(!blocks.contains("one more"));
        blocks.add("0", MINUTE * 2).unwrap();
        tokio::time::advance(MINUTE).await;
        blocks.add("one more", MINUTE).unwrap();
        assert_eq!(blocks.until().len(), 2);
    }
}
