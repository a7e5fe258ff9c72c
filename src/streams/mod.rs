//! The open event streams of this process: a list, the end of some of them, and counts.
//!
//! A stream is added when its response is made, and removed when its body has ended or is dropped. In between its
//! task takes no lock: it writes atomics of its own entry. A list copies handles in turns, so that no stream waits
//! for it to open or to end.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tailwater_http::{Shutdown, StallFlag};
use tailwater_jwt::Session;
use tokio::time::Instant;
use tracing::info;

mod body;
mod counts;
mod labels;
mod layer;
mod probe;
mod stream;
mod told;

pub(crate) use self::counts::StreamCounts;
use self::counts::Table;
pub(crate) use self::labels::{Protocol, Reason, Start};
pub(crate) use self::layer::{Opened, TrackLayer};
pub(crate) use self::probe::Probe;
pub(crate) use self::stream::{Kick, OpenStream, StreamId};
use self::told::Told;
use crate::access_log::{self, Requested};

#[cfg(test)]
mod tests;

/// The number of streams that are copied while the list is locked.
const TURN: usize = 1024;
/// The number of streams whose bytes are counted while the list is locked.
const COUNTING_TURN: usize = 128;

/// The open streams of a process, and their counts. A clone is a handle to the same.
#[derive(Clone)]
pub(crate) struct Streams(Arc<Shared>);

struct Shared {
    clock: Clock,
    shutdown: Shutdown,
    /// Whether the process drops what is open.
    drops: AtomicBool,
    list: Mutex<List>,
    told: Told,
}

struct List {
    /// In the order of opening.
    open: BTreeMap<StreamId, Arc<OpenStream>>,
    next: StreamId,
    counts: Table,
}

/// What is known of a stream when it opens.
pub(crate) struct Opening {
    /// The name of the binding that serves it, unique in the process.
    pub(crate) place: Arc<Place>,
    /// The address of the TCP connection.
    pub(crate) peer: SocketAddr,
    pub(crate) session: Option<Session>,
    /// When its lease ends, if that is known.
    pub(crate) expires: Option<SystemTime>,
    pub(crate) stalls: Option<StallFlag>,
    pub(crate) protocol: Protocol,
    pub(crate) start: Start,
    pub(crate) probe: Option<Probe>,
    /// The request, if it is logged.
    pub(crate) requested: Option<Arc<Requested>>,
}

/// Where in the configuration a request is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The name of the binding, unique in the process.
    pub(crate) binding: Arc<str>,
    /// The pattern of the route, as the configuration has it.
    pub(crate) route: Option<Arc<str>>,
}

