//! Compacted topics: a stream that begins further back than the live log is given the latest record of
//! each key, and then joins the live log.
//!
//! What it reads is a [`Snapshot`]: a log of its own that never grows, shared by all streams that come
//! to it, with the places in the topic that its records have. It is made of a [`Table`], which is filled
//! as any stream is: by a backfill, once, and from then on by a cursor in the live log.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_executor::block_on;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tailwater_hub::{Cursor, Hub, Selector};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::cluster::Shared;
use crate::control::Pace;
use crate::history::History;
use crate::positions::Positions;
use crate::record::Record;
use crate::records::Records;
use crate::topic::{Opened, Topic};

mod table;

use table::Table;

/// The chunks of a snapshot: what is rendered at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Segments of a log that are taken before other tables have their turn.
const SEGMENTS: usize = 16;

/// The tables of all topics.
#[derive(Debug)]
pub(crate) struct Tables {
    requests: mpsc::UnboundedSender<BuildRequest>,
    budget: Arc<Budget>,
}

/// What the tables keep in memory, and may.
#[derive(Debug)]
pub(crate) struct Budget {
    weight: AtomicUsize,
    most: usize,
}

/// A log that needs a table.
#[derive(Debug)]
pub(crate) struct BuildRequest {
    topic: Arc<Topic>,
    opened: Arc<Opened>,
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
}

/// What is there of the table of a log.
#[derive(Debug, Default)]
pub(crate) struct Latest(Mutex<SnapshotState>);

#[derive(Debug, Default)]
struct SnapshotState {
    stage: Stage,
    /// The newest. Who reads an older one goes on in this one.
    snapshot: Option<Arc<Snapshot>>,
    waiting: Vec<oneshot::Sender<Arc<Snapshot>>>,
    /// Where the topic begins, as far as streams know that wait for a snapshot.
    low: Option<Positions>,
    /// Wakes the task that builds the table.
    builder: Option<Waker>,
}

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
    pub(crate) fn tidy(&self, opened: &Opened) {
        let mut state = self.lock();
        drop(
            state
                .snapshot
                .take_if(|snapshot| snapshot.hub.cursors() == 0 && !snapshot.is_new(opened)),
        );
    }

    fn give_up(&self) {
        let mut state = self.lock();
        state.stage = Stage::GivenUp;
        if let Some(snapshot) = state.snapshot.take() {
            snapshot.end_reading();
        }
    }
}

