use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::index::Index;
use crate::state::Shared;
use crate::{Cursor, Format, Selector};

/// The number of segments that are evicted under one lock.
const SEGMENTS_AT_ONCE: usize = 16;

/// A shared log, bounded by bytes, that any number of [`Cursor`]s read at their own pace.
///
/// A clone is another handle to the same log. Dropping all handles does not end the log: call
/// [`close`](Hub::close) after the last record.
pub struct Hub<F: Format> {
    shared: Arc<Shared<F>>,
}

impl<F: Format> Hub<F> {
    /// An empty log whose first record has the position `start`.
    ///
    /// `capacity_bytes` bounds the memory of the records, of their index and of their encoded copies
    /// together. The newest chunk is kept even if it exceeds the bound, until the hub is
    /// [closed](Hub::close) (see [`set_newest_bytes`](Hub::set_newest_bytes)); at 0 only that chunk is
    /// kept.
    pub fn new(format: F, start: F::Position, capacity_bytes: usize) -> Self {
        Self { shared: Arc::new(Shared::new(format, start, capacity_bytes)) }
    }

    /// A handle that does not keep the log in memory.
    pub fn downgrade(&self) -> WeakHub<F> {
        WeakHub { shared: Arc::downgrade(&self.shared) }
    }

    /// Whether both are handles to the same log.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Bounds the newest chunk: a chunk whose records weigh more than this is evicted like any other,
    /// possibly at once. A cursor that has not read it then lags. Default: no bound.
    pub fn set_newest_bytes(&self, newest_bytes: usize) {
        self.shared.lock().newest_bytes = newest_bytes;
    }

    /// The format that the hub was made with.
    pub fn format(&self) -> &F {
        &self.shared.format
    }

    /// Appends a chunk of records, and wakes the cursors that select one of them. While the hub exceeds its
    /// capacity, the oldest chunks are evicted.
    ///
    /// An empty chunk has no effect, and neither has a chunk after [`close`](Hub::close).
    pub fn append(&self, records: Vec<F::Record>) {
        if records.is_empty() {
            return;
        }
        let format = &self.shared.format;
        let weight = records.iter().map(|record| format.weight(record)).sum();
        let hashes = || {
            let mut hashes = Vec::new();
            for (at, record) in records.iter().enumerate() {
                format.hashes(record, &mut |hash| hashes.push((at, hash)));
            }
            hashes
        };
        let indexed = self.shared.indexed.load(Ordering::Relaxed);
        let mut hashed = indexed.then(hashes);

        // Dropping records and waking tasks may run foreign code, so both happen after the lock is
        // released.
        let _joined;
        let _evicted;
        let wakes = {
            let mut state = self.shared.lock();
            if state.closed {
                return;
            }
            let position = format.advance(&state.log.position, &records);
            if hashed.is_none() && state.index.is_some() {
                hashed = Some(hashes());
            }
            let first = state.log.end;
            _joined = state.log.push(records, weight, position, &self.shared.encoded_bytes);
            state.index(first, hashed.as_deref().unwrap_or_default());
            _evicted = state.evict(format, &self.shared.encoded_bytes, usize::MAX);
            state.slots.take_due()
        };
        wakes.wake();
    }

    /// Sets the position of the next record.
    ///
    /// Use it where the position advances without a record: a partition was added, or offsets without
    /// records were skipped. Cursors at the end have the new position, but are not woken. It has no effect
    /// after [`close`](Hub::close): a record that was appended too late would lie before the position.
    pub fn set_position(&self, position: F::Position) {
        let mut state = self.shared.lock();
        if !state.closed {
            state.log.set_position(position);
        }
    }

    /// Ends the log. Cursors return the records that are left for them, and then
    /// [`CursorError::Closed`](crate::CursorError).
    pub fn close(&self) {
        let wakes = {
            let mut state = self.shared.lock();
            state.closed = true;
            state.slots.take_all()
        };
        wakes.wake();
    }

    /// Whether [`close`](Hub::close) was called.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// Changes the capacity that [`new`](Hub::new) was given. Chunks that exceed it are evicted at once.
    pub fn set_capacity_bytes(&self, capacity_bytes: usize) {
        self.shared.lock().capacity_bytes = capacity_bytes;
        // The lock is released in between, so that others can take it and the segments are dropped without
        // it.
        let evict = || {
            let mut state = self.shared.lock();
            state.evict(&self.shared.format, &self.shared.encoded_bytes, SEGMENTS_AT_ONCE)
        };
        while evict().len() == SEGMENTS_AT_ONCE {}
    }

    /// Whether the index exists.
    pub fn is_indexed(&self) -> bool {
        self.shared.indexed.load(Ordering::Relaxed)
    }

    /// Builds the index, while others append and read. It blocks the calling thread. Without this call the
    /// first cursor with [`Selector::Hashes`] builds the index under the lock, which takes about a second
    /// for 1 GB of records.
    pub fn build_index(&self) {
        let format = &self.shared.format;
        let (segments, until): (Vec<_>, u64) = {
            let state = self.shared.lock();
            if state.index.is_some() {
                return;
            }
            (state.log.segments().cloned().collect(), state.log.end)
        };
        let mut index = Index::of(format, &segments, 0..until);
        // Segments that were evicted meanwhile are removed from the index without the lock. There are fewer
        // of them each time.
        let mut gone = 0;
        loop {
            let first = {
                let mut state = self.shared.lock();
                let first = state.log.first();
                if state.index.is_some() {
                    return;
                }
                if first.min(until) == gone {
                    index.add_all(format, state.log.segments(), until..state.log.end);
                    state.index = Some(index);
                    self.shared.indexed.store(true, Ordering::Relaxed);
                    return;
                }
                first.min(until)
            };
            index.forget_all(format, &segments, gone..first);
            gone = first;
        }
    }

