//! Running a stack until the process is told to stop.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::Path;
use std::time::Duration;

use tailwater_http::Spillover;
use tokio::runtime::{Builder, Runtime};
use tracing::{info, warn};

use crate::config::Config;
use crate::health;
use crate::open_files::OpenFiles;
use crate::signals::Signals;
use crate::stack::{self, Stack};

/// So many connections a thread takes 40 ms to write an event to, on the machine of benches/README.md.
const CONNECTIONS_A_THREAD: usize = 4096;
/// What the threads that serve are called.
const THREAD: &str = "tailwater";

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No threads, or no signals, can be had.
    #[error("the runtime can't begin")]
    Runtime(#[from] io::Error),
    /// The port for health can't be listened on.
    #[error("can't listen on {address}, where health is to be told")]
    Health {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The configuration can't be run.
    #[error(transparent)]
    Stack(#[from] stack::Error),
}

/// How a process serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct ServerOptions {
    drain: Duration,
    threads: Option<NonZero<usize>>,
    health: Option<SocketAddr>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerOptions {
    /// The defaults that the options name.
    pub fn new() -> Self {
        Self { drain: Duration::from_secs(10), threads: None, health: None }
    }

    /// How long streams have to end when the process is told to stop. Default: 10 s. At 0 they are
    /// dropped at once.
    pub fn drain(self, drain: Duration) -> Self {
        Self { drain, ..self }
    }

    /// How many threads serve connections. Default: one for each core but one, and at least one; and
    /// one for the last core, which takes connections once each of the others has 4096. What is said
    /// here is the number of all.
    pub fn threads(self, threads: NonZero<usize>) -> Self {
        Self { threads: Some(threads), ..self }
    }

    /// Where `/live` and `/ready` are answered, by plain HTTP and to everybody. Default: nowhere.
    ///
    /// `/live` is always 200. `/ready` is 503 while a Kafka was never reached, while a topic's log lacks a
    /// record that another consumer of this process was given, and from when the process is told to
    /// stop; its body, JSON, says which. A Kafka that was reached and is away leaves it at 200, and so does
    /// a topic whose next records nobody can read: streams wait and lose nothing, and other instances could
    /// not do better.
    pub fn health(self, health: Option<SocketAddr>) -> Self {
        Self { health, ..self }
    }
}

/// Listens as the namespaces say, calls `listening` with the stack once it does, and serves until
/// SIGTERM or SIGINT. Streams then have the drain time to end; a second signal, more than a
/// second later, ends them at once. SIGHUP, SIGUSR1 and SIGUSR2 end nothing.
///
/// # Errors
/// What the system or librdkafka refuses.
pub fn run(
    namespaces: Vec<Config>,
    folder: &Path,
    options: ServerOptions,
    listening: impl FnOnce(&Stack),
) -> Result<(), Error> {
    let ServerOptions { drain, threads, health } = options;
    match tailwater_http::raise_open_files() {
        Ok(Some(limit)) => info!(limit, "open files"),
        Ok(None) => {}
        Err(error) => warn!(%error, "the limit of open files stays as it is"),
    }
    let (runtime, secondary) = runtimes(threads)?;
    let served = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let mut stack = Stack::new(namespaces, folder)?;
        if let Some((_, spillover)) = &secondary {
            stack = stack.spillover(spillover);
        }
        if let Some(address) = health {
            let failed = |source| Error::Health { address, source };
            let listener = health::port::listen(address).map_err(failed)?;
            let address = listener.local_address().map_err(failed)?;
            info!(%address, "telling /ready and /live");
            // It ends with the runtime.
            tokio::spawn(health::port::tell(stack.health(), listener));
        }
        listening(&stack);
        let (told, stop) = tokio::sync::oneshot::channel();
        let mut serving = std::pin::pin!(stack.serve(async move {
            // The sender is dropped without a word only when nobody serves any more.
            stop.await.unwrap_or_default()
        }));
        tokio::select! {
            () = &mut serving => return Ok(()),
            () = signals.stop() => {}
        }
        info!(?drain, "told to stop");
        // Whoever serves is there: it is awaited below.
        let _ = told.send(drain);
        tokio::select! {
            () = serving => {}
            () = signals.stop_again() => warn!("told to stop twice, dropping what is open"),
        }
        Ok(())
    });
    // Reads of files that hang must not hold up the end.
    runtime.shutdown_timeout(Duration::ZERO);
    if let Some((runtime, _)) = secondary {
        runtime.shutdown_timeout(Duration::ZERO);
    }
    served
}

/// Says how many open files a process has here, and what it will keep them for.
#[must_use]
pub fn describe_open_files(namespaces: &[Config]) -> String {
    let limit = tailwater_http::raise_open_files().ok().flatten();
    OpenFiles::of(namespaces, limit).describe()
}

/// What serves connections, and what takes those that are too many for it.
///
/// The kernel, librdkafka and whatever else runs here have work for the last core: with a thread for
/// it, too, a delivery costs more. But it takes less time until all streams have an event, and that
/// counts where there are many (docs/internals/decisions/one-core-free.md has figures).
fn runtimes(
    threads: Option<NonZero<usize>>,
) -> io::Result<(Runtime, Option<(Runtime, Spillover)>)> {
    if let Some(threads) = threads {
        return Ok((runtime(THREAD, threads)?, None));
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let Some(threads) = NonZero::new(cores - 1) else {
        return Ok((runtime(THREAD, NonZero::<usize>::MIN)?, None));
    };
    let secondary = runtime("overflow", NonZero::<usize>::MIN)?;
    let spillover = Spillover::new(secondary.handle(), threads, CONNECTIONS_A_THREAD);
    Ok((runtime(THREAD, threads)?, Some((secondary, spillover))))
}

fn runtime(name: &str, threads: NonZero<usize>) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.enable_all().thread_name(name).worker_threads(threads.get()).build()
}
