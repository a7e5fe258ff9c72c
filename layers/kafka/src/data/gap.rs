use std::collections::{BTreeMap, VecDeque};

use serde_json::json;
use tailwater_sse::{Encoded, EventRef};

use crate::data::positions::Positions;

/// More gaps are sent as one for each reason, since each gap has an id, which names all partitions.
const MAX_GAPS: usize = 16;

/// Records that a stream asked for and that it cannot get. It sends an `event:gap` before it continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) partition: Option<i32>,
    pub(crate) from: Option<i64>,
    pub(crate) to: Option<i64>,
    pub(crate) reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The id does not decode. The stream begins where a stream without an id does.
    Id,
    /// The position lies before the low watermark.
    Retention,
    /// The position lies past the end, or the topic lacks the partition: the topic was created anew, or
    /// its log was truncated.
    Truncation,
    /// The topic is compacted, and tombstones after the position may be removed already.
    Tombstones,
    /// Kafka has records there that can't be read.
    Unreadable,
    /// The record is larger than the largest that is delivered.
    TooLarge,
    /// The topic's converter rejected the record.
    Invalid,
}

impl Reason {
    /// All reasons, in the order of their declaration.
    pub(crate) const ALL: [Self; 7] = [
        Self::Id,
        Self::Retention,
        Self::Truncation,
        Self::Tombstones,
        Self::Unreadable,
        Self::TooLarge,
        Self::Invalid,
    ];

    /// The index in [`ALL`](Self::ALL).
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Retention => "retention",
            Self::Truncation => "truncation",
            Self::Tombstones => "tombstones",
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::Invalid => "invalid",
        }
    }
}

impl Gap {
    /// An id that does not decode.
    pub(crate) const ID: Self = Self::of_many(Reason::Id);

    /// A gap of many partitions, or of all.
    const fn of_many(reason: Reason) -> Self {
        Self { partition: None, from: None, to: None, reason }
    }

    pub(crate) fn new(partition: i32, from: i64, to: i64, reason: Reason) -> Self {
        Self { partition: Some(partition), from: Some(from), to: Some(to), reason }
    }

    /// The event, whose id is the position after the gap.
    pub(crate) fn encode(&self, progress: Option<&str>) -> Encoded {
        Encoded::event(EventRef {
            event: Some(b"gap"),
            data: Some(self.data().as_bytes()),
            id: progress.map(str::as_bytes),
            ..EventRef::default()
        })
    }

    /// Both as one gap, if the other one begins where this one ends and has the same reason.
    pub(crate) fn joined(&self, next: &Self) -> Option<Self> {
        let same = |of: &Self| (of.partition, of.reason);
        let adjoins = self.to.is_some() && self.to == next.from && same(self) == same(next);
        adjoins.then(|| Self { to: next.to, ..self.clone() })
    }

    /// The data of its event.
    pub(crate) fn data(&self) -> String {
        let Self { partition, from, to, reason } = self;
        json!({"partition": partition, "from": from, "to": to, "reason": reason.name()}).to_string()
    }
}

/// Adds gaps that were not found before.
pub(crate) fn add(gaps: &mut Vec<Gap>, found: Vec<Gap>) {
    for gap in found {
        if !gaps.contains(&gap) {
            gaps.push(gap);
        }
    }
    *gaps = few(std::mem::take(gaps));
}

/// The same gaps, no more than [`MAX_GAPS`].
fn few(gaps: Vec<Gap>) -> Vec<Gap> {
    if gaps.len() <= MAX_GAPS {
        return gaps;
    }
    let mut few = Vec::new();
    for gap in gaps {
        let gap = Gap::of_many(gap.reason);
        if !few.contains(&gap) {
            few.push(gap);
        }
    }
    few
}

/// Gaps that are sent to a client before its stream goes on.
#[derive(Debug)]
pub(crate) struct PendingGaps {
    gaps: VecDeque<Gap>,
    /// The position at which the stream continues.
    at: Positions,
    /// The same in partitions whose gaps were sent, and before the gap in the others: a client that is
    /// disconnected between two gaps is sent the others again.
    position: Positions,
}

