//! The open streams of a cluster: what each does, and what they do together.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slab::Slab;
use tailwater_hub::{Cursor, CursorView};
use tokio::time::Instant;

use crate::data::counters::Counters;
use crate::data::events::Records;
use crate::data::gap::Reason;
use crate::data::histogram::Histogram;
use crate::data::positions::Positions;
use crate::topic::Topic;
use crate::topic::counts::{StreamCounts, StreamLag, StreamStart, StreamState};

/// How many streams are taken at once, while no stream can be opened or dropped.
const AT_ONCE: usize = 1024;

/// How long the counts of streams are valid: it takes a while to visit all of them.
const VALID: Duration = Duration::from_secs(1);

/// The limits of the lag in records and in seconds.
const RECORDS: &[f64] = &[0.0, 1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0];
const SECONDS: &[f64] = &[0.1, 1.0, 5.0, 15.0, 60.0, 300.0];

impl Default for StreamCounts {
    fn default() -> Self {
        Self {
            states: Default::default(),
            lag_records: Histogram::new(RECORDS),
            lag_seconds: Histogram::new(SECONDS),
        }
    }
}

impl StreamCounts {
    fn add(&mut self, stream: &OpenStream) {
        // A stream that loses its place just now is seeking.
        let lag = stream.lag();
        let state = if lag.is_some() { stream.state() } else { StreamState::Seeking };
        let state = StreamState::ALL.iter().zip(&mut self.states).find(|(each, _)| **each == state);
        state.into_iter().for_each(|(_, count)| *count += 1);
        if let Some(lag) = lag {
            #[expect(clippy::cast_precision_loss, reason = "so many records are no exact number")]
            self.lag_records.add(lag.records as f64);
            self.lag_seconds.add(lag.age.as_secs_f64());
        }
    }
}

/// The streams by the names under which they are counted.
type ByName = HashMap<Arc<str>, StreamCounts>;

/// The open streams of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: Mutex<Slab<Arc<OpenStream>>>,
    counted: Mutex<Option<(Instant, ByName)>>,
}

impl Streams {
    fn open(&self) -> MutexGuard<'_, Slab<Arc<OpenStream>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stream, which is counted under the name of these counters.
    pub(crate) fn add(
        self: &Arc<Self>,
        topic: Arc<Topic>,
        counters: Arc<Counters>,
        start: StreamStart,
    ) -> StreamEntry {
        let stream = Arc::new(OpenStream {
            topic,
            counters,
            start,
            state: AtomicU8::new(StreamState::Seeking as u8),
            events: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            place: Mutex::new(None),
            last_lag: AtomicU64::new(UNKNOWN_LAG),
        });
        let key = self.open().insert(Arc::clone(&stream));
        StreamEntry { streams: Arc::clone(self), key, stream }
    }

    /// The streams by the names under which they are counted.
    pub(crate) fn counts(&self) -> ByName {
        // Whoever asks meanwhile waits for this count.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, counts)) = &*counted
            && at.elapsed() < VALID
        {
            return counts.clone();
        }
        let mut counts = ByName::new();
        let mut from = 0;
        loop {
            let some: Vec<Arc<OpenStream>> = {
                let open = self.open();
                if from >= open.capacity() {
                    break;
                }
                let some =
                    (from..open.capacity().min(from + AT_ONCE)).filter_map(|at| open.get(at));
                some.cloned().collect()
            };
            from += AT_ONCE;
            for stream in some {
                match counts.get_mut(&stream.counters.name) {
                    Some(known) => known.add(&stream),
                    None => {
                        let name = Arc::clone(&stream.counters.name);
                        counts.entry(name).or_default().add(&stream);
                    }
                }
            }
        }
        *counted = Some((Instant::now(), counts.clone()));
        counts
    }
}

/// A stream among the open streams, until this is dropped.
#[derive(Debug)]
pub(crate) struct StreamEntry {
    streams: Arc<Streams>,
    key: usize,
    stream: Arc<OpenStream>,
}

