//! A secondary runtime for connections, once there are many.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use tokio::runtime::Handle;

/// A runtime of one thread that takes connections once the threads of the server's own have many.
/// Clones are the same one: give one to each [`serve`](crate::serve()) of a process.
///
/// Below the bound the server's own runtime has all connections. Above it the secondary one has new ones
/// until it carries about as many as each thread of the other, and from then on they are spread evenly.
/// None moves later. Connections are counted, whatever streams they carry.
///
/// The fewer threads there are the less a delivery costs, and the longer it takes until an event has
/// reached all streams: the bound says from when on that counts more.
///
/// ```no_run
/// # use std::num::NonZero;
/// # fn main() -> std::io::Result<()> {
/// use tailwater_http::{Spillover, ServeOptions};
///
/// let secondary = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
/// let threads = NonZero::new(7).expect("is not zero");
/// let options = ServeOptions::new().spillover(Spillover::new(secondary.handle(), threads, 4096));
/// # let _ = options;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Spillover(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    secondary: Handle,
    threads: NonZero<usize>,
    bound: usize,
    own_count: AtomicUsize,
    secondary_count: AtomicUsize,
}

impl Spillover {
    /// `secondary` takes connections once each of the `threads` of the runtime that serves has `bound`.
    /// It must have its I/O and time enabled, and last as long as the server.
    #[must_use]
    pub fn new(secondary: &Handle, threads: NonZero<usize>, bound: usize) -> Self {
        Self(Arc::new(Shared {
            secondary: secondary.clone(),
            threads,
            bound,
            own_count: AtomicUsize::new(0),
            secondary_count: AtomicUsize::new(0),
        }))
    }

    /// Where the next connection goes.
    pub(crate) fn slot(&self) -> Slot {
        let shared = &self.0;
        let own = shared.own_count.load(Relaxed) / shared.threads;
        let is_secondary = own >= shared.bound && shared.secondary_count.load(Relaxed) < own;
        let slot = Slot { shared: Arc::clone(shared), is_secondary };
        slot.count().fetch_add(1, Relaxed);
        slot
    }
}

/// A connection's slot on one of the runtimes, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    shared: Arc<Shared>,
    is_secondary: bool,
}

impl Slot {
    /// The runtime, if it is not the server's own.
    pub(crate) fn secondary(&self) -> Option<Handle> {
        self.is_secondary.then(|| self.shared.secondary.clone())
    }

    fn count(&self) -> &AtomicUsize {
        if self.is_secondary { &self.shared.secondary_count } else { &self.shared.own_count }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.count().fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(spillover: &Spillover) -> (usize, usize) {
        (spillover.0.own_count.load(Relaxed), spillover.0.secondary_count.load(Relaxed))
    }

    #[tokio::test]
    async fn the_secondary_thread_takes_connections_above_the_bound_until_all_have_as_many() {
        let threads = NonZero::new(2).expect("is not zero");
        let spillover = Spillover::new(&Handle::current(), threads, 10);
        let mut slots: Vec<_> = (0..20).map(|_| spillover.slot()).collect();
        assert!(slots.iter().all(|slot| slot.secondary().is_none()));
        slots.extend((0..10).map(|_| spillover.slot()));
        assert_eq!(counts(&spillover), (20, 10));
        slots.extend((0..300).map(|_| spillover.slot()));
        let (own, secondary) = counts(&spillover);
        assert!(secondary.abs_diff(own / 2) <= 1, "{own} {secondary}");

        slots.retain(|slot| !slot.is_secondary);
        assert_eq!(counts(&spillover), (own, 0));
        assert!(spillover.slot().secondary().is_some());
        drop(slots);
        assert_eq!(counts(&spillover), (0, 0));
        assert!(spillover.slot().secondary().is_none(), "few again");
    }
}