impl PendingGaps {
    pub(crate) fn new(gaps: Vec<Gap>, at: &Positions) -> Self {
        let mut position = at.clone();
        for gap in gaps.iter().rev() {
            if let (Some(partition), Some(from)) = (gap.partition, gap.from) {
                position = position.with(partition, from);
            }
        }
        Self { gaps: gaps.into(), at: at.clone(), position }
    }

    /// The next gap: its reason and its event. Each is a write of its own, since it has an id, which may be long.
    pub(crate) fn next(&mut self) -> Option<(Reason, Encoded)> {
        let gap = self.gaps.pop_front()?;
        if let Some(partition) = gap.partition {
            // While the stream resolved, a partition may have got more than one gap.
            let next = self.gaps.iter().find(|next| next.partition == gap.partition);
            let after = next.and_then(|next| next.from).unwrap_or(self.at.next(partition));
            self.position = self.position.with(partition, after);
        }
        // The position of the client before a gap of many partitions is not known. Only the last of those gaps
        // has an id, so that a client that is disconnected before keeps the id with which it came.
        let ahead = self.gaps.iter().any(|next| next.partition.is_none());
        let progress = (!ahead).then(|| self.position.progress());
        Some((gap.reason, gap.encode(progress.as_deref())))
    }
}

/// The first and last offsets that Kafka has of each partition of a topic.
#[derive(Clone, Debug)]
pub(crate) struct Watermarks {
    /// The first offset that Kafka has.
    pub(crate) low: Vec<i64>,
    /// The last stable offset: consumers read up to here.
    pub(crate) last_stable: Vec<i64>,
    /// The high watermark: the offset of the next record.
    pub(crate) high: Vec<i64>,
    /// For a compacted topic: the first offset whose record is younger than `delete.retention.ms`.
    pub(crate) tombstones_kept: Option<Vec<i64>>,
    /// For a stream that begins at a time: the first offset whose record is no older, else the end.
    pub(crate) since: Option<Vec<i64>>,
}

/// A truncation of the log of a topic that this instance observed. Positions past it belong to the former log,
/// no matter how long the new log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Truncation {
    gone: bool,
    /// The ends of the partitions that were truncated.
    ends: BTreeMap<i32, i64>,
}

impl Truncation {
    /// The topic was deleted.
    pub(crate) fn gone() -> Self {
        Self { gone: true, ends: BTreeMap::new() }
    }

    /// These partitions were truncated at these offsets.
    pub(crate) fn at(ends: impl IntoIterator<Item = (i32, i64)>) -> Self {
        Self { gone: false, ends: ends.into_iter().collect() }
    }

    /// Both truncations, one after the other.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.gone |= other.gone;
        for (&partition, &end) in &other.ends {
            self.ends.entry(partition).and_modify(|known| *known = end.min(*known)).or_insert(end);
        }
        self
    }

    /// Whether a position from before belongs to the former log.
    pub(crate) fn invalidates(&self, partition: i32, next: i64) -> bool {
        let end = self.ends.get(&partition).copied().unwrap_or(i64::MAX);
        next > if self.gone { 0 } else { end }
    }
}

/// The least number of partitions of a topic that has these offsets.
pub(crate) fn named_partitions(offsets: &[(i32, i64)]) -> usize {
    let last = offsets.iter().map(|(partition, _)| *partition).max();
    last.and_then(|last| usize::try_from(last).ok()).map_or(0, |last| last + 1)
}

/// Whether these offsets say that the client has read records.
pub(crate) fn resumes(offsets: &[(i32, i64)]) -> bool {
    offsets.iter().any(|(_, next)| *next > 0)
}

