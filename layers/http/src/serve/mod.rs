//! The accept loop.

use std::future::poll_fn;
use std::net::SocketAddr;
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
mod socket;
mod spillover;
mod write_deadline;

use self::connection_limit::Permit;
pub use self::connection_limit::{ConnectionCounts, ConnectionLimit};
pub use self::listen::{Accept, ListenOptions, Listener};
pub use self::socket::Socket;
use self::spillover::Slot;
pub use self::spillover::Spillover;
pub use self::write_deadline::WriteDeadline;

const FIRST_BACK_OFF: Duration = Duration::from_millis(50);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);
/// How long a shortage must have been over to be told again.
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
    connection_limit: ConnectionLimit,
    write_deadline: Duration,
    spillover: Option<Spillover>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ServeOptions {
    /// The defaults that the options name.
    pub fn new() -> Self {
        Self {
            connection_limit: ConnectionLimit::default(),
            write_deadline: Duration::from_secs(60),
            spillover: None,
        }
    }

    /// The cap on connections, and where they are counted. Default: 65 536, of its own.
    pub fn connection_limit(mut self, limit: ConnectionLimit) -> Self {
        self.connection_limit = limit;
        self
    }

    /// How long a socket may take no byte at all although there are bytes to write: see
    /// [`WriteDeadline`]. Default: 60 s; 0 is no deadline.
    pub fn write_deadline(mut self, deadline: Duration) -> Self {
        self.write_deadline = deadline;
        self
    }

    /// A secondary runtime, for what is above so many connections. Default: none; all connections run on
    /// the one that [`serve`] does.
    pub fn spillover(mut self, spillover: Spillover) -> Self {
        self.spillover = Some(spillover);
        self
    }
}

/// Accepts connections from all `listeners` in turn and runs `service` for each in a task of its
/// own, until `shutdown` begins; then it closes the listeners, and returns when all connections
/// have ended or, at the latest, at the end of the drain window, when it drops the rest.
///
/// Each connection carries its [`Peer`], and its socket is watched by [`WriteDeadline`]. A connection
/// that fails is logged at DEBUG, one that panics at ERROR, and the others go on. When file
/// descriptors run out it waits 50 ms, doubling up to 1 s, says so once, and goes on when there are
/// some again. That, and connections over the cap, is told again only when it was over for 10 s, with
/// the number that was not told, so that clients can't fill the log. Without listeners it waits for the shutdown.
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
    let mut accepting = Accepting {
        listeners: listeners.into_iter().collect(),
        first: 0,
        back_off: None,
        files: Shortage::default(),
        places: Shortage::default(),
    };
    let connections = &options.connection_limit;
    let mut tasks = JoinSet::new();
    let mut started = std::pin::pin!(shutdown.started());
    let window_end = loop {
        // A flood of connections, or of errors, leaves the other tasks their turn.
        coop::consume_budget().await;
        let (io, peer, permit) = tokio::select! {
            biased;
            end = &mut started => break end,
            Some(ended) = tasks.join_next() => {
                record_end(ended, connections);
                continue;
            }
            permit = accepting.next(connections) => permit,
        };
        let slot = options.spillover.as_ref().map(Spillover::slot);
        let secondary = slot.as_ref().and_then(Slot::secondary);
        let adopted = match &secondary {
            Some(runtime) => hand_over(io, runtime),
            None => Ok(io),
        };
        let io = match adopted {
            Ok(io) => io,
            Err(error) => {
                debug!(%error, "a connection can't be handed over");
                continue;
            }
        };
        let io = WriteDeadline::new(io, options.write_deadline).counted(connections.clone());
        let mut connection = Connection::new(io);
        connection.extensions_mut().insert(Peer(peer));
        let service = service.clone();
        let connection = run(service, connection, (permit, slot));
        tasks.spawn_on(connection, &secondary.unwrap_or_else(Handle::current));
    };
    drop(accepting);
    if !tasks.is_empty() {
        info!(connections = tasks.len(), "waiting for connections to end");
    }
    // The services know the window too; what they left open when it ended gets one more turn.
    let mut over = std::pin::pin!(sleep_until(window_end + FIRST_BACK_OFF));
    loop {
        tokio::select! {
            biased;
            ended = tasks.join_next() => match ended {
                Some(ended) => record_end(ended, connections),
                None => return,
            },
            () = &mut over => break,
        }
    }
    info!(connections = tasks.len(), "the drain window is over, dropping what is open");
    tasks.shutdown().await;
}

/// The same connection for another runtime.
fn hand_over<Io: Socket>(io: Io, runtime: &Handle) -> io::Result<Io> {
    let _entered = runtime.enter();
    io.into_current_runtime()
}

async fn run<Io, S>(mut service: S, connection: Connection<Io>, permit: (Permit, Option<Slot>))
where
    S: Service<Connection<Io>, Response = ()>,
    S::Error: Into<BoxError>,
{
    let ended: Result<(), BoxError> = async {
        poll_fn(|cx| service.poll_ready(cx).map_err(Into::into)).await?;
        let future = service.call(connection);
        drop(service);
        future.await.map_err(Into::into)
    }
    .await;
    if let Err(error) = ended {
        debug!(error = &*error as &dyn std::error::Error, "connection failed");
    }
    drop(permit);
}

fn record_end(ended: Result<(), JoinError>, connections: &ConnectionLimit) {
    if ended.is_err_and(|error| error.is_panic()) {
        connections.record_panicked();
        error!("a connection's task panicked");
    }
}

/// The listeners, and in what state accepting is.
struct Accepting<A> {
    listeners: Vec<A>,
    /// The listener that is asked first the next time.
    first: usize,
    /// How long the last wait was, while errors come one after the other.
    back_off: Option<Duration>,
    files: Shortage,
    places: Shortage,
}

/// Something that we are short of. Clients can end and begin it as often as they like.
#[derive(Debug, Default)]
struct Shortage {
    last: Option<Instant>,
    untold: u64,
}

impl Shortage {
    /// It was met now. If that is to be told: how often it was met since it was told last.
    fn met(&mut self) -> Option<u64> {
        let now = Instant::now();
        let told = self.last.is_none_or(|last| now.duration_since(last) >= OVER);
        self.last = Some(now);
        if told {
            return Some(mem::take(&mut self.untold));
        }
        self.untold = self.untold.saturating_add(1);
        None
    }
}

impl<A: Accept> Accepting<A> {
    /// The next connection that has a permit. Dropping it loses no connection.
    async fn next(&mut self, connections: &ConnectionLimit) -> (A::Io, SocketAddr, Permit) {
        loop {
            coop::consume_budget().await;
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok((io, peer)) => {
                    self.back_off = None;
                    if let Some(permit) = connections.admit() {
                        return (io, peer, permit);
                    }
                    if let Some(earlier) = self.places.met() {
                        let cap = connections.cap();
                        warn!(cap, earlier, "too many connections, refusing new ones");
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

    /// Asks each listener in turn, beginning behind the one that gave the last connection.
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
        if let Some(earlier) = self.files.met() {
            error!(%error, earlier, "accepting failed, trying again; raise the limit on open files?");
        }
        let time = self.back_off.map_or(FIRST_BACK_OFF, |last| (last * 2).min(LONGEST_BACK_OFF));
        self.back_off = Some(time);
        sleep(time).await;
    }
}

/// Whether an error of accept is that of the connection that was to be accepted (accept(2): "Error
/// handling"), and not a shortage of ours.
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