/// A snapshot for a stream of a topic that begins at `low`: that of the last one who asked, or a new
/// one. `None` if the topic's log ended meanwhile, or the table takes too much memory.
pub(crate) async fn snapshot(
    shared: &Shared,
    topic: &Arc<Topic>,
    opened: &Arc<Opened>,
    low: &Positions,
) -> Option<Arc<Snapshot>> {
    let (answer, builder) = {
        let mut state = opened.latest.lock();
        match state.stage {
            Stage::GivenUp => return None,
            Stage::Kept => {}
            Stage::Unread => {
                state.stage = Stage::Kept;
                let request = BuildRequest { topic: Arc::clone(topic), opened: Arc::clone(opened) };
                // Its thread is there as long as this cluster.
                let _ = shared.tables.requests.send(request);
            }
        }
        if let Some(newest) = state.snapshot.as_ref().filter(|newest| newest.serves(opened, low)) {
            return Some(Arc::clone(newest));
        }
        state.low = Some(state.low.as_ref().map_or_else(|| low.clone(), |known| known.max(low)));
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
    fn new(
        table: &Table,
        index: Records,
        start: Positions,
        end: Positions,
        pace: Pace,
        is_indexed: bool,
    ) -> Self {
        let (made, generation) = (Instant::now(), table.generation());
        let records = table.records();
        let has_tombstones = records.iter().any(Record::is_tombstone);
        let is_empty = records.is_empty();
        let hub = Hub::new(index, start.clone(), usize::MAX);
        let (mut chunk, mut bytes) = (Vec::new(), 0);
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
        let lasts = pace.snapshot.max(pace.snapshot_times * made.elapsed());
        Self { hub, start, end, has_tombstones, is_empty, generation, made, lasts }
    }

    /// A cursor for a stream that stands at `at`. `None` if the topic has lost what lies there.
    pub(crate) fn cursor(
        &self,
        at: &Positions,
        want: Selector<Record>,
        replay: &Replay,
    ) -> Option<Cursor<Records>> {
        let want = if self.has_tombstones {
            without_unseen_tombstones(want, replay.unseen.clone())
        } else {
            want
        };
        // One without records has no place but its end, and nothing before that is missed.
        if self.is_empty && self.start.at_or_before(at) {
            return Some(self.hub.tail(want));
        }
        self.hub.seek(|mark| mark.at_or_before(at), want)
    }

    /// What a stream knows that reads this: no keys of the tombstones in partitions of which it has
    /// read nothing, and elsewhere as before.
    pub(crate) fn replay(&self, known: Option<&Replay>, read: &[(i32, i64)]) -> Replay {
        let is_read = |partition: i32| {
            let place = read.binary_search_by_key(&partition, |(partition, _)| *partition);
            place.is_ok_and(|index| read[index].1 > 0)
        };
        let unseen = self.end.iter().map(|(partition, end)| match is_read(partition) {
            true => known.map_or(0, |known| known.unseen.next(partition)),
            false => end,
        });
        let unseen = Positions::new(unseen.collect::<Vec<_>>());
        Replay { unseen, generation: self.generation }
    }

    /// Whether it does for a stream of a topic that begins at `low`.
    fn serves(&self, opened: &Opened, low: &Positions) -> bool {
        // What retention took since is not shown, and the live log goes on from its end.
        low.at_or_before(&self.start)
            && opened.hub.first().at_or_before(&self.end)
            && self.is_new(opened)
    }

    fn is_new(&self, opened: &Opened) -> bool {
        self.made.elapsed() < self.lasts || opened.hub.head().at_or_before(&self.end)
    }

    /// Its streams go on elsewhere.
    fn end_reading(&self) {
        self.hub.set_capacity_bytes(0);
    }
}

/// Without tombstones of keys that the stream has not seen.
fn without_unseen_tombstones(want: Selector<Record>, unseen: Positions) -> Selector<Record> {
    want.and(move |record| !record.is_tombstone() || record.offset >= unseen.next(record.partition))
}

/// Builds the tables that are requested, until the cluster is dropped.
pub(crate) fn run(
    requests: &mut mpsc::UnboundedReceiver<BuildRequest>,
    shared: &Weak<Shared>,
    history: &History,
    budget: &Budget,
    pace: Pace,
) {
    let mut builders = FuturesUnordered::new();
    block_on(poll_fn(|cx| {
        loop {
            match requests.poll_recv(cx) {
                Poll::Ready(Some(BuildRequest { topic, opened })) => {
                    let builder = SnapshotBuilder {
                        shared,
                        history,
                        budget,
                        pace,
                        table: Table::new(),
                        low: opened.origin.clone(),
                        at: opened.origin.clone(),
                        charged: 0,
                        topic,
                        opened,
                    };
                    builders.push(builder.run());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => match builders.poll_next_unpin(cx) {
                    Poll::Ready(Some(())) => {}
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                },
            }
        }
    }));
}

/// Fills one table and makes snapshots of it, as long as its log is open.
struct SnapshotBuilder<'a> {
    shared: &'a Weak<Shared>,
    history: &'a History,
    budget: &'a Budget,
    pace: Pace,
    topic: Arc<Topic>,
    opened: Arc<Opened>,
    table: Table,
    /// Nothing before is in the table: retention took it.
    low: Positions,
    /// Everything before was taken.
    at: Positions,
    /// What the table was charged to the budget.
    charged: usize,
}

/// Why a builder stops to follow a log.
enum Left {
    Lost,
    TooLarge,
}

impl Drop for SnapshotBuilder<'_> {
    fn drop(&mut self) {
        self.budget.weight.fetch_sub(self.charged, Ordering::Relaxed);
        // Dropped outside of the lock: it wakes those who wait.
        let _state;
        let mut state = self.opened.latest.lock();
        let given_up = state.stage == Stage::GivenUp;
        _state = std::mem::take(&mut *state);
        state.stage = if given_up { Stage::GivenUp } else { Stage::Unread };
    }
}

