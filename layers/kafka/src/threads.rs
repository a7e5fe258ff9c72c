//! The threads of a cluster.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::runtime;
use tokio::sync::watch;

#[cfg(test)]
use crate::simulation;

/// Starts the threads of a cluster, and waits for their end. All clients of librdkafka belong to these threads,
/// so none is left when the threads have ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Threads(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Each thread has a receiver until everything that its work owns is dropped.
    running: watch::Sender<()>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    fn handles(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.0.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread for work that blocks.
    pub(crate) fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut handles = self.handles();
        handles.extract_if(.., |handle| handle.is_finished()).for_each(join);
        let running = self.0.running.subscribe();
        let run = move || {
            // Dropped after `work`, also if that panics.
            let _running = running;
            work();
        };
        handles.push(thread::Builder::new().name(name.to_owned()).spawn(run)?);
        Ok(())
    }

    /// Starts a thread that runs this task alone, so the task may block.
    pub(crate) fn run<T: Future<Output = ()> + 'static>(
        &self,
        name: &str,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<()> {
        #[cfg(test)]
        if simulation::is_running() {
            let running = self.0.running.subscribe();
            simulation::start(async move {
                let _running = running;
                task().await;
            });
            return Ok(());
        }
        self.spawn(name, move || {
            // Made here: a runtime can't be dropped within another one, which it would be without a thread.
            let runtime = runtime::Builder::new_current_thread().enable_time().build();
            runtime.expect("a runtime without I/O asks nothing of the system").block_on(task());
        })
    }

    /// Waits until all threads have ended. Threads that end may start others.
    pub(crate) async fn ended(&self) {
        self.0.running.closed().await;
        // What is left to them takes no time: the destructors of their thread-local values, OpenSSL's among them.
        self.handles().drain(..).for_each(join);
    }
}

/// Where a task may be interrupted: another thread might get that far ahead of its own. Only tests make use of it.
pub(crate) async fn interruption() {
    #[cfg(test)]
    simulation::turn().await;
}

fn join(handle: JoinHandle<()>) {
    // If it panicked, that was logged.
    let _ = handle.join();
}
