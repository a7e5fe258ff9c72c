//! A task that fetches a key set again and again. The last valid set stays in use while fetches fail.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::Uri;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tracing::field::display;
use tracing::{debug, info, warn};

use crate::escape::Escaped;
use crate::guard::Inner;
use crate::keys::location::{FetchError, FetchFailure, Location};
use crate::keys::redacted::Redacted;
use crate::keys::set::Skipped;
use crate::{Fetch, KeyError};

/// How long a request waits for a fetch.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// How many requests may wait for a fetch. They are not authenticated yet, and each holds its token.
const MAX_WAITING_REQUESTS: usize = 1024;
/// The time after a fetch during which requests cause no other one.
const MIN_REQUESTED_INTERVAL: Duration = Duration::from_secs(10);
/// The first and the longest pause after failures. The pause doubles with each failure.
const MIN_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(5 * 60);
/// How many skipped keys of a set are logged.
const MAX_LOGGED_KEYS: usize = 10;

/// The task of a guard that fetches its keys.
pub(crate) struct RemoteKeys {
    shared: Arc<Shared>,
    /// One permit for each waiting request.
    waiting: Arc<Semaphore>,
    task: Mutex<Option<AbortHandle>>,
}

struct Shared {
    location: Location,
    fetch: Arc<dyn Fetch>,
    state: watch::Sender<FetchState>,
}

#[derive(Clone, Copy, Debug)]
struct FetchState {
    phase: Phase,
    /// The number of completed fetches.
    ended: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// No fetch is requested. The time is that of the last fetch.
    Idle(Option<Instant>),
    /// A request needs a fetch, and the task will start it.
    Requested,
    Fetching,
}

impl RemoteKeys {
    pub(crate) fn new(location: Location, fetch: Arc<dyn Fetch>) -> Self {
        let (state, _) = watch::channel(FetchState { phase: Phase::Idle(None), ended: 0 });
        let shared = Arc::new(Shared { location, fetch, state });
        Self {
            shared,
            waiting: Arc::new(Semaphore::new(MAX_WAITING_REQUESTS)),
            task: Mutex::default(),
        }
    }

    /// Starts the task if it does not run. Returns `false` outside of a Tokio runtime.
    pub(crate) fn start(&self, guard: Weak<Inner>) -> bool {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_some_and(|task| !task.is_finished()) {
            return true;
        }
        let Ok(runtime) = Handle::try_current() else { return false };
        // Before the task runs, so that a request that comes now waits for it.
        self.shared.state.send_modify(|state| state.phase = Phase::Requested);
        *task = Some(runtime.spawn(run(Arc::clone(&self.shared), guard)).abort_handle());
        true
    }

    /// Requests a fetch and returns a future that waits for it. `None` if the last fetch is too recent, or if
    /// too many requests wait.
    pub(crate) fn refreshed(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let mut state = self.shared.state.subscribe();
        self.shared.state.send_if_modified(|state| {
            let may_start = match state.phase {
                Phase::Idle(since) => {
                    since.is_none_or(|since| since.elapsed() >= MIN_REQUESTED_INTERVAL)
                }
                Phase::Requested | Phase::Fetching => false,
            };
            if may_start {
                state.phase = Phase::Requested;
            }
            may_start
        });
        let FetchState { phase, ended } = *state.borrow_and_update();
        if matches!(phase, Phase::Idle(_)) {
            return None;
        }
        let permit = Arc::clone(&self.waiting).try_acquire_owned().ok()?;
        Some(async move {
            let _permit = permit;
            let next = state.wait_for(|state| state.ended > ended);
            // After a timeout, too, the known keys decide.
            let _ = timeout(MAX_WAIT, next).await;
        })
    }
}

impl Drop for RemoteKeys {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task.take() {
            task.abort();
        }
    }
}

async fn run(shared: Arc<Shared>, guard: Weak<Inner>) {
    let mut requests = shared.state.subscribe();
    let mut log = FetchLog::default();
    let mut failures = 0_u32;
    loop {
        shared.state.send_modify(|state| state.phase = Phase::Fetching);
        let fetched = shared.location.fetch(&*shared.fetch).await;
        let Some(guard) = guard.upgrade() else { return };
        let pause = match fetched {
            Ok(fetched) => {
                log.success(&shared.location, &fetched.uri, fetched.skipped, failures);
                failures = 0;
                guard.set_keys(fetched.keys);
                random_between(fetched.freshness * 9 / 10, fetched.freshness)
            }
            Err(failure) => {
                log.failure(&failure);
                let pause = MIN_RETRY.saturating_mul(1 << failures.min(16)).min(MAX_RETRY);
                failures = failures.saturating_add(1);
                random_between(pause / 2, pause)
            }
        };
        drop(guard);
        shared.state.send_modify(|state| {
            state.phase = Phase::Idle(Some(Instant::now()));
            state.ended += 1;
        });
        let next = requests.wait_for(|state| matches!(state.phase, Phase::Requested));
        let _ = timeout(pause, next).await;
    }
}

/// The last logged messages. The same message is not logged twice in a row.
#[derive(Default)]
struct FetchLog {
    error: Option<String>,
    skipped: Vec<Skipped>,
    issuer_keys: Option<Uri>,
}

impl FetchLog {
    fn success(&mut self, from: &Location, uri: &Uri, skipped: Vec<Skipped>, failures: u32) {
        self.error = None;
        if failures > 0 {
            info!(url = %Redacted(uri), failures, "key set fetched again");
        }
        if matches!(from, Location::Issuer { .. }) && self.issuer_keys.as_ref() != Some(uri) {
            info!(url = %Redacted(uri), "the key set of the issuer was found");
            self.issuer_keys = Some(uri.clone());
        }
        self.skipped_keys(uri, skipped);
    }

    fn failure(&mut self, FetchFailure { uri, error }: &FetchFailure) {
        if let FetchError::Empty(skipped) = error {
            self.skipped_keys(uri, skipped.clone());
        }
        let error = error.to_string();
        if self.error.as_ref() != Some(&error) {
            warn!(%error, url = %Redacted(uri), "key set could not be fetched, trying again");
            self.error = Some(error);
        }
    }

    fn skipped_keys(&mut self, uri: &Uri, skipped: Vec<Skipped>) {
        if self.skipped == skipped {
            return;
        }
        for Skipped { place, kid, reason } in skipped.iter().take(MAX_LOGGED_KEYS) {
            let kid = kid.as_deref().map(|kid| display(Escaped(kid)));
            match reason {
                // Many sets contain keys for encryption as well.
                KeyError::Use(_) | KeyError::Operations => {
                    debug!(%reason, kid, place, url = %Redacted(uri), "key is not for signatures");
                }
                _ => warn!(%reason, kid, place, url = %Redacted(uri), "key is not usable"),
            }
        }
        if let more @ 1.. = skipped.len().saturating_sub(MAX_LOGGED_KEYS) {
            warn!(more, url = %Redacted(uri), "more keys are not usable");
        }
        self.skipped = skipped;
    }
}

fn random_between(min: Duration, max: Duration) -> Duration {
    let range = max.saturating_sub(min).as_millis();
    min + Duration::from_millis(fastrand::u64(0..=u64::try_from(range).unwrap_or(u64::MAX)))
}
