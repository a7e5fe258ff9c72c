//! Whether Kafka answers, for `/ready` and the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::{info, warn};

/// Kafka counts as unreachable if a query has no answer for this long. It is less than the two seconds
/// within which that must be logged, and more than the round trips of a new connection take on most links.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);

/// On a slow link or in a large cluster answers take longer. A query waits for this many times the usual time.
const USUAL_TIMES: u32 = 3;

/// The interval between two warnings while Kafka stays unreachable, and between two about the same broker.
const REMINDER: Duration = Duration::from_secs(60);

/// The most servers whose failures are remembered.
const SERVERS: usize = 8;

/// How long a vague failure does not replace one that names the cause. librdkafka repeats an identical error
/// every 30 seconds.
const CAUSE_AGE: Duration = Duration::from_secs(40);

/// Whether Kafka answered the last query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Contact {
    /// Kafka has never answered.
    #[default]
    Never,
    /// Kafka answered the last query.
    Made,
    /// Kafka answered before, and does not answer now.
    Lost,
}

/// Why a server can't be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The cause in plain words, without control characters.
    pub(crate) cause: String,
    /// The cause is not known: the connection ended, or nothing came.
    pub(crate) is_vague: bool,
    /// The cause in one word, from a bounded set.
    pub(crate) kind: &'static str,
}

impl Failure {
    pub(crate) fn new(kind: &'static str, cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), is_vague: false, kind }
    }

    pub(crate) fn vague(kind: &'static str, cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), is_vague: true, kind }
    }
}

/// Whether a cluster answers, and why it does not.
#[derive(Debug)]
pub(crate) struct Reachability {
    name: String,
    servers: Vec<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    contact: Contact,
    changed: SystemTime,
    changes: u64,
    /// How many errors there were of each kind.
    errors: BTreeMap<&'static str, u64>,
    /// Since when Kafka has not answered.
    unanswered: Instant,
    /// When it was last logged that Kafka is unreachable.
    logged: Option<Instant>,
    last_error: Option<String>,
    /// The failures since Kafka last answered.
    failures: BTreeMap<String, (Failure, Instant)>,
    /// When a warning last named each broker.
    warned: BTreeMap<String, Instant>,
    disconnected: bool,
    answer_time: Duration,
}

impl State {
    fn error(&self, servers: &[String]) -> String {
        let mut causes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (server, (failure, _)) in &self.failures {
            causes.entry(&failure.cause).or_default().push(server);
        }
        if causes.is_empty() {
            return format!("no answer ({})", servers.join(", "));
        }
        let causes =
            causes.iter().map(|(cause, servers)| format!("{cause} ({})", servers.join(", ")));
        causes.collect::<Vec<_>>().join("; ")
    }
}

