//! A further runtime for connections, once there are many.

use std::num::NonZero;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::runtime::Handle;

/// A runtime of one thread that takes connections once the threads of the server's own have many.
/// Clones are the same one: give one to each [`serve`](crate::serve()) of a process.
///
/// Below the bound the server's own runtime has all connections. Above it the further one has new ones
/// until it carries about as many as each thread of the other, and from then on they are spread evenly.
/// None moves later. Connections are counted, whatever streams they carry.
///
/// The fewer threads there are the less a delivery costs, and the longer it takes until an event has
/// reached all streams: the bound says from when on that counts more.
///
/// ```no_run
/// # use std::num::NonZero;
/// # fn main() -> std::io::Result<()> {
/// use tailwater_http::{Overflow, ServeOptions};
///
/// let further = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
/// let threads = NonZero::new(7).expect("is not zero");
/// let options = ServeOptions::new().overflow(Overflow::new(further.handle(), threads, 4096));
/// # let _ = options;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Overflow(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    further: Handle,
    threads: NonZero<usize>,
    bound: usize,
    own_count: AtomicUsize,
    further_count: AtomicUsize,
}

impl Overflow {
    /// `further` takes connections once each of the `threads` of the runtime that serves has `bound`.
    /// It must have its I/O and time enabled, and last as long as the server.
    #[must_use]
    pub fn new(further: &Handle, threads: NonZero<usize>, bound: usize) -> Self {
        let (own_count, further_count) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let further = further.clone();
        Self(Arc::new(Shared { further, threads, bound, own_count, further_count }))
    }

    /// Where the next connection goes.
    pub(crate) fn place(&self) -> Place {
        let shared = &self.0;
        let own = shared.own_count.load(Relaxed) / shared.threads;
        let is_further = own >= shared.bound && shared.further_count.load(Relaxed) < own;
        let place = Place { shared: Arc::clone(shared), is_further };
        place.count().fetch_add(1, Relaxed);
        place
    }
}

/// A connection's place on one of the runtimes, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    is_further: bool,
}

impl Place {
    /// The runtime, if it is not the server's own.
    pub(crate) fn further(&self) -> Option<Handle> {
        self.is_further.then(|| self.shared.further.clone())
    }

    fn count(&self) -> &AtomicUsize {
        if self.is_further { &self.shared.further_count } else { &self.shared.own_count }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count().fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(overflow: &Overflow) -> (usize, usize) {
        (overflow.0.own_count.load(Relaxed), overflow.0.further_count.load(Relaxed))
    }

    #[tokio::test]
    async fn the_further_thread_takes_connections_above_the_bound_until_all_have_as_many() {
        let threads = NonZero::new(2).expect("is not zero");
        let overflow = Overflow::new(&Handle::current(), threads, 10);
        let mut places: Vec<_> = (0..20).map(|_| overflow.place()).collect();
        assert!(places.iter().all(|place| place.further().is_none()));
        places.extend((0..10).map(|_| overflow.place()));
        assert_eq!(counts(&overflow), (20, 10));
        places.extend((0..300).map(|_| overflow.place()));
        let (own, further) = counts(&overflow);
        assert!(further.abs_diff(own / 2) <= 1, "{own} {further}");

        places.retain(|place| !place.is_further);
        assert_eq!(counts(&overflow), (own, 0));
        assert!(overflow.place().further().is_some());
        drop(places);
        assert_eq!(counts(&overflow), (0, 0));
        assert!(overflow.place().further().is_none(), "few again");
    }
}