/// The position at which a stream that asks for `starting` can continue, and the records that it misses.
/// Partitions that `starting` does not name begin at their beginning, as do partitions at -2. Partitions at
/// -1, which Zilla writes for the end of an empty partition, begin there, too: at the end of today, the
/// records that came since would be lost.
///
/// No topic loses partitions. If `starting` names a partition that the topic does not have, it belongs to a
/// former topic of this name.
pub(crate) fn reconcile(
    starting: &[(i32, i64)],
    watermarks: &Watermarks,
    truncation: &Truncation,
) -> (Positions, Vec<Gap>) {
    let mut gaps = Vec::new();
    let mut offsets = watermarks.low.clone();
    for &(partition, next) in starting {
        let known = usize::try_from(partition).ok().filter(|index| *index < offsets.len());
        let Some(index) = known else {
            let beginning = Positions::new(&watermarks.low[..]);
            return (beginning, vec![Gap::of_many(Reason::Truncation)]);
        };
        let low = watermarks.low[index];
        let high = watermarks.high[index];
        offsets[index] = match next {
            -1 if low > 0 => {
                gaps.push(Gap::new(partition, 0, low, Reason::Retention));
                low
            }
            ..0 => low,
            _ if next > high || truncation.invalidates(partition, next) => {
                gaps.push(Gap::new(partition, next, low, Reason::Truncation));
                low
            }
            _ if next < low => {
                gaps.push(Gap::new(partition, next, low, Reason::Retention));
                low
            }
            _ => {
                let kept = watermarks.tombstones_kept.as_ref().map_or(next, |kept| kept[index]);
                if next < kept {
                    gaps.push(Gap::new(partition, next, kept, Reason::Tombstones));
                }
                next
            }
        };
    }
    (Positions::new(offsets), few(gaps))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watermarks() -> Watermarks {
        Watermarks {
            low: vec![10, 0],
            last_stable: vec![20, 5],
            high: vec![22, 5],
            tombstones_kept: None,
            since: None,
        }
    }

    #[test]
    fn positions_are_taken_or_are_gaps() {
        type Row = (&'static [(i32, i64)], [i64; 2], Vec<Gap>);
        let rows: [Row; 9] = [
            (&[], [10, 0], vec![]),
            (&[(0, 12), (1, 5)], [12, 5], vec![]),
            (&[(0, 12), (1, -2)], [12, 0], vec![]),
            (&[(0, 12), (1, -1)], [12, 0], vec![]),
            (&[(0, -1), (1, 5)], [10, 5], vec![Gap::new(0, 0, 10, Reason::Retention)]),
            (&[(0, 21)], [21, 0], vec![]),
            (&[(0, 0)], [10, 0], vec![Gap::new(0, 0, 10, Reason::Retention)]),
            (&[(0, 23)], [10, 0], vec![Gap::new(0, 23, 10, Reason::Truncation)]),
            (&[(1, 6)], [10, 0], vec![Gap::new(1, 6, 0, Reason::Truncation)]),
        ];
        for (starting, offsets, gaps) in rows {
            assert_eq!(
                reconcile(starting, &watermarks(), &Truncation::default()),
                (Positions::new(offsets), gaps),
                "{starting:?}"
            );
        }
    }

    #[test]
    fn an_id_that_names_a_partition_which_is_not_there_is_of_another_topic() {
        let thousands: Vec<_> = (0..5000).map(|partition| (partition, 23)).collect();
        for starting in
            [&[(0, 12), (2, 3)][..], &[(0, 12), (1, 5), (2, 0)], &[(0, 12), (2, -2)], &thousands]
        {
            for truncation in [Truncation::default(), Truncation::gone()] {
                assert_eq!(
                    reconcile(starting, &watermarks(), &truncation),
                    (Positions::new([10, 0]), vec![Gap::of_many(Reason::Truncation)]),
                    "{starting:?}"
                );
            }
        }
    }

    #[test]
    fn many_gaps_are_one_for_each_reason() {
        let many = 2 * MAX_GAPS;
        let watermarks = Watermarks {
            low: vec![10; many],
            last_stable: vec![20; many],
            high: vec![20; many],
            tombstones_kept: None,
            since: None,
        };
        let past = |count| (0..).zip(vec![21; count]).collect::<Vec<_>>();
        let (_, gaps) = reconcile(&past(MAX_GAPS), &watermarks, &Truncation::default());
        assert_eq!(gaps.len(), MAX_GAPS);
        let (positions, gaps) = reconcile(&past(MAX_GAPS + 1), &watermarks, &Truncation::default());
        assert_eq!(positions, Positions::new(vec![10; many]));
        assert_eq!(gaps, [Gap::of_many(Reason::Truncation)]);

        let before: Vec<_> = (0..).zip((0..many).map(|index| 21 * (index as i64 % 2))).collect();
        let (_, gaps) = reconcile(&before, &watermarks, &Truncation::default());
        assert_eq!(gaps, [Gap::of_many(Reason::Retention), Gap::of_many(Reason::Truncation)]);

        // They may be found one after the other.
        let mut all = vec![Gap::ID];
        for partition in 0..many as i32 {
            add(&mut all, vec![Gap::new(partition, 0, 10, Reason::Retention)]);
            assert!(all.len() <= MAX_GAPS);
        }
        assert_eq!(all[..2], [Gap::ID, Gap::of_many(Reason::Retention)]);
    }

    #[test]
    fn who_is_cut_before_the_last_gap_of_many_partitions_keeps_the_id_it_came_with() {
        let gaps = vec![Gap::ID, Gap::of_many(Reason::Retention), Gap::of_many(Reason::Truncation)];
        let mut pending = PendingGaps::new(gaps, &Positions::new([9]));
        let sent: Vec<_> = std::iter::from_fn(|| pending.next()).collect();
        let ids = sent.into_iter().map(|(_, gap)| gap.into_bytes().ends_with(b"id:AQIAEg==\n\n"));
        assert_eq!(ids.collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn a_topic_created_anew_is_a_gap_wherever_something_was_read() {
        let (positions, gaps) = reconcile(&[(0, 12), (1, 0)], &watermarks(), &Truncation::gone());
        assert_eq!(
            (positions, gaps),
            (Positions::new([10, 0]), vec![Gap::new(0, 12, 10, Reason::Truncation)])
        );
    }

    #[test]
    fn a_place_past_a_cut_is_a_gap_however_long_the_log_is_by_now() {
        let truncation = Truncation::at([(0, 13)]).and(&Truncation::at([(0, 15), (1, 9)]));
        let (positions, gaps) = reconcile(&[(0, 13), (1, 5)], &watermarks(), &truncation);
        assert_eq!((positions, gaps), (Positions::new([13, 5]), vec![]));
        let (positions, gaps) = reconcile(&[(0, 14), (1, 5)], &watermarks(), &truncation);
        assert_eq!(
            (positions, gaps),
            (Positions::new([10, 5]), vec![Gap::new(0, 14, 10, Reason::Truncation)])
        );
        assert!(truncation.and(&Truncation::gone()).invalidates(1, 1));
    }

    #[test]
    fn an_id_older_than_the_tombstones_is_a_gap_and_kept() {
        let watermarks = Watermarks { tombstones_kept: Some(vec![15, 5]), ..watermarks() };
        let (positions, gaps) = reconcile(&[(0, 12), (1, 5)], &watermarks, &Truncation::default());
        assert_eq!(
            (positions, gaps),
            (Positions::new([12, 5]), vec![Gap::new(0, 12, 15, Reason::Tombstones)])
        );
    }

    #[test]
    fn who_is_cut_between_gaps_hears_of_the_others_again() {
        let gap = |partition, from, to| Gap::new(partition, from, to, Reason::Retention);
        let gaps = vec![gap(0, 1, 4), gap(1, 2, 3), gap(0, 4, 9)];
        let mut pending = PendingGaps::new(gaps.clone(), &Positions::new([9, 3]));
        for (gap, position) in gaps.iter().zip([[4, 2], [4, 3], [9, 3]]) {
            let expected = gap.encode(Some(&Positions::new(position).progress()));
            assert_eq!(pending.next().unwrap().1.into_bytes(), expected.into_bytes());
        }
        assert!(pending.next().is_none());
    }

    #[test]
    fn a_gap_is_an_event_of_its_own_with_the_id_after_it() {
        let gap = Gap::new(0, 3, 9, Reason::Retention).encode(Some("AQIAEg=="));
        assert_eq!(
            gap.into_bytes(),
            "event:gap\ndata:{\"from\":3,\"partition\":0,\"reason\":\"retention\",\"to\":9}\nid:AQIAEg==\n\n"
        );
    }
}
