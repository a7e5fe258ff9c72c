//! The control task: it asks Kafka for metadata and offsets, opens and closes the logs of topics, and
//! watches them. Such calls block, so it has a thread of its own. The history readers query ends
//! themselves, since a backfill has to wait for that answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::broker::Backend;
use crate::engine::inspection::Inspections;
use crate::timing::Timing;
use crate::topic::registry::Shared;
use crate::topic::requests::{Command, Request};
use crate::topic::retired::RetiredLogs;
use crate::topic::{State, Topic};

mod ends;
mod fetch_errors;
mod metadata;
mod offsets;
mod presence;
mod watch;
mod watchdog;

use ends::{EndRequest, Ends};
use fetch_errors::{FailedPartitions, FetchErrors};
use offsets::{Backoff, WatermarksRequest};
use presence::{AbsenceLog, AccessState, Checked};
use watch::Watch;

/// How often the events of connections are taken. If a connection ended, the metadata are refreshed.
const EVENTS_INTERVAL: Duration = Duration::from_millis(150);

pub(crate) struct Control<'a> {
    backend: Arc<dyn Backend>,
    tail: UnboundedSender<Command>,
    requests: &'a mut UnboundedReceiver<Request>,
    inspections: Arc<Inspections>,
    timing: Timing,
    retired: Arc<RetiredLogs>,
    /// The state of each held topic.
    topic_states: BTreeMap<Arc<str>, TopicState>,
    watermarks_requests: Vec<WatermarksRequest>,
    /// Requests are left that can be served at once.
    has_more: bool,
    ends: Ends,
    refresh_at_once: bool,
    /// Where the names of all topics are wanted.
    listings: Vec<oneshot::Sender<Vec<String>>>,
    /// A stream has named a topic for the first time.
    has_new_topics: bool,
    reopen: bool,
    verify_all: bool,
    unverified: Vec<Arc<Topic>>,
    fetch_errors: FetchErrors,
    /// The topic that the watchdog checked last.
    watched_last: Option<Arc<str>>,
    /// The name of the cluster in the log.
    cluster: String,
    absence_log: AbsenceLog,
    /// Kafka did not permit the tail to read some topic.
    denied: bool,
    /// The result of the task that checks whether topics may be read.
    check: Option<oneshot::Receiver<Checked>>,
}

#[derive(Default)]
struct TopicState {
    /// How many refreshes in a row did not list the topic, and since when.
    unseen: Option<(u32, Instant)>,
    /// How many partitions the last refresh found.
    partitions: usize,
    /// When Kafka last confirmed that the topic has no more partitions.
    counted: Option<Instant>,
    warned_of_ids: bool,
    idle_since: Option<Instant>,
    backoff: Option<Backoff>,
    watch: Watch,
    failed_partitions: FailedPartitions,
    seen: AccessState,
}

impl TopicState {
    /// Whether the tail does not read a partition for now.
    fn is_held(&self, partition: i32) -> bool {
        self.failed_partitions.get(&partition).is_some_and(|times| times.held.is_some())
    }
}

