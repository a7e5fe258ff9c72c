//! Telling all connections at once that the server goes.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::Instant,
};

use crate::deadline::after;

/// The handle that ends a server: clones are the same one. Give it to the [`HttpLayer`], to
/// [`serve`], and to whatever has to write an end to its streams; then [`begin`](Self::begin).
///
/// From then on no connection takes a new request: HTTP/1.1 closes after the response that is
/// running, HTTP/2 sends GOAWAY. Open responses run on until their end or that of the drain window,
/// whichever is first; what is open then is dropped.
///
/// One that waits costs some seventy bytes and no task.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// use tailwater_http::Shutdown;
///
/// let shutdown = Shutdown::new();
/// let begun = shutdown.begun();
/// shutdown.begin(Duration::from_secs(5));
/// let window_end = begun.await;
/// assert_eq!(shutdown.window_end(), Some(window_end));
/// # }
/// ```
///
/// [`HttpLayer`]: crate::HttpLayer
/// [`serve`]: crate::serve()
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    window_end: OnceLock<Instant>,
    begun: Arc<Notify>,
}

impl Shutdown {
    /// A shutdown that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the shutdown; streams have this long to end. Zero cuts them at once. The first call
    /// counts, later ones change nothing.
    pub fn begin(&self, window: Duration) {
        if self.shared.window_end.set(after(window)).is_ok() {
            self.shared.begun.notify_waiters();
        }
    }

    /// When the drain window ends, if the shutdown has begun.
    #[must_use]
    pub fn window_end(&self) -> Option<Instant> {
        self.shared.window_end.get().copied()
    }

    /// Waits until the shutdown begins; the output is the end of the drain window. Dropping it
    /// loses nothing.
    pub fn begun(&self) -> Begun {
        // Made before the first look at `window_end`: it is woken by a `begin` in between.
        let notified = Arc::clone(&self.shared.begun).notified_owned();
        Begun { notified, shared: Arc::clone(&self.shared) }
    }
}

pin_project! {
    /// Future of [`Shutdown::begun`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Begun {
        #[pin]
        notified: OwnedNotified,
        shared: Arc<Shared>,
    }
}

impl Future for Begun {
    type Output = Instant;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Instant> {
        let this = self.project();
        if let Some(end) = this.shared.window_end.get() {
            return Poll::Ready(*end);
        }
        match this.notified.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                Poll::Ready(*this.shared.window_end.get().expect("set before it is told"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::{assert_pending, assert_ready, task::spawn};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_that_wait_are_woken_and_later_ones_do_not_wait() {
        let shutdown = Shutdown::new();
        let mut waiting = spawn(shutdown.begun());
        assert_pending!(waiting.poll());
        let mut not_polled_yet = spawn(shutdown.begun());

        shutdown.clone().begin(Duration::from_secs(3));
        shutdown.begin(Duration::from_secs(9)); // the first counts

        let end = Instant::now() + Duration::from_secs(3);
        assert!(waiting.is_woken());
        assert_eq!(assert_ready!(waiting.poll()), end);
        assert_eq!(assert_ready!(not_polled_yet.poll()), end);
        assert_eq!(assert_ready!(spawn(shutdown.begun()).poll()), end);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_window_does_not_overflow() {
        let shutdown = Shutdown::new();
        shutdown.begin(Duration::MAX);
        assert!(shutdown.window_end().is_some());
    }
}
