//! Metadata of topics: which exist, how many partitions they have, when logs are opened and closed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tailwater_hub::Hub;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::broker::{Presence, TopicDescription};
use crate::data::events::{CHUNK_BYTES, Records};
use crate::data::gap::Truncation;
use crate::data::positions::Positions;
use crate::engine::control::Control;
use crate::threads::interruption;
use crate::topic::registry::Shared;
use crate::topic::requests::Command;
use crate::topic::{State, Topic, TopicLog};

/// A topic that is missing from this many refreshes in a row may be gone. One refresh is not enough: a
/// broker that has just started may not know the topic yet.
const REFRESHES_UNTIL_GONE: u32 = 3;

/// A warning is logged for longer event ids. The head of a request may have 32 KiB.
const LONG_ID_BYTES: usize = 24 * 1024;

/// An id of fewer partitions is never that long: a pair takes at most 13 bytes, and base64 makes four
/// characters of three bytes.
const LEAST_PARTITIONS: usize = LONG_ID_BYTES / 4 * 3 / 13;

impl Control<'_> {
    /// Finds topics that were created, deleted or extended. Returns whether the logs of all held topics are open.
    pub(super) async fn refresh_metadata(&mut self, shared: &Shared) -> bool {
        // Forget topics that are no longer held.
        let held = shared.held();
        let names: HashSet<&str> = held.iter().map(|topic| &*topic.name).collect();
        self.topic_states.retain(|name, _| {
            let is_held = names.contains(&**name);
            if !is_held {
                // Its log may have been opened in the meantime.
                let _ = self.tail.send(Command::Unassign { topic: Arc::clone(name) });
            }
            is_held
        });
        let asked = Instant::now();
        // The list is fetched even if no stream needs it: it shows whether Kafka is reachable.
        let known = match self.backend.topics().await {
            Ok(known) => known,
            Err(error) => {
                debug!(%error, "topics can't be listed, trying again");
                shared.reachability.unanswered(asked);
                return false;
            }
        };
        if !self.listings.is_empty() {
            let mut names: Vec<String> = known.keys().cloned().collect();
            names.sort_unstable();
            for reply in self.listings.drain(..) {
                let _ = reply.send(names.clone());
            }
        }
        if shared.reachability.answered(asked) {
            // What failed while Kafka was away may work now.
            self.topic_states.values_mut().for_each(|state| state.backoff = None);
        }
        // Read again: the first answer takes some round trips, and streams may have named topics meanwhile.
        let mut held = shared.held();
        held.sort_by_key(|topic| (self.is_in_trouble(&topic.name), !topic.named));
        let asking = Instant::now() + self.asking();
        let mut all_open = true;
        for topic in &held {
            if self.is_idle(topic) && shared.topics.release(topic) {
                self.release(topic);
                continue;
            }
            let log = topic.log();
            let had = log.as_ref().map_or(0, |log| log.hub.head().len());
            let partitions = known.get(&*topic.name).copied();
            if partitions == Some(0) {
                all_open &= !topic.is_used();
                continue;
            }
            // No topic loses partitions. One with fewer partitions has been created anew.
            let partitions = partitions.filter(|count| *count >= had);
            self.topic_state(topic).partitions = partitions.unwrap_or(0);
            topic.health().partitions = partitions.unwrap_or(0);
            match (log, partitions) {
                (Some(log), Some(partitions)) => {
                    self.topic_state(topic).unseen = None;
                    log.latest.drop_stale(&log);
                    self.warn_of_long_ids(topic, &log.hub.head());
                    if !self.extend(topic, &log, partitions).await {
                        all_open = false;
                        self.serve_requests().await;
                    }
                }
                // Also a log that was closed a moment ago: streams have positions in it.
                (log, None) if log.is_some() || (topic.exists() && topic.is_used()) => {
                    match self.confirm_gone(topic, had, asking).await {
                        Some(Presence::Forbidden) => self.forbid(shared, topic),
                        Some(_) => {
                            topic.truncate(Truncation::gone());
                            warn!(cluster = self.cluster, topic = %topic.name, "topic is gone");
                            self.mark_missing(shared, topic);
                        }
                        None => {}
                    }
                    all_open = false;
                    self.serve_requests().await;
                }
                (None, Some(partitions)) => {
                    self.topic_state(topic).unseen = None;
                    if !self.found(shared, topic, partitions).await {
                        all_open = false;
                        self.serve_requests().await;
                    }
                }
                (_, None) => {
                    self.settle(shared, topic, asking).await;
                    all_open &= !topic.is_used();
                }
            }
        }
        self.check_access(shared, &known);
        self.log_absences();
        shared.share_memory();
        all_open
    }

    /// How long a broker that has just started may take to know a topic.
    pub(super) fn confirm_time(&self) -> Duration {
        (REFRESHES_UNTIL_GONE - 1) * self.timing.retry
    }

    /// Closes the log of a topic that was released.
    pub(super) fn release(&mut self, topic: &Topic) {
        self.close(topic, State::Found);
        if topic.named {
            // A stream may have begun to use it since.
            self.refresh_at_once |= topic.is_used();
        } else {
            self.topic_states.remove(&topic.name);
        }
    }

    /// Asks Kafka for a topic that is missing from the list or has fewer partitions than it `had`. `None` while
    /// the topic may still exist. Clients can make refreshes follow each other quickly, so some time must
    /// have passed as well. Nothing is asked after `until`.
    async fn confirm_gone(
        &mut self,
        topic: &Topic,
        had: usize,
        until: Instant,
    ) -> Option<Presence> {
        let least = self.confirm_time();
        let (refreshes, since) =
            self.topic_state(topic).unseen.get_or_insert_with(|| (0, Instant::now()));
        *refreshes += 1;
        let is_early = *refreshes < REFRESHES_UNTIL_GONE || since.elapsed() < least;
        if is_early || Instant::now() >= until {
            return None;
        }
        match self.backend.presence(&topic.name).await {
            Ok(Presence::Partitions(count)) if !(1..had).contains(&count) => None,
            Ok(presence) => Some(presence),
            Err(error) => {
                debug!(%error, topic = %topic.name, "can't query whether the topic still exists");
                None
            }
        }
    }

    /// Whether the topic has had no streams for a while.
    fn is_idle(&mut self, topic: &Topic) -> bool {
        let used = topic.is_used();
        let idle_timeout =
            if topic.is_missing() { Duration::ZERO } else { self.timing.idle_timeout };
        let since = &mut self.topic_state(topic).idle_since;
        if used {
            *since = None;
            return false;
        }
        since.get_or_insert_with(Instant::now).elapsed() >= idle_timeout
    }

    pub(super) async fn open(&mut self, shared: &Shared, topic: &Topic, partitions: usize) -> bool {
        let asked = Instant::now();
        let opening = self.query(topic, |backend, topic| backend.opening(topic, partitions)).await;
        let Some(TopicDescription { watermarks, tombstone_retention }) = opening else {
            return false;
        };
        let state = self.topic_state(topic);
        state.unseen = None;
        state.failed_partitions.values_mut().for_each(|times| times.held = None);
        state.watch.reopened();
        let epoch = topic.epoch();
        let origin = Positions::new(&watermarks.low[..]);
        // All records of a topic that did not exist before are new to the streams that wait for it.
        let start = if topic.is_missing() {
            origin.clone()
        } else {
            Positions::new(&watermarks.last_stable[..])
        };
        let counters = shared.totals.of(topic);
        if let Some(converter) = &topic.converter {
            converter.count_in(&counters);
        }
        topic.set_ends(start.clone());
        let records = Records::live(shared.index.clone(), counters, epoch);
        let hub = Hub::new(records, start.clone(), shared.options.memory_bytes);
        hub.set_newest_bytes(CHUNK_BYTES);
        let losses = topic.losses.of_log();
        let follow = Command::Assign {
            topic: Arc::clone(&topic.name),
            hub: hub.clone(),
            from: start.clone(),
            losses: losses.clone(),
            converter: topic.converter.clone(),
        };
        self.send(follow);
        interruption().await;
        info!(cluster = self.cluster, topic = %topic.name, partitions, "topic is open");
        topic.partitions.store(partitions, Ordering::Release);
        let log =
            TopicLog::new(hub, epoch, origin, losses).found(asked, watermarks, tombstone_retention);
        let log = log.converted_by(topic.converter.clone());
        topic.state.send_replace(State::Open(Arc::new(log)));
        true
    }

    async fn extend(&mut self, topic: &Topic, log: &TopicLog, partitions: usize) -> bool {
        let known = log.hub.head().len();
        if partitions <= known {
            return true;
        }
        let Some(watermarks) = self.query_watermarks(topic, log, partitions, None).await else {
            return false;
        };
        info!(cluster = self.cluster, topic = %topic.name, partitions, "topic has more partitions");
        topic.partitions.store(partitions, Ordering::Release);
        for (partition, offset) in (0..).zip(watermarks.low).skip(known) {
            let topic = Arc::clone(&topic.name);
            self.send(Command::AddPartition { topic, partition, offset });
        }
        true
    }

    /// Warns once if the event ids of a topic leave little room in a request.
    fn warn_of_long_ids(&mut self, topic: &Topic, at: &Positions) {
        if at.len() < LEAST_PARTITIONS || self.topic_state(topic).warned_of_ids {
            return;
        }
        let bytes = at.progress().len();
        if bytes >= LONG_ID_BYTES {
            warn!(cluster = self.cluster, topic = %topic.name, partitions = at.len(), bytes, "event ids are long: they have to come back in the head of a request, which may be 32 KiB");
            self.topic_state(topic).warned_of_ids = true;
        }
    }
}
