//! A key set that is somewhere else: fetched by a task, kept when it cannot be fetched anew.

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
use crate::keys::location::{FETCH_TIMEOUT, FetchError, FetchFailure, Location};
use crate::keys::redacted::Redacted;
use crate::keys::set::Skipped;
use crate::{Fetch, KeyError};

/// How long a request waits for one.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// How many requests wait for one at a time. Nobody has vouched for them yet, and each is held with
/// its token.
const MAX_WAITING_REQUESTS: usize = 1024;
/// Between the end of a fetch and the next one that a request asks for.
const MIN_REQUESTED_INTERVAL: Duration = Duration::from_secs(10);
/// After a failure, doubled with each.
const MIN_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(5 * 60);
/// Of keys that are of no use, for each set.
const MAX_LOGGED_KEYS: usize = 10;

/// Where the keys come from, and how the fetching goes.
pub(crate) struct RemoteKeys {
    shared: Arc<Shared>,
    /// For those that wait.
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
    /// How many fetches have ended.
    ended: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing has been asked for so far, or since then.
    Idle(Option<Instant>),
    /// A request wants a fetch, and the task is to begin it.
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

    /// Begins to fetch, unless that has begun. Outside of a runtime nothing happens: `false`.
    pub(crate) fn start(&self, guard: Weak<Inner>) -> bool {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_some_and(|task| !task.is_finished()) {
            return true;
        }
        let Ok(runtime) = Handle::try_current() else { return false };
        // At once, so that whoever asks now waits for it.
        self.shared.state.send_modify(|state| state.phase = Phase::Requested);
        *task = Some(runtime.spawn(run(Arc::clone(&self.shared), guard)).abort_handle());
        true
    }

    /// Waits for a fetch that is under way, or that may begin now: `None` if there is none, so that
    /// nothing new can be known soon, and if too many wait already.
    pub(crate) fn refreshed(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let mut state = self.shared.state.subscribe();
        self.shared.state.send_if_modified(|state| {
            let rested = match state.phase {
                Phase::Idle(since) => {
                    since.is_none_or(|since| since.elapsed() >= MIN_REQUESTED_INTERVAL)
                }
                Phase::Requested | Phase::Fetching => false,
            };
            if rested {
                state.phase = Phase::Requested;
            }
            rested
        });
        let FetchState { phase, ended } = *state.borrow_and_update();
        if matches!(phase, Phase::Idle(_)) {
            return None;
        }
        let permit = Arc::clone(&self.waiting).try_acquire_owned().ok()?;
        Some(async move {
            let _permit = permit;
            let next = state.wait_for(|state| state.ended > ended);
            // Late or not: what is known then decides.
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
        let fetched = timeout(FETCH_TIMEOUT, shared.location.fetch(&*shared.fetch)).await;
        let Some(guard) = guard.upgrade() else { return };
        let timed_out = |_| {
            let uri = shared.location.uri().clone();
            Err(FetchFailure { uri, error: FetchError::Timeout })
        };
        let pause = match fetched.unwrap_or_else(timed_out) {
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

/// What was logged last: it is said again when it is another.
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
                // A set for encryption as well is usual.
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