impl Reachability {
    /// `servers` are as in `bootstrap.servers`. An empty name is replaced by them.
    pub(crate) fn new(name: &str, servers: &str) -> Self {
        let state = State {
            contact: Contact::Never,
            changed: SystemTime::now(),
            changes: 0,
            errors: BTreeMap::new(),
            unanswered: Instant::now(),
            logged: None,
            last_error: None,
            failures: BTreeMap::new(),
            warned: BTreeMap::new(),
            disconnected: false,
            answer_time: Duration::ZERO,
        };
        let name = if name.is_empty() { servers } else { name };
        let servers = servers.split(',').map(str::trim).filter(|server| !server.is_empty());
        Self {
            name: name.to_owned(),
            servers: servers.map(str::to_owned).collect(),
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of the cluster in the log.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn servers(&self) -> &[String] {
        &self.servers
    }

    /// Whether Kafka answered the last query.
    pub(crate) fn is_reached(&self) -> bool {
        self.lock().contact == Contact::Made
    }

    /// The state, since when, and why Kafka was last unreachable.
    pub(crate) fn now(&self) -> (Contact, SystemTime, Option<String>) {
        let state = self.lock();
        (state.contact, state.changed, state.last_error.clone())
    }

    /// How often Kafka was reached or lost.
    pub(crate) fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// Counts an error that is no failure of a connection.
    pub(crate) fn note_error(&self, kind: &'static str) {
        *self.lock().errors.entry(kind).or_default() += 1;
    }

    /// How many errors there were of each kind.
    pub(crate) fn errors(&self) -> BTreeMap<&'static str, u64> {
        self.lock().errors.clone()
    }

    /// How long an answer may take before Kafka counts as unreachable.
    pub(crate) fn answer_timeout(&self) -> Duration {
        ANSWER_TIMEOUT.max(USUAL_TIMES * self.lock().answer_time)
    }

    /// Notes that a connection to this server failed or could not be made.
    pub(crate) fn failed(&self, server: &str, failure: Failure) {
        let mut state = self.lock();
        *state.errors.entry(failure.kind).or_default() += 1;
        state.disconnected = true;
        let now = Instant::now();
        let known = state.failures.get(server);
        let names_cause = |(known, at): &(Failure, Instant)| {
            !known.is_vague && now.duration_since(*at) < CAUSE_AGE
        };
        if failure.is_vague && known.is_some_and(names_cause) {
            return;
        }
        if known.is_some() || state.failures.len() < SERVERS {
            state.failures.insert(server.to_owned(), (failure, now));
        }
    }

    /// Notes that a connection ended, as idle ones do.
    pub(crate) fn disconnected(&self) {
        self.lock().disconnected = true;
    }

    /// Whether a connection has ended since the last call.
    pub(crate) fn take_disconnected(&self) -> bool {
        std::mem::take(&mut self.lock().disconnected)
    }

    /// Notes that Kafka answered the query that was sent at `asked`. Returns true if it was unreachable before.
    pub(crate) fn answered(&self, asked: Instant) -> bool {
        let mut state = self.lock();
        state.answer_time = asked.elapsed();
        if state.contact == Contact::Made {
            self.warn_of_brokers(&mut state);
            return false;
        }
        state.contact = Contact::Made;
        state.changed = SystemTime::now();
        state.changes += 1;
        state.failures.clear();
        if state.logged.take().is_some() {
            info!(
                cluster = self.name,
                servers = self.servers.join(","),
                error = state.last_error,
                seconds = seconds(state.unanswered),
                "Kafka is reached again"
            );
        }
        true
    }

    /// Notes that Kafka does not answer the query that was sent at `asked`.
    pub(crate) fn unanswered(&self, asked: Instant) {
        let mut state = self.lock();
        if state.contact == Contact::Made {
            state.contact = Contact::Lost;
            state.changed = SystemTime::now();
            state.changes += 1;
            state.unanswered = asked;
            state.logged = None;
        }
        let error = state.error(&self.servers);
        state.last_error = Some(error.clone());
        let cluster = &self.name;
        let servers = self.servers.join(",");
        let seconds = seconds(state.unanswered);
        match state.logged {
            None => warn!(cluster, servers, error, seconds, "Kafka is away"),
            Some(at) if at.elapsed() >= REMINDER => {
                warn!(cluster, servers, error, seconds, "Kafka is still away");
            }
            Some(_) => return,
        }
        state.logged = Some(Instant::now());
    }

    /// Logs failures while Kafka answers: they are of single brokers or of a connection that has died.
    fn warn_of_brokers(&self, state: &mut State) {
        state.warned.retain(|_, at| at.elapsed() < REMINDER);
        for (broker, (failure, _)) in std::mem::take(&mut state.failures) {
            if state.warned.len() < SERVERS && !state.warned.contains_key(&broker) {
                let servers = self.servers.join(",");
                let error = &failure.cause;
                warn!(cluster = self.name, servers, broker, error, "broker is not reached");
                state.warned.insert(broker, Instant::now());
            }
        }
    }
}

/// The seconds since then, to a tenth.
fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_each_cause_once_and_a_vague_one_hides_none() {
        let reach = Reachability::new("", "a:1, b:2");
        assert_eq!(
            (&*reach.name, reach.servers()),
            ("a:1, b:2", &["a:1".into(), "b:2".into()][..])
        );
        let error = || {
            reach.unanswered(Instant::now());
            reach.now().2.unwrap()
        };
        assert_eq!(error(), "no answer (a:1, b:2)");
        reach.failed("a:1", Failure::vague("closed", "closed"));
        assert_eq!(error(), "closed (a:1)");
        reach.failed("a:1", Failure::new("other", "refused"));
        reach.failed("b:2", Failure::new("other", "refused"));
        reach.failed("c:3", Failure::new("other", "unknown name"));
        assert_eq!(error(), "refused (a:1, b:2); unknown name (c:3)");
        reach.failed("a:1", Failure::vague("closed", "closed"));
        assert_eq!(error(), "refused (a:1, b:2); unknown name (c:3)");
        for server in 0..100 {
            reach.failed(&format!("{server}"), Failure::new("other", "refused"));
        }
        assert_eq!(reach.lock().failures.len(), SERVERS);
    }

    #[test]
    fn contact_changes_with_the_answers_and_the_last_error_stays() {
        let reach = Reachability::new("kafka", "a:1");
        let contact = || reach.now().0;
        let now = Instant::now();
        assert_eq!(contact(), Contact::Never);
        reach.unanswered(now);
        assert_eq!(contact(), Contact::Never);
        assert!(reach.answered(now));
        assert_eq!(contact(), Contact::Made);
        assert!(!reach.answered(now));
        reach.failed("a:1", Failure::new("other", "refused"));
        assert!(reach.take_disconnected() && !reach.take_disconnected());
        reach.unanswered(now);
        assert_eq!((contact(), reach.now().2.as_deref()), (Contact::Lost, Some("refused (a:1)")));
        assert!(reach.answered(now));
        assert_eq!(reach.now().2.as_deref(), Some("refused (a:1)"));
        assert!(reach.lock().failures.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn kafka_that_stays_away_is_told_each_minute() {
        let reachability = Reachability::new("c", "a:1");
        let begun = Instant::now();
        let mut told = Vec::new();
        for _ in 0..150 {
            reachability.unanswered(begun);
            let logged = reachability.lock().logged.map(|at| (at - begun).as_secs());
            if logged != told.last().copied() {
                told.extend(logged);
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(told, [0, 60, 120]);
    }

    #[test]
    fn a_slow_answer_is_waited_for() {
        let reach = Reachability::new("kafka", "a:1");
        assert_eq!(reach.answer_timeout(), ANSWER_TIMEOUT);
        reach.answered(Instant::now() - Duration::from_secs(4));
        assert!(reach.answer_timeout() >= Duration::from_secs(12));
        reach.answered(Instant::now());
        assert_eq!(reach.answer_timeout(), ANSWER_TIMEOUT);
    }

    #[test]
    fn brokers_that_fail_while_kafka_answers_are_named_once_a_minute() {
        let reach = Reachability::new("kafka", "a:1");
        reach.answered(Instant::now());
        for broker in 0..100 {
            reach.failed(&format!("{broker}:1"), Failure::new("other", "refused"));
            reach.answered(Instant::now());
            let state = reach.lock();
            assert!(state.failures.is_empty() && state.warned.len() <= SERVERS);
        }
    }
}
