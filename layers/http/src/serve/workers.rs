//! Threads that serve connections.

use std::convert::Infallible;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::{io, thread};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The number of threads for blocking calls that all workers together may have: tokio's default for one runtime.
const BLOCKING_THREADS: usize = 512;
/// The number of them that each worker may have in any case.
const MIN_BLOCKING_THREADS: usize = 16;

/// Threads that serve connections, each with a single-threaded runtime of its own.
///
/// A new connection goes to the worker with the fewest connections. It stays there with all that it spawns, so
/// that its memory and its wake-ups stay on one core. Connections are counted, not their streams.
///
/// A clone is another handle to the same threads: give one to each [`serve`](crate::serve()) of a process. The
/// threads end after the last handle and the last connection.
///
/// ```no_run
/// # use std::num::NonZero;
/// # fn main() -> std::io::Result<()> {
/// use tailwater_http::{ServeOptions, Workers};
///
/// let workers = Workers::start(NonZero::new(8).expect("is not zero"))?;
/// let options = ServeOptions::new().workers(&workers);
/// # let _ = options;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Workers {
    workers: Arc<[Arc<Worker>]>,
    spare_until: usize,
}

impl Workers {
    /// Starts this many threads. Each takes three open files. Together they have at most 512 threads for blocking
    /// calls, but each of them may have 16. Their runtimes have I/O and time enabled, and no signals.
    ///
    /// # Errors
    /// The system allows no further thread or no further open file.
    pub fn start(threads: NonZero<usize>) -> io::Result<Self> {
        let blocking_threads = (BLOCKING_THREADS / threads).max(MIN_BLOCKING_THREADS);
        let workers = (0..threads.get()).map(|number| Worker::start(number, blocking_threads));
        Ok(Self { workers: workers.collect::<io::Result<_>>()?, spare_until: 0 })
    }

    /// The last thread gets no connection until each other one has this many: fewer threads spend less on a
    /// delivery, and more threads deliver to many streams sooner. Default: 0.
    pub fn spare_last_until(mut self, connections: usize) -> Self {
        self.spare_until = connections;
        self
    }

    /// The runtimes of the threads, to spawn a task on each of them.
    pub fn runtimes(&self) -> impl Iterator<Item = &Handle> {
        self.workers.iter().map(|worker| &worker.runtime)
    }

    /// A slot for the next connection.
    pub(crate) fn slot(&self) -> Option<Slot> {
        let (last, others) = self.workers.split_last()?;
        let fewest = others.iter().min_by_key(|worker| worker.count());
        let is_before =
            |worker: &Worker| worker.count() < self.spare_until || worker.count() <= last.count();
        let worker = fewest.filter(|worker| is_before(worker)).unwrap_or(last);
        worker.connections.fetch_add(1, Relaxed);
        Some(Slot(Arc::clone(worker)))
    }
}

/// A thread with its runtime. The thread ends when this is dropped.
#[derive(Debug)]
struct Worker {
    runtime: Handle,
    connections: AtomicUsize,
    _stop: oneshot::Sender<Infallible>,
}

impl Worker {
    fn start(number: usize, blocking_threads: usize) -> io::Result<Arc<Self>> {
        let mut builder = Builder::new_current_thread();
        builder.max_blocking_threads(blocking_threads).thread_name("http-blocking");
        // Without signals, which would take one more open file.
        let runtime = builder.enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new().name(format!("http-{number}")).spawn(move || {
            let Err(_) = runtime.block_on(stopped);
            // A call that blocks, as for a file that hangs, must not delay the end.
            runtime.shutdown_background();
        })?;
        Ok(Arc::new(Self { runtime: handle, connections: AtomicUsize::new(0), _stop: stop }))
    }

    fn count(&self) -> usize {
        self.connections.load(Relaxed)
    }
}

/// The slot of a connection on a worker, which is released when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Worker>);

impl Slot {
    pub(crate) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(workers: &Workers) -> Vec<usize> {
        workers.workers.iter().map(|worker| worker.count()).collect()
    }

    #[test]
    fn a_connection_goes_to_the_worker_with_the_fewest() {
        let workers = Workers::start(NonZero::new(3).expect("is not zero")).unwrap();
        let mut slots: Vec<_> = (0..30).filter_map(|_| workers.slot()).collect();
        assert_eq!(counts(&workers), [10, 10, 10]);

        slots.retain(|slot| !Arc::ptr_eq(&slot.0, &workers.workers[1]));
        assert_eq!(counts(&workers), [10, 0, 10]);
        slots.extend((0..9).filter_map(|_| workers.slot()));
        assert_eq!(counts(&workers), [10, 9, 10]);
        drop(slots);
        assert_eq!(counts(&workers), [0, 0, 0]);
    }

    #[test]
    fn the_last_worker_is_spared_until_each_other_has_as_many() {
        let workers = Workers::start(NonZero::new(3).expect("is not zero")).unwrap();
        let workers = workers.spare_last_until(10);
        let mut slots: Vec<_> = (0..20).filter_map(|_| workers.slot()).collect();
        assert_eq!(counts(&workers), [10, 10, 0]);
        slots.extend((0..10).filter_map(|_| workers.slot()));
        assert_eq!(counts(&workers), [10, 10, 10]);
        slots.extend((0..30).filter_map(|_| workers.slot()));
        assert_eq!(counts(&workers), [20, 20, 20]);
        slots.retain(|slot| !Arc::ptr_eq(&slot.0, &workers.workers[0]));
        slots.extend(workers.slot());
        assert_eq!(counts(&workers), [1, 20, 20]);
    }

    #[test]
    fn a_thread_ends_after_the_last_handle_and_the_last_connection() {
        let workers = Workers::start(NonZero::<usize>::MIN).unwrap();
        let (alive, ended) = std::sync::mpsc::channel::<Infallible>();
        let runtime = workers.runtimes().next().unwrap().clone();
        runtime.spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        let slot = workers.slot();
        drop(workers);
        let (sent, ran) = std::sync::mpsc::channel();
        runtime.spawn(async move { sent.send(()) });
        assert_eq!(ran.recv(), Ok(()), "a connection is left");
        drop(slot);
        // The task is dropped with its runtime.
        assert!(ended.recv().is_err());
    }
}
