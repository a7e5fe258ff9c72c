//! A port for operators. It answers even if all of its connections are idle, or no open file is left.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::future::{pending, poll_fn};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use ::http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use rustix::io::Errno;
use tailwater_http::{Accept, Connection, HttpLayer, Socket, WriteDeadline};
use tailwater_sse::BoxError;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep};
use tower::{Layer as _, Service, ServiceExt as _};

/// The pause between two attempts to accept.
const PAUSE: Duration = Duration::from_millis(50);
/// A connection younger than this is closed for another one only if all others are as young.
const MIN_AGE: Duration = Duration::from_millis(100);
const DEADLINE: Duration = Duration::from_secs(10);

/// Answers the requests of at most so many connections by this service, also while the process drains.
///
/// Neither idle connections nor a lack of open files prevent an answer: the connection that has been idle for
/// longest is closed for a new one, and one open file is reserved for this.
pub(crate) async fn serve<A, S, B>(mut listener: A, service: S, max_connections: usize)
where
    A: Accept,
    A::Io: Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let mut clients = Clients::default();
    let mut has_room = false;
    loop {
        // A file that was freed a moment ago is for the connection that waits.
        if !has_room {
            clients.spare.keep();
        }
        let made_room = std::mem::take(&mut has_room);
        let accepted = tokio::select! {
            biased;
            () = clients.ended() => continue,
            accepted = poll_fn(|cx| match listener.poll_accept(cx) {
                Poll::Pending if made_room => Poll::Ready(None),
                accepted => accepted.map(Some),
            }) => accepted,
        };
        match accepted {
            Some(Ok((io, _))) => {
                // In a burst all connections may be young, and the maximum holds nevertheless.
                if clients.count() >= max_connections && !clients.close_idlest(MIN_AGE).await {
                    clients.close_idlest(Duration::ZERO).await;
                }
                clients.add(io, service.clone());
            }
            // Linux returns this error even if no connection waits to be accepted.
            Some(Err(error)) if is_short_of_files(&error) => {
                has_room = clients.spare.release() || clients.close_idlest(MIN_AGE).await;
                // The file of the connection that was closed.
                clients.spare.release();
                if !has_room {
                    sleep(PAUSE).await;
                }
            }
            Some(Err(_)) => sleep(PAUSE).await,
            None => {}
        }
    }
}

/// An open file that is reserved for the next connection.
#[derive(Clone, Debug, Default)]
struct Spare(Arc<Mutex<Option<File>>>);

impl Spare {
    /// Opens the file if it is not open.
    fn keep(&self) {
        let mut file = self.file();
        if file.is_none() {
            *file = File::open("/dev/null").ok();
        }
    }

    /// Closes the file. Returns whether it was open.
    fn release(&self) -> bool {
        self.file().take().is_some()
    }

    fn file(&self) -> MutexGuard<'_, Option<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reserves a file when it is dropped.
#[derive(Debug)]
struct KeepOnDrop(Spare);

impl Drop for KeepOnDrop {
    fn drop(&mut self) {
        self.0.keep();
    }
}

/// Whether the process or the system has no file descriptor left.
fn is_short_of_files(error: &io::Error) -> bool {
    let error = Errno::from_io_error(error);
    error.is_some_and(|error| error == Errno::MFILE || error == Errno::NFILE)
}

/// A connection.
#[derive(Debug)]
struct Client {
    task: AbortHandle,
    since: Instant,
    /// The time of the last request, by the clock of [`Clients`].
    last_request: Arc<AtomicU64>,
}

/// The connections, and the time of the last request of each.
#[derive(Debug, Default)]
struct Clients {
    spare: Spare,
    tasks: JoinSet<()>,
    open: HashMap<Id, Client>,
    /// Counts connections and requests.
    clock: Arc<AtomicU64>,
}

impl Clients {
    fn count(&self) -> usize {
        self.open.len()
    }

    fn add<Io, S, B>(&mut self, io: Io, service: S)
    where
        Io: Socket + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let clock = Arc::clone(&self.clock);
        let last_request = Arc::new(AtomicU64::new(clock.fetch_add(1, Relaxed)));
        let updated = Arc::clone(&last_request);
        let service = service.map_request(move |request| {
            updated.store(clock.fetch_add(1, Relaxed), Relaxed);
            request
        });
        // The layer has no shutdown, so that it answers while the process drains.
        let layer = HttpLayer::new()
            .first_request_timeout(DEADLINE)
            .idle_timeout(DEADLINE)
            .max_concurrent_streams(8)
            .max_head_bytes(8 * 1024);
        let connection = Connection::new(WriteDeadline::new(io, DEADLINE));
        let served = layer.layer(service).call(connection);
        // The file of the connection is reserved in the poll that closes it: another accept loop of this
        // runtime would take it before this task is polled again.
        let keep = KeepOnDrop(self.spare.clone());
        let task = self.tasks.spawn(async move {
            let (served, _keep) = (served, keep);
            // An invalid request has had its answer.
            let _ = served.await;
        });
        self.open.insert(task.id(), Client { task, since: Instant::now(), last_request });
    }

    /// Waits until a connection has ended. While there are none it waits forever.
    async fn ended(&mut self) {
        let ended = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return pending().await,
        };
        self.open.remove(&ended);
    }

    fn idlest(&self, min_age: Duration) -> Option<&Client> {
        let old = self.open.values().filter(|client| client.since.elapsed() >= min_age);
        old.min_by_key(|client| client.last_request.load(Relaxed))
    }

    /// Closes the connection whose last request is oldest, among those of at least this age. Returns whether
    /// there was one. Its client can ask again: a response is written at once, or is a stream that goes on
    /// with the next one.
    async fn close_idlest(&mut self, min_age: Duration) -> bool {
        let Some(idlest) = self.idlest(min_age) else { return false };
        idlest.task.abort();
        // Its file is free when its task has ended.
        self.ended().await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_old_connection_is_closed_before_one_that_was_just_accepted() {
        let mut clients = Clients::default();
        let mut add = |last: u64| {
            let task = clients.tasks.spawn(pending());
            let id = task.id();
            let last_request = Arc::new(AtomicU64::new(last));
            clients.open.insert(id, Client { task, since: Instant::now(), last_request });
            id
        };
        // It sent a request a moment ago, and the others of a burst have not sent one yet.
        let first = add(10);
        tokio::time::advance(MIN_AGE).await;
        let burst = add(1);
        add(2);
        let idlest =
            |clients: &Clients, min_age| clients.idlest(min_age).map(|client| client.task.id());
        assert_eq!(idlest(&clients, MIN_AGE), Some(first));
        assert!(clients.close_idlest(MIN_AGE).await);
        assert!(!clients.close_idlest(MIN_AGE).await, "none is old enough");
        assert_eq!(idlest(&clients, Duration::ZERO), Some(burst));
        assert!(clients.close_idlest(Duration::ZERO).await);
        assert_eq!(clients.count(), 1);
    }
}
