use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future that is ready when it is worth to look a schema up again. It promises no more: the next look-up may
/// be pending too. Dropping it cancels nothing.
#[must_use = "futures do nothing unless polled"]
pub struct Waiter(Pin<Box<dyn Future<Output = ()> + Send + Sync>>);

impl Waiter {
    /// A waiter over the future of a catalog.
    pub fn new(ready: impl Future<Output = ()> + Send + Sync + 'static) -> Self {
        Self(Box::pin(ready))
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").finish_non_exhaustive()
    }
}

impl Future for Waiter {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}
