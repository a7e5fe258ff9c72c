//! Topics that do not exist, that Kafka does not permit, or that there is no room for: how this thread finds
//! out, what it logs, and how it notices that a topic can be served again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::broker::{Access, Presence};
use crate::engine::control::Control;
use crate::topic::registry::Shared;
use crate::topic::requests::Request;
use crate::topic::{State, Topic};

/// How many topics one check of access reads.
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

/// What is known of the access to a topic.
#[derive(Default)]
pub(super) struct AccessState {
    /// When Kafka was last asked for this topic alone.
    asked: Option<Instant>,
    /// The pause between two attempts to read the topic, and when the next attempt is due.
    check: Option<(Duration, Instant)>,
    /// What was logged last, and when.
    last_logged: Option<(Absence, Instant)>,
}

impl AccessState {
    /// When the next attempt to read the topic is due.
    pub(super) fn check_due(&self) -> Option<Instant> {
        self.check.map(|(_, due)| due)
    }
}

/// So many warnings of a kind are logged within [`Timing::absence_interval`](crate::timing::Timing::absence_interval).
const WARNINGS: usize = 10;

/// So many absences are remembered, so that each is logged once in a while.
const REMEMBERED: usize = 1000;

/// What is to be logged of topics that requests name. Clients can make up any number of names, so those beyond a few
/// share a warning.
#[derive(Default)]
pub(super) struct AbsenceLog {
    kinds: HashMap<Absence, Names>,
    /// When each absence was logged.
    known: HashMap<(Arc<str>, Absence), Instant>,
}

#[derive(Default)]
struct Names {
    /// Names of which a warning is due.
    next: Vec<Arc<str>>,
    /// How many names there were that share a warning, and the last one.
    others: usize,
    last: Option<Arc<str>>,
    /// Since when warnings are counted, and how many there were.
    since: Option<Instant>,
    warnings: usize,
}

impl AbsenceLog {
    /// Notes an absence, unless it was noted within `reminder`.
    fn note(&mut self, name: &Arc<str>, absence: Absence, now: Instant, reminder: Duration) {
        let known = (Arc::clone(name), absence);
        if self.known.get(&known).is_some_and(|at| now - *at < reminder) {
            return;
        }
        if self.known.len() >= REMEMBERED {
            self.known.retain(|_, at| now - *at < reminder);
        }
        if self.known.len() < REMEMBERED {
            self.known.insert(known, now);
        }
        let names = self.kinds.entry(absence).or_default();
        if names.next.len() < WARNINGS {
            names.next.push(Arc::clone(name));
        } else {
            names.others += 1;
            names.last = Some(Arc::clone(name));
        }
    }

    /// The topic exists or is permitted. Returns whether it was logged that it is not.
    fn forget(&mut self, name: &Arc<str>) -> bool {
        [Absence::Missing, Absence::Forbidden]
            .map(|absence| self.known.remove(&(Arc::clone(name), absence)).is_some())
            .contains(&true)
    }

    /// Logs a warning for each name, but for names beyond a few within `pause` one for all of them.
    fn write(&mut self, cluster: &str, pause: Duration) {
        for (absence, names) in &mut self.kinds {
            if names.since.is_none_or(|since| since.elapsed() >= pause) {
                (names.since, names.warnings) = (Some(Instant::now()), 0);
                if let Some(last) = names.last.take() {
                    absence.warn(&last, cluster, Some(std::mem::take(&mut names.others)));
                    names.warnings += 1;
                }
            }
            for name in names.next.drain(..) {
                if names.warnings < WARNINGS {
                    absence.warn(&name, cluster, None);
                    names.warnings += 1;
                } else {
                    names.others += 1;
                    names.last = Some(name);
                }
            }
        }
    }
}