    /// The position of the oldest record that is kept; that of the next record if there is none.
    pub fn first(&self) -> F::Position {
        self.shared.lock().log.first_position()
    }

    /// The position of the next record.
    pub fn head(&self) -> F::Position {
        self.shared.lock().log.position.clone()
    }

    /// How long the first chunk is here that has a record after the positions that `reached` accepts. `None` if
    /// it accepts the position of the next record. `reached` is as in [`seek`](Hub::seek).
    pub fn age_after(&self, reached: impl Fn(&F::Position) -> bool) -> Option<Duration> {
        self.shared.lock().log.age_after(reached)
    }

    /// The memory of the records, of their index and of their encoded copies, in bytes.
    pub fn bytes(&self) -> usize {
        self.shared.lock().bytes(&self.shared.encoded_bytes)
    }

    /// The number of cursors.
    pub fn cursors(&self) -> usize {
        self.shared.lock().slots.len()
    }

    /// The number of cursors that have not lagged.
    pub fn active_cursors(&self) -> usize {
        self.shared.lock().slots.active_cursors()
    }

    /// The number of cursors that have returned all records that they select.
    pub fn caught_up(&self) -> usize {
        let state = self.shared.lock();
        state.slots.caught_up(state.log.end)
    }

    /// A cursor at the last position that `reached` accepts: where a client resumes that knows its
    /// position. `None` if that is before the oldest record that is kept.
    ///
    /// `reached` accepts all positions up to some position, and none after it. It runs under the lock.
    pub fn seek(
        &self,
        reached: impl Fn(&F::Position) -> bool,
        selector: Selector<F::Record>,
    ) -> Option<Cursor<F>> {
        let test = selector.predicate();
        let mut state = self.shared.lock();
        let next = state.log.seek(&self.shared.format, reached)?;
        Some(self.open(&mut state, selector, test, next))
    }

    /// A cursor at the end of the log.
    pub fn tail(&self, selector: Selector<F::Record>) -> Cursor<F> {
        let test = selector.predicate();
        let mut state = self.shared.lock();
        let next = state.log.end;
        self.open(&mut state, selector, test, next)
    }

    fn open(
        &self,
        state: &mut crate::state::State<F>,
        selector: Selector<F::Record>,
        test: Option<crate::selector::Predicate<F::Record>>,
        next: u64,
    ) -> Cursor<F> {
        let (key, id) = state.open(&self.shared.format, selector, next);
        self.shared.indexed.store(state.index.is_some(), Ordering::Relaxed);
        Cursor::new(Arc::clone(&self.shared), (key, id), test)
    }

    /// The weight of the records from the first that some cursor has not read, in bytes; 0 without cursors.
    /// A selective cursor counts while a match is pending. A cursor that has lagged does not count.
    ///
    /// A producer that must not outrun its readers waits while this exceeds its window. The call visits
    /// each cursor.
    pub fn lag_bytes(&self) -> usize {
        let state = self.shared.lock();
        let slowest = state.slots.slowest();
        slowest.map_or(0, |sequence| state.log.bytes_from(&self.shared.format, sequence))
    }

    /// As [`lag_bytes`](Self::lag_bytes), with the records before that one that are kept as long as it is, since a
    /// chunk is evicted as a whole, and with the index of the log.
    ///
    /// With a capacity of less, a cursor lags that still has something to read.
    pub fn unread_bytes(&self) -> usize {
        let state = self.shared.lock();
        let slowest = state.slots.slowest();
        let unread = slowest.map_or(0, |sequence| state.log.segment_bytes_from(sequence));
        if unread == 0 { 0 } else { unread + state.index_bytes() }
    }

    /// Waits until a cursor has moved or was dropped since this method last returned. Dropping the future loses
    /// nothing: a move in between ends the next wait at once.
    pub async fn progress(&self) {
        let mut seen = None;
        poll_fn(|cx| self.shared.poll_progress(cx, &mut seen)).await;
    }
}

/// A handle that does not keep the log in memory. The log lives as long as a [`Hub`] or a [`Cursor`] of it.
pub struct WeakHub<F: Format> {
    shared: Weak<Shared<F>>,
}

impl<F: Format> WeakHub<F> {
    /// The log, if it still exists.
    pub fn upgrade(&self) -> Option<Hub<F>> {
        self.shared.upgrade().map(|shared| Hub { shared })
    }
}

impl<F: Format> fmt::Debug for WeakHub<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakHub").finish_non_exhaustive()
    }
}

impl<F: Format> Clone for Hub<F> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<F: Format> fmt::Debug for Hub<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("Hub")
            .field("first", &state.log.first())
            .field("end", &state.log.end)
            .field("bytes", &state.bytes(&self.shared.encoded_bytes))
            .field("cursors", &state.slots.len())
            .field("closed", &state.closed)
            .finish_non_exhaustive()
    }
}
