//! Resolves where a stream resumes: in the live log, in a backfill from Kafka, or after a gap.

use std::sync::Arc;

use bytes::Bytes;
use tailwater_hub::{Cursor, Selector};
use tailwater_kafka_types::EventId;
use tokio::time::Instant;

use crate::cluster::Shared;
use crate::gap::{self, Gap, Reason, reconcile};
use crate::positions::Positions;
use crate::record::Record;
use crate::records::Records;
use crate::snapshot::Replay;
use crate::start::{Start, epoch_ms};
use crate::topic::{Opened, Topic};

/// Where a stream asks to go on.
#[derive(Debug)]
pub(crate) enum ResumeFrom {
    /// After the id; without one that decodes, where streams begin.
    Request(Option<Bytes>, Start),
    /// Where it stood when its log was of no more use, and what snapshot it had read.
    Detached(Positions, u64, Option<Replay>),
}

/// A stream that is attached to a log: its cursor, and what its client is sent before.
pub(crate) struct Attachment {
    pub(crate) cursor: Cursor<Records>,
    /// Where the stream goes on: at the cursor or further ahead.
    pub(crate) at: Positions,
    pub(crate) epoch: u64,
    pub(crate) gaps: Vec<Gap>,
    /// The stream begins somewhere that no id of the client's says.
    pub(crate) resolved: bool,
    /// Of a compacted topic: what snapshot it reads or has read.
    pub(crate) replay: Option<Replay>,
    /// The stream begins at the end.
    pub(crate) live: bool,
}

/// The offsets from which a stream wants to go on. What is not named begins at its beginning.
enum StartingOffsets {
    Live,
    /// The first ones at or after this time of Kafka's.
    Since(i64),
    Offsets(Vec<(i32, i64)>),
}

