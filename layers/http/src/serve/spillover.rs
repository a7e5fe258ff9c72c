//! A secondary runtime for connections, once there are many.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use tokio::runtime::Handle;

/// A secondary runtime of one thread, which takes connections once each thread of the primary runtime has
/// many. Its clones share the counters: give one to each [`serve`](crate::serve()) of a process.
///
/// Up to the bound all connections run on the primary runtime, the one of `serve`. Beyond it new
/// connections run on the secondary one, until it has about as many as each primary thread. From then on
/// they are spread evenly. A connection never moves later. Connections are counted, not their streams.
///
/// With fewer threads each delivery costs less, and an event takes longer to reach all streams. The bound is
/// the number from which the second matters more.
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
    primary_count: AtomicUsize,
    secondary_count: AtomicUsize,
}

impl Spillover {
    /// A spillover to `secondary`, once each of the `threads` of the primary runtime has `bound`
    /// connections. `secondary` must have I/O and time enabled, and live as long as the server.
    #[must_use]
    pub fn new(secondary: &Handle, threads: NonZero<usize>, bound: usize) -> Self {
        Self(Arc::new(Shared {
            secondary: secondary.clone(),
            threads,
            bound,
            primary_count: AtomicUsize::new(0),
            secondary_count: AtomicUsize::new(0),
        }))
    }

    /// A slot for the next connection.
    pub(crate) fn slot(&self) -> Slot {
        let shared = &self.0;
        let per_thread = shared.primary_count.load(Relaxed) / shared.threads;
        let is_secondary =
            per_thread >= shared.bound && shared.secondary_count.load(Relaxed) < per_thread;
        let slot = Slot { shared: Arc::clone(shared), is_secondary };
        slot.count().fetch_add(1, Relaxed);
        slot
    }
}

/// The slot of a connection on one of the runtimes, which is released when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    shared: Arc<Shared>,
    is_secondary: bool,
}

impl Slot {
    /// The secondary runtime, if the slot belongs to it.
    pub(crate) fn secondary(&self) -> Option<Handle> {
        self.is_secondary.then(|| self.shared.secondary.clone())
    }

    fn count(&self) -> &AtomicUsize {
        if self.is_secondary { &self.shared.secondary_count } else { &self.shared.primary_count }
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
        (spillover.0.primary_count.load(Relaxed), spillover.0.secondary_count.load(Relaxed))
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
