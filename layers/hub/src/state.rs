use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::index::Index;
use crate::log::{Log, Run, Runs};
use crate::segment::Segment;
use crate::slots::{Reader, Slots};
use crate::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard};
use crate::{CursorError, Format, Lag, Selector};

/// The number of matches that a selective cursor takes under one lock.
const MATCHES: u64 = 64;

/// The state that a hub and its cursors share.
pub(crate) struct Shared<F: Format> {
    pub(crate) format: F,
    /// Bytes of the encoded records of all segments in the log.
    pub(crate) encoded_bytes: AtomicUsize,
    /// An index exists, so that hashes are computed before the lock is taken.
    pub(crate) indexed: AtomicBool,
    state: Mutex<State<F>>,
}

pub(crate) struct State<F: Format> {
    pub(crate) log: Log<F>,
    pub(crate) slots: Slots<F>,
    pub(crate) index: Option<Index>,
    pub(crate) capacity_bytes: usize,
    /// The newest segment is kept whatever the capacity, if it weighs no more than this.
    pub(crate) newest_bytes: usize,
    pub(crate) closed: bool,
    /// No cursor that has not lagged has to read a record before this one. Segments before it are evicted without a
    /// look at each cursor.
    unread: u64,
    /// The number of moves of cursors, and what it was when the last wait for a move ended.
    moved: u64,
    waited: u64,
    /// The tasks that wait for a move.
    waiting: Vec<Waker>,
}

/// The tasks that waited for a move of a cursor. They are woken when this is dropped, which must be after the lock is
/// released.
#[must_use]
pub(crate) struct Moved(Vec<Waker>);