impl Absence {
    /// `names`: how many topics the warning stands for, if they are many.
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
    /// Asks Kafka for each topic that streams have named since the last refresh. To list all topics for each name
    /// that a client makes up would be too much.
    pub(super) async fn find_new_topics(&mut self, shared: &Shared) {
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
                // A refresh finds the other topics.
                self.refresh_at_once = true;
                break;
            }
            self.topic_state(&topic).seen.asked = Some(Instant::now());
            match self.backend.presence(&topic.name).await {
                // Refreshes confirm that it is gone: streams may have positions in its last log.
                Ok(Presence::Missing) if topic.exists() => self.refresh_at_once = true,
                Ok(Presence::Missing) => self.mark_missing(shared, &topic),
                Ok(Presence::Forbidden) => self.forbid(shared, &topic),
                Ok(Presence::Partitions(0)) => {}
                Ok(Presence::Partitions(partitions)) => {
                    self.topic_state(&topic).partitions = partitions;
                    topic.health().partitions = partitions;
                    self.found(shared, &topic, partitions).await;
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

    /// How long this thread asks for single topics before other requests are served.
    pub(super) fn asking(&self) -> Duration {
        self.timing.watch / 20
    }

    /// Handles a topic that Kafka lists and whose log is not open. Returns false if the log should be open.
    pub(super) async fn found(
        &mut self,
        shared: &Shared,
        topic: &Arc<Topic>,
        partitions: usize,
    ) -> bool {
        if topic.is_forbidden() {
            // Kafka permits to describe the topic, but perhaps not to read it.
            self.topic_state(topic).seen.check.get_or_insert((Duration::ZERO, Instant::now()));
            return true;
        }
        let seen = &mut self.topic_state(topic).seen;
        seen.asked = None;
        if topic.is_used() {
            seen.check = None;
        }
        let was_logged = seen.last_logged.take().is_some();
        if self.absence_log.forget(&topic.name) || was_logged {
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
        self.open(shared, topic, partitions).await
    }

    /// Whether there is room for one more topic that exists. If not, the topic that has been idle for longest is
    /// released.
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

    /// Handles a topic that Kafka does not list and that has no log. Until `until`, Kafka is asked for the topic
    /// by name: the list also lacks topics that may not be described.
    pub(super) async fn settle(&mut self, shared: &Shared, topic: &Arc<Topic>, until: Instant) {
        let again = if topic.is_forbidden() { self.timing.refresh } else { self.timing.max_retry };
        let now = Instant::now();
        let seen = &mut self.topic_state(topic).seen;
        seen.check = None;
        let due = seen.asked.is_none_or(|asked| now - asked >= again);
        if due && now < until {
            seen.asked = Some(now);
            match self.backend.presence(&topic.name).await {
                Ok(Presence::Missing) => return self.mark_missing(shared, topic),
                Ok(Presence::Forbidden) => return self.forbid(shared, topic),
                // The next refresh finds it.
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
                // No stream waits for a forbidden topic, so forbidden and missing ones without streams are removed.
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

    /// Removes a topic for which there is no room. Its streams end.
    fn refuse_room(&mut self, shared: &Shared, topic: &Arc<Topic>) {
        shared.topics.remove(topic);
        self.topic_states.remove(&topic.name);
        self.close(topic, State::NoRoom);
        let reminder = self.timing.reminder;
        self.absence_log.note(&topic.name, Absence::NoRoom, Instant::now(), reminder);
    }

    /// Logs an absence once, and again at intervals while it lasts.
    fn report_absence(&mut self, topic: &Topic, absence: Absence) {
        let reminder = self.timing.reminder;
        let last_logged = &mut self.topic_state(topic).seen.last_logged;
        let now = Instant::now();
        if last_logged.is_some_and(|(known, at)| known == absence && now - at < reminder) {
            return;
        }
        *last_logged = Some((absence, now));
        if topic.named {
            absence.warn(&topic.name, &self.cluster, None);
        } else {
            self.absence_log.note(&topic.name, absence, now, reminder);
        }
    }

    pub(super) fn log_absences(&mut self) {
        self.absence_log.write(&self.cluster, self.timing.absence_interval);
    }

    /// Begins to check whether topics may be read: those that are forbidden, those of the configuration without
    /// streams, and, if the tail was not permitted some topic, all that it reads. `known`: the list of topics.
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
        let (result, check) = oneshot::channel();
        // On a thread of its own: a consumer has to connect first, and all other requests would wait for it.
        let read = async move || {
            let names: Vec<Arc<str>> = topics.iter().map(|topic| Arc::clone(&topic.name)).collect();
            let access = backend.access(&names).await.unwrap_or_else(|error| {
                debug!(%error, "the access to topics can't be checked");
                vec![Access::Unknown; names.len()]
            });
            // The control task may have ended meanwhile.
            let _ = result.send(topics.into_iter().zip(access).collect());
            let _ = requests.send(Request::Checked);
        };
        match shared.threads.run("kafka-access", read) {
            Ok(()) => self.check = Some(check),
            Err(error) => warn!(%error, "can't start a thread to check the access to topics"),
        }
    }

    /// Takes the result of a check that has finished.
    pub(super) fn take_checked(&mut self, shared: &Shared) {
        let Some(check) = &mut self.check else { return };
        let checked = match check.try_recv() {
            Err(TryRecvError::Empty) => return,
            result => result,
        };
        self.check = None;
        let Ok(checked) = checked else {
            warn!("the thread that checks the access to topics panicked");
            self.denied = true;
            return;
        };
        let now = Instant::now();
        let reminder = self.timing.reminder;
        for (topic, access) in checked {
            let was_forbidden = topic.is_forbidden();
            match access {
                Access::Forbidden => self.forbid(shared, &topic),
                Access::Unknown => self.denied |= topic.log().is_some(),
                Access::Permitted if was_forbidden => {
                    info!(topic = %topic.name.escape_debug(), cluster = self.cluster, "topic is permitted");
                    self.topic_state(&topic).seen = AccessState::default();
                    self.absence_log.forget(&topic.name);
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
                Access::Forbidden | Access::Unknown => {
                    let before = seen.check.map_or(Duration::ZERO, |(pause, _)| pause);
                    (2 * before).clamp(soon, later)
                }
            };
            seen.check = Some((pause, now + pause));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMINDER: Duration = Duration::from_secs(600);
    const PAUSE: Duration = Duration::from_secs(10);

    /// How many warnings are due at the next write.
    fn due(log: &AbsenceLog) -> usize {
        log.kinds.values().map(|names| names.next.len() + usize::from(names.others > 0)).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_logged_once_and_again_after_a_while_or_once_it_was_there() {
        let mut log = AbsenceLog::default();
        let name: Arc<str> = "orders".into();
        let mut note = |absence| {
            log.note(&name, absence, Instant::now(), REMINDER);
            let due = due(&log);
            log.write("kafka", PAUSE);
            if absence == Absence::NoRoom {
                log.forget(&name);
            }
            due
        };
        assert_eq!([(); 3].map(|()| note(Absence::Missing)), [1, 0, 0]);
        assert_eq!(note(Absence::Forbidden), 1, "something else");
        tokio::time::advance(REMINDER).await;
        assert_eq!([(); 2].map(|()| note(Absence::Missing)), [1, 0]);
        note(Absence::NoRoom);
        assert_eq!(note(Absence::Missing), 1, "it was there");
    }

    #[tokio::test(start_paused = true)]
    async fn what_clients_make_up_takes_bounded_memory_and_few_warnings() {
        let mut log = AbsenceLog::default();
        for second in 0..60 {
            for number in 0..1000 {
                let name = format!("{second}-{number}").into();
                log.note(&name, Absence::Missing, Instant::now(), REMINDER);
            }
            log.write("kafka", PAUSE);
            let names = &log.kinds[&Absence::Missing];
            assert!(names.warnings <= WARNINGS && names.next.is_empty());
            assert_eq!(names.warnings, WARNINGS, "also in the seconds after the first");
            assert!(log.known.len() <= REMEMBERED);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(log.kinds[&Absence::Missing].since.map(|at| at.elapsed().as_secs()), Some(10));
    }
}
