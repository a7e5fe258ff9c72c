//! Snapshots of compacted topics. A stream that begins before the live log gets the latest record of each key
//! and then joins the live log.
//!
//! It reads them from a [`Snapshot`]: a log that never grows, shared by its streams, whose records keep their
//! positions in the topic. A snapshot is made of a [`Table`], which `engine/compaction.rs` fills.

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

/// The size of the chunks of a snapshot. A chunk is encoded at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// The tables of all topics.
#[derive(Debug)]
pub(crate) struct Tables {
    requests: mpsc::UnboundedSender<BuildRequest>,
    budget: Arc<Budget>,
}

/// How much memory the tables take, and the most that they may take.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) weight: AtomicUsize,
    pub(crate) most: usize,
}

/// A request to build the table of a log.
#[derive(Debug)]
pub(crate) struct BuildRequest {
    pub(crate) topic: Arc<Topic>,
    pub(crate) log: Arc<TopicLog>,
}

impl Tables {
    /// All tables together take at most a quarter of `memory_bytes`.
    pub(crate) fn new(memory_bytes: usize) -> (Self, mpsc::UnboundedReceiver<BuildRequest>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        let budget = Arc::new(Budget { weight: AtomicUsize::new(0), most: memory_bytes / 4 });
        (Self { requests, budget }, receiver)
    }

    pub(crate) fn budget(&self) -> Arc<Budget> {
        Arc::clone(&self.budget)
    }

    /// How much of the memory of the logs the tables and snapshots take. A snapshot also keeps records that were
    /// superseded since, and its encoded events may take as much as its records.
    pub(crate) fn bytes(&self) -> usize {
        3 * self.budget.weight.load(Ordering::Relaxed)
    }

    /// A snapshot for a stream of a topic that begins at `low`: the newest one, or a new one. `None` if the
    /// topic's log ended meanwhile or the table takes too much memory.
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
                    // The thread runs as long as the cluster exists.
                    let _ = self.requests.send(request);
                }
            }
            if let Some(newest) = state.snapshot.as_ref().filter(|newest| newest.serves(log, low)) {
                return Some(Arc::clone(newest));
            }
            state.low =
                Some(state.low.as_ref().map_or_else(|| low.clone(), |known| known.max(low)));
            // A table may take long to fill. Without this, requests of streams that have left would pile up.
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

/// The state of the table and the snapshot of a log.
#[derive(Debug, Default)]
pub(crate) struct Latest(Mutex<SnapshotState>);

#[derive(Debug, Default)]
struct SnapshotState {
    stage: Stage,
    /// The newest snapshot. Streams that read an older one continue in this one.
    snapshot: Option<Arc<Snapshot>>,
    waiting: Vec<SnapshotReply>,
    /// The highest low watermark that a waiting stream has seen.
    low: Option<Positions>,
    /// Wakes the task that builds the table.
    builder: Option<Waker>,
}

/// The sender to a stream that waits for a snapshot.
type SnapshotReply = oneshot::Sender<Arc<Snapshot>>;

#[derive(Debug, Default, PartialEq)]
enum Stage {
    #[default]
    Unread,
    /// The table is being filled or kept up to date.
    Kept,
    /// The table would take too much memory.
    GivenUp,
}

impl Latest {
    fn lock(&self) -> MutexGuard<'_, SnapshotState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether streams read the topic as it is in Kafka, without a snapshot.
    pub(crate) fn is_given_up(&self) -> bool {
        self.lock().stage == Stage::GivenUp
    }

    /// Drops a snapshot that no stream reads and that is too old for new streams.
    pub(crate) fn drop_stale(&self, log: &TopicLog) {
        let mut state = self.lock();
        drop(
            state.snapshot.take_if(|snapshot| snapshot.hub.cursors() == 0 && !snapshot.is_new(log)),
        );
    }

    /// The highest low watermark that a waiting stream has seen.
    pub(crate) fn low(&self) -> Option<Positions> {
        self.lock().low.clone()
    }