impl<'a> Control<'a> {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        tail: UnboundedSender<Command>,
        requests: &'a mut UnboundedReceiver<Request>,
        inspections: Arc<Inspections>,
        timing: Timing,
        retired: Arc<RetiredLogs>,
        cluster: String,
    ) -> Self {
        Self {
            cluster,
            absence_log: AbsenceLog::default(),
            denied: false,
            check: None,
            backend,
            tail,
            requests,
            inspections,
            timing,
            retired,
            topic_states: BTreeMap::new(),
            watermarks_requests: Vec::new(),
            has_more: false,
            ends: Ends::default(),
            refresh_at_once: false,
            listings: Vec::new(),
            has_new_topics: false,
            // The control task before this one may have panicked at any point.
            reopen: true,
            verify_all: false,
            unverified: Vec::new(),
            fetch_errors: FetchErrors::default(),
            watched_last: None,
        }
    }

    /// Works until the cluster is dropped.
    pub(crate) async fn run(mut self, shared: &Weak<Shared>) {
        let mut refreshed = Instant::now();
        let mut next = refreshed + self.timing.retry;
        let mut watch = refreshed + self.timing.watch;
        loop {
            if std::mem::take(&mut self.refresh_at_once) {
                next = next.min(refreshed + self.timing.min_refresh);
            }
            let until = if std::mem::take(&mut self.has_more) | self.has_new_topics {
                refreshed
            } else {
                next.min(watch)
            };
            let until = self.ends.due(self.timing.min_refresh).map_or(until, |due| until.min(due));
            let until = self.fetch_errors.due().map_or(until, |due| until.min(due));
            let until = until.min(Instant::now() + EVENTS_INTERVAL);
            match timeout_at(until, self.requests.recv()).await {
                Ok(Some(request)) => self.enqueue(request),
                Ok(None) => return,
                Err(_elapsed) => {}
            }
            let Some(shared) = shared.upgrade() else { return };
            let disconnected = self.backend.drain_events().await;
            self.refresh_at_once |= disconnected && shared.reachability.is_reached();
            if std::mem::take(&mut self.reopen) {
                let open = shared.held().into_iter().filter(|topic| topic.log().is_some());
                open.for_each(|topic| self.close(&topic, State::Found));
                // The thread before this one may have received the request and not have served it.
                self.denied |= shared.has_panicked();
                self.refresh_at_once = true;
            }
            self.serve_requests().await;
            self.take_checked(&shared);
            if std::mem::take(&mut self.has_new_topics) {
                self.find_new_topics(&shared).await;
                next = next.min(Instant::now() + self.timing.retry);
            }
            if std::mem::take(&mut self.refresh_at_once) {
                next = next.min(refreshed + self.timing.min_refresh);
            }
            if Instant::now() >= next {
                let open = self.refresh_metadata(&shared).await;
                refreshed = Instant::now();
                next = refreshed + if open { self.timing.refresh } else { self.timing.retry };
                let checks = self.topic_states.values().filter_map(|state| state.seen.check_due());
                next = checks
                    .min()
                    .map_or(next, |due| next.min(due.max(refreshed + self.timing.retry)));
            }
            self.verify(&shared).await;
            self.serve_requests().await;
            self.inspect_fetch_errors(&shared).await;
            if Instant::now() >= watch {
                self.watch(&shared).await;
                watch = Instant::now() + self.timing.watch;
            }
            self.answer_ends().await;
            let waits = !self.watermarks_requests.is_empty() || !self.ends.end_requests.is_empty();
            if waits || !self.unverified.is_empty() {
                next = next.min(Instant::now() + self.timing.retry);
            }
        }
    }

    fn enqueue(&mut self, request: Request) {
        match request {
            Request::FindTopic => self.has_new_topics = true,
            Request::List { reply } => {
                self.listings.push(reply);
                self.refresh_at_once = true;
            }
            Request::Reopen => self.reopen = true,
            Request::Verify => self.verify_all = true,
            Request::FetchError { number } => self.fetch_errors.note(Some(number)),
            Request::NotHeld { topic, partition, from } => {
                let state = self.topic_states.get_mut(&topic);
                let times = state.and_then(|state| state.failed_partitions.get_mut(&partition));
                if let Some(times) = times.filter(|times| times.held == Some(from)) {
                    times.held = None;
                }
            }
            Request::Inspected(inspected) => self.note_finding(inspected),
            Request::Denied => {
                self.denied = true;
                self.refresh_at_once = true;
            }
            Request::Checked | Request::Close => {}
            Request::End { topic, log, reply } => {
                self.ends.end_requests.push(EndRequest { topic, log, reply });
            }
            Request::Watermarks { topic, log, partitions, resumes, since, reply } => {
                // A refresh has to find the other partitions.
                self.refresh_at_once |= partitions > log.hub.head().len();
                let at = Instant::now();
                self.watermarks_requests.push(WatermarksRequest {
                    at,
                    topic,
                    log,
                    partitions,
                    resumes,
                    since,
                    reply,
                });
            }
        }
    }

    /// Sends a command to the tail, which ends after this thread.
    fn send(&self, command: Command) {
        let _ = self.tail.send(command);
    }

    fn topic_state(&mut self, topic: &Topic) -> &mut TopicState {
        self.topic_states.entry(Arc::clone(&topic.name)).or_default()
    }

    /// Ends the topic's log, if it is open. Its streams resume in the next log.
    fn close(&self, topic: &Topic, state: State) {
        if let Some(log) = topic.log() {
            self.send(Command::Unassign { topic: Arc::clone(&topic.name) });
            topic.state.send_replace(state);
            self.retired.end(&log.hub);
        } else {
            topic.state.send_replace(state);
        }
    }

    /// Closes a log whose head is an offset that Kafka does not have.
    fn close_removed(&mut self, topic: &Topic) {
        warn!(cluster = self.cluster, topic = %topic.name, "offsets were removed before they were read, opening the topic anew");
        self.close(topic, State::Found);
        self.refresh_at_once = true;
    }
}
