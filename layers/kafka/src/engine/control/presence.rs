//! Topics that Kafka does not have or does not permit, and those that there is no room for: how that is
//! found, what the log tells of it, and how its end is found.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Control;
use crate::broker::{Access, Presence};
use crate::topic::registry::Shared;
use crate::topic::requests::Request;
use crate::topic::{State, Topic};

/// Topics that are read at once to see whether they may be read.
const CHECKED: usize = 1000;

/// Whether topics may be read.
pub(super) type Checked = Vec<(Arc<Topic>, Access)>;

/// Why a topic is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Absence {
    Missing,
    Forbidden,
    NoRoom,
}

/// What is remembered of a topic between looks.
#[derive(Default)]
pub(super) struct AccessState {
    /// When Kafka was last asked for this topic alone.
    asked: Option<Instant>,
    /// How long is waited between two attempts to read it, and when the next one is due.
    check: Option<(Duration, Instant)>,
    /// What the log told last, and when.
    last_logged: Option<(Absence, Instant)>,
}

impl AccessState {
    /// When the topic is to be read next.
    pub(super) fn check_due(&self) -> Option<Instant> {
        self.check.map(|(_, due)| due)
    }
}

/// What there is to tell of topics that requests name: anybody makes such names.
#[derive(Default)]
pub(super) struct AbsenceLog(HashMap<Absence, Names>);

struct Names {
    last: Arc<str>,
    count: usize,
    logged: Option<Instant>,
}

impl AbsenceLog {
    fn note(&mut self, name: &Arc<str>, absence: Absence) {
        let new = || Names { last: Arc::clone(name), count: 0, logged: None };
        let names = self.0.entry(absence).or_insert_with(new);
        names.last = Arc::clone(name);
        names.count += 1;
    }

    /// One line for all names of a kind, and none before `pause` is over since the last.
    fn write(&mut self, cluster: &str, pause: Duration) {
        for (absence, names) in &mut self.0 {
            if names.count > 0 && names.logged.is_none_or(|at| at.elapsed() >= pause) {
                absence.warn(&names.last, cluster, Some(names.count));
                names.count = 0;
                names.logged = Some(Instant::now());
            }
        }
    }
}

impl Absence {
    /// `names`: how many topics that requests name this is told of.
    fn warn(self, topic: &str, cluster: &str, names: Option<usize>) {
        let topic = topic.escape_debug();
        match self {
            Self::Missing => warn!(%topic, cluster, names, "topic does not exist"),
            // Kafka's own number and name: its list of error codes has them.
            Self::Forbidden => warn!(
                %topic, cluster, names, code = 29, error = "TOPIC_AUTHORIZATION_FAILED",
                "topic is not permitted"
            ),
            Self::NoRoom => warn!(%topic, cluster, names, "no room for another topic"),
        }
    }
}

