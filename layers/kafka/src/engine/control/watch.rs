//! What the watchdog remembers of a topic between two checks: which partitions are late, and whether restarts
//! of the log helped.

use std::time::Duration;

use tokio::time::Instant;

use crate::broker::End;
use crate::data::positions::Positions;

/// A head is late if it has not moved in this many further checks and Kafka has reported an end past it.
const CHECKS: u32 = 2;

/// The state of a topic between two checks.
#[derive(Debug, Default)]
pub(super) struct Watch {
    partitions: Vec<PartitionState>,
    /// Restarts in a row after which the log has not advanced.
    failed_attempts: u32,
    /// The next restart is not before this.
    not_before: Option<Instant>,
    /// The partition that was the reason for the last restart, and its head at the first check after it.
    pub(super) restarted: Option<(i32, Option<i64>)>,
    /// How many checks in a row found no late partition since the last restart.
    in_time: u32,
}

#[derive(Clone, Debug)]
struct PartitionState {
    head: i64,
    /// The first end that Kafka reported after the head arrived here, or a lower one that it reported since.
    due: i64,
    /// In how many checks since then the head has not moved.
    checks: u32,
    stable: i64,
    /// Since when an open transaction has kept the last stable offset where it is.
    held: Option<Instant>,
}

/// A partition whose head has not reached an end that Kafka reported a while ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Late {
    pub(super) partition: i32,
    pub(super) head: i64,
    pub(super) due: i64,
}

impl Watch {
    /// The partitions that are late.
    pub(super) fn check(&mut self, head: &Positions, ends: &[End], now: Instant) -> Vec<Late> {
        self.partitions.truncate(ends.len());
        let mut late = Vec::new();
        for ((partition, head), end) in head.iter().zip(ends) {
            let stable = end.stable;
            let new = PartitionState { head, due: stable, checks: 0, stable, held: None };
            let index = usize::try_from(partition).unwrap_or_default();
            let Some(seen) = self.partitions.get_mut(index) else {
                self.partitions
                    .push(PartitionState { held: (end.high > stable).then_some(now), ..new });
                continue;
            };
            let held = seen.held.filter(|_| seen.stable == stable).unwrap_or(now);
            let held = (end.high > stable).then_some(held);
            // What was before a truncation says nothing of the log.
            seen.due = seen.due.min(stable);
            if seen.head != head {
                *seen = new;
            } else if seen.due <= head {
                (seen.due, seen.checks) = (stable, 0);
            } else {
                seen.checks = seen.checks.saturating_add(1);
                if seen.checks >= CHECKS {
                    late.push(Late { partition, head, due: seen.due });
                }
            }
            (seen.stable, seen.held) = (stable, held);
        }
        late
    }

    /// The log waits for something at these partitions: they are not late before further checks.
    pub(super) fn excuse(&mut self, partitions: impl IntoIterator<Item = i32>) {
        for partition in partitions {
            let index = usize::try_from(partition).ok();
            if let Some(seen) = index.and_then(|index| self.partitions.get_mut(index)) {
                seen.checks = 0;
            }
        }
    }

    /// The partitions where a transaction has been open for longer than `most`.
    pub(super) fn hanging(&self, most: Duration, now: Instant) -> Vec<i32> {
        let hangs = |seen: &PartitionState| seen.held.is_some_and(|since| now - since > most);
        let partitions = (0..).zip(&self.partitions);
        partitions.filter(|(_, seen)| hangs(seen)).map(|(partition, _)| partition).collect()
    }

    /// The log was opened again. Its heads differ from those of the log before.
    pub(super) fn reopened(&mut self) {
        if let Some((_, start)) = &mut self.restarted {
            *start = None;
        }
    }

    /// Forgets the restarts once the partition has advanced after the last one.
    pub(super) fn note_progress(&mut self, head: &Positions) {
        if let Some((partition, start)) = &mut self.restarted {
            let next = head.next(*partition);
            if *start.get_or_insert(next) != next {
                (self.failed_attempts, self.not_before, self.restarted) = (0, None, None);
            }
        }
    }

    /// Whether the log is proven to advance: a record came since the restart, or enough checks found no late
    /// partition. A log that was just opened is at the end, whether its consumer works or not.
    pub(super) fn is_proven(&mut self, in_time: bool) -> bool {
        self.in_time = if in_time { self.in_time.saturating_add(1) } else { 0 };
        self.restarted.is_none() || self.in_time > CHECKS
    }

