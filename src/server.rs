//! Runs a stack until the process receives a signal to stop.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tailwater_http::Workers;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::admin::{self, AdminOptions, Described};
use crate::certificates;
use crate::config::Config;
use crate::health;
use crate::metrics::Metrics;
use crate::open_files::OpenFiles;
use crate::signals::Signals;
use crate::stack::{self, Answers, Handle, Stack};

/// The time that the end of the process waits for streams that it has dropped.
const LAST_STREAMS: Duration = Duration::from_secs(1);
/// The last core is left to the kernel and to librdkafka until each other thread has this many connections, to
/// which it writes an event in 40 ms on the machine of benches/README.md
/// (docs/internals/decisions/one-core-free.md).
const SPARE_LAST_UNTIL: usize = 4096;

/// The error of a server that does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system allows no further thread, or no signal handler.
    #[error("the runtime can't start")]
    Runtime(#[from] io::Error),
    /// The address for health checks can't be bound.
    #[error("can't listen on {address} for health checks")]
    Health {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// The address for administration can't be bound.
    #[error("can't listen on {address} for administration")]
    Admin {
        /// The address.
        address: admin::Address,
        /// The reason.
        source: io::Error,
    },
    /// The configuration can't be served.
    #[error(transparent)]
    Stack(#[from] stack::Error),
}

/// Options of the process.
#[derive(Clone, Debug)]
#[must_use]
pub struct ServerOptions {
    drain: Duration,
    threads: Option<NonZero<usize>>,
    health: Option<SocketAddr>,
    admin: Option<AdminOptions>,
    config_hash: String,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerOptions {
    /// All options at their defaults.
    pub fn new() -> Self {
        Self {
            drain: Duration::from_secs(10),
            threads: None,
            health: None,
            admin: None,
            config_hash: String::new(),
        }
    }

    /// The time that streams have to end after the signal to stop. Default: 10 s. At 0 they are dropped at
    /// once.
    pub fn drain(self, drain: Duration) -> Self {
        Self { drain, ..self }
    }

    /// The number of threads that serve connections. A connection goes to the thread with the fewest.
    ///
    /// Default: one for each core. If there are several, the last one gets connections once each other thread
    /// has 4096.
    pub fn threads(self, threads: NonZero<usize>) -> Self {
        Self { threads: Some(threads), ..self }
    }

    /// The [hash](crate::config::Parsed::hash) of the configuration, for metrics and for `/ready`. Default:
    /// empty.
    pub fn config_hash(self, config_hash: impl Into<String>) -> Self {
        Self { config_hash: config_hash.into(), ..self }
    }

    /// The address where `/live`, `/ready` and `/metrics` are answered, over plain HTTP and without authentication.
    /// Default: none.
    ///
    /// `/live` is always 200. `/ready` is 503 in these cases, and its JSON body names the case:
    /// - A Kafka cluster was never reached.
    /// - The log of a topic lacks a record that another consumer of this process has received.
    /// - The process is stopping.
    ///
    /// `/ready` stays 200 if a Kafka cluster was reached before and is away, or if no consumer can read the
    /// next records of a topic. Then streams wait and lose nothing, and another instance would do no better.
    pub fn health(self, health: Option<SocketAddr>) -> Self {
        Self { health, ..self }
    }

    /// The port for administration. Default: none.
    pub fn admin(self, admin: Option<AdminOptions>) -> Self {
        Self { admin, ..self }
    }
}

/// Asks the registries and the Kafka clusters of the namespaces for what the configuration names. It takes at most
/// some 10 s for each cluster, and 5 s for each schema. `folder` is the base of the relative paths in the
/// configuration.
///
/// # Errors
/// - [`Error::Runtime`]: the system allows no further thread.
/// - [`Error::Stack`]: a certificate can't be read, or librdkafka rejects an option.
pub fn connect(namespaces: &[Config], folder: &Path) -> Result<Answers, Error> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let answers = runtime.block_on(stack::connect(namespaces, folder))?;
    // Threads of librdkafka may still wait for a broker.
    runtime.shutdown_background();
    Ok(answers)
}

/// Binds the ports of the namespaces, calls `listening` with the stack, and serves until SIGTERM or SIGINT.
///
/// `folder` is the base of the relative paths in the configuration. After the signal, streams have the drain
/// time to end. A second signal, more than a second later, ends them at once. SIGHUP, SIGUSR1 and SIGUSR2
/// end nothing.
///
/// # Errors
/// - [`Error::Runtime`]: the system allows no further thread, or no signal handler.
/// - [`Error::Health`]: the address for health checks can't be bound.
/// - [`Error::Admin`]: the address for administration can't be bound.
/// - [`Error::Stack`]: a port can't be bound, a certificate can't be read, or librdkafka rejects an option.
pub fn run(
    namespaces: Vec<Config>,
    folder: &Path,
    options: ServerOptions,
    listening: impl FnOnce(&Stack),
) -> Result<(), Error> {
    let ServerOptions { drain, threads, health, admin, config_hash } = options;
    match tailwater_http::raise_open_files() {
        Ok(Some(limit)) => info!(limit, "open files"),
        Ok(None) => {}
        Err(error) => warn!(%error, "the limit of open files can't be raised"),
    }
    let workers = workers(threads)?;
    // A record wakes each thread once, and the thread wakes its streams.
    for runtime in workers.runtimes() {
        runtime.spawn(tailwater_hub::relay());
    }
    let threads = workers.runtimes().count();
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().thread_name("blocking").build()?;
    let served = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let described = Described::new(&namespaces);
        let mut stack = Stack::new(namespaces, folder)?.workers(&workers);
        let handle = Handle { config_hash, threads, ..stack.handle() };
        let metrics = Arc::new(Metrics::new(handle.clone()));
        stack.serve_metrics(&metrics);
        let pushes = stack.push(&metrics);
        if let Some(address) = health {
            let failed = |source| Error::Health { address, source };
            let listener = health::listen(address).map_err(failed)?;
            let address = listener.local_address().map_err(failed)?;
            info!(%address, "serving /ready and /live");
            // It ends with the runtime.
            tokio::spawn(health::serve(handle.clone(), metrics, listener));
        }
        let told_to_drain = Arc::new(Notify::new());
        // The file of a socket is there until the end of the process.
        let _admin = match admin {
            None => None,
            Some(options) => {
                let address = options.address().clone();
                let failed = |source| Error::Admin { address, source };
                let notify = Arc::clone(&told_to_drain);
                let started = admin::start(options, handle.clone(), described, notify);
                let started = started.map_err(failed)?;
                info!(address = started.name, "serving the administration");
                Some(started)
            }
        };
        listening(&stack);
        let mut is_signalled = true;
        let Handle { streams, tls, .. } = handle;
        // It ends with the runtime.
        tokio::spawn(certificates::tell(tls));
        let (stop_sender, stop) = tokio::sync::oneshot::channel();
        let mut serving = Box::pin(stack.serve(async move {
            // The sender is dropped without a message only after serving has ended.
            stop.await.unwrap_or_default()
        }));
        tokio::select! {
            () = &mut serving => return Ok(()),
            () = signals.stop() => info!(?drain, "received a signal to stop"),
            () = told_to_drain.notified() => {
                info!(?drain, "told to stop by a request for administration");
                is_signalled = false;
            }
        }
        let draining = streams.draining();
        // The receiver lives in `serving`, which is awaited below.
        let _ = stop_sender.send(drain);
        let second_signal = async {
            // A manager of processes sends the first one after a request to drain.
            if !is_signalled {
                signals.stop().await;
                info!("received a signal to stop, which changes nothing: the drain goes on");
            }
            signals.stop_again().await;
        };
        tokio::select! {
            () = &mut serving => {}
            () = second_signal => {
                warn!("received a second signal, dropping open connections");
                streams.drop_open();
            }
        }
        // What is open is dropped with it, and each stream then has its line in the logs.
        drop(serving);
        streams.wait_closed(LAST_STREAMS).await;
        draining.tell();
        pushes.finish().await;
        Ok(())
    });
    // A read of a file that hangs must not delay the end of the process.
    runtime.shutdown_background();
    served
}

/// Describes the limit of open files on this machine, and how a process would divide it. For
/// `tailwater check`.
#[must_use]
pub fn describe_open_files(namespaces: &[Config]) -> String {
    let limit = tailwater_http::raise_open_files().ok().flatten();
    OpenFiles::of(namespaces, limit, cores()).describe()
}

/// The threads that serve connections.
fn workers(threads: Option<NonZero<usize>>) -> io::Result<Workers> {
    if let Some(threads) = threads {
        return Workers::start(threads);
    }
    Ok(Workers::start(cores())?.spare_last_until(SPARE_LAST_UNTIL))
}

/// The number of cores, and that of workers unless an option sets it.
pub(crate) fn cores() -> NonZero<usize> {
    std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}
