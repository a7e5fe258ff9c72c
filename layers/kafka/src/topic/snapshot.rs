//! Compacted topics: a stream that begins further back than the live log is given the latest record of
//! each key, and then joins the live log.
//!
//! What it reads is a [`Snapshot`]: a log of its own that never grows, shared by all streams that come
//! to it, with the places in the topic that its records have. It is made of a [`Table`], which
//! `engine/compaction.rs` fills.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tailwater_hub::{Cursor, Hub, Selector};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::data::events::Records;
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::timing::Timing;
use crate::topic::table::Table;
use crate::topic::{Topic, TopicLog};

/// The chunks of a snapshot: what is rendered at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The tables of all topics.
#[derive(Debug)]
pub(crate) struct Tables {
    requests: mpsc::UnboundedSender<BuildRequest>,
    budget: Arc<Budget>,
}

/// What the tables keep in memory, and may.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) weight: AtomicUsize,
    pub(crate) most: usize,
}

/// A log that needs a table.
#[derive(Debug)]
pub(crate) struct BuildRequest {
    pub(crate) topic: Arc<Topic>,
    pub(crate) log: Arc<TopicLog>,
}

impl Tables {
    /// All tables together weigh a quarter of `memory_bytes` at the most.
    pub(crate) fn new(memory_bytes: usize) -> (Self, mpsc::UnboundedReceiver<BuildRequest>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        let budget = Arc::new(Budget { weight: AtomicUsize::new(0), most: memory_bytes / 4 });
        (Self { requests, budget }, receiver)
    }

    pub(crate) fn budget(&self) -> Arc<Budget> {
        Arc::clone(&self.budget)
    }

    /// What tables and snapshots take of the memory of the logs. Records that were superseded since
    /// are kept by a snapshot only, and what is rendered of it may take as much as its records.
    pub(crate) fn bytes(&self) -> usize {
        3 * self.budget.weight.load(Ordering::Relaxed)
    }

    /// A snapshot for a stream of a topic that begins at `low`: that of the last one who asked, or a new
    /// one. `None` if the topic's log ended meanwhile, or the table takes too much memory.
    pub(crate) async fn snapshot(
        &self,
        topic: &Arc<Topic>,
        log: &Arc<TopicLog>,
        low: &Positions,
    ) -> Option<Arc<Snapshot>> {
        let (answer, builder) = {
            let mut state = log.latest.lock();
            match state.stage {
                Stage::GivenUp => return None,
                Stage::Kept => {}
                Stage::Unread => {
                    state.stage = Stage::Kept;
                    let request = BuildRequest { topic: Arc::clone(topic), log: Arc::clone(log) };
                    // Its thread is there as long as this cluster.
                    let _ = self.requests.send(request);
                }
            }
            if let Some(newest) = state.snapshot.as_ref().filter(|newest| newest.serves(log, low)) {
                return Some(Arc::clone(newest));
            }
            state.low =
                Some(state.low.as_ref().map_or_else(|| low.clone(), |known| known.max(low)));
            // A table may be read for long: streams that come and leave would pile up.
            if state.waiting.len() == state.waiting.capacity() {
                state.waiting.retain(|waiting| !waiting.is_closed());
            }
            let (reply, answer) = oneshot::channel();
            state.waiting.push(reply);
            (answer, state.builder.take())
        };
        builder.into_iter().for_each(Waker::wake);
        answer.await.ok()
    }
}

/// What is there of the table of a log.
#[derive(Debug, Default)]
pub(crate) struct Latest(Mutex<SnapshotState>);

#[derive(Debug, Default)]
struct SnapshotState {
    stage: Stage,
    /// The newest. Who reads an older one goes on in this one.
    snapshot: Option<Arc<Snapshot>>,
    waiting: Vec<SnapshotReply>,
    /// Where the topic begins, as far as streams know that wait for a snapshot.
    low: Option<Positions>,
    /// Wakes the task that builds the table.
    builder: Option<Waker>,
}

/// A stream that waits for a snapshot.
type SnapshotReply = oneshot::Sender<Arc<Snapshot>>;

#[derive(Debug, Default, PartialEq)]
enum Stage {
    #[default]
    Unread,
    /// It is read or kept up.
    Kept,
    /// It would take too much memory.
    GivenUp,
}

impl Latest {
    fn lock(&self) -> MutexGuard<'_, SnapshotState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the topic is replayed as Kafka has it.
    pub(crate) fn is_given_up(&self) -> bool {
        self.lock().stage == Stage::GivenUp
    }

    /// Forgets a snapshot that nobody reads and that is too old for those who come.
    pub(crate) fn drop_stale(&self, log: &TopicLog) {
        let mut state = self.lock();
        drop(
            state.snapshot.take_if(|snapshot| snapshot.hub.cursors() == 0 && !snapshot.is_new(log)),
        );
    }

    /// Where the topic begins, as far as streams know that wait for a snapshot.
    pub(crate) fn low(&self) -> Option<Positions> {
        self.lock().low.clone()
    }

    /// Takes the streams that wait for a snapshot, and where the topic begins as far as they know. `waker`
    /// is woken when the next one waits.
    pub(crate) fn take_waiting(&self, waker: &Waker) -> (Vec<SnapshotReply>, Option<Positions>) {
        let mut state = self.lock();
        state.builder = Some(waker.clone());
        state.waiting.retain(|waiting| !waiting.is_closed());
        (std::mem::take(&mut state.waiting), state.low.clone())
    }

