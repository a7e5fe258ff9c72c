//! What a connection is doing: shared by its driver, its byte stream and its requests.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::task::Waker;

use atomic_waker::AtomicWaker;

/// What one connection is doing.
#[derive(Debug, Default)]
pub(crate) struct ConnState {
    open: AtomicUsize,
    requests: AtomicUsize,
    write_blocked: AtomicBool,
    wrote: AtomicBool,
    driver: AtomicWaker,
}

impl ConnState {
    /// A request has started; it is open until what is returned is dropped.
    pub(crate) fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, SeqCst);
        self.requests.fetch_add(1, SeqCst);
        Open(Arc::clone(self))
    }

    /// How many requests there were so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }

    /// Whether a request is open, or bytes of the last response wait for the peer to take them.
    pub(crate) fn is_busy(&self) -> bool {
        self.open.load(SeqCst) > 0 || self.is_blocked()
    }

    /// Whether the last write had to wait.
    pub(crate) fn is_blocked(&self) -> bool {
        self.write_blocked.load(SeqCst)
    }

    /// The last write took bytes, or had to wait.
    pub(crate) fn record_write(&self, took_bytes: bool) {
        self.write_blocked.store(!took_bytes, SeqCst);
        if took_bytes {
            self.wrote.store(true, SeqCst);
        }
    }

    /// All that was written was taken, or had to wait: TLS takes bytes before the socket does.
    pub(crate) fn record_flush(&self, took_bytes: bool) {
        if self.write_blocked.swap(!took_bytes, SeqCst) && took_bytes {
            self.wrote.store(true, SeqCst);
        }
    }

    /// Whether bytes were written since the last time this was asked.
    pub(crate) fn take_wrote(&self) -> bool {
        self.wrote.swap(false, SeqCst)
    }

    /// Who is woken when the last open request ends. To be called before [`is_busy`](Self::is_busy)
    /// is asked: HTTP/2 streams end in tasks of their own.
    pub(crate) fn wake_when_free(&self, driver: &Waker) {
        self.driver.register(driver);
    }
}

/// An open request.
#[derive(Debug)]
pub(crate) struct Open(Arc<ConnState>);

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, SeqCst) == 1 {
            self.0.driver.wake();
        }
    }
}