impl Drop for Moved {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

impl<F: Format> Shared<F> {
    pub(crate) fn new(format: F, start: F::Position, capacity_bytes: usize) -> Self {
        let state = State {
            log: Log::new(start),
            slots: Slots::new(),
            index: None,
            capacity_bytes,
            newest_bytes: usize::MAX,
            closed: false,
            unread: 0,
            moved: 0,
            waited: 0,
            waiting: Vec::new(),
        };
        Self {
            format,
            encoded_bytes: AtomicUsize::new(0),
            indexed: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<F>> {
        // Foreign code that runs under the lock may panic. The state is changed after it only.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a cursor has moved since the number of moves was `seen`, which is filled in by the first call.
    pub(crate) fn poll_progress(&self, cx: &Context<'_>, seen: &mut Option<u64>) -> Poll<()> {
        let mut state = self.lock();
        let seen = *seen.get_or_insert(state.waited);
        if state.moved != seen {
            state.waited = state.moved;
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Drops encoded records of old segments while the hub exceeds its capacity, but keeps those just made.
    pub(crate) fn shrink_encoded(&self, but: &Arc<Segment<F>>, encoding: &F::Encoding) {
        let state = self.lock();
        for segment in state.log.segments() {
            if state.bytes(&self.encoded_bytes) <= state.capacity_bytes {
                return;
            }
            if segment.has_encoded() && !Arc::ptr_eq(segment, but) {
                segment.drop_encoded(&self.encoded_bytes);
            }
        }
        if state.bytes(&self.encoded_bytes) > state.capacity_bytes {
            but.drop_encoded_but(&self.encoded_bytes, encoding);
        }
    }

    /// Takes records for a cursor, at most this many; the bytes are a hint. The cursor gives back the
    /// records that it does not read.
    pub(crate) fn claim(
        &self,
        key: usize,
        cx: &Context<'_>,
        records: u64,
        bytes: usize,
    ) -> Poll<Result<Runs<F>, CursorError>> {
        let _old_waker;
        let _moved;
        let mut guard = self.lock();
        let state = &mut *guard;
        let first = state.log.first();
        let Some(slot) = state.slots.get_mut(key) else {
            return Poll::Ready(Err(CursorError::Closed));
        };
        if let Some((missed, _)) = slot.lagged {
            return Poll::Ready(Err(CursorError::Lagged { missed, first }));
        }
        let runs = match (&mut slot.reader, &state.index) {
            (Reader::Every { next }, _) => {
                let runs = state.log.runs(*next, records, bytes);
                *next = runs.last().map_or(*next, |run| run.to);
                runs
            }
            (Reader::Selected { hashes, matched: Some(from), .. }, Some(index)) => {
                let max = usize::try_from(records.min(MATCHES)).unwrap_or(usize::MAX);
                let (found, next) = index.merge(hashes, *from, max);
                let runs = state.log.pick(&found);
                if let Reader::Selected { matched, .. } = &mut slot.reader {
                    *matched = next;
                }
                runs
            }
            (Reader::Selected { .. }, _) => Runs::new(),
        };
        if !runs.is_empty() {
            _moved = state.moved();
            return Poll::Ready(Ok(runs));
        }
        if state.closed {
            return Poll::Ready(Err(CursorError::Closed));
        }
        _old_waker = state.slots.arm(key, cx);
        Poll::Pending
    }

    /// Puts back the records that a cursor has taken and not read. The first of `runs` begins with them.
    pub(crate) fn give_back(&self, key: usize, runs: &[Run<F>]) {
        let Some(run) = runs.first() else { return };
        let mut guard = self.lock();
        let state = &mut *guard;
        let first = state.log.first();
        let Some(slot) = state.slots.get_mut(key) else { return };
        // During a panic no foreign code may run: a second panic would abort the process.
        let unwinding = std::thread::panicking();
        state.unread = state.unread.min(run.from);
        let missed = match &mut slot.reader {
            Reader::Every { next } => {
                *next = run.from;
                (run.from < first).then_some((run, run.from))
            }
            Reader::Selected { test, matched, .. } => {
                let candidates =
                    runs.iter().flat_map(|run| (run.from..run.to).map(move |at| (run, at)));
                let wanted = candidates.into_iter().find(|(run, sequence)| {
                    let (part, index) = run.segment.locate(*sequence);
                    *sequence >= first || unwinding || test(&part.records[index])
                });
                *matched = wanted.map_or(*matched, |(_, sequence)| Some(sequence));
                wanted.filter(|(_, sequence)| *sequence < first)
            }
        };
        if let Some((run, sequence)) = missed {
            let position = match unwinding {
                true => run.segment.parts[0].position.clone(),
                false => run.segment.position(&self.format, sequence),
            };
            slot.lagged = Some((sequence, position));
        }
    }

    /// The position of a cursor, if it exists.
    pub(crate) fn position(&self, key: usize, id: u64) -> Option<F::Position> {
        let (segment, sequence) = {
            let state = self.lock();
            let slot = state.slots.get(key).filter(|slot| slot.id == id)?;
            if let Some((_, position)) = &slot.lagged {
                return Some(position.clone());
            }
            let wanted = slot.reader.wanted();
            match wanted.and_then(|sequence| Some((state.log.find(sequence)?, sequence))) {
                Some((segment, sequence)) => (Arc::clone(segment), sequence),
                None => return Some(state.log.position.clone()),
            }
        };
        Some(segment.position(&self.format, sequence))
    }

    /// How far a cursor is behind, if it exists.
    pub(crate) fn lag(&self, key: usize, id: u64) -> Option<Lag> {
        self.lock().lag(key, id)
    }

    /// How far a cursor is behind, if it exists, and the position that it is behind.
    pub(crate) fn lag_and_head(&self, key: usize, id: u64) -> Option<(Lag, F::Position)> {
        let state = self.lock();
        Some((state.lag(key, id)?, state.log.position.clone()))
    }

    /// Frees the slot of a cursor.
    pub(crate) fn leave(&self, key: usize) {
        let _slot; // its waker and its test are dropped outside of the lock
        let _moved;
        let mut state = self.lock();
        _slot = state.slots.remove(key);
        if let (Some((slot, _)), Some(index)) = (&_slot, &mut state.index)
            && let Reader::Selected { hashes, .. } = &slot.reader
        {
            index.remove_cursor(hashes, key);
        }
        _moved = state.moved();
    }
}

impl<F: Format> State<F> {
    fn lag(&self, key: usize, id: u64) -> Option<Lag> {
        let slot = self.slots.get(key).filter(|slot| slot.id == id)?;
        let missed = slot.lagged.as_ref().map(|(missed, _)| *missed);
        let wanted = missed.or_else(|| slot.reader.wanted());
        Some(wanted.map_or_else(Lag::default, |sequence| self.log.lag(sequence)))
    }

    /// Notes that a cursor has moved.
    fn moved(&mut self) -> Moved {
        self.moved += 1;
        Moved(std::mem::take(&mut self.waiting))
    }

    pub(crate) fn bytes(&self, encoded_bytes: &AtomicUsize) -> usize {
        self.log.weight + self.index_bytes() + encoded_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn index_bytes(&self) -> usize {
        self.index.as_ref().map_or(0, Index::bytes)
    }

    /// Adds a cursor before the record `next`. Returns its key and its id.
    pub(crate) fn open(
        &mut self,
        format: &F,
        selector: Selector<F::Record>,
        next: u64,
    ) -> (usize, u64) {
        let reader = Reader::new(selector, next);
        if matches!(reader, Reader::Selected { .. }) && self.index.is_none() {
            self.index = Some(Index::of(format, self.log.segments(), 0..self.log.end));
        }
        self.unread = self.unread.min(next);
        let (key, id) = self.slots.insert(reader);
        if let (Some(slot), Some(index)) = (self.slots.get_mut(key), &mut self.index)
            && let Reader::Selected { hashes, matched, .. } = &mut slot.reader
        {
            index.add_cursor(hashes, key);
            *matched = index.first(hashes, next);
        }
        (key, id)
    }

    /// Indexes the records that were appended from `first` on. `hashes` has their indexes and hashes.
    pub(crate) fn index(&mut self, first: u64, hashes: &[(usize, u64)]) {
        let Some(index) = &mut self.index else { return };
        for (at, hash) in hashes {
            let sequence = first + *at as u64;
            for key in index.add(*hash, sequence) {
                self.slots.matched(*key, sequence);
            }
        }
    }

    /// Evicts the oldest segments while the hub exceeds its capacity, at most this many.
    pub(crate) fn evict(
        &mut self,
        format: &F,
        encoded_bytes: &AtomicUsize,
        max: usize,
    ) -> Vec<Arc<Segment<F>>> {
        let mut gone = Vec::new();
        while gone.len() < max
            && self.log.may_evict(if self.closed { 0 } else { self.newest_bytes })
            && self.bytes(encoded_bytes) > self.capacity_bytes
        {
            gone.extend(self.evict_one(format, encoded_bytes));
        }
        gone
    }

    fn evict_one(&mut self, format: &F, encoded_bytes: &AtomicUsize) -> Option<Arc<Segment<F>>> {
        let segment = Arc::clone(self.log.oldest()?);
        let is_read = segment.end <= self.unread;
        let mut lagging = if is_read { Vec::new() } else { self.lagging(&segment) };
        lagging.sort_unstable();
        // They are sorted, so that the positions are computed in one pass over the segment.
        let mut at = segment.first;
        let mut position = segment.parts[0].position.clone();
        let mut missed = Vec::with_capacity(lagging.len());
        for (sequence, key) in lagging {
            let (part, index) = segment.locate(sequence);
            if part.first > at {
                (at, position) = (part.first, part.position.clone());
            }
            let from = usize::try_from(at - part.first).unwrap_or(index);
            if from < index {
                position = format.advance(&position, &part.records[from..index]);
                at = sequence;
            }
            missed.push((key, sequence, position.clone()));
        }
        let mut hashes = Vec::new();
        if self.index.is_some() {
            for record in segment.parts.iter().flat_map(|part| &part.records) {
                format.hashes(record, &mut |hash| hashes.push(hash));
            }
        }

        for (key, sequence, position) in missed {
            if let Some(slot) = self.slots.get_mut(key) {
                slot.lagged = Some((sequence, position));
            }
        }
        if !is_read {
            self.unread = self.slots.slowest().unwrap_or(self.log.end);
        }
        if let Some(index) = &mut self.index {
            index.forget(&hashes, segment.end);
        }
        self.log.pop(encoded_bytes)
    }

    /// The cursors that have not read a record of the oldest segment: sequence number and key.
    fn lagging(&mut self, segment: &Segment<F>) -> Vec<(u64, usize)> {
        let mut lagging = Vec::new();
        for (key, slot) in self.slots.iter_mut().filter(|(_, slot)| slot.lagged.is_none()) {
            match (&mut slot.reader, &self.index) {
                (Reader::Every { next }, _) if *next < segment.end => lagging.push((*next, key)),
                (Reader::Selected { hashes, test, matched }, Some(index)) => {
                    // A record with a colliding hash is not missed.
                    while let Some(sequence) = matched.filter(|sequence| *sequence < segment.end) {
                        let (part, at) = segment.locate(sequence);
                        if test(&part.records[at]) {
                            lagging.push((sequence, key));
                            break;
                        }
                        *matched = index.first(hashes, sequence + 1);
                    }
                }
                _ => {}
            }
        }
        lagging
    }
}