impl Streams {
    /// No streams. What is dropped after the drain window of `shutdown` was cut.
    pub(crate) fn new(shutdown: Shutdown) -> Self {
        // Ids of two runs differ, so that lines of a log can be told apart.
        let first = RandomState::new().hash_one(()) >> 36;
        Self(Arc::new(Shared {
            clock: Clock::new(),
            shutdown,
            drops: AtomicBool::new(false),
            list: Mutex::new(List {
                open: BTreeMap::new(),
                next: StreamId(first),
                counts: Table::default(),
            }),
            told: Told::default(),
        }))
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // Each change is complete, so that a panic leaves the list as it should be.
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stream and counts it as opened.
    pub(crate) fn open(&self, opening: Opening) -> Arc<OpenStream> {
        let now = self.0.clock.milliseconds(Instant::now());
        let topic = opening.probe.as_ref().map(Probe::label);
        let mut list = self.list();
        let id = list.next;
        list.next = StreamId(id.0.wrapping_add(1));
        list.counts.opened(&opening.place.binding, topic, opening.start);
        let stream = Arc::new(OpenStream::new(id, now, opening));
        list.open.insert(id, Arc::clone(&stream));
        stream
    }

    /// Removes a stream, counts it as ended, and tells so.
    fn close(&self, stream: &OpenStream, reason: Reason, is_complete: bool) {
        stream.count_end(is_complete);
        let topic = stream.probe().map(Probe::label);
        let mut list = self.list();
        list.open.remove(&stream.id());
        list.counts.ended(&stream.place().binding, topic, reason);
        drop(list);
        access_log::stream_ended(stream, reason);
        self.0.told.ended(stream, reason);
    }

    /// Tells of a gap that a stream was given.
    fn tell_gap(&self, stream: &OpenStream) {
        self.0.told.gap(stream);
    }

    /// Calls `visit` for each open stream after `after`, in the order of opening, until it returns `false`. A stream
    /// that opens or ends meanwhile may be left out.
    pub(crate) fn visit(
        &self,
        after: Option<StreamId>,
        mut visit: impl FnMut(&Arc<OpenStream>) -> bool,
    ) {
        let mut from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut turn = Vec::with_capacity(TURN);
        loop {
            turn.extend(
                self.list()
                    .open
                    .range((from, Bound::Unbounded))
                    .take(TURN)
                    .map(|(_, stream)| Arc::clone(stream)),
            );
            let Some(last) = turn.last() else { return };
            from = Bound::Excluded(last.id());
            for stream in turn.drain(..) {
                if !visit(&stream) {
                    return;
                }
            }
        }
    }

    /// Adds the bytes of the open streams to their meters.
    pub(crate) fn count_bytes(&self) {
        let mut from = Bound::Unbounded;
        loop {
            let list = self.list();
            let turn = list.open.range((from, Bound::Unbounded)).take(COUNTING_TURN);
            let Some(last) = turn.map(|(id, stream)| (id, stream.count_bytes()).0).last() else {
                return;
            };
            from = Bound::Excluded(*last);
            drop(list);
            // The lock is not fair: a stream that waits for it would wait for the next turn, too.
            std::thread::yield_now();
        }
    }

    /// The open stream with this id.
    pub(crate) fn find(&self, id: StreamId) -> Option<Arc<OpenStream>> {
        self.list().open.get(&id).cloned()
    }

    /// The number of open streams.
    pub(crate) fn len(&self) -> usize {
        self.list().open.len()
    }

    /// Ends the streams for which `matches` returns `true`, each after a whole event and with a `retry` field.
    /// Returns their number.
    pub(crate) fn kick(&self, kick: Kick, mut matches: impl FnMut(&OpenStream) -> bool) -> usize {
        let mut kicked = 0;
        self.visit(None, |stream| {
            kicked += usize::from(matches(stream) && stream.kick(kick));
            true
        });
        kicked
    }

    /// The counts of streams by binding and topic.
    pub(crate) fn counts(&self) -> Vec<StreamCounts> {
        self.list().counts.all()
    }

    /// Begins to count the streams that end while the process stops.
    pub(crate) fn draining(&self) -> Draining {
        Draining { streams: self.clone(), since: Instant::now(), before: self.ended() }
    }

    /// The number of streams that have ended, and of those that were cut.
    fn ended(&self) -> (u64, u64) {
        let counts = self.counts();
        let ended = || counts.iter().flat_map(StreamCounts::ended);
        let cut = ended().filter(|(reason, _)| *reason == Reason::Cut);
        (ended().map(|(_, count)| count).sum(), cut.map(|(_, count)| count).sum())
    }

    /// Waits until no stream is open, at most for this time. Tasks that were aborted are dropped by other threads.
    pub(crate) async fn wait_closed(&self, most: Duration) {
        const LOOK: Duration = Duration::from_millis(10);
        let closed = async {
            while self.len() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        // What is open then is counted as cut, too.
        let _ = tokio::time::timeout(most, closed).await;
    }

    /// From now on a stream that is dropped was cut.
    pub(crate) fn drop_open(&self) {
        self.0.drops.store(true, Ordering::SeqCst);
    }

    /// Whether streams that are dropped now are cut by the end of the process.
    pub(crate) fn cuts(&self) -> bool {
        self.0.drops.load(Ordering::SeqCst)
            || self.0.shutdown.window_end().is_some_and(|end| end <= Instant::now())
    }

    /// The time of a stream's milliseconds.
    pub(crate) fn time(&self, milliseconds: u64) -> SystemTime {
        self.0.clock.time(milliseconds)
    }

    /// The milliseconds of a time.
    fn milliseconds(&self, at: Instant) -> u64 {
        self.0.clock.milliseconds(at)
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("open", &self.len()).finish_non_exhaustive()
    }
}

/// The end of a process, since the signal to stop.
#[derive(Debug)]
pub(crate) struct Draining {
    streams: Streams,
    since: Instant,
    before: (u64, u64),
}

impl Draining {
    /// Logs how many streams have ended, and how many were cut. Those that are still open are about to be dropped.
    pub(crate) fn tell(self) {
        let (ended, cut) = self.streams.ended();
        let (ended_before, cut_before) = self.before;
        let cut = cut - cut_before;
        let ended = ended - ended_before - cut;
        let cut = cut + self.streams.len() as u64;
        let seconds = (self.since.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        info!(ended, cut, seconds, "drained");
    }
}

/// Times as milliseconds since the start of the process, which take an atomic of eight bytes.
struct Clock {
    started: Instant,
    started_at: SystemTime,
}

impl Clock {
    fn new() -> Self {
        Self { started: Instant::now(), started_at: SystemTime::now() }
    }

    fn milliseconds(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.started).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    fn time(&self, milliseconds: u64) -> SystemTime {
        let since = Duration::from_millis(milliseconds);
        self.started_at.checked_add(since).unwrap_or(self.started_at)
    }
}
