use std::mem;
use std::sync::Arc;
use std::task::Waker;

use smallvec::SmallVec;

use crate::relay::{Relay, wake};

/// The key of a cursor that waits, and the waker of its task.
pub(crate) type Waiting = (usize, Waker);

/// The cursors that wait, in a group for each relay. An append takes whole lists, so that it costs the same for
/// any number of cursors.
#[derive(Default)]
pub(crate) struct Groups(Vec<Group>);

/// The cursors of one relay, or those without one.
#[derive(Default)]
struct Group {
    relay: Option<Arc<Relay>>,
    lists: [Vec<Waiting>; 3],
}

#[derive(Clone, Copy)]
pub(crate) enum List {
    /// Any record wakes these cursors.
    Every,
    /// A match wakes these cursors.
    Selected,
    /// These cursors had a match, and are woken next.
    Due,
}

/// Where a cursor waits, or has waited: nobody visits the cursors of a list that is taken. A place is valid if the
/// list has the cursor there.
#[derive(Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) group: usize,
    index: usize,
}

impl Groups {
    /// The index of a relay's group. `likely` is tried first.
    pub(crate) fn of(&mut self, relay: Option<&Arc<Relay>>, likely: usize) -> usize {
        let is_its = |group: &Group| match (&group.relay, relay) {
            (Some(own), Some(relay)) => Arc::ptr_eq(own, relay),
            (None, None) => true,
            _ => false,
        };
        if self.0.get(likely).is_some_and(is_its) {
            return likely;
        }
        if let Some(index) = self.0.iter().position(is_its) {
            return index;
        }
        let group = Group { relay: relay.cloned(), ..Group::default() };
        // A log may outlive many relays.
        if let Some(index) = self.0.iter().position(Group::is_over) {
            self.0[index] = group;
            return index;
        }
        self.0.push(group);
        self.0.len() - 1
    }

    /// The entry of a cursor, if it waits at this place.
    pub(crate) fn find(&self, place: Place, list: List, key: usize) -> Option<&Waiting> {
        let list = &self.0.get(place.group)?.lists[list as usize];
        list.get(place.index).filter(|(at, _)| *at == key)
    }

    pub(crate) fn push(&mut self, group: usize, list: List, waiting: Waiting) -> Place {
        let list = &mut self.0[group].lists[list as usize];
        list.push(waiting);
        Place { group, index: list.len() - 1 }
    }

    /// Removes a cursor, if it waits at this place. Returns also the key of the cursor that takes the place.
    pub(crate) fn remove(
        &mut self,
        place: Place,
        list: List,
        key: usize,
    ) -> Option<(Waiting, Option<usize>)> {
        self.find(place, list, key)?;
        let list = &mut self.0[place.group].lists[list as usize];
        let removed = list.swap_remove(place.index);
        Some((removed, list.get(place.index).map(|(moved, _)| *moved)))
    }

    /// Takes these lists of all groups.
    pub(crate) fn take(&mut self, lists: &[List]) -> Wakes {
        let mut wakes = Wakes::default();
        for group in &mut self.0 {
            for list in lists {
                let list = &mut group.lists[*list as usize];
                if !list.is_empty() {
                    // About as many cursors will wait again.
                    let next = Vec::with_capacity(list.len());
                    wakes.0.push((group.relay.clone(), mem::replace(list, next)));
                }
            }
        }
        wakes
    }
}

impl Group {
    fn is_over(&self) -> bool {
        self.lists.iter().all(Vec::is_empty)
            && self.relay.as_ref().is_some_and(|relay| relay.is_closed())
    }
}

/// The tasks of a thread, and the relay that wakes them there.
type OfThread = (Option<Arc<Relay>>, Vec<Waiting>);

/// Tasks to be woken. Waking runs foreign code, so it must happen without the lock.
#[derive(Default)]
#[must_use]
pub(crate) struct Wakes(SmallVec<[OfThread; 2]>);

impl Wakes {
    pub(crate) fn wake(self) {
        for (relay, waiting) in self.0 {
            match relay {
                // For a single task a relay would be a second one to wake.
                Some(relay) if waiting.len() > 1 => relay.send(waiting),
                _ => wake(waiting),
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_relay_that_is_over_is_used_again() {
        let mut groups = Groups::default();
        assert_eq!(groups.of(None, 0), 0);
        let kept = Arc::new(Relay::default());
        assert_eq!(groups.of(Some(&kept), 0), 1);
        for _ in 0..3 {
            let over = Arc::new(Relay::default());
            let group = groups.of(Some(&over), 0);
            assert_eq!(group, 2);
            let place = groups.push(group, List::Every, (7, Waker::noop().clone()));
            over.close();
            // It has a cursor, which the next append wakes.
            assert_eq!(groups.of(Some(&Arc::default()), 0), 3);
            assert!(groups.find(place, List::Every, 7).is_some());
            groups.take(&[List::Every]).wake();
            groups.0.truncate(3);
        }
        assert_eq!(groups.of(Some(&kept), 0), 1);
        assert_eq!(groups.of(None, 1), 0);
    }
}
