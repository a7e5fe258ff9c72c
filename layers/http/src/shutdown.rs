//! The end of a server: notifies all connections at once.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, mem};

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use crate::deadline::after;

/// The handle that ends a server. Its clones are the same handle: give one to the [`HttpLayer`], one to
/// [`serve`], and end streams with [`on_begin`](Self::on_begin). [`begin`](Self::begin) then ends all.
///
/// From then on no connection accepts a new request: HTTP/1.1 closes after the current response, HTTP/2
/// sends GOAWAY. Open responses may end within the drain window. At its end the rest is dropped.
///
/// Waiting for the shutdown costs each connection some seventy bytes and no task.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// use tailwater_http::Shutdown;
///
/// let shutdown = Shutdown::new();
/// let started = shutdown.started();
/// shutdown.begin(Duration::from_secs(5));
/// let window_end = started.await;
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

#[derive(Default)]
struct Shared {
    window_end: OnceLock<Instant>,
    started: Arc<Notify>,
    /// The callbacks of [`Shutdown::begin`], which empties the list.
    callbacks: Mutex<Vec<Callback>>,
}

type Callback = Box<dyn FnOnce(Duration) + Send>;

/// The time that streams have to end by themselves. The last tenth of the window is left to their
/// last bytes.
fn of_streams(window: Duration) -> Duration {
    window - window / 10
}

impl Shutdown {
    /// A shutdown that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the shutdown. The window is the time that streams have to end. Zero drops them at once.
    /// Only the first call has an effect.
    pub fn begin(&self, window: Duration) {
        if self.shared.window_end.set(after(window)).is_ok() {
            // Streams begin to end before connections close.
            for callback in self.shared.take_callbacks() {
                callback(of_streams(window));
            }
            self.shared.started.notify_waiters();
        }
    }

    /// Calls `end_streams` when the shutdown begins, at once if it has begun. The argument is the
    /// time that streams have to end by themselves: nine tenths of the drain window, so that their
    /// last bytes reach the clients before connections are dropped.
    ///
    /// The callback must not block. It is for a source of streams that can end them, as the drain of
    /// an event stream layer does.
    ///
    /// ```
    /// use std::sync::{Arc, OnceLock};
    /// use std::time::Duration;
    /// use tailwater_http::Shutdown;
    ///
    /// let time_to_end = Arc::new(OnceLock::new());
    /// let shutdown = Shutdown::new();
    /// shutdown.on_begin({
    ///     let time_to_end = Arc::clone(&time_to_end);
    ///     move |time| time_to_end.set(time).expect("called once")
    /// });
    /// shutdown.begin(Duration::from_secs(10));
    /// assert_eq!(time_to_end.get(), Some(&Duration::from_secs(9)));
    /// ```
    pub fn on_begin(&self, end_streams: impl FnOnce(Duration) + Send + 'static) {
        let mut callbacks = self.shared.lock_callbacks();
        callbacks.push(Box::new(end_streams));
        drop(callbacks);
        // Looked at after the push: `begin` sets it before it takes the callbacks.
        if let Some(end) = self.window_end() {
            let left = end.saturating_duration_since(Instant::now());
            for callback in self.shared.take_callbacks() {
                callback(of_streams(left));
            }
        }
    }

    /// The end of the drain window, if the shutdown has begun.
    #[must_use]
    pub fn window_end(&self) -> Option<Instant> {
        self.shared.window_end.get().copied()
    }

    /// Waits until the shutdown begins. The output is the end of the drain window. The future can be
    /// dropped at any time.
    pub fn started(&self) -> Started {
        // Made before the first read of `window_end`, so that a `begin` in between wakes it.
        let notified = Arc::clone(&self.shared.started).notified_owned();
        Started { notified, shared: Arc::clone(&self.shared) }
    }
}

impl Shared {
    fn lock_callbacks(&self) -> MutexGuard<'_, Vec<Callback>> {
        self.callbacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_callbacks(&self) -> Vec<Callback> {
        mem::take(&mut *self.lock_callbacks())
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("window_end", &self.window_end).finish_non_exhaustive()
    }
}

pin_project! {
    /// Future of [`Shutdown::started`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Started {
        #[pin]
        notified: OwnedNotified,
        shared: Arc<Shared>,
    }
}

impl Future for Started {
    type Output = Instant;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Instant> {
        let this = self.project();
        if let Some(end) = this.shared.window_end.get() {
            return Poll::Ready(*end);
        }
        match this.notified.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                Poll::Ready(*this.shared.window_end.get().expect("set before the notification"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::task::spawn;
    use tokio_test::{assert_pending, assert_ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_that_wait_are_woken_and_later_ones_do_not_wait() {
        let shutdown = Shutdown::new();
        let mut waiting = spawn(shutdown.started());
        assert_pending!(waiting.poll());
        let mut not_polled_yet = spawn(shutdown.started());

        shutdown.clone().begin(Duration::from_secs(3));
        shutdown.begin(Duration::from_secs(9)); // the first counts

        let end = Instant::now() + Duration::from_secs(3);
        assert!(waiting.is_woken());
        assert_eq!(assert_ready!(waiting.poll()), end);
        assert_eq!(assert_ready!(not_polled_yet.poll()), end);
        assert_eq!(assert_ready!(spawn(shutdown.started()).poll()), end);
    }

    #[tokio::test(start_paused = true)]
    async fn streams_are_ended_once_before_and_after_the_beginning() {
        let shutdown = Shutdown::new();
        let (sender, calls) = std::sync::mpsc::channel();
        let register = |name: &'static str| {
            let sender = sender.clone();
            shutdown.on_begin(move |time| sender.send((name, time)).unwrap());
        };
        register("before");
        assert!(calls.try_recv().is_err(), "nothing has begun");

        shutdown.begin(Duration::from_secs(10));
        shutdown.begin(Duration::from_secs(20));
        assert_eq!(calls.try_iter().collect::<Vec<_>>(), [("before", Duration::from_secs(9))]);

        tokio::time::advance(Duration::from_secs(5)).await;
        register("after");
        let left = Duration::from_millis(4500);
        assert_eq!(calls.try_iter().collect::<Vec<_>>(), [("after", left)]);
        tokio::time::advance(Duration::from_secs(50)).await;
        register("too late");
        assert_eq!(calls.try_iter().collect::<Vec<_>>(), [("too late", Duration::ZERO)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_window_does_not_overflow() {
        let shutdown = Shutdown::new();
        shutdown.begin(Duration::MAX);
        assert!(shutdown.window_end().is_some());
    }
}
