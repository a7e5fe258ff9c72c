use std::task::Context;

use slab::Slab;

use crate::groups::{Groups, List, Place, Waiting, Wakes};
use crate::relay::Relay;
use crate::selector::Predicate;
use crate::{Format, Selector};

/// The state of the cursors.
pub(crate) struct Slots<F: Format> {
    slots: Slab<Slot<F>>,
    groups: Groups,
    /// The id of the last cursor.
    ids: u64,
}

pub(crate) struct Slot<F: Format> {
    /// No two cursors of a hub have the same, though keys are used again.
    pub(crate) id: u64,
    pub(crate) reader: Reader<F::Record>,
    /// The first record that the cursor has missed, and the position before it.
    pub(crate) lagged: Option<(u64, F::Position)>,
    place: Place,
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

    /// The list in which the cursor waits.
    fn list(&self) -> List {
        match self {
            Self::Every { .. } => List::Every,
            Self::Selected { .. } => List::Selected,
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
        Self { slots: Slab::new(), groups: Groups::default(), ids: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns the key and the id of the new cursor.
    pub(crate) fn insert(&mut self, reader: Reader<F::Record>) -> (usize, u64) {
        self.ids += 1;
        let id = self.ids;
        let slot = Slot { id, reader, lagged: None, place: Place::default() };
        (self.slots.insert(slot), id)
    }

    /// Removes a cursor. What is returned may run foreign code when it is dropped: drop it without the lock.
    #[must_use]
    pub(crate) fn remove(&mut self, key: usize) -> Option<(Slot<F>, Option<Waiting>)> {
        let waiting = self.disarm(key);
        self.slots.try_remove(key).map(|slot| (slot, waiting))
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

    /// Registers a task to be woken when there is a record for the cursor. What is returned may be the last
    /// reference to a task, which may own a cursor: it must be dropped without the lock.
    #[must_use]
    pub(crate) fn arm(&mut self, key: usize, cx: &Context<'_>) -> Option<Waiting> {
        let slot = self.slots.get(key)?;
        let list = slot.reader.list();
        let group = self.groups.of(Relay::current().as_ref(), slot.place.group);
        if group == slot.place.group
            && let Some((_, known)) = self.groups.find(slot.place, list, key)
            && known.will_wake(cx.waker())
        {
            return None;
        }
        // The clone may panic, and must not do so between the changes.
        let waker = cx.waker().clone();
        let old = self.disarm(key);
        if let Some(slot) = self.slots.get_mut(key) {
            slot.place = self.groups.push(group, list, (key, waker));
        }
        old
    }

    /// Takes the registered task of a cursor.
    fn disarm(&mut self, key: usize) -> Option<Waiting> {
        let slot = self.slots.get(key)?;
        let place = slot.place;
        let (waiting, moved) = self.groups.remove(place, slot.reader.list(), key)?;
        if let Some(slot) = moved.and_then(|moved| self.slots.get_mut(moved)) {
            slot.place = place;
        }
        Some(waiting)
    }

    /// A selective cursor has a match.
    pub(crate) fn matched(&mut self, key: usize, sequence: u64) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let group = slot.place.group;
        if let Reader::Selected { matched: matched @ None, .. } = &mut slot.reader {
            *matched = Some(sequence);
            if let Some(waiting) = self.disarm(key) {
                self.groups.push(group, List::Due, waiting);
            }
        }
    }

    /// Takes the tasks of the cursors that read every record, and of those that had a match.
    pub(crate) fn take_due(&mut self) -> Wakes {
        self.groups.take(&[List::Due, List::Every])
    }

    pub(crate) fn take_all(&mut self) -> Wakes {
        self.groups.take(&[List::Due, List::Every, List::Selected])
    }
}