    /// Counts a restart if one is due. Returns how many before it did not help. The pause after each restart
    /// is twice as long as the one before.
    pub(super) fn restart(&mut self, partition: i32, pause: Duration, now: Instant) -> Option<u32> {
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return None;
        }
        let failed_attempts = self.failed_attempts;
        self.not_before = Some(now + pause * (4 << failed_attempts.min(6)));
        self.restarted = Some((partition, None));
        self.in_time = 0;
        self.failed_attempts += 1;
        Some(failed_attempts)
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

    /// Runs one check for each row of heads and ends of one partition, and returns what is late at each.
    fn late(rows: &[(i64, i64)]) -> Vec<Option<(i64, i64)>> {
        let mut watch = Watch::default();
        let now = Instant::now();
        let mut check = |(head, end): &(i64, i64)| {
            let late = watch.check(&at([*head]), &ends([(*end, *end)]), now);
            late.first().map(|late| (late.head, late.due))
        };
        rows.iter().map(&mut check).collect()
    }

    #[test]
    fn a_head_is_late_that_has_not_moved_for_two_checks_after_kafka_reported_a_further_end() {
        let rows = [
            ("at the end", &[(5, 5), (5, 5), (5, 5), (5, 5)][..], &[][..]),
            ("stands still", &[(5, 9), (5, 9), (5, 9), (5, 12)], &[(2, (5, 9)), (3, (5, 9))]),
            ("written later", &[(5, 5), (5, 5), (5, 9), (5, 9), (5, 9)], &[(4, (5, 9))]),
            ("behind, but moves", &[(5, 90), (6, 90), (7, 90), (8, 90), (9, 90)], &[]),
            ("moves at the last", &[(5, 9), (5, 9), (9, 9), (9, 9), (9, 9)], &[]),
            ("the end went back", &[(9, 9), (9, 5), (9, 5), (9, 5)], &[]),
            ("truncated", &[(5, 9), (5, 9), (5, 7)], &[(2, (5, 7))]),
            ("truncated to the head", &[(5, 9), (5, 9), (5, 5), (5, 5), (5, 5)], &[]),
            ("ahead of the reported end", &[(9, 7), (9, 7), (9, 8), (9, 9)], &[]),
        ];
        for (what, checks, expected) in rows {
            let found = late(checks);
            for (index, found) in found.iter().enumerate() {
                let expected =
                    expected.iter().find(|(at, _)| *at == index).map(|(_, stood)| *stood);
                assert_eq!(*found, expected, "{what}, check {index}");
            }
        }
    }

    #[test]
    fn partitions_are_late_by_themselves_and_may_come_later() {
        let mut watch = Watch::default();
        let now = Instant::now();
        watch.check(&at([5, 5]), &ends([(5, 5), (6, 6)]), now);
        for _ in 0..2 {
            watch.check(&at([5, 5, 0]), &ends([(5, 5), (6, 6), (3, 3)]), now);
        }
        let found = watch.check(&at([6, 5, 0]), &ends([(7, 7), (7, 7), (3, 3)]), now);
        let late = |partition, head, due| Late { partition, head, due };
        assert_eq!(found, [late(1, 5, 6), late(2, 0, 3)]);
    }

    #[test]
    fn a_transaction_hangs_when_the_stable_offset_stays_for_too_long() {
        let mut watch = Watch::default();
        let start = Instant::now();
        let most = Duration::from_secs(60);
        let mut hangs = |seconds, partitions: [(i64, i64); 2]| {
            let now = start + Duration::from_secs(seconds);
            watch.check(&at([5, 5]), &ends(partitions), now);
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
    fn a_restarted_log_advances_once_a_record_came_or_none_was_written() {
        let mut watch = Watch::default();
        let now = Instant::now();
        assert!(watch.is_proven(true));
        watch.restart(0, PACE, now);
        watch.reopened();
        watch.note_progress(&at([7]));
        assert!(!watch.is_proven(true));
        watch.note_progress(&at([8]));
        assert!(watch.is_proven(true));
        watch.restart(0, PACE, now);
        watch.reopened();
        let checks = [true, true, false, true, true, true];
        assert_eq!(
            checks.map(|in_time| watch.is_proven(in_time)),
            [false, false, false, false, false, true]
        );
    }

    #[test]
    fn restarts_in_vain_become_rare_and_progress_forgives_them() {
        let mut watch = Watch::default();
        let mut now = Instant::now();
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
        watch.reopened();
        watch.note_progress(&at([7, 0]));
        assert_eq!(watch.restart(0, PACE, now), None);
        watch.note_progress(&at([8, 0]));
        assert_eq!(watch.restart(0, PACE, now), Some(0));
    }
}
