//! Whether the logs advance: each head is compared with where Kafka says that reading ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{Control, Timing};
use crate::broker::{self, End, Fetched, Panics};
use crate::data::positions::Positions;
use crate::topic::registry::Shared;
use crate::topic::requests::Command;
use crate::topic::{State, Topic};

/// A head that stands still while so many further looks pass is late, if Kafka told an end past it.
const LOOKS: u32 = 2;

/// Partitions of a topic that are read at once to see whether there is something that the log lacks.
pub(super) const PROBED: usize = 100;
/// How long that takes at most.
const PROBE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);
const POLL_BYTES: usize = 1024 * 1024;

/// What looks at a topic have shown.
#[derive(Debug, Default)]
pub(super) struct Watch {
    partitions: Vec<PartitionState>,
    /// Restarts after which the log has not advanced.
    in_vain: u32,
    /// The next one is not before.
    not_before: Option<Instant>,
    /// Which partition was the reason of the last one, and where its head stood at the
    /// first look at the log that was opened then.
    restarted: Option<(i32, Option<i64>)>,
    /// How many looks found nothing late since the last restart.
    in_time: u32,
}

#[derive(Clone, Debug)]
struct PartitionState {
    head: i64,
    /// The end that Kafka told first since the head is here.
    due: i64,
    /// How many looks found nothing new since.
    looks: u32,
    stable: i64,
    /// Since when a transaction has kept the stable offset where it is.
    held: Option<Instant>,
}

/// A partition whose log has not reached an end that Kafka told a while ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Late {
    pub(super) partition: i32,
    pub(super) head: i64,
    pub(super) due: i64,
}

/// What lies between a late head and the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A record at this offset.
    Record(i64),
    /// Nothing: markers of transactions, what was aborted, what compaction took.
    Hole,
}

impl Watch {
    /// The partitions that are late.
    fn look(&mut self, head: &Positions, ends: &[End], now: Instant) -> Vec<Late> {
        self.partitions.truncate(ends.len());
        let mut late = Vec::new();
        for ((partition, head), end) in head.iter().zip(ends) {
            let stable = end.stable;
            let new = PartitionState { head, due: stable, looks: 0, stable, held: None };
            let index = usize::try_from(partition).unwrap_or_default();
            let Some(seen) = self.partitions.get_mut(index) else {
                self.partitions
                    .push(PartitionState { held: (end.high > stable).then_some(now), ..new });
                continue;
            };
            let held = seen.held.filter(|_| seen.stable == stable).unwrap_or(now);
            let held = (end.high > stable).then_some(held);
            if seen.head != head {
                *seen = new;
            } else if seen.due <= head {
                (seen.due, seen.looks) = (stable, 0);
            } else {
                seen.looks = seen.looks.saturating_add(1);
                if seen.looks >= LOOKS {
                    late.push(Late { partition, head, due: seen.due });
                }
            }
            (seen.stable, seen.held) = (stable, held);
        }
        late
    }

    /// The partitions where a transaction has been open for longer than `most`.
    fn hanging(&self, most: Duration, now: Instant) -> Vec<i32> {
        let hangs = |seen: &PartitionState| seen.held.is_some_and(|since| now - since > most);
        let partitions = (0..).zip(&self.partitions);
        partitions.filter(|(_, seen)| hangs(seen)).map(|(partition, _)| partition).collect()
    }

    /// The log was opened, elsewhere than where the one before stood.
    pub(super) fn opened(&mut self) {
        if let Some((_, start)) = &mut self.restarted {
            *start = None;
        }
    }

    /// Forgets about restarts once the partition went on after the last one.
    fn note_progress(&mut self, head: &Positions) {
        if let Some((partition, start)) = &mut self.restarted {
            let next = head.next(*partition);
            if *start.get_or_insert(next) != next {
                (self.in_vain, self.not_before, self.restarted) = (0, None, None);
            }
        }
    }

    /// Whether the log gets records again: one came since the restart, or so many looks found nothing late
    /// that there is none. A log that was just opened anew is at the end whether anybody reads on or not.
    fn is_proven(&mut self, in_time: bool) -> bool {
        self.in_time = if in_time { self.in_time.saturating_add(1) } else { 0 };
        self.restarted.is_none() || self.in_time > LOOKS
    }

