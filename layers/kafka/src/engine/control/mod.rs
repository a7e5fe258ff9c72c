//! What asks Kafka about topics and offsets: such calls block, so they have a thread of their own. Only
//! the readers of history ask for ends on theirs: their passes wait for the answer in any case.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use tailwater_hub::Hub;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::broker::{Backend, Presence, TopicDescription};
use crate::data::gap::Truncation;
use crate::data::positions::Positions;
use crate::data::records::{CHUNK_BYTES, Records};
use crate::timing::Timing;
use crate::topic::registry::Shared;
use crate::topic::requests::{Command, Request};
use crate::topic::retired::RetiredLogs;
use crate::topic::{State, Topic, TopicLog};

mod ends;
mod offsets;
mod presence;
mod refusals;
mod watchdog;

use ends::{EndRequest, Ends};
use offsets::{Backoff, WatermarksRequest};
use presence::{AccessState, Checked, Untold};
use refusals::{Refusals, Refused};
use watchdog::Watch;

/// A topic that this many looks do not see, over as many pauses between them, may be gone; a broker that
/// starts may not know it yet.
const LOOKS_UNTIL_GONE: u32 = 3;

/// It is warned of ids that are longer: the head of a request may be 32 KiB.
const LONG_ID_BYTES: usize = 24 * 1024;

/// With fewer partitions no id is that long: a pair takes 13 bytes at the most, and four characters stand for
/// three bytes.
const LEAST_PARTITIONS: usize = LONG_ID_BYTES / 4 * 3 / 13;

/// How often it is looked whether connections ended: Kafka is then asked whether it is there.
const HEAR: Duration = Duration::from_millis(300);

pub(crate) struct Control<'a> {
    backend: Arc<dyn Backend>,
    tail: Sender<Command>,
    jobs: &'a Receiver<Request>,
    timing: Timing,
    retired: Arc<RetiredLogs>,
    /// What is remembered of each held topic between looks.
    topic_states: HashMap<Arc<str>, TopicState>,
    asked: Vec<WatermarksRequest>,
    /// Some of those who asked have to wait for their turn, and for nothing else.
    more: bool,
    ends: Ends,
    look_at_once: bool,
    /// A topic was asked for.
    asked_for: bool,
    reopen: bool,
    verify_all: bool,
    unverified: Vec<Arc<Topic>>,
    refusals: Refusals,
    /// The topic that was watched last.
    watched_last: Option<Arc<str>>,
    /// What the cluster is called in the log.
    cluster: String,
    untold: Untold,
    /// The tail may not read some topic.
    denied: bool,
    /// Sees whether topics may be read.
    check: Option<JoinHandle<Checked>>,
}

#[derive(Default)]
struct TopicState {
    /// Looks that did not see the topic, and since when.
    without: Option<(u32, Instant)>,
    /// How many there were at the last look.
    partitions: usize,
    /// When Kafka last said of this topic that there are no more.
    counted: Option<Instant>,
    warned_of_ids: bool,
    idle_since: Option<Instant>,
    backoff: Option<Backoff>,
    watch: Watch,
    refused: Refused,
    seen: AccessState,
}

impl TopicState {
    /// Whether the tail does not read a partition for now.
    fn is_held(&self, partition: i32) -> bool {
        self.refused.get(&partition).is_some_and(|times| times.held)
    }
}

