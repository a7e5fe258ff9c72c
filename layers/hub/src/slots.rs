use std::task::{Context, Waker};

use slab::Slab;

use crate::selector::Predicate;
use crate::{Format, Selector};

/// The state of the cursors.
pub(crate) struct Slots<F: Format> {
    slots: Slab<Slot<F>>,
    /// The cursors that any next record wakes.
    armed: Vec<usize>,
    /// The id of the last cursor.
    ids: u64,
}

pub(crate) struct Slot<F: Format> {
    /// No two cursors of a hub have the same, though keys are used again.
    pub(crate) id: u64,
    pub(crate) reader: Reader<F::Record>,
    /// The first record that the cursor has missed, and the position before it.
    pub(crate) lagged: Option<(u64, F::Position)>,
    waker: Option<Waker>,
    armed_at: Option<usize>,
}

pub(crate) enum Reader<R> {
    /// Reads every record from `next` on.
    Every { next: u64 },
    /// Goes from match to match. `matched` is the first match that was not returned.
    Selected { hashes: Box<[u64]>, test: Predicate<R>, matched: Option<u64> },
}

impl<R> Reader<R> {
    pub(crate) fn new(selector: Selector<R>, next: u64) -> Self {
        match selector {
            Selector::All | Selector::Scan(_) => Self::Every { next },
            Selector::Hashes(hashes, test) => {
                let mut hashes = hashes.into_vec();
                hashes.sort_unstable();
                hashes.dedup();
                Self::Selected { hashes: hashes.into(), test, matched: None }
            }
        }
    }

    /// The first record that was not returned; `None` if a selective cursor has no pending match.
    pub(crate) fn wanted(&self) -> Option<u64> {
        match self {
            Self::Every { next } => Some(*next),
            Self::Selected { matched, .. } => *matched,
        }
    }
}

impl<F: Format> Slots<F> {
    pub(crate) fn new() -> Self {
        Self { slots: Slab::new(), armed: Vec::new(), ids: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns the key and the id of the new cursor.
    pub(crate) fn insert(&mut self, reader: Reader<F::Record>) -> (usize, u64) {
        self.ids += 1;
        let id = self.ids;
        (self.slots.insert(Slot { id, reader, lagged: None, waker: None, armed_at: None }), id)
    }

    pub(crate) fn remove(&mut self, key: usize) -> Option<Slot<F>> {
        let slot = self.slots.try_remove(key)?;
        if let Some(at) = slot.armed_at {
            self.armed.swap_remove(at);
            if let Some(moved) = self.armed.get(at).and_then(|key| self.slots.get_mut(*key)) {
                moved.armed_at = Some(at);
            }
        }
        Some(slot)
    }

    pub(crate) fn get(&self, key: usize) -> Option<&Slot<F>> {
        self.slots.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: usize) -> Option<&mut Slot<F>> {
        self.slots.get_mut(key)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Slot<F>)> {
        self.slots.iter_mut()
    }

    /// The number of cursors that have not lagged.
    pub(crate) fn active_cursors(&self) -> usize {
        self.slots.iter().filter(|(_, slot)| slot.lagged.is_none()).count()
    }

    /// The number of cursors that have returned all records that they select, in a log that ends at `end`.
    pub(crate) fn caught_up(&self, end: u64) -> usize {
        let slots = self.slots.iter().filter(|(_, slot)| slot.lagged.is_none());
        slots.filter(|(_, slot)| slot.reader.wanted().is_none_or(|next| next >= end)).count()
    }

    /// The first record that some cursor has not returned.
    pub(crate) fn slowest(&self) -> Option<u64> {
        let slots = self.slots.iter().filter(|(_, slot)| slot.lagged.is_none());
        slots.filter_map(|(_, slot)| slot.reader.wanted()).min()
    }

    /// Registers a task to be woken when there is a record for the cursor. The waker that is returned may
    /// be the last reference to a task, which may own a cursor: it must be dropped without the lock.
    #[must_use]
    pub(crate) fn arm(&mut self, key: usize, cx: &Context<'_>) -> Option<Waker> {
        let slot = self.slots.get_mut(key)?;
        if matches!(slot.reader, Reader::Every { .. }) && slot.armed_at.is_none() {
            slot.armed_at = Some(self.armed.len());
            self.armed.push(key);
        }
        match &slot.waker {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            _ => slot.waker.replace(cx.waker().clone()),
        }
    }

    /// Takes the wakers of the cursors that read every record.
    pub(crate) fn take_armed(&mut self, wakers: &mut Vec<Waker>) {
        for key in self.armed.drain(..) {
            if let Some(slot) = self.slots.get_mut(key) {
                slot.armed_at = None;
                wakers.extend(slot.waker.take());
            }
        }
    }

    /// A selective cursor has a match. Takes its waker.
    pub(crate) fn matched(&mut self, key: usize, sequence: u64, wakers: &mut Vec<Waker>) {
        if let Some(slot) = self.slots.get_mut(key)
            && let Reader::Selected { matched: matched @ None, .. } = &mut slot.reader
        {
            *matched = Some(sequence);
            wakers.extend(slot.waker.take());
        }
    }

    pub(crate) fn take_all(&mut self, wakers: &mut Vec<Waker>) {
        self.take_armed(wakers);
        wakers.extend(self.slots.iter_mut().filter_map(|(_, slot)| slot.waker.take()));
    }
}