/// Waits as long as it takes: for Kafka, for the topic, for a reader of its history.
pub(crate) async fn resolve(
    shared: Arc<Shared>,
    topic: Arc<Topic>,
    from: ResumeFrom,
    want: Selector<Record>,
) -> Attachment {
    let mut gaps = Vec::new();
    let mut replay = None;
    let (mut starting, mut epoch) = match from {
        ResumeFrom::Detached(positions, epoch, known) => {
            replay = known;
            (StartingOffsets::Offsets(positions.iter().collect()), Some(epoch))
        }
        ResumeFrom::Request(id, start) => {
            let decoded = id.as_ref().map(|id| EventId::decode(id));
            if let Some(None) = decoded {
                gaps.push(Gap::ID);
            }
            let starting = match (decoded.flatten(), start) {
                (Some(id), _) | (None, Start::Id(id)) => {
                    StartingOffsets::Offsets(id.offsets().to_vec())
                }
                (None, Start::Earliest) => StartingOffsets::Offsets(Vec::new()),
                (None, Start::Live) => StartingOffsets::Live,
                (None, Start::Since(time)) => StartingOffsets::Since(epoch_ms(time)),
            };
            (starting, None)
        }
    };
    let resolved = matches!(&starting, StartingOffsets::Live | StartingOffsets::Since(_));
    // What it has read of each partition, as it says itself.
    let mut read = match &starting {
        StartingOffsets::Offsets(offsets) => offsets.clone(),
        StartingOffsets::Live | StartingOffsets::Since(_) => Vec::new(),
    };
    let begins = epoch.is_none()
        && matches!(&starting, StartingOffsets::Offsets(_))
        && read.iter().all(|(_, next)| matches!(next, -2 | 0));
    loop {
        let came = Instant::now();
        let (opened, was_missing) = topic.wait_opened().await;
        if matches!(want, Selector::Hashes(..)) {
            opened.index().await;
        }
        let mut since = None;
        let offsets = match &starting {
            // All that comes into a topic that was not there is new.
            StartingOffsets::Live if was_missing => &[][..],
            StartingOffsets::Live => {
                let mut cursor = opened.hub.tail(want);
                let at = cursor.position();
                let epoch = opened.epoch;
                return Attachment { cursor, at, epoch, gaps, resolved, replay: None, live: true };
            }
            StartingOffsets::Since(time) => {
                since = Some(*time);
                &[]
            }
            StartingOffsets::Offsets(offsets) => offsets,
        };
        let live_start = matches!(starting, StartingOffsets::Live);
        let attached = |cursor, at, gaps, replay| Attachment {
            cursor,
            at,
            epoch: opened.epoch,
            gaps,
            resolved,
            replay,
            live: live_start,
        };

        let cut = epoch.map(|epoch| topic.cut_between(epoch, opened.epoch)).unwrap_or_default();
        let is_cut = offsets.iter().any(|(partition, next)| cut.takes(*partition, *next));
        // What the log of a compacted topic has is more than a stream from the beginning needs.
        if since.is_none()
            && !is_cut
            && (!begins || opened.is_compacted() == Some(false))
            && let Some(at) = within(offsets, &opened)
            && replay.as_ref().is_none_or(|replay| replay.is_over(&at))
            && let Some(cursor) = opened.seek(&at, &want)
        {
            return attached(cursor, at, gaps, replay);
        }
        let known = opened.extent_since(came, offsets);
        let extent = match known.filter(|_| since.is_none()) {
            Some(extent) => extent.clone(),
            None => match shared.request_extent(&topic, &opened, offsets, since).await {
                Ok(extent) => extent,
                Err(_) => continue,
            },
        };
        let (at, mut new_gaps) = match &extent.since {
            Some(first) => (Positions::new(&first[..]), Vec::new()),
            None => reconcile(offsets, &extent, &cut),
        };
        if is_cut {
            replay = None;
        }
        if since.is_some() {
            // It knows what there was before that time.
            read = at.iter().collect();
        }
        let is_kept = opened.is_compacted() == Some(true) && !opened.latest.is_given_up();
        let replays_on = replay.as_ref().is_some_and(|replay| !replay.is_over(&at));
        let replays = is_kept && (begins || replays_on) && !opened.hub.head().at_or_before(&at);
        if !replays && let Some(cursor) = opened.seek(&at, &want) {
            gap::add(&mut gaps, new_gaps);
            return attached(cursor, at, gaps, replay);
        }
        if is_kept {
            let low = Positions::new(extent.low);
            if let Some(snapshot) = shared.tables.snapshot(&topic, &opened, &low).await {
                if replay.as_ref().is_some_and(|replay| replay.goes_on_in(&snapshot)) {
                    new_gaps.retain(|gap| gap.reason != Reason::Tombstones);
                }
                let replay = snapshot.replay(replay.as_ref(), &read);
                if let Some(cursor) = snapshot.cursor(&at, want.clone(), &replay) {
                    gap::add(&mut gaps, new_gaps);
                    return attached(cursor, at, gaps, Some(replay));
                }
            }
        } else if let Some(cursor) = shared.history.join(&topic.name, &opened, &at, &want).await {
            gap::add(&mut gaps, new_gaps);
            return attached(cursor, at, gaps, replay);
        }
        // Who begins at the beginning begins at that of whatever log comes next, and misses what that lacks.
        if begins {
            gaps.retain(|gap| *gap == Gap::ID);
            continue;
        }
        gap::add(&mut gaps, new_gaps);
        epoch = Some(opened.epoch);
        starting = StartingOffsets::Offsets(at.iter().collect());
    }
}

/// The place that `offsets` name, if it is one that the log is known to have come by. Whatever lies
/// ahead of the log may lie past Kafka's end, so Kafka has to be asked.
fn within(offsets: &[(i32, i64)], opened: &Opened) -> Option<Positions> {
    let head = opened.hub.head();
    // Where a partition begins that was added since, only Kafka knows.
    if head.len() > opened.origin.len() {
        return None;
    }
    let mut at: Vec<i64> =
        head.iter().map(|(partition, _)| opened.origin.next(partition)).collect();
    for &(partition, next) in offsets {
        match usize::try_from(partition).ok().and_then(|index| at.get_mut(index)) {
            Some(_) if next == -1 || next > head.next(partition) => return None,
            Some(at) if next >= 0 => *at = next,
            Some(_) => {}
            None => return None,
        }
    }
    Some(Positions::new(at))
}