impl<'a> Control<'a> {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        tail: Sender<Command>,
        jobs: &'a Receiver<Request>,
        timing: Timing,
        retired: Arc<RetiredLogs>,
        cluster: String,
    ) -> Self {
        Self {
            cluster,
            untold: Untold::default(),
            denied: false,
            check: None,
            backend,
            tail,
            jobs,
            timing,
            retired,
            topic_states: HashMap::new(),
            asked: Vec::new(),
            more: false,
            ends: Ends::default(),
            look_at_once: false,
            asked_for: false,
            // Another one may have panicked in the middle of anything.
            reopen: true,
            verify_all: false,
            unverified: Vec::new(),
            refusals: Refusals::default(),
            watched_last: None,
        }
    }

    /// Works until the cluster is dropped.
    pub(crate) fn run(mut self, shared: &Weak<Shared>) {
        let mut looked = Instant::now();
        let mut next = looked + self.timing.retry;
        let mut watch = looked + self.timing.watch;
        loop {
            if std::mem::take(&mut self.look_at_once) {
                next = next.min(looked + self.timing.min_refresh);
            }
            let until = if std::mem::take(&mut self.more) | self.asked_for {
                looked
            } else {
                next.min(watch)
            };
            let until = self.ends.due(self.timing.min_refresh).map_or(until, |due| until.min(due));
            let until = self.refusals.due().map_or(until, |due| until.min(due));
            let until = until.min(Instant::now() + HEAR);
            match self.jobs.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(request) => self.enqueue(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let Some(shared) = shared.upgrade() else { return };
            let disconnected = self.backend.drain_events();
            self.look_at_once |= disconnected && shared.reachability.is_reached();
            if std::mem::take(&mut self.reopen) {
                let open = shared.held().into_iter().filter(|topic| topic.opened().is_some());
                open.for_each(|topic| self.close(&topic, State::Found));
                // One before this may have been told and not have looked.
                self.denied |= shared.has_panicked();
                self.look_at_once = true;
            }
            self.serve_requests();
            self.take_checked(&shared);
            if std::mem::take(&mut self.asked_for) {
                self.find_newcomers(&shared);
                next = next.min(Instant::now() + self.timing.retry);
            }
            if std::mem::take(&mut self.look_at_once) {
                next = next.min(looked + self.timing.min_refresh);
            }
            if Instant::now() >= next {
                let open = self.refresh_metadata(&shared);
                looked = Instant::now();
                next = looked + if open { self.timing.refresh } else { self.timing.retry };
                let checks = self.topic_states.values().filter_map(|state| state.seen.check_due());
                next =
                    checks.min().map_or(next, |due| next.min(due.max(looked + self.timing.retry)));
            }
            self.verify(&shared);
            self.serve_requests();
            self.look_into_refusals(&shared);
            if Instant::now() >= watch {
                self.watch(&shared);
                watch = Instant::now() + self.timing.watch;
            }
            self.tell_ends();
            let waits = !self.asked.is_empty() || !self.ends.end_requests.is_empty();
            if waits || !self.unverified.is_empty() {
                next = next.min(Instant::now() + self.timing.retry);
            }
        }
    }

    fn enqueue(&mut self, request: Request) {
        match request {
            Request::Look => self.asked_for = true,
            Request::Reopen => self.reopen = true,
            Request::Verify => self.verify_all = true,
            Request::Refused { refusal } => self.refusals.note(Some(refusal)),
            Request::Looked(looked) => self.note_found(looked),
            Request::Denied => (self.denied, self.look_at_once) = (true, true),
            Request::Checked => {}
            Request::End { topic, opened, reply } => {
                self.ends.end_requests.push(EndRequest { topic, opened, reply });
            }
            Request::Watermarks { topic, opened, partitions, resumes, since, reply } => {
                // A look at the topics has to find the others.
                self.look_at_once |= partitions > opened.hub.head().len();
                let at = Instant::now();
                self.asked.push(WatermarksRequest {
                    at,
                    topic,
                    opened,
                    partitions,
                    resumes,
                    since,
                    reply,
                });
            }
        }
    }

    /// Finds topics that came, went or grew. Whether all that are held are open.
    fn refresh_metadata(&mut self, shared: &Shared) -> bool {
        // Those that made room for others are forgotten here.
        let held = shared.held();
        let names: HashSet<&str> = held.iter().map(|topic| &*topic.name).collect();
        self.topic_states.retain(|name, _| {
            let is_held = names.contains(&**name);
            if !is_held {
                // One may have been opened in the meantime.
                let _ = self.tail.send(Command::Unassign { topic: Arc::clone(name) });
            }
            is_held
        });
        let asked = Instant::now();
        // Also while nobody needs it: whether Kafka is there is told before.
        let known = match self.backend.topics() {
            Ok(known) => known,
            Err(error) => {
                debug!(%error, "topics can't be listed, trying again");
                shared.reachability.unanswered(asked);
                return false;
            }
        };
        if shared.reachability.answered(asked) {
            // What failed while it was away may work now.
            self.topic_states.values_mut().for_each(|standing| standing.backoff = None);
        }
        // Those as well that were asked for meanwhile: the first answer of all takes some round trips.
        let mut held = shared.held();
        held.sort_by_key(|topic| (self.is_in_trouble(&topic.name), !topic.named));
        let asking = Instant::now() + self.asking();
        let mut all_open = true;
        for topic in &held {
            if self.is_idle(topic) && shared.topics.release(topic) {
                self.let_go(topic);
                continue;
            }
            let opened = topic.opened();
            let had = opened.as_ref().map_or(0, |opened| opened.hub.head().len());
            let partitions = known.get(&*topic.name).copied();
            if partitions == Some(0) {
                all_open &= !topic.is_used();
                continue;
            }
            // No topic loses partitions: one that has fewer is another one.
            let partitions = partitions.filter(|count| *count >= had);
            self.topic_state(topic).partitions = partitions.unwrap_or(0);
            match (opened, partitions) {
                (Some(opened), Some(partitions)) => {
                    self.topic_state(topic).without = None;
                    opened.latest.tidy(&opened);
                    self.look_at_ids(topic, &opened.hub.head());
                    if !self.extend(topic, &opened, partitions) {
                        all_open = false;
                        self.serve_requests();
                    }
                }
                (Some(_), None) => {
                    match self.vanished(topic, had) {
                        Some(Presence::Forbidden) => self.forbid(shared, topic),
                        Some(_) => {
                            topic.cut(Truncation::gone());
                            warn!(topic = %topic.name, "topic is gone");
                            self.mark_missing(shared, topic);
                        }
                        None => {}
                    }
                    all_open = false;
                }
                (None, Some(partitions)) => {
                    if !self.found(shared, topic, partitions) {
                        all_open = false;
                        self.serve_requests();
                    }
                }
                (None, None) => {
                    self.settle(shared, topic, asking);
                    all_open &= !topic.is_used();
                }
            }
        }
        self.check_access(shared, &known);
        self.tell_untold();
        shared.share_memory();
        all_open
    }

    /// What a broker that starts may need to know of a topic.
    fn until_sure(&self) -> Duration {
        (LOOKS_UNTIL_GONE - 1) * self.timing.retry
    }

    /// Closes the log of a topic that was let go.
    fn let_go(&mut self, topic: &Topic) {
        self.close(topic, State::Found);
        if topic.named {
            // A stream may have come since.
            self.look_at_once |= topic.is_used();
        } else {
            self.topic_states.remove(&topic.name);
        }
    }

    /// What Kafka says of a topic that some looks did not see, or not with the partitions that it `had`;
    /// `None` if it may still be there. Clients can have looks follow each other closely, so they must be
    /// some time apart as well.
    fn vanished(&mut self, topic: &Topic, had: usize) -> Option<Presence> {
        let least = self.until_sure();
        let (looks, since) =
            self.topic_state(topic).without.get_or_insert_with(|| (0, Instant::now()));
        *looks += 1;
        if *looks < LOOKS_UNTIL_GONE || since.elapsed() < least {
            return None;
        }
        match self.backend.presence(&topic.name) {
            Ok(Presence::Partitions(count)) if !(1..had).contains(&count) => None,
            Ok(presence) => Some(presence),
            Err(error) => {
                debug!(%error, topic = %topic.name, "whether it is gone can't be asked");
                None
            }
        }
    }

    /// The tail ends after this thread.
    fn tell(&self, command: Command) {
        let _ = self.tail.send(command);
    }

    fn topic_state(&mut self, topic: &Topic) -> &mut TopicState {
        self.topic_states.entry(Arc::clone(&topic.name)).or_default()
    }

    /// Whether nobody has read the topic for a while.
    fn is_idle(&mut self, topic: &Topic) -> bool {
        let used = topic.is_used();
        let linger = if topic.is_missing() { Duration::ZERO } else { self.timing.idle_timeout };
        let since = &mut self.topic_state(topic).idle_since;
        if used {
            *since = None;
            return false;
        }
        since.get_or_insert_with(Instant::now).elapsed() >= linger
    }

    fn open(&mut self, shared: &Shared, topic: &Topic, partitions: usize) -> bool {
        let asked = Instant::now();
        let opening = self.query(topic, |backend, topic| backend.opening(topic, partitions));
        let Some(TopicDescription { watermarks, tombstone_retention }) = opening else {
            return false;
        };
        let standing = self.topic_state(topic);
        standing.without = None;
        standing.refused.values_mut().for_each(|times| times.held = false);
        standing.watch.opened();
        let epoch = topic.epoch();
        let origin = Positions::new(&watermarks.low[..]);
        // What is written into a topic that was just created was written under the eyes of whoever waits.
        let start = if topic.is_missing() {
            origin.clone()
        } else {
            Positions::new(&watermarks.last_stable[..])
        };
        let records = Records { index: shared.index.clone() };
        let hub = Hub::new(records, start.clone(), shared.options.memory_bytes);
        hub.set_newest_bytes(CHUNK_BYTES);
        let follow = Command::Assign {
            topic: Arc::clone(&topic.name),
            hub: hub.clone(),
            from: start.clone(),
            losses: Arc::clone(&topic.losses),
        };
        self.tell(follow);
        info!(topic = %topic.name, partitions, "topic is open");
        topic.partitions.store(partitions, Ordering::Release);
        let opened = TopicLog::new(hub, epoch, origin, Arc::clone(&topic.losses)).found(
            asked,
            watermarks,
            tombstone_retention,
        );
        topic.state.send_replace(State::Open(Arc::new(opened)));
        true
    }

    fn extend(&mut self, topic: &Topic, opened: &TopicLog, partitions: usize) -> bool {
        let known = opened.hub.head().len();
        if partitions <= known {
            return true;
        }
        let Some(watermarks) = self.query_watermarks(topic, opened, partitions, None) else {
            return false;
        };
        info!(topic = %topic.name, partitions, "topic has more partitions");
        topic.partitions.store(partitions, Ordering::Release);
        for (partition, offset) in (0..).zip(watermarks.low).skip(known) {
            let topic = Arc::clone(&topic.name);
            self.tell(Command::AddPartition { topic, partition, offset });
        }
        true
    }

    /// Warns once of a topic whose ids leave little room in a request.
    fn look_at_ids(&mut self, topic: &Topic, at: &Positions) {
        if at.len() < LEAST_PARTITIONS || self.topic_state(topic).warned_of_ids {
            return;
        }
        let bytes = at.progress().len();
        if bytes >= LONG_ID_BYTES {
            warn!(topic = %topic.name, partitions = at.len(), bytes, "event ids are long: they have to come back in the head of a request, which may be 32 KiB");
            self.topic_state(topic).warned_of_ids = true;
        }
    }

    /// Ends the topic's log, if it has one: its streams look for their place in the next one.
    fn close(&self, topic: &Topic, state: State) {
        if let Some(opened) = topic.opened() {
            self.tell(Command::Unassign { topic: Arc::clone(&topic.name) });
            topic.state.send_replace(state);
            self.retired.end(&opened.hub);
        } else {
            topic.state.send_replace(state);
        }
    }

    /// Ends a log that stands at offsets which Kafka does not have.
    fn close_removed(&mut self, topic: &Topic) {
        warn!(topic = %topic.name, "offsets were removed before they were read, opening the topic anew");
        self.close(topic, State::Found);
        self.look_at_once = true;
    }

    /// Ends the logs that stand at offsets which Kafka does not have. Those that can't be looked at are
    /// left for later.
    fn verify(&mut self, shared: &Shared) {
        if std::mem::take(&mut self.verify_all) {
            self.unverified = shared.held();
        }
        for topic in std::mem::take(&mut self.unverified) {
            // One that is not open will be opened where it can be read.
            let Some(opened) = topic.opened() else { continue };
            let head = opened.hub.head();
            let Some(watermarks) = self.query_watermarks(&topic, &opened, head.len(), None) else {
                if !opened.hub.is_closed() {
                    self.unverified.push(topic);
                    self.serve_requests();
                }
                continue;
            };
            let is_before = |((_, next), low): ((i32, i64), &i64)| next < *low;
            if head.iter().zip(&watermarks.low).any(is_before) {
                self.close_removed(&topic);
            } else {
                self.tell(Command::Reassign { topic: Arc::clone(&topic.name) });
            }
        }
    }
}
