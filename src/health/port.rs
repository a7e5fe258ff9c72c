//! The port where health is told, whatever else comes there and however few open files there are.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use ::http::Request;
use hyper::body::Incoming;
use rustix::io::Errno;
use tailwater_http::{Accept as _, Connection, HttpLayer, ListenOptions, Listener, WriteDeadline};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep};
use tower::{Layer as _, Service as _, service_fn};

use super::Health;

/// Who asks comes now and then, and one at a time. Fewer where there are few open files.
pub(crate) const CONNECTIONS: usize = 64;
/// Between two attempts to accept.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a connection has to ask before it is closed for another one, if any has had that.
const TO_ASK: Duration = Duration::from_millis(100);
const DEADLINE: Duration = Duration::from_secs(10);

/// A listener for [`tell`].
pub(crate) fn listen(address: SocketAddr) -> io::Result<Listener> {
    ListenOptions::new().backlog(64).bind(address)
}

/// Answers whoever asks at this port, for as long as it is polled.
///
/// Neither those who connect and ask nothing nor a want of open files keep others from their answer:
/// who has been idle for longest is closed for who comes, and one file is kept for this.
pub(crate) async fn tell(health: Health, mut listener: Listener) {
    let most = health.askers;
    let health = Arc::new(health);
    let mut askers = Askers::default();
    let mut spare = Spare::default();
    let mut has_room = false;
    loop {
        // What was made free a moment ago is for who waits.
        if !has_room {
            spare.keep();
        }
        let made_room = std::mem::take(&mut has_room);
        let accepted = tokio::select! {
            biased;
            () = askers.ended() => continue,
            accepted = poll_fn(|cx| match listener.poll_accept(cx) {
                Poll::Pending if made_room => Poll::Ready(None),
                accepted => accepted.map(Some),
            }) => accepted,
        };
        match accepted {
            Some(Ok((io, _))) => {
                // In a burst none has had its time, and there may be no more of them all the same.
                if askers.count() >= most && !askers.close_idlest(TO_ASK).await {
                    askers.close_idlest(Duration::ZERO).await;
                }
                askers.add(io, &health);
            }
            // Linux says so whether or not somebody waits to be accepted.
            Some(Err(error)) if is_short_of_files(&error) => {
                has_room = if askers.count() == 0 {
                    spare.give()
                } else {
                    askers.close_idlest(TO_ASK).await
                };
                if !has_room {
                    sleep(PAUSE).await;
                }
            }
            Some(Err(_)) => sleep(PAUSE).await,
            None => {}
        }
    }
}

/// An open file that stands for the next connection.
#[derive(Debug, Default)]
struct Spare(Option<File>);

impl Spare {
    /// Opens it if it was given.
    fn keep(&mut self) {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
    }

    /// Whether there was one.
    fn give(&mut self) -> bool {
        self.0.take().is_some()
    }
}

/// Whether there is no file descriptor left, in the process or the system.
fn is_short_of_files(error: &io::Error) -> bool {
    let error = Errno::from_io_error(error);
    error.is_some_and(|error| error == Errno::MFILE || error == Errno::NFILE)
}

/// A connection.
#[derive(Debug)]
struct Asker {
    task: AbortHandle,
    since: Instant,
    /// When it asked last, by the clock of [`Askers`].
    last: Arc<AtomicU64>,
}

/// Connections, and when each has asked last.
#[derive(Debug, Default)]
struct Askers {
    tasks: JoinSet<()>,
    open: HashMap<Id, Asker>,
    /// Counts connections and requests.
    clock: Arc<AtomicU64>,
}

impl Askers {
    fn count(&self) -> usize {
        self.open.len()
    }

    fn add(&mut self, io: TcpStream, health: &Arc<Health>) {
        let health = Arc::clone(health);
        let clock = Arc::clone(&self.clock);
        let last = Arc::new(AtomicU64::new(clock.fetch_add(1, Relaxed)));
        let asked_last = Arc::clone(&last);
        let asked = service_fn(move |request: Request<Incoming>| {
            asked_last.store(clock.fetch_add(1, Relaxed), Relaxed);
            let answer = health.answer(request.method(), request.uri().path());
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        // Without the shutdown: it answers while the process drains.
        let layer = HttpLayer::new()
            .first_request_timeout(DEADLINE)
            .idle_timeout(DEADLINE)
            .max_concurrent_streams(8)
            .max_head_bytes(8 * 1024);
        let connection = Connection::new(WriteDeadline::new(io, DEADLINE));
        let served = layer.layer(asked).call(connection);
        let task = self.tasks.spawn(async {
            // Whoever asks nonsense has had an answer.
            let _ = served.await;
        });
        self.open.insert(task.id(), Asker { task, since: Instant::now(), last });
    }

    /// One of them has ended; never, while there are none.
    async fn ended(&mut self) {
        let ended = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return pending().await,
        };
        self.open.remove(&ended);
    }

    fn idlest(&self, had: Duration) -> Option<&Asker> {
        let had_time = self.open.values().filter(|asker| asker.since.elapsed() >= had);
        had_time.min_by_key(|asker| asker.last.load(Relaxed))
    }

    /// Closes the one that has asked nothing for longest, of those that had this time to ask; whether
    /// there was one. An answer is written as soon as it is asked for.
    async fn close_idlest(&mut self, had: Duration) -> bool {
        let Some(idlest) = self.idlest(had) else { return false };
        idlest.task.abort();
        // Its file is free when it is over.
        self.ended().await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_had_time_to_ask_goes_before_who_came_a_moment_ago() {
        let mut askers = Askers::default();
        let mut add = |last: u64| {
            let task = askers.tasks.spawn(pending());
            let id = task.id();
            let last = Arc::new(AtomicU64::new(last));
            askers.open.insert(id, Asker { task, since: Instant::now(), last });
            id
        };
        // It asked a moment ago, and the others of a burst have not asked yet.
        let first = add(10);
        tokio::time::advance(TO_ASK).await;
        let burst = add(1);
        add(2);
        let idlest = |askers: &Askers, had| askers.idlest(had).map(|asker| asker.task.id());
        assert_eq!(idlest(&askers, TO_ASK), Some(first));
        assert!(askers.close_idlest(TO_ASK).await);
        assert!(!askers.close_idlest(TO_ASK).await, "none had its time");
        assert_eq!(idlest(&askers, Duration::ZERO), Some(burst));
        assert!(askers.close_idlest(Duration::ZERO).await);
        assert_eq!(askers.count(), 1);
    }
}
