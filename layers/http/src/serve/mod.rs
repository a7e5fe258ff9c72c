//! The accept loop.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, mem};

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet, coop};
use tokio::time::{Instant, sleep, sleep_until};
use tower_service::Service;
use tracing::{debug, error, info, warn};

use crate::connection::{Connection, Peer};
use crate::error::BoxError;
use crate::shutdown::Shutdown;

mod connection_limit;
mod listen;
mod served;
mod socket;
mod workers;
mod write_deadline;

use self::connection_limit::Permit;
pub use self::connection_limit::{ConnectionCounts, ConnectionLimit};
pub use self::listen::{Accept, ListenOptions, Listener};
use self::served::Served;
pub use self::socket::Socket;
pub use self::workers::Workers;
pub(crate) use self::write_deadline::Stalled;
pub use self::write_deadline::WriteDeadline;

const FIRST_BACK_OFF: Duration = Duration::from_millis(50);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);
/// A shortage is logged again only if it was over for this long.
const OVER: Duration = Duration::from_secs(10);

/// The options of [`serve`].
///
/// ```
/// use std::time::Duration;
/// use tailwater_http::{ConnectionLimit, ServeOptions};
///
/// let connections = ConnectionLimit::new(20_000);
/// let options = ServeOptions::new()
///     .connection_limit(connections.clone())
///     .write_deadline(Duration::from_secs(30));
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ServeOptions {
    name: Option<Arc<str>>,
    connection_limit: ConnectionLimit,
    write_deadline: Duration,
    workers: Option<Workers>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ServeOptions {
    /// The default options.
    pub fn new() -> Self {
        Self {
            name: None,
            connection_limit: ConnectionLimit::default(),
            write_deadline: Duration::from_secs(60),
            workers: None,
        }
    }

    /// The name of the server, which its log entries have in the field `binding`. Default: none.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The limit on connections, which also counts them. Default: 65 536, shared with no other server.
    pub fn connection_limit(mut self, limit: ConnectionLimit) -> Self {
        self.connection_limit = limit;
        self
    }

    /// The time in which a socket must take at least one byte, if there are bytes to write: see
    /// [`WriteDeadline`]. Default: 60 s. 0 is no deadline.
    pub fn write_deadline(mut self, deadline: Duration) -> Self {
        self.write_deadline = deadline;
        self
    }

    /// The threads that serve the connections. Default: none, and all connections run on the runtime of
    /// [`serve`].
    pub fn workers(mut self, workers: &Workers) -> Self {
        self.workers = Some(workers.clone());
        self
    }
}

/// Accepts connections from all `listeners` in turn, and runs `service` for each of them in a task of its
/// own, until `shutdown` begins. Then it closes the listeners, and returns when all connections have
/// ended. At the end of the drain window it drops those that are left. Without listeners it waits for the
/// shutdown.
///
/// Each connection has its [`Peer`] as an extension, and a [`WriteDeadline`] around its socket. A connection
/// that fails is logged at DEBUG and one that panics at ERROR. The others go on.
///
/// If no file descriptor is left, `serve` logs an error and waits 50 ms, then twice as long up to 1 s, until
/// accepting succeeds again. This shortage, and connections over the limit, are logged once, and again only
/// after they were over for 10 s, with the number of occurrences in between. So clients cannot fill the log.
///
/// Dropping the future drops all connections.
///
/// ```no_run
/// # use std::{convert::Infallible, time::Duration};
/// # use http::{Request, Response};
/// # use tower_layer::Layer;
/// # #[tokio::main] async fn main() -> std::io::Result<()> {
/// use tailwater_http::{HttpLayer, ListenOptions, ServeOptions, Shutdown, serve};
///
/// let shutdown = Shutdown::new();
/// let hello = tower::service_fn(async |_: Request<hyper::body::Incoming>| {
///     Ok::<_, Infallible>(Response::new("hello".to_owned()))
/// });
/// let service = HttpLayer::new().shutdown(shutdown.clone()).layer(hello);
/// let listener = ListenOptions::new().bind(([127, 0, 0, 1], 8080).into())?;
/// serve([listener], service, ServeOptions::new(), shutdown).await;
/// # Ok(()) }
/// ```
pub async fn serve<A, S>(
    listeners: impl IntoIterator<Item = A>,
    service: S,
    options: ServeOptions,
    shutdown: Shutdown,
) where
    A: Accept,
    A::Io: Send + 'static,
    S: Service<Connection<WriteDeadline<A::Io>>, Response = ()> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    let binding = options.name.as_deref();
    let mut accept_loop = AcceptLoop {
        name: options.name.clone(),
        listeners: listeners.into_iter().collect(),
        first: 0,
        back_off: None,
        files: Shortage::default(),
        permits: Shortage::default(),
    };
    let connections = &options.connection_limit;
    let mut tasks = JoinSet::new();
    let mut started = std::pin::pin!(shutdown.started());
    let window_end = loop {
        // A flood of connections, or of errors, must not starve the other tasks.
        coop::consume_budget().await;
        let (io, peer, permit) = tokio::select! {
            biased;
            end = &mut started => break end,
            Some(ended) = tasks.join_next() => {
                record_end(ended, connections, binding);
                continue;
            }
            permit = accept_loop.next(connections) => permit,
        };
        let slot = options.workers.as_ref().and_then(Workers::slot);
        let worker = slot.as_ref().map(|slot| slot.runtime().clone());
        let moved = match &worker {
            Some(runtime) => move_to(io, runtime),
            None => Ok(io),
        };
        let io = match moved {
            Ok(io) => io,
            Err(error) => {
                debug!(%error, "moving a connection to its worker failed");
                continue;
            }
        };
        let io = WriteDeadline::new(io, options.write_deadline).counted(connections.clone());
        let mut connection = Connection::new(io);
        connection.extensions_mut().insert(Peer(peer));
        let served = Served::new(service.clone(), connection, (permit, slot));
        tasks.spawn_on(served, &worker.unwrap_or_else(Handle::current));
    };
    drop(accept_loop);
    if !tasks.is_empty() {
        info!(binding, connections = tasks.len(), "waiting for connections to end");
    }
    // The services end with the window, too. They get a little more time to do so by themselves.
    let mut over = std::pin::pin!(sleep_until(window_end + FIRST_BACK_OFF));
    loop {
        tokio::select! {
            biased;
            ended = tasks.join_next() => match ended {
                Some(ended) => record_end(ended, connections, binding),
                None => return,
            },
            () = &mut over => break,
        }
    }
    info!(
        binding,
        connections = tasks.len(),
        "the drain window is over, dropping open connections"
    );
    tasks.shutdown().await;
}