impl Control<'_> {
    /// Asks for topics that streams have asked for since the last look, each alone: a list of all topics
    /// for each name that somebody makes would be too much.
    pub(super) fn find_newcomers(&mut self, shared: &Shared) {
        if !shared.reachability.is_reached() {
            self.refresh_at_once = true;
            return;
        }
        let until = Instant::now() + self.asking();
        let mut has_opened = false;
        for topic in shared.held() {
            let is_new = topic.is_unknown() || topic.exists();
            if !is_new || !topic.is_used() || topic.log().is_some() {
                continue;
            }
            if Instant::now() >= until {
                // The list has the others.
                self.refresh_at_once = true;
                break;
            }
            self.topic_state(&topic).seen.asked = Some(Instant::now());
            match self.backend.presence(&topic.name) {
                Ok(Presence::Missing) => self.mark_missing(shared, &topic),
                Ok(Presence::Forbidden) => self.forbid(shared, &topic),
                Ok(Presence::Partitions(0)) => {}
                Ok(Presence::Partitions(partitions)) => {
                    self.topic_state(&topic).partitions = partitions;
                    self.found(shared, &topic, partitions);
                    has_opened |= topic.log().is_some();
                }
                Err(error) => {
                    debug!(%error, topic = %topic.name, "topic can't be asked for");
                    self.refresh_at_once = true;
                    break;
                }
            }
        }
        self.log_absences();
        if has_opened {
            shared.share_memory();
        }
    }

    /// How long names are asked for, one by one, before others have their turn.
    pub(super) fn asking(&self) -> Duration {
        self.timing.watch / 20
    }

    /// The list of topics has it, and its log is not open. False if it should be.
    pub(super) fn found(&mut self, shared: &Shared, topic: &Arc<Topic>, partitions: usize) -> bool {
        if topic.is_forbidden() {
            // It may be described, and perhaps not be read.
            self.topic_state(topic).seen.check.get_or_insert((Duration::ZERO, Instant::now()));
            return true;
        }
        let seen = &mut self.topic_state(topic).seen;
        seen.asked = None;
        if topic.is_used() {
            seen.check = None;
        }
        if seen.last_logged.take().is_some() {
            info!(topic = %topic.name.escape_debug(), cluster = self.cluster, "topic exists");
        }
        if topic.named && !topic.is_used() {
            topic.state.send_replace(State::Found);
            return true;
        }
        if !topic.named && !topic.exists() && !self.make_room(shared) {
            self.refuse_room(shared, topic);
            return true;
        }
        if topic.is_unknown() {
            topic.state.send_replace(State::Found);
        }
        self.open(shared, topic, partitions)
    }

    /// Whether there is room for one more topic that Kafka has: one that nobody reads makes some, if need
    /// be that which has been idle for longest.
    fn make_room(&mut self, shared: &Shared) -> bool {
        if shared.topics.has_room() {
            return true;
        }
        let mut idle: Vec<(Instant, Arc<Topic>)> = Vec::new();
        for topic in shared.held() {
            if !topic.named && topic.exists() && !topic.is_used() {
                let since = self.topic_state(&topic).idle_since.unwrap_or_else(Instant::now);
                idle.push((since, topic));
            }
        }
        idle.sort_by_key(|(since, _)| *since);
        let made = idle.into_iter().find(|(_, topic)| shared.topics.release(topic));
        if let Some((_, topic)) = &made {
            self.release(topic);
        }
        made.is_some()
    }

    /// The list of topics lacks it, and it has no log. Kafka is asked for it alone until `until`: the list
    /// also lacks what may not be described.
    pub(super) fn settle(&mut self, shared: &Shared, topic: &Arc<Topic>, until: Instant) {
        let again = if topic.is_forbidden() { self.timing.refresh } else { self.timing.max_retry };
        let now = Instant::now();
        let seen = &mut self.topic_state(topic).seen;
        seen.check = None;
        let due = seen.asked.is_none_or(|asked| now - asked >= again);
        if due && now < until {
            seen.asked = Some(now);
            match self.backend.presence(&topic.name) {
                Ok(Presence::Missing) => return self.mark_missing(shared, topic),
                Ok(Presence::Forbidden) => return self.forbid(shared, topic),
                // The next look has it.
                Ok(Presence::Partitions(_)) => return,
                Err(error) => debug!(%error, topic = %topic.name, "topic can't be asked for"),
            }
        }
        if topic.is_forbidden() {
            self.forbid(shared, topic);
        } else {
            self.mark_missing(shared, topic);
        }
    }

    /// Kafka does not have the topic.
    pub(super) fn mark_missing(&mut self, shared: &Shared, topic: &Arc<Topic>) {
        if !topic.is_missing() {
            if topic.is_unknown() && !topic.named {
                shared.topics.make_room_for_missing();
                if !shared.topics.has_room_for_missing() {
                    return self.refuse_room(shared, topic);
                }
            }
            self.close(topic, State::Missing);
            topic.health().forget();
        }
        self.report_absence(topic, Absence::Missing);
    }

    /// Kafka does not permit the topic. Its streams end.
    pub(super) fn forbid(&mut self, shared: &Shared, topic: &Arc<Topic>) {
        if !topic.is_forbidden() {
            if !topic.named {
                // Nobody waits for it: those before it go.
                shared.topics.make_room_for_missing();
            }
            self.close(topic, State::Forbidden);
            topic.health().forget();
            let state = self.topic_state(topic);
            state.unseen = None;
            state.seen.check = None;
        }
        self.report_absence(topic, Absence::Forbidden);
    }

    /// There is no room for the topic. Its streams end.
    fn refuse_room(&mut self, shared: &Shared, topic: &Arc<Topic>) {
        shared.topics.remove(topic);
        self.topic_states.remove(&topic.name);
        self.close(topic, State::NoRoom);
        self.absence_log.note(&topic.name, Absence::NoRoom);
    }

    /// Once, and again while it lasts.
    fn report_absence(&mut self, topic: &Topic, absence: Absence) {
        let reminder = self.timing.reminder;
        let last_logged = &mut self.topic_state(topic).seen.last_logged;
        if last_logged.is_some_and(|(known, at)| known == absence && at.elapsed() < reminder) {
            return;
        }
        *last_logged = Some((absence, Instant::now()));
        if topic.named {
            absence.warn(&topic.name, &self.cluster, None);
        } else {
            self.absence_log.note(&topic.name, absence);
        }
    }

    pub(super) fn log_absences(&mut self) {
        self.absence_log.write(&self.cluster, self.timing.absence_interval);
    }

    /// Begins to read topics of which it is to be seen whether they may be read: those that were refused,
    /// those of the configuration that nobody reads, and all that are read if the tail was refused one.
    /// `known`: the list of topics.
    pub(super) fn check_access(&mut self, shared: &Shared, known: &HashMap<String, usize>) {
        let now = Instant::now();
        if self.check.is_some() {
            return;
        }
        let mut topics = shared.held();
        topics.retain(|topic| {
            let seen = self.topic_states.get(&topic.name).map(|state| &state.seen);
            let due = seen.and_then(AccessState::check_due).is_none_or(|due| due <= now);
            let wanted = match topic.log() {
                Some(_) => self.denied,
                None => due && (topic.is_forbidden() || (topic.named && topic.exists())),
            };
            wanted && known.get(&*topic.name).is_some_and(|partitions| *partitions > 0)
        });
        topics.truncate(CHECKED);
        self.denied = false;
        if topics.is_empty() {
            return;
        }
        let backend = Arc::clone(&self.backend);
        let requests = shared.sender();
        // On a thread of its own: a consumer has to connect first, and all else would wait for it.
        let check = move || {
            let names: Vec<Arc<str>> = topics.iter().map(|topic| Arc::clone(&topic.name)).collect();
            let access = backend.access(&names).unwrap_or_else(|error| {
                debug!(%error, "whether topics may be read can't be seen");
                vec![Access::Unknown; names.len()]
            });
            let _ = requests.send(Request::Checked);
            topics.into_iter().zip(access).collect()
        };
        match thread::Builder::new().name("kafka-access".to_owned()).spawn(check) {
            Ok(check) => self.check = Some(check),
            Err(error) => warn!(%error, "no thread to see whether topics may be read"),
        }
    }

    /// What was seen by then.
    pub(super) fn take_checked(&mut self, shared: &Shared) {
        let Some(check) = self.check.take_if(|check| check.is_finished()) else { return };
        let Ok(checked) = check.join() else {
            warn!("the thread that sees whether topics may be read panicked");
            self.denied = true;
            return;
        };
        let now = Instant::now();
        let reminder = self.timing.reminder;
        for (topic, access) in checked {
            let was_refused = topic.is_forbidden();
            match access {
                Access::Refused => self.forbid(shared, &topic),
                Access::Unknown => self.denied |= topic.log().is_some(),
                Access::Permitted if was_refused => {
                    info!(topic = %topic.name.escape_debug(), cluster = self.cluster, "topic is permitted");
                    self.topic_state(&topic).seen = AccessState::default();
                    topic.state.send_replace(State::Found);
                    self.refresh_at_once = true;
                }
                Access::Permitted => {}
            }
            if topic.log().is_some() {
                continue;
            }
            let soon = self.timing.retry;
            let later = self.timing.refresh;
            let seen = &mut self.topic_state(&topic).seen;
            let pause = match access {
                Access::Permitted => reminder,
                Access::Refused | Access::Unknown => {
                    let before = seen.check.map_or(Duration::ZERO, |(pause, _)| pause);
                    (2 * before).clamp(soon, later)
                }
            };
            seen.check = Some((pause, now + pause));
        }
    }
}