    /// From now on this is the newest snapshot. Streams of the one before resolve anew.
    pub(crate) fn publish(&self, snapshot: Arc<Snapshot>) {
        let before = self.lock().snapshot.replace(snapshot);
        if let Some(before) = before {
            before.end_reading();
        }
    }

    /// Nobody builds the table any more.
    pub(crate) fn reset(&self) {
        // Dropped outside of the lock: it wakes those who wait.
        let _before;
        let mut state = self.lock();
        let given_up = state.stage == Stage::GivenUp;
        _before = std::mem::take(&mut *state);
        state.stage = if given_up { Stage::GivenUp } else { Stage::Unread };
    }

    /// The topic is replayed as Kafka has it from now on.
    pub(crate) fn give_up(&self) {
        let mut state = self.lock();
        state.stage = Stage::GivenUp;
        if let Some(snapshot) = state.snapshot.take() {
            snapshot.end_reading();
        }
    }
}

/// What a stream that read a snapshot takes with it to the next one.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    /// Tombstones before these places delete keys that the client never saw.
    unseen: Positions,
    generation: u64,
}

impl Replay {
    /// Whether a stream that stands there has come by all tombstones of keys that it never saw.
    pub(crate) fn is_over(&self, at: &Positions) -> bool {
        self.unseen.at_or_before(at)
    }

    /// Whether a stream goes on in this snapshot without having missed a tombstone, however old its
    /// place is.
    pub(crate) fn goes_on_in(&self, snapshot: &Snapshot) -> bool {
        self.generation == snapshot.generation
    }
}

/// The latest records of a topic at some time, as a log that is closed.
#[derive(Debug)]
pub(crate) struct Snapshot {
    hub: Hub<Records>,
    start: Positions,
    /// The place in the live log after all of its records.
    end: Positions,
    has_tombstones: bool,
    is_empty: bool,
    generation: u64,
    made: Instant,
    /// How long it does for those who come although more was written.
    lasts: Duration,
}

impl Snapshot {
    pub(crate) fn new(
        table: &Table,
        index: Records,
        start: Positions,
        end: Positions,
        timing: Timing,
        is_indexed: bool,
    ) -> Self {
        let made = Instant::now();
        let generation = table.generation();
        let records = Record::join_rejected(table.records());
        let has_tombstones = records.iter().any(Record::is_tombstone);
        let is_empty = records.is_empty();
        let hub = Hub::new(index, start.clone(), usize::MAX);
        let mut chunk = Vec::new();
        let mut bytes = 0;
        for record in records {
            bytes += record.weight();
            chunk.push(record);
            if bytes >= CHUNK_BYTES {
                hub.append(std::mem::take(&mut chunk));
                bytes = 0;
            }
        }
        hub.append(chunk);
        hub.set_position(end.clone());
        if is_indexed {
            hub.build_index();
        }
        // Nothing is appended, so that no record goes: this bounds what is rendered and indexed.
        hub.set_capacity_bytes(2 * hub.bytes());
        hub.close();
        let lasts = timing.snapshot.max(timing.snapshot_times * made.elapsed());
        Self { hub, start, end, has_tombstones, is_empty, generation, made, lasts }
    }

    /// A cursor for a stream that stands at `at`. `None` if the topic has lost what lies there.
    pub(crate) fn cursor(
        &self,
        at: &Positions,
        selector: Selector<Record>,
        replay: &Replay,
    ) -> Option<Cursor<Records>> {
        let selector = if self.has_tombstones {
            without_unseen_tombstones(selector, replay.unseen.clone())
        } else {
            selector
        };
        // One without records has no place but its end, and nothing before that is missed.
        if self.is_empty && self.start.at_or_before(at) {
            return Some(self.hub.tail(selector));
        }
        self.hub.seek(|mark| mark.at_or_before(at), selector)
    }

    /// What a stream knows that reads this: no keys of the tombstones in partitions of which it has
    /// read nothing, and elsewhere as before.
    pub(crate) fn replay(&self, known: Option<&Replay>, read: &[(i32, i64)]) -> Replay {
        let is_read = |partition: i32| {
            let index = read.binary_search_by_key(&partition, |(partition, _)| *partition);
            index.is_ok_and(|index| read[index].1 > 0)
        };
        let unseen = self.end.iter().map(|(partition, end)| match is_read(partition) {
            true => known.map_or(0, |known| known.unseen.next(partition)),
            false => end,
        });
        let unseen = Positions::new(unseen.collect::<Vec<_>>());
        Replay { unseen, generation: self.generation }
    }

    /// Whether it does for a stream of a topic that begins at `low`.
    fn serves(&self, log: &TopicLog, low: &Positions) -> bool {
        // What retention took since is not shown, and the live log goes on from its end.
        low.at_or_before(&self.start) && log.hub.first().at_or_before(&self.end) && self.is_new(log)
    }

    fn is_new(&self, log: &TopicLog) -> bool {
        self.made.elapsed() < self.lasts || log.hub.head().at_or_before(&self.end)
    }

    /// Its streams go on elsewhere.
    fn end_reading(&self) {
        self.hub.set_capacity_bytes(0);
    }
}

/// Without tombstones of keys that the stream has not seen.
fn without_unseen_tombstones(selector: Selector<Record>, unseen: Positions) -> Selector<Record> {
    selector
        .and(move |record| !record.is_tombstone() || record.offset >= unseen.next(record.partition))
}