    /// Takes the streams that wait for a snapshot, and where the topic begins as far as they know. `waker` is
    /// woken when the next stream waits.
    pub(crate) fn take_waiting(&self, waker: &Waker) -> (Vec<SnapshotReply>, Option<Positions>) {
        let mut state = self.lock();
        state.builder = Some(waker.clone());
        state.waiting.retain(|waiting| !waiting.is_closed());
        (std::mem::take(&mut state.waiting), state.low.clone())
    }

    /// Makes this the newest snapshot. Streams of the one before resume elsewhere.
    pub(crate) fn publish(&self, snapshot: Arc<Snapshot>) {
        let before = self.lock().snapshot.replace(snapshot);
        if let Some(before) = before {
            before.end_reading();
        }
    }

    /// Resets the state: the table is not built any more.
    pub(crate) fn reset(&self) {
        // Dropped outside of the lock, because that wakes the streams that wait.
        let _before;
        let mut state = self.lock();
        let given_up = state.stage == Stage::GivenUp;
        _before = std::mem::take(&mut *state);
        state.stage = if given_up { Stage::GivenUp } else { Stage::Unread };
    }

    /// Gives up the table: streams read the topic as it is in Kafka from now on.
    pub(crate) fn give_up(&self) {
        let mut state = self.lock();
        state.stage = Stage::GivenUp;
        if let Some(snapshot) = state.snapshot.take() {
            snapshot.end_reading();
        }
    }
}

/// What a stream remembers of the snapshot that it reads or has read.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    /// Tombstones before these positions delete keys that the client never saw.
    unseen: Positions,
    generation: u64,
}

impl Replay {
    /// Whether a stream at this position is past all tombstones of keys that it never saw.
    pub(crate) fn is_over(&self, at: &Positions) -> bool {
        self.unseen.at_or_before(at)
    }

    /// Whether a stream continues in this snapshot without having missed a tombstone, however old its position
    /// is.
    pub(crate) fn goes_on_in(&self, snapshot: &Snapshot) -> bool {
        self.generation == snapshot.generation
    }
}

/// The latest records of a topic at one time, as a log that is closed.
#[derive(Debug)]
pub(crate) struct Snapshot {
    hub: Hub<Records>,
    start: Positions,
    /// The position in the live log after all of its records.
    end: Positions,
    has_tombstones: bool,
    is_empty: bool,
    generation: u64,
    made: Instant,
    /// How long new streams are given it although more records were written.
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
        // Nothing is appended, so no record is removed. The capacity bounds the encoded events and the index.
        hub.set_capacity_bytes(2 * hub.bytes());
        hub.close();
        let lasts = timing.snapshot.max(timing.snapshot_times * made.elapsed());
        Self { hub, start, end, has_tombstones, is_empty, generation, made, lasts }
    }

    /// A cursor for a stream at this position. `None` if the topic has lost the records there.
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
        // A snapshot without records has no position but its end, and no record before it is missed.
        if self.is_empty && self.start.at_or_before(at) {
            return Some(self.hub.tail(selector));
        }
        self.hub.seek(|position| position.at_or_before(at), selector)
    }

    /// What a stream that reads this snapshot remembers. In partitions of which it has `read` nothing, it knows
    /// none of the keys; in the others it knows what it knew before.
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

    /// Whether the snapshot may be given to a stream of a topic that begins at `low`.
    fn serves(&self, log: &TopicLog, low: &Positions) -> bool {
        // It has no records that retention removed since, and the live log continues from its end.
        low.at_or_before(&self.start) && log.hub.first().at_or_before(&self.end) && self.is_new(log)
    }

    fn is_new(&self, log: &TopicLog) -> bool {
        self.made.elapsed() < self.lasts || log.hub.head().at_or_before(&self.end)
    }

    /// Ends the reading: its streams resume elsewhere.
    fn end_reading(&self) {
        self.hub.set_capacity_bytes(0);
    }
}

/// The selector without tombstones of keys that the stream has not seen.
fn without_unseen_tombstones(selector: Selector<Record>, unseen: Positions) -> Selector<Record> {
    selector
        .and(move |record| !record.is_tombstone() || record.offset >= unseen.next(record.partition))
}