    /// Counts a restart, if it is time for one; how many there were in vain before. Each is followed by a
    /// pause twice as long as the last.
    fn restart(&mut self, partition: i32, pause: Duration, now: Instant) -> Option<u32> {
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return None;
        }
        let in_vain = self.in_vain;
        self.not_before = Some(now + pause * (4 << in_vain.min(6)));
        self.restarted = Some((partition, None));
        self.in_time = 0;
        self.in_vain += 1;
        Some(in_vain)
    }
}

impl Control<'_> {
    /// Looks at as many open topics as there is time for, and goes on with the others the next time.
    pub(super) fn watch(&mut self, shared: &Shared) {
        let since = Instant::now();
        let mut held = shared.held();
        held.retain(|topic| topic.opened().is_some());
        held.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(last) = self.watched_last.take() {
            let next = held.partition_point(|topic| topic.name <= last);
            held.rotate_left(next);
        }
        let mut renew = false;
        for topic in held {
            renew |= self.watch_topic(shared, &topic);
            self.watched_last = Some(Arc::clone(&topic.name));
            self.serve_requests();
            if since.elapsed() >= self.timing.watch / 20 {
                break;
            }
        }
        if renew {
            warn!("logs stand still though they were opened anew, beginning with another consumer");
            self.tell(Command::Recreate);
        }
    }

    /// True if the tail needs another consumer.
    fn watch_topic(&mut self, shared: &Shared, topic: &Topic) -> bool {
        let Some(opened) = topic.opened() else { return false };
        let head = opened.hub.head();
        let partitions = head.len();
        // The tail's consumer may stand before a truncation, and then reports nothing of it.
        let Some(ends) = self.query_ends(topic, &opened, partitions) else { return false };
        let Timing { watch: pause, hanging: most, .. } = self.timing;
        let now = Instant::now();
        let watch = &mut self.topic_state(topic).watch;
        watch.note_progress(&head);
        let mut late = watch.look(&head, &ends, now);
        let (proven, came) = (watch.is_proven(late.is_empty()), watch.restarted.is_none());
        let hanging = watch.hanging(most, now);
        self.tell_hanging(topic, hanging);
        // What was refused there is being looked for.
        let known = self.topic_state(topic);
        let is_held = late.extract_if(.., |late| known.is_held(late.partition)).count() > 0;
        // The others have their turn once nothing is found of these.
        late.truncate(PROBED);

        let found = if late.is_empty() { Vec::new() } else { self.probe(topic, &late) };
        // A record may have come while it was looked for.
        let now_at = opened.hub.head();
        let (mut record, mut unread) = (None, None);
        let mut advances = !is_held;
        for late in late.iter().filter(|late| now_at.next(late.partition) == late.head) {
            match found.iter().find(|(partition, _)| *partition == late.partition) {
                Some((_, Found::Hole)) => {}
                Some((_, Found::Record(offset))) => {
                    advances = false;
                    record.get_or_insert((late, *offset));
                }
                // Kafka does not give it to others either.
                None => {
                    advances = false;
                    unread.get_or_insert(*late);
                }
            }
        }
        advances &= proven;
        let did = {
            let mut health = topic.health();
            health.stuck = record.is_some();
            std::mem::replace(&mut health.advances, advances)
        };
        if did
            && !advances
            && record.is_none()
            && !self.verify_all
            && let Some(Late { partition, head, due }) = unread
        {
            let late = late.len();
            warn!(topic = %topic.name, partition, offset = head, stable = due, late, "topic does not advance, and nobody can read what is there");
        } else if !did && advances && came {
            info!(topic = %topic.name, "topic advances again");
        } else if !did && advances {
            info!(topic = %topic.name, "nothing was written since the topic was opened anew");
        }
        let Some((late, offset)) = record else { return false };
        let Late { partition, head, due } = *late;
        let Some(in_vain) = self.topic_state(topic).watch.restart(partition, pause, now) else {
            return false;
        };
        topic.health().restarts += 1;
        shared.restarts.fetch_add(1, Ordering::Relaxed);
        warn!(topic = %topic.name, partition, head, record = offset, stable = due, "topic does not advance, opening it anew");
        if in_vain > 0 {
            return true;
        }
        self.close(topic, State::Found);
        // Where that fails, the next look tries again.
        self.look_at_once |= !self.open(shared, topic, partitions);
        shared.share_memory();
        false
    }

    fn tell_hanging(&self, topic: &Topic, hanging: Vec<i32>) {
        let mut health = topic.health();
        if let Some(partition) =
            hanging.iter().find(|partition| !health.hanging.contains(partition))
        {
            let partitions = hanging.len();
            warn!(topic = %topic.name, partition, partitions, "a transaction hangs: what is behind it can't be read");
        }
        health.hanging = hanging;
    }

    /// Reads from late heads on, by a consumer of its own, and lets the tail pass what is a hole: to be
    /// called when Kafka has just told its ends. Partitions of which neither a record nor the end comes in
    /// time are not among the answers.
    pub(super) fn probe(&mut self, topic: &Topic, late: &[Late]) -> Vec<(i32, Found)> {
        // A new one for each topic: the end of a partition comes without the topic's name.
        let mut consumer = match self.backend.consumer(true) {
            Ok(consumer) => consumer,
            Err(error) => {
                warn!(%error, "no consumer to look for what is late, trying again");
                return Vec::new();
            }
        };
        let mut open: HashMap<i32, i64> = HashMap::new();
        for Late { partition, head, due } in late {
            match consumer.assign(&topic.name, *partition, *head) {
                Ok(()) => drop(open.insert(*partition, *due)),
                Err(error) => {
                    warn!(%error, topic = %topic.name, partition, "partition can't be read")
                }
            }
        }
        let (until, mut fetched, mut found) = (Instant::now() + PROBE, Vec::new(), Vec::new());
        let mut panics = Panics::default();
        let mut refused = false;
        while !open.is_empty() && !refused && Instant::now() < until {
            broker::poll(&mut *consumer, POLL, POLL_BYTES, &mut fetched, &mut panics);
            for fetched in fetched.drain(..) {
                let (partition, offset) = match fetched {
                    Fetched::Record(_, record) => (record.partition, Some(record.offset)),
                    Fetched::End(partition) => (partition, None),
                    // The tail's consumer may stand elsewhere by now, and then never says so.
                    Fetched::OutOfRange => {
                        self.verify_all = true;
                        continue;
                    }
                    Fetched::Denied => continue,
                    // What comes behind it may be behind something else as well.
                    Fetched::Refused(_) => {
                        refused = true;
                        break;
                    }
                };
                let Some(due) = open.remove(&partition) else { continue };
                match offset.filter(|offset| *offset < due) {
                    Some(offset) => found.push((partition, Found::Record(offset))),
                    None => {
                        debug!(topic = %topic.name, partition, due, "no record is left before the end");
                        let topic = Arc::clone(&topic.name);
                        self.tell(Command::SkipTo { topic, partition, offset: due });
                        found.push((partition, Found::Hole));
                    }
                }
            }
        }
        if refused {
            self.refusals.note(None);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Duration = Duration::from_secs(5);

    fn at<const N: usize>(offsets: [i64; N]) -> Positions {
        Positions::new(offsets)
    }

    fn ends(ends: impl IntoIterator<Item = (i64, i64)>) -> Vec<End> {
        ends.into_iter().map(|(stable, high)| End { stable, high }).collect()
    }

    /// Looks as often as there are rows of heads and ends of one partition; what is late at each.
    fn late(rows: &[(i64, i64)]) -> Vec<Option<(i64, i64)>> {
        let (mut watch, now) = (Watch::default(), Instant::now());
        let mut look = |(head, end): &(i64, i64)| {
            let late = watch.look(&at([*head]), &ends([(*end, *end)]), now);
            late.first().map(|late| (late.head, late.due))
        };
        rows.iter().map(&mut look).collect()
    }

    #[test]
    fn a_head_is_late_that_has_not_moved_for_two_looks_after_kafka_told_a_further_end() {
        let rows = [
            ("at the end", &[(5, 5), (5, 5), (5, 5), (5, 5)][..], &[][..]),
            ("stands still", &[(5, 9), (5, 9), (5, 9), (5, 12)], &[(2, (5, 9)), (3, (5, 9))]),
            ("written later", &[(5, 5), (5, 5), (5, 9), (5, 9), (5, 9)], &[(4, (5, 9))]),
            ("behind, but moves", &[(5, 90), (6, 90), (7, 90), (8, 90), (9, 90)], &[]),
            ("moves at the last", &[(5, 9), (5, 9), (9, 9), (9, 9), (9, 9)], &[]),
            ("the end went back", &[(9, 9), (9, 5), (9, 5), (9, 5)], &[]),
            ("ahead of what is told", &[(9, 7), (9, 7), (9, 8), (9, 9)], &[]),
        ];
        for (what, looks, expected) in rows {
            let found = late(looks);
            for (index, found) in found.iter().enumerate() {
                let expected =
                    expected.iter().find(|(at, _)| *at == index).map(|(_, stood)| *stood);
                assert_eq!(*found, expected, "{what}, look {index}");
            }
        }
    }

    #[test]
    fn partitions_are_late_by_themselves_and_may_come_later() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        watch.look(&at([5, 5]), &ends([(5, 5), (6, 6)]), now);
        for _ in 0..2 {
            watch.look(&at([5, 5, 0]), &ends([(5, 5), (6, 6), (3, 3)]), now);
        }
        let found = watch.look(&at([6, 5, 0]), &ends([(7, 7), (7, 7), (3, 3)]), now);
        let late = |partition, head, due| Late { partition, head, due };
        assert_eq!(found, [late(1, 5, 6), late(2, 0, 3)]);
    }

    #[test]
    fn a_transaction_hangs_when_the_stable_offset_stays_for_too_long() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        let most = Duration::from_secs(60);
        let mut hangs = |seconds, partitions: [(i64, i64); 2]| {
            let now = start + Duration::from_secs(seconds);
            watch.look(&at([5, 5]), &ends(partitions), now);
            watch.hanging(most, now)
        };
        for (seconds, partitions, expected) in [
            (0, [(5, 9), (5, 5)], &[][..]),
            (40, [(5, 30), (5, 9)], &[]),
            (61, [(5, 30), (7, 9)], &[0]),
            (110, [(5, 40), (8, 9)], &[0]),
            // Others came and went on the second partition, and this one stays.
            (170, [(5, 40), (8, 9)], &[0]),
            (171, [(41, 41), (8, 9)], &[1]),
            (172, [(41, 42), (9, 9)], &[]),
        ] {
            assert_eq!(hangs(seconds, partitions), expected, "after {seconds} s");
        }
    }

    #[test]
    fn a_log_that_was_opened_anew_advances_once_a_record_came_or_none_was_written() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        assert!(watch.is_proven(true));
        watch.restart(0, PACE, now);
        watch.opened();
        watch.note_progress(&at([7]));
        assert!(!watch.is_proven(true));
        watch.note_progress(&at([8]));
        assert!(watch.is_proven(true));
        watch.restart(0, PACE, now);
        watch.opened();
        let looks = [true, true, false, true, true, true];
        assert_eq!(
            looks.map(|in_time| watch.is_proven(in_time)),
            [false, false, false, false, false, true]
        );
    }

    #[test]
    fn restarts_in_vain_become_rare_and_progress_forgives_them() {
        let (mut watch, mut now) = (Watch::default(), Instant::now());
        let mut restarts = Vec::new();
        for second in 0..3600 {
            if watch.restart(0, PACE, now).is_some() {
                restarts.push(second);
            }
            // Another partition goes on.
            watch.note_progress(&at([5, second]));
            now += Duration::from_secs(1);
        }
        assert_eq!(restarts, [0, 20, 60, 140, 300, 620, 1260, 2540]);
        // Where another log begins is no progress, and where it goes on is.
        watch.opened();
        watch.note_progress(&at([7, 0]));
        assert_eq!(watch.restart(0, PACE, now), None);
        watch.note_progress(&at([8, 0]));
        assert_eq!(watch.restart(0, PACE, now), Some(0));
    }
}