impl StreamEntry {
    pub(crate) fn probe(&self) -> StreamProbe {
        StreamProbe(Arc::clone(&self.stream))
    }

    pub(crate) fn stream(&self) -> &Arc<OpenStream> {
        &self.stream
    }
}

impl Drop for StreamEntry {
    fn drop(&mut self) {
        // The stream still has its place: it drops this first.
        if let Some(lag) = self.stream.lag() {
            self.stream.last_lag.store(lag.records.min(UNKNOWN_LAG - 1), Ordering::Relaxed);
        }
        self.streams.open().try_remove(self.key);
    }
}

/// What is known of an open stream.
#[derive(Debug)]
pub(crate) struct OpenStream {
    topic: Arc<Topic>,
    counters: Arc<Counters>,
    start: StreamStart,
    state: AtomicU8,
    events: AtomicU64,
    /// How many gaps the stream was given, and above them the index of the last one's reason.
    gaps: AtomicU64,
    place: Mutex<Option<Place>>,
    /// The records that the stream was behind when it was dropped.
    last_lag: AtomicU64,
}

/// The stream is open, or had no place when it was dropped.
const UNKNOWN_LAG: u64 = u64::MAX;

/// Where in `OpenStream::gaps` the reason begins.
const GAP_BITS: u32 = 56;

/// The place of a stream in a log.
#[derive(Debug)]
struct Place {
    cursor: CursorView<Records>,
    /// The position of the client, while it is ahead of the cursor.
    ahead: Option<Positions>,
}

impl OpenStream {
    fn place(&self) -> MutexGuard<'_, Option<Place>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> StreamState {
        let state = usize::from(self.state.load(Ordering::Relaxed));
        StreamState::ALL.get(state).copied().unwrap_or(StreamState::Seeking)
    }

    fn set_state(&self, state: StreamState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// The stream takes a place in a log.
    pub(crate) fn attach(
        self: &Arc<Self>,
        state: StreamState,
        cursor: &Cursor<Records>,
        ahead: Option<&Positions>,
    ) -> Attached {
        // Who looks at the place sees its state: that of a stream in history says what else it is behind.
        let mut place = self.place();
        *place = Some(Place { cursor: cursor.view(), ahead: ahead.cloned() });
        self.set_state(match (state, ahead) {
            (StreamState::Live, Some(_)) => StreamState::Ahead,
            (state, _) => state,
        });
        drop(place);
        Attached(Arc::clone(self))
    }

    /// Counts a gap that the stream is given.
    pub(crate) fn gap(&self, reason: Reason) {
        self.counters.gap(reason);
        let count = self.gaps.load(Ordering::Relaxed) & ((1 << GAP_BITS) - 1);
        let gaps = (count + 1) | (reason.index() as u64) << GAP_BITS;
        // The stream's task is the only one that writes.
        self.gaps.store(gaps, Ordering::Relaxed);
    }

    fn lag(&self) -> Option<StreamLag> {
        let (lag, head) = {
            let place = self.place();
            let cursor = &place.as_ref()?.cursor;
            match self.state() {
                // An append between two looks would be in neither the lag nor what is behind the head.
                StreamState::History | StreamState::Snapshot => {
                    let (lag, head) = cursor.lag_and_head()?;
                    (lag, Some(head))
                }
                _ => (cursor.lag()?, None),
            }
        };
        let mut lag = StreamLag { records: lag.records, age: lag.age };
        if let Some((end, live)) = head.zip(self.topic.log()) {
            lag.records = lag.records.saturating_add(end.offsets_until(&live.hub.head()));
            let age = live.hub.age_after(|position| position.at_or_before(&end));
            lag.age = lag.age.max(age.unwrap_or_default());
        }
        Some(lag)
    }

    fn position(&self) -> Option<Positions> {
        let (cursor, ahead) = {
            let place = self.place();
            let place = place.as_ref()?;
            (place.cursor.clone(), place.ahead.clone())
        };
        let position = cursor.position()?;
        Some(ahead.map_or_else(|| position.clone(), |ahead| ahead.max(&position)))
    }
}

