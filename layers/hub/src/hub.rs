use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::index::Index;
use crate::state::Shared;
use crate::{Cursor, Format, Selector};

/// So many go under one lock.
const SEGMENTS_AT_ONCE: usize = 16;

/// A shared log, bounded by bytes, that any number of [`Cursor`]s read at their own pace.
///
/// A clone is another handle to the same log. The log does not end by dropping its handles: call
/// [`close`](Hub::close) when nothing more comes.
pub struct Hub<F: Format> {
    shared: Arc<Shared<F>>,
}

impl<F: Format> Hub<F> {
    /// An empty log whose first record comes after `start`.
    ///
    /// `capacity_bytes` bounds the sum of the records, of their index and of their encoded copies; the
    /// newest chunk is kept in any case until the hub is [closed](Hub::close), so that 0 keeps nothing
    /// else ([`set_newest_bytes`](Hub::set_newest_bytes)).
    pub fn new(format: F, start: F::Position, capacity_bytes: usize) -> Self {
        Self { shared: Arc::new(Shared::new(format, start, capacity_bytes)) }
    }

    /// A handle that does not keep the log.
    pub fn downgrade(&self) -> WeakHub<F> {
        WeakHub { shared: Arc::downgrade(&self.shared) }
    }

    /// Whether both are handles to the same log.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Keeps the newest chunk whatever the capacity only if its records weigh no more than this. Without
    /// a bound by default. A cursor that has not read a heavier one when it is dropped, at once if need
    /// be, has lost it.
    pub fn set_newest_bytes(&self, newest_bytes: usize) {
        self.shared.lock().newest_bytes = newest_bytes;
    }

    /// What the hub was made with.
    pub fn format(&self) -> &F {
        &self.shared.format
    }

    /// Appends one chunk and wakes the cursors that it concerns. While the hub is over its capacity,
    /// the oldest chunks go.
    ///
    /// An empty chunk changes nothing, nor does one that comes after [`close`](Hub::close).
    pub fn append(&self, records: Vec<F::Record>) {
        if records.is_empty() {
            return;
        }
        let format = &self.shared.format;
        let weight = records.iter().map(|record| format.weight(record)).sum();
        let values = || {
            let mut values = Vec::new();
            for (at, record) in records.iter().enumerate() {
                format.hashes(record, &mut |value| values.push((at, value)));
            }
            values
        };
        let indexed = self.shared.indexed.load(Ordering::Relaxed);
        let mut hashed = indexed.then(values);

        let mut wakers = Vec::new();
        // Dropped and woken after the lock: both may run foreign code.
        let _joined;
        let _evicted;
        {
            let mut state = self.shared.lock();
            if state.closed {
                return;
            }
            let position = format.advance(&state.log.position, &records);
            if hashed.is_none() && state.index.is_some() {
                hashed = Some(values());
            }
            let first = state.log.end;
            _joined = state.log.push(records, weight, position, &self.shared.encoded_bytes);
            state.index(first, hashed.as_deref().unwrap_or_default(), &mut wakers);
            state.slots.take_armed(&mut wakers);
            _evicted = state.evict(format, &self.shared.encoded_bytes, usize::MAX);
        }
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    /// Moves the place of the head without a record: later records begin at `position`.
    ///
    /// For what advances the composer's terms without a record (a partition was added, a hole in the
    /// offsets was passed). Cursors at the head see the new position, but are not woken. Nothing moves after
    /// [`close`](Hub::close): a record that came too late would lie before the position.
    pub fn set_position(&self, position: F::Position) {
        let mut state = self.shared.lock();
        if !state.closed {
            state.log.set_position(position);
        }
    }

    /// Nothing more comes: cursors read what is kept for them, then [`CursorError::Closed`](crate::CursorError).
    pub fn close(&self) {
        let mut wakers = Vec::new();
        {
            let mut state = self.shared.lock();
            state.closed = true;
            state.slots.take_all(&mut wakers);
        }
        wakers.into_iter().for_each(std::task::Waker::wake);
    }

    /// Whether [`close`](Hub::close) was called.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// Changes the bound that [`new`](Hub::new) was given; what is over it goes at once.
    pub fn set_capacity_bytes(&self, capacity_bytes: usize) {
        self.shared.lock().capacity_bytes = capacity_bytes;
        // Others have their turn in between, and what is gone is dropped outside of the lock.
        let evict = || {
            let mut state = self.shared.lock();
            state.evict(&self.shared.format, &self.shared.encoded_bytes, SEGMENTS_AT_ONCE)
        };
        while evict().len() == SEGMENTS_AT_ONCE {}
    }

    /// Whether records are looked up for selective cursors.
    pub fn is_indexed(&self) -> bool {
        self.shared.indexed.load(Ordering::Relaxed)
    }

    /// Looks up records for selective cursors from now on. The first of these does so by itself, and holds
    /// up whoever appends and reads until all that is kept is looked through (about a second for 1 GB);
    /// this works beside them. It blocks the calling thread.
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
        // What goes meanwhile is forgotten beside the others as well, and there is less of it each time.
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

    /// The position of the oldest kept record; that of the head if none is kept.
    pub fn first(&self) -> F::Position {
        self.shared.lock().log.first_position()
    }

    /// The position of the next record.
    pub fn head(&self) -> F::Position {
        self.shared.lock().log.position.clone()
    }

    /// Bytes that are kept: records, their index, and their encoded copies.
    pub fn bytes(&self) -> usize {
        self.shared.lock().bytes(&self.shared.encoded_bytes)
    }

    /// How many cursors there are.
    pub fn cursors(&self) -> usize {
        self.shared.lock().slots.len()
    }

    /// How many cursors have lost nothing.
    pub fn active_cursors(&self) -> usize {
        self.shared.lock().slots.active_cursors()
    }

    /// How many cursors have read all that is there for them.
    pub fn caught_up(&self) -> usize {
        let state = self.shared.lock();
        state.slots.caught_up(state.log.end)
    }

    /// A cursor at the last place before which everything is `reached`: where a reader goes on that
    /// stands at a position of its own. `None` if it stands before the oldest kept record.
    ///
    /// `reached` is true for the positions up to some place and false after it; it runs under the lock.
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

    /// A cursor at the head.
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
        let key = state.open(&self.shared.format, selector, next);
        self.shared.indexed.store(state.index.is_some(), Ordering::Relaxed);
        Cursor::new(Arc::clone(&self.shared), key, test)
    }

    /// Bytes of the records from the first that some cursor still has to read to the head; 0 without
    /// cursors. A selective cursor counts while a match is pending, one that lost a record does not.
    ///
    /// A bounded reader waits while this is over its window. Costs a look at each cursor.
    pub fn lag_bytes(&self) -> usize {
        let state = self.shared.lock();
        let slowest = state.slots.slowest();
        slowest.map_or(0, |sequence| state.log.bytes_from(&self.shared.format, sequence))
    }

    /// Blocks the calling thread until a cursor moved or left since this method last returned, or
    /// until the timeout passed. Not for async code.
    pub fn wait_progress(&self, timeout: Duration) {
        self.shared.wait_progress(timeout);
    }
}

/// A handle that does not keep the log: that lives as long as a [`Hub`] or a [`Cursor`] of it.
pub struct WeakHub<F: Format> {
    shared: Weak<Shared<F>>,
}

impl<F: Format> WeakHub<F> {
    /// The log, if it is still there.
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
