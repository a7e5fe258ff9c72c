//! The limit on connections, and their counters.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};

/// The largest number of connections at once, and their counters. Its clones share the limit: give one
/// to each [`serve`](crate::serve()) of a process to limit the whole process.
///
/// A connection over the limit is accepted and closed at once. So a client, a load balancer or a health
/// check notices at once and not after a timeout of its own, and one full listener does not block the
/// others.
///
/// ```
/// use tailwater_http::ConnectionLimit;
///
/// let connections = ConnectionLimit::new(10_000);
/// let counts = connections.counts();
/// assert_eq!((counts.open, counts.refused), (0, 0));
/// ```
#[derive(Clone, Debug)]
pub struct ConnectionLimit {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cap: usize,
    /// The limit that this one is a part of.
    parent: Option<ConnectionLimit>,
    open: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
    refused_by_parent: AtomicU64,
    stalled: AtomicU64,
    panicked: AtomicU64,
    accept_errors: AtomicU64,
}

/// Which limit has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    Itself,
    Parent,
}

/// The counters of a [`ConnectionLimit`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionCounts {
    /// Connections open now.
    pub open: usize,
    /// Connections accepted and served since the start.
    pub accepted: u64,
    /// Connections closed at once because the limit, or that of the parent, was reached.
    pub refused: u64,
    /// Those of `refused` for which only the parent had no room.
    pub refused_by_parent: u64,
    /// Connections closed because their socket took no byte within the write deadline.
    pub stalled: u64,
    /// Connections that ended in a panic. A panic in an HTTP/2 stream is not counted.
    pub panicked: u64,
    /// Accepts that failed, because no file descriptor was left or the peer was gone already.
    pub accept_errors: u64,
}

impl Default for ConnectionLimit {
    /// A limit of 65 536.
    fn default() -> Self {
        Self::new(65_536)
    }
}

impl ConnectionLimit {
    /// A limit of this many connections at once. Zero refuses all.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        Self::of(cap, None)
    }

    /// A limit of this many connections at once, which together with all other limits within `parent` has at
    /// most as many as `parent`. `parent` counts the open connections and nothing else.
    ///
    /// ```
    /// use tailwater_http::ConnectionLimit;
    ///
    /// // All ports share the open files of the process.
    /// let all = ConnectionLimit::new(900);
    /// let public = ConnectionLimit::within(65_536, &all);
    /// let internal = ConnectionLimit::within(100, &all);
    /// assert_eq!((public.counts().open, internal.counts().open, all.counts().open), (0, 0, 0));
    /// ```
    #[must_use]
    pub fn within(cap: usize, parent: &Self) -> Self {
        Self::of(cap, Some(parent.clone()))
    }

    fn of(cap: usize, parent: Option<Self>) -> Self {
        Self {
            shared: Arc::new(Shared {
                cap,
                parent,
                open: AtomicUsize::new(0),
                accepted: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                refused_by_parent: AtomicU64::new(0),
                stalled: AtomicU64::new(0),
                panicked: AtomicU64::new(0),
                accept_errors: AtomicU64::new(0),
            }),
        }
    }

    /// The current counters. They are read one by one, so that they may not fit each other exactly.
    #[must_use]
    pub fn counts(&self) -> ConnectionCounts {
        let shared = &self.shared;
        ConnectionCounts {
            open: shared.open.load(Relaxed),
            accepted: shared.accepted.load(Relaxed),
            refused: shared.refused.load(Relaxed),
            refused_by_parent: shared.refused_by_parent.load(Relaxed),
            stalled: shared.stalled.load(Relaxed),
            panicked: shared.panicked.load(Relaxed),
            accept_errors: shared.accept_errors.load(Relaxed),
        }
    }

    pub(crate) fn cap(&self) -> usize {
        let parent = self.shared.parent.as_ref().map_or(usize::MAX, Self::cap);
        self.shared.cap.min(parent)
    }

    /// Takes room here and in the parents, or tells who has none.
    fn acquire(&self) -> Result<(), Full> {
        let shared = &self.shared;
        let taken = match shared.open.fetch_add(1, Relaxed) < shared.cap {
            false => Err(Full::Itself),
            true => match &shared.parent {
                Some(parent) => parent.acquire().map_err(|_| Full::Parent),
                None => Ok(()),
            },
        };
        if taken.is_err() {
            shared.open.fetch_sub(1, Relaxed);
        }
        taken
    }

    fn release(&self) {
        self.shared.open.fetch_sub(1, Relaxed);
        if let Some(parent) = &self.shared.parent {
            parent.release();
        }
    }

    /// A permit for one connection, or `None` if the limit is reached. Counts either.
    pub(crate) fn admit(&self) -> Option<Permit> {
        let shared = &self.shared;
        match self.acquire() {
            Ok(()) => {
                shared.accepted.fetch_add(1, Relaxed);
                Some(Permit(self.clone()))
            }
            Err(full) => {
                shared.refused.fetch_add(1, Relaxed);
                if full == Full::Parent {
                    shared.refused_by_parent.fetch_add(1, Relaxed);
                }
                None
            }
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

/// A permit for one connection, which is released when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(ConnectionLimit);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_within_a_parent_have_no_more_than_the_parent() {
        let all = ConnectionLimit::new(3);
        let one = ConnectionLimit::within(2, &all);
        let other = ConnectionLimit::within(100, &all);
        let mut permits: Vec<_> = (0..5).map(|_| one.admit()).collect();
        assert_eq!((one.counts().open, one.counts().refused), (2, 3));
        assert_eq!(one.counts().refused_by_parent, 0);
        permits.extend((0..5).map(|_| other.admit()));
        assert_eq!((other.counts().open, other.counts().refused, other.cap()), (1, 4, 3));
        assert_eq!(other.counts().refused_by_parent, 4);
        assert_eq!(all.counts().open, 3);
        drop(permits);
        assert_eq!((one.counts().open, other.counts().open, all.counts().open), (0, 0, 0));
        assert!(other.admit().is_some());
    }
}
