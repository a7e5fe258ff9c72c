//! How many connections there are and may be.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// The cap on connections, and their counters. Clones are the same one: give one to each
/// [`serve`](crate::serve()) of a process, so that the cap is the process's.
///
/// A connection over the cap is accepted and closed at once, so that a client, a load balancer or a
/// health check learns of it now and not when its own timeout ends, and so that one crowded
/// listener does not stop the others.
///
/// ```
/// use tailwater_http::Connections;
///
/// let connections = Connections::new(10_000);
/// let counts = connections.counts();
/// assert_eq!((counts.open, counts.refused), (0, 0));
/// ```
#[derive(Clone, Debug)]
pub struct Connections {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cap: usize,
    open: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
    stalled: AtomicU64,
    panicked: AtomicU64,
    accept_errors: AtomicU64,
}

/// What [`Connections`] has counted, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Connections that are open now.
    pub open: usize,
    /// Connections that were accepted and served, since the start.
    pub accepted: u64,
    /// Connections that were closed at once because the cap was reached.
    pub refused: u64,
    /// Connections that were closed because their socket took no byte for the write deadline.
    pub stalled: u64,
    /// Connections that ended in a panic; HTTP/2 streams that did are not among them.
    pub panicked: u64,
    /// Accepts that failed, for want of file descriptors or because the peer was gone already.
    pub accept_errors: u64,
}

impl Default for Connections {
    /// A cap of 65 536.
    fn default() -> Self {
        Self::new(65_536)
    }
}

impl Connections {
    /// At most this many at once; zero refuses all.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                cap,
                open: AtomicUsize::new(0),
                accepted: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                stalled: AtomicU64::new(0),
                panicked: AtomicU64::new(0),
                accept_errors: AtomicU64::new(0),
            }),
        }
    }

    /// The counters now; they are read one by one, so that they need not fit each other exactly.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let shared = &self.shared;
        Counts {
            open: shared.open.load(Relaxed),
            accepted: shared.accepted.load(Relaxed),
            refused: shared.refused.load(Relaxed),
            stalled: shared.stalled.load(Relaxed),
            panicked: shared.panicked.load(Relaxed),
            accept_errors: shared.accept_errors.load(Relaxed),
        }
    }

    pub(crate) fn cap(&self) -> usize {
        self.shared.cap
    }

    /// A place under the cap, or none and it is counted.
    pub(crate) fn admit(&self) -> Option<Admitted> {
        let admitted = Admitted(self.clone());
        if self.shared.open.fetch_add(1, Relaxed) < self.shared.cap {
            self.shared.accepted.fetch_add(1, Relaxed);
            Some(admitted)
        } else {
            self.shared.refused.fetch_add(1, Relaxed);
            None // dropped here, which takes it out of `open` again
        }
    }

    pub(crate) fn record_stalled(&self) {
        self.shared.stalled.fetch_add(1, Relaxed);
    }

    pub(crate) fn record_panicked(&self) {
        self.shared.panicked.fetch_add(1, Relaxed);
    }

    pub(crate) fn record_accept_error(&self) {
        self.shared.accept_errors.fetch_add(1, Relaxed);
    }
}

/// A place under the cap, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted(Connections);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.shared.open.fetch_sub(1, Relaxed);
    }
}