impl SnapshotBuilder<'_> {
    async fn run(mut self) {
        // The stream that wants the table was told just now where the topic begins.
        let mut told = self.opened.latest.lock().low.clone();
        while !self.opened.hub.is_closed() {
            // At the end of a backfill the live log goes on, wherever the topic begins by then.
            let knows_all = self.opened.hub.head().len() <= self.low.len();
            let mut live = if knows_all { self.live() } else { None };
            if live.is_none() {
                let low = match told.take() {
                    Some(low) => Some(low),
                    None => self.ask_low().await,
                };
                let Some(low) = low else { return };
                self.trim(Some(&low));
                self.at = self.at.max(&self.low);
                live = self.live();
            }
            let is_live = live.is_some();
            let mut cursor = match live {
                Some(cursor) => cursor,
                None => {
                    let joined =
                        self.history.join(&self.topic.name, &self.opened, &self.at, &Selector::All);
                    let Some(cursor) = joined.await else { return };
                    cursor
                }
            };
            if let Left::TooLarge = self.follow(&mut cursor, is_live).await {
                warn!(topic = %self.topic.name, bytes = self.table.weight(), "too many keys to keep the latest record of each, the topic is replayed as Kafka has it");
                self.opened.latest.give_up();
                return;
            }
            self.at = cursor.position().max(&self.table.next());
        }
    }

    fn live(&self) -> Option<Cursor<Records>> {
        self.opened.seek(&self.at, &Selector::All)
    }

    /// Where the topic begins; `None` if its log ended.
    async fn ask_low(&self) -> Option<Positions> {
        // The cluster is not held while it is waited.
        let asked = self.shared.upgrade()?.request_extent(&self.topic, &self.opened, &[], None);
        Some(Positions::new(asked.await.ok()?.low))
    }

    /// Forgets what is of no more use in a topic that begins at `low`, if that is known.
    fn trim(&mut self, low: Option<&Positions>) {
        if let Some(low) = low {
            self.low = self.low.max(low);
        }
        let retention = self.opened.tombstone_retention.get().copied().flatten();
        self.table.trim(&self.low, retention.unwrap_or(Duration::MAX));
    }

    async fn follow(&mut self, cursor: &mut Cursor<Records>, is_live: bool) -> Left {
        poll_fn(|cx| {
            for _ in 0..SEGMENTS {
                match cursor.poll_each(cx, |record| self.table.take(record)) {
                    Poll::Ready(Ok(())) if self.fits() => {}
                    Poll::Ready(Ok(())) => return Poll::Ready(Left::TooLarge),
                    Poll::Ready(Err(_)) => return Poll::Ready(Left::Lost),
                    Poll::Pending if is_live => {
                        let end = cursor.position().max(&self.table.next());
                        // Where a partition begins that was added is not known yet.
                        if end.len() > self.low.len() {
                            return Poll::Ready(Left::Lost);
                        }
                        self.serve(cx, end);
                        return Poll::Pending;
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// Charges the table to the budget. False if it does not fit.
    fn fits(&mut self) -> bool {
        if self.charge() <= self.budget.most {
            return true;
        }
        let low = self.opened.latest.lock().low.clone();
        self.trim(low.as_ref());
        // One that is trimmed for each record is no help.
        self.charge() <= self.budget.most / 8 * 7
    }

    /// What all tables weigh with this one as it is now.
    fn charge(&mut self) -> usize {
        let weight = self.table.weight();
        let (before, charged) = (std::mem::replace(&mut self.charged, weight), &self.budget.weight);
        charged.fetch_add(weight, Ordering::Relaxed);
        charged.fetch_sub(before, Ordering::Relaxed) - before
    }

    /// The table has all that the live log has, up to `end`: makes a snapshot, if streams wait for one.
    fn serve(&mut self, cx: &Context<'_>, end: Positions) {
        let (waiting, low) = {
            let mut state = self.opened.latest.lock();
            state.builder = Some(cx.waker().clone());
            state.waiting.retain(|waiting| !waiting.is_closed());
            (std::mem::take(&mut state.waiting), state.low.clone())
        };
        if waiting.is_empty() {
            return;
        }
        self.trim(low.as_ref());
        self.charge();
        let records = Records { index: self.opened.hub.format().index.clone() };
        // Streams look records up in the topic: here it holds up none of them.
        let is_indexed = self.opened.hub.is_indexed();
        let start = self.low.clone();
        // Retention may have taken what the live log has not come by.
        let end = end.max(&start);
        let snapshot =
            Arc::new(Snapshot::new(&self.table, records, start, end, self.pace, is_indexed));
        debug!(topic = %self.topic.name, streams = waiting.len(), "a snapshot was made");
        let before = self.opened.latest.lock().snapshot.replace(Arc::clone(&snapshot));
        if let Some(before) = before {
            before.end_reading();
        }
        for waiting in waiting {
            // The stream may have left meanwhile.
            let _ = waiting.send(Arc::clone(&snapshot));
        }
    }
}
