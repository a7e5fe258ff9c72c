//! The watchdog: it compares the heads of the logs with the ends that Kafka reports, and restarts a log that
//! does not advance.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::broker::{self, Fetched, Panics};
use crate::data::counters::count;
use crate::engine::control::Control;
use crate::engine::control::watch::Late;
use crate::threads::interruption;
use crate::timing::Timing;
use crate::topic::registry::Shared;
use crate::topic::requests::Command;
use crate::topic::{State, Topic};

/// How many partitions of a topic one probe reads.
pub(super) const PROBED: usize = 100;
/// The time limit of a probe.
const PROBE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);
const POLL_BYTES: usize = 1024 * 1024;

/// What a probe found between a late head and the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A record at this offset.
    Record(i64),
    /// No record: control records, aborted records, records that compaction removed.
    Hole,
}

impl Control<'_> {
    /// Checks as many open topics as there is time for. The next call continues with the others.
    pub(super) async fn watch(&mut self, shared: &Shared) {
        let since = Instant::now();
        let mut held = shared.held();
        held.retain(|topic| topic.log().is_some());
        held.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(last) = self.watched_last.take() {
            let next = held.partition_point(|topic| topic.name <= last);
            held.rotate_left(next);
        }
        let mut renew = false;
        for topic in held {
            renew |= self.watch_topic(shared, &topic).await;
            self.watched_last = Some(Arc::clone(&topic.name));
            self.serve_requests().await;
            if since.elapsed() >= self.timing.watch / 20 {
                break;
            }
        }
        if renew {
            warn!(
                cluster = self.cluster,
                "logs do not advance although they were opened anew, replacing the consumer"
            );
            self.send(Command::Recreate);
        }
    }

    /// Checks one topic. Returns whether the tail needs another consumer.
    async fn watch_topic(&mut self, shared: &Shared, topic: &Topic) -> bool {
        let Some(log) = topic.log() else { return false };
        let head = log.hub.head();
        let partitions = head.len();
        // The position of the tail's consumer may be less than the truncation, and then it reports nothing.
        let Some(ends) = self.query_ends(topic, &log, partitions).await else { return false };
        let Timing { watch: pause, hanging: most, .. } = self.timing;
        let now = Instant::now();
        let watch = &mut self.topic_state(topic).watch;
        watch.note_progress(&head);
        let held_up = topic.converter.as_ref().map(|converter| converter.held_up_partitions());
        let held_up = held_up.unwrap_or_default();
        watch.excuse(held_up.iter().copied());
        if topic.converter.as_ref().is_some_and(|converter| converter.is_deferred()) {
            watch.excuse(head.iter().map(|(partition, _)| partition));
        }
        let mut late = watch.check(&head, &ends, now);
        let proven = watch.is_proven(late.is_empty());
        let came = watch.restarted.is_none();
        let hanging = watch.hanging(most, now);
        self.report_hanging(topic, hanging);
        // Held partitions are being inspected after a fetch error.
        let known = self.topic_state(topic);
        let is_held = late.extract_if(.., |late| known.is_held(late.partition)).count() > 0;
        let is_held = is_held || !held_up.is_empty();
        // The others are probed once these are not late any more.
        late.truncate(PROBED);

        let found = if late.is_empty() { Vec::new() } else { self.probe(topic, &late).await };
        // A record may have come during the probe.
        let now_at = log.hub.head();
        let mut record = None;
        let mut unread = None;
        let mut advances = !is_held;
        for late in late.iter().filter(|late| now_at.next(late.partition) == late.head) {
            match found.iter().find(|(partition, _)| *partition == late.partition) {
                Some((_, Found::Hole)) => {}
                Some((_, Found::Record(offset))) => {
                    advances = false;
                    record.get_or_insert((late, *offset));
                }
                // Another consumer did not get it either.
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
            warn!(cluster = self.cluster, topic = %topic.name, partition, offset = head, stable = due, late, "topic does not advance, and its next records can't be read");
        } else if !did && advances && came {
            info!(cluster = self.cluster, topic = %topic.name, "topic advances again");
        } else if !did && advances {
            info!(cluster = self.cluster, topic = %topic.name, "nothing was written since the topic was opened anew");
        }
        let Some((late, offset)) = record else { return false };
        let Late { partition, head, due } = *late;
        let Some(failed_attempts) = self.topic_state(topic).watch.restart(partition, pause, now)
        else {
            return false;
        };
        topic.health().restarts += 1;
        shared.restarts.fetch_add(1, Ordering::Relaxed);
        count(&shared.totals.of(topic).restarts);
        warn!(cluster = self.cluster, topic = %topic.name, partition, head, record = offset, stable = due, "topic does not advance, opening it anew");
        if failed_attempts > 0 {
            return true;
        }
        self.close(topic, State::Found);
        interruption().await;
        // If that fails, the next refresh tries again.
        self.refresh_at_once |= !self.open(shared, topic, partitions).await;
        shared.share_memory();
        false
    }

    fn report_hanging(&self, topic: &Topic, hanging: Vec<i32>) {
        let mut health = topic.health();
        if let Some(partition) =
            hanging.iter().find(|partition| !health.hanging.contains(partition))
        {
            let partitions = hanging.len();
            warn!(cluster = self.cluster, topic = %topic.name, partition, partitions, "a transaction hangs: records behind it can't be read");
        }
        health.hanging = hanging;
    }

    /// Reads from late heads on with a consumer of its own, and has the tail skip holes. Kafka must have reported
    /// its ends just before. Partitions that bring neither a record nor their end in time are not in the result.
    pub(super) async fn probe(&mut self, topic: &Topic, late: &[Late]) -> Vec<(i32, Found)> {
        // A new consumer for each topic: the end of a partition comes without the name of the topic.
        let mut consumer = match self.backend.consumer(true) {
            Ok(consumer) => consumer,
            Err(error) => {
                warn!(cluster = self.cluster, %error, "can't create a consumer to probe late partitions, trying again");
                return Vec::new();
            }
        };
        let mut open: HashMap<i32, i64> = HashMap::new();
        for Late { partition, head, due } in late {
            match consumer.assign(&topic.name, *partition, *head) {
                Ok(()) => drop(open.insert(*partition, *due)),
                Err(error) => {
                    warn!(cluster = self.cluster, %error, topic = %topic.name, partition, "partition can't be read")
                }
            }
        }
        let until = Instant::now() + PROBE;
        let mut fetched = Vec::new();
        let mut found = Vec::new();
        let mut panics = Panics::default();
        let mut has_failed = false;
        while !open.is_empty() && !has_failed && Instant::now() < until {
            broker::poll(&mut *consumer, POLL, POLL_BYTES, &mut fetched, &mut panics).await;
            for fetched in fetched.drain(..) {
                let (partition, offset) = match fetched {
                    Fetched::Record(_, record) => (record.partition, Some(record.offset)),
                    Fetched::End(partition) => (partition, None),
                    // The tail's consumer may have another position by now, and then never reports this.
                    Fetched::OutOfRange => {
                        self.verify_all = true;
                        continue;
                    }
                    Fetched::Denied => continue,
                    // A record that comes after it may have others before it that did not come.
                    Fetched::Error(_) => {
                        has_failed = true;
                        break;
                    }
                };
                let Some(due) = open.remove(&partition) else { continue };
                match offset.filter(|offset| *offset < due) {
                    Some(offset) => found.push((partition, Found::Record(offset))),
                    None => {
                        debug!(topic = %topic.name, partition, due, "no record is left before the end");
                        let topic = Arc::clone(&topic.name);
                        self.send(Command::SkipTo { topic, partition, offset: due });
                        found.push((partition, Found::Hole));
                    }
                }
            }
        }
        if has_failed {
            self.fetch_errors.note(None);
        }
        found
    }
}