/// A stream that has a place in a log, until this is dropped.
#[derive(Debug)]
pub(crate) struct Attached(Arc<OpenStream>);

impl Attached {
    /// The log has reached the position of the client.
    pub(crate) fn caught_up(&self) {
        if let Some(place) = &mut *self.0.place() {
            place.ahead = None;
        }
        if self.0.state() == StreamState::Ahead {
            self.0.set_state(StreamState::Live);
        }
    }

    /// Counts events of records that the stream is given.
    pub(crate) fn events(&self, count: usize) {
        let OpenStream { counters, events, .. } = &*self.0;
        counters.sent.events.fetch_add(count as u64, Ordering::Relaxed);
        // The stream's task is the only one that writes.
        events.store(events.load(Ordering::Relaxed) + count as u64, Ordering::Relaxed);
    }

    /// Counts a gap that the stream is given.
    pub(crate) fn gap(&self, reason: Reason) {
        self.0.gap(reason);
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut place = self.0.place();
        *place = None;
        self.0.set_state(StreamState::Seeking);
    }
}

/// What others can see of a [`Stream`](crate::Stream) while it is polled, and after it was dropped. A clone is
/// another handle to the same.
#[derive(Clone)]
pub struct StreamProbe(Arc<OpenStream>);

impl StreamProbe {
    /// The name of the topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.0.topic.name
    }

    /// The name under which the stream is counted in [`Counts`](crate::Counts), which it keeps: that of the topic
    /// if the configuration names it or it was known to exist when the stream began, else `_other_`.
    #[must_use]
    pub fn label(&self) -> &Arc<str> {
        &self.0.counters.name
    }

    /// How the stream was started.
    #[must_use]
    pub fn start(&self) -> StreamStart {
        self.0.start
    }

    /// What the stream does.
    #[must_use]
    pub fn state(&self) -> StreamState {
        self.0.state()
    }

    /// How far the stream is behind. `None` while it is [seeking](StreamState::Seeking). It takes the lock of the
    /// log for a moment.
    #[must_use]
    pub fn lag(&self) -> Option<StreamLag> {
        self.0.lag()
    }

    /// How many records the stream was behind when it was dropped. `None` while it is open, and if it was
    /// [seeking](StreamState::Seeking).
    #[must_use]
    pub fn last_lag_records(&self) -> Option<u64> {
        Some(self.0.last_lag.load(Ordering::Relaxed)).filter(|lag| *lag != UNKNOWN_LAG)
    }

    /// The number of events of records that the stream was given.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.0.events.load(Ordering::Relaxed)
    }

    /// Notes that so many bytes were sent to the client, for [`sent_bytes`](crate::TopicCounts::sent_bytes) of the
    /// topic. Whoever writes the stream calls this, since it adds comments and fields of its own. It takes one relaxed
    /// atomic addition.
    pub fn note_sent_bytes(&self, bytes: usize) {
        self.0.counters.sent.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The number of gaps that the stream was given.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.0.gaps.load(Ordering::Relaxed) & ((1 << GAP_BITS) - 1)
    }

    /// The reason of the last gap, as in its event.
    #[must_use]
    pub fn last_gap(&self) -> Option<&'static str> {
        let gaps = self.0.gaps.load(Ordering::Relaxed);
        let reason = usize::try_from(gaps >> GAP_BITS).ok().and_then(|at| Reason::ALL.get(at));
        reason.filter(|_| self.gaps() > 0).map(|reason| reason.name())
    }

    /// The position of the stream as an event id. `None` while it is [seeking](StreamState::Seeking).
    #[must_use]
    pub fn position(&self) -> Option<String> {
        self.0.position().map(|position| position.progress())
    }
}

impl fmt::Debug for StreamProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamProbe")
            .field("topic", &self.topic())
            .field("start", &self.start())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
