//! The state of a connection. Its driver, its byte stream and its requests share it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::task::Waker;

use atomic_waker::AtomicWaker;

use crate::serve::Stalled;

/// The open requests and the writes of one connection.
#[derive(Debug, Default)]
pub(crate) struct ConnState {
    open: AtomicUsize,
    requests: AtomicUsize,
    write_blocked: AtomicBool,
    wrote: AtomicBool,
    stalled: AtomicBool,
    waiting_bytes: AtomicUsize,
    driver: AtomicWaker,
}

impl ConnState {
    /// Counts a new request, which is open until the returned value is dropped.
    pub(crate) fn open(self: &Arc<Self>) -> OpenRequest {
        self.open.fetch_add(1, SeqCst);
        self.requests.fetch_add(1, SeqCst);
        OpenRequest(Arc::clone(self))
    }

    /// The number of requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }

    /// Whether a request is open, or bytes of the last response wait until the peer takes them.
    pub(crate) fn is_busy(&self) -> bool {
        self.open.load(SeqCst) > 0 || self.is_blocked()
    }

    /// Whether the last write had to wait.
    pub(crate) fn is_blocked(&self) -> bool {
        self.write_blocked.load(SeqCst)
    }

    /// Records whether the last write took bytes or had to wait.
    pub(crate) fn record_write(&self, took_bytes: bool) {
        self.write_blocked.store(!took_bytes, SeqCst);
        if took_bytes {
            self.wrote.store(true, SeqCst);
        }
    }

    /// Records how many bytes the last write could not hand over.
    pub(crate) fn record_waiting(&self, bytes: usize) {
        self.waiting_bytes.store(bytes, Relaxed);
    }

    /// How many bytes the last write could not hand over.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Relaxed)
    }

    /// Records whether a flush completed or had to wait. TLS takes bytes before the socket does, so that
    /// a write alone proves nothing.
    pub(crate) fn record_flush(&self, took_bytes: bool) {
        if self.write_blocked.swap(!took_bytes, SeqCst) && took_bytes {
            self.wrote.store(true, SeqCst);
        }
    }

    /// Whether bytes were written since the last call.
    pub(crate) fn take_wrote(&self) -> bool {
        self.wrote.swap(false, SeqCst)
    }

    /// Records that a write failed. Must be called before a body of the connection is dropped for it.
    pub(crate) fn record_error(&self, error: &io::Error) {
        if error.get_ref().is_some_and(|error| error.is::<Stalled>()) {
            self.stalled.store(true, SeqCst);
        }
    }

    /// Whether the connection ended because its peer took no byte in time.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(SeqCst)
    }

    /// Wakes the driver when the last open request ends. Must be called before
    /// [`is_busy`](Self::is_busy): HTTP/2 streams end in tasks of their own.
    pub(crate) fn wake_when_free(&self, driver: &Waker) {
        self.driver.register(driver);
    }
}

/// An open request.
#[derive(Debug)]
pub(crate) struct OpenRequest(Arc<ConnState>);

impl OpenRequest {
    /// The state of its connection.
    pub(crate) fn connection(&self) -> &ConnState {
        &self.0
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, SeqCst) == 1 {
            self.0.driver.wake();
        }
    }
}