/// Moves a socket to another runtime.
fn move_to<Io: Socket>(io: Io, runtime: &Handle) -> io::Result<Io> {
    let _entered = runtime.enter();
    io.into_current_runtime()
}

fn record_end(ended: Result<(), JoinError>, connections: &ConnectionLimit, binding: Option<&str>) {
    if ended.is_err_and(|error| error.is_panic()) {
        connections.record_panicked();
        error!(binding, "a connection's task panicked");
    }
}

/// The listeners and the state of the accept loop.
struct AcceptLoop<A> {
    name: Option<Arc<str>>,
    listeners: Vec<A>,
    /// The listener that is polled first the next time.
    first: usize,
    /// The length of the last wait, while errors follow each other.
    back_off: Option<Duration>,
    files: Shortage,
    permits: Shortage,
}

/// A shortage that is logged. Clients can end it and cause it again as often as they like.
#[derive(Debug, Default)]
struct Shortage {
    last: Option<Instant>,
    unlogged: u64,
}

impl Shortage {
    /// Records an occurrence. If it is to be logged, returns the number of occurrences that were not.
    fn record(&mut self) -> Option<u64> {
        let now = Instant::now();
        let is_logged = self.last.is_none_or(|last| now.duration_since(last) >= OVER);
        self.last = Some(now);
        if is_logged {
            return Some(mem::take(&mut self.unlogged));
        }
        self.unlogged = self.unlogged.saturating_add(1);
        None
    }
}

impl<A: Accept> AcceptLoop<A> {
    /// The next connection that gets a permit. The future can be dropped without losing a connection.
    async fn next(&mut self, connections: &ConnectionLimit) -> (A::Io, SocketAddr, Permit) {
        loop {
            coop::consume_budget().await;
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok((io, peer)) => {
                    self.back_off = None;
                    if let Some(permit) = connections.admit() {
                        return (io, peer, permit);
                    }
                    if let Some(earlier) = self.permits.record() {
                        let cap = connections.cap();
                        let binding = self.name.as_deref();
                        warn!(binding, cap, earlier, "too many connections, refusing new ones");
                    }
                }
                Err(error) => {
                    connections.record_accept_error();
                    if is_of_one_connection(&error) {
                        debug!(%error, "a connection was gone before it was accepted");
                    } else {
                        self.wait(&error).await;
                    }
                }
            }
        }
    }

    /// Polls each listener in turn, and begins after the one of the last connection.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(A::Io, SocketAddr)>> {
        let count = self.listeners.len();
        for index in (self.first..count).chain(0..self.first) {
            if let Some(listener) = self.listeners.get_mut(index)
                && let Poll::Ready(accepted) = listener.poll_accept(cx)
            {
                self.first = (index + 1) % count;
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }

    async fn wait(&mut self, error: &io::Error) {
        if let Some(earlier) = self.files.record() {
            let binding = self.name.as_deref();
            error!(binding, %error, earlier, "accepting failed, trying again; raise the limit on open files?");
        }
        let time = self.back_off.map_or(FIRST_BACK_OFF, |last| (last * 2).min(LONGEST_BACK_OFF));
        self.back_off = Some(time);
        sleep(time).await;
    }
}

/// Whether an error of an accept belongs to the connection that was to be accepted (accept(2): "Error
/// handling"), and not to this process.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | ConnectionRefused
            | Interrupted
            | PermissionDenied
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
            | TimedOut
    )
}
