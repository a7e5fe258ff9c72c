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

use crate::foreign::Foreign;
use crate::guard::Inner;
use crate::keys::location::{FETCH_TIMEOUT, Failure, FetchError, Location};
use crate::keys::redacted::Shown;
use crate::keys::set::Skipped;
use crate::{Fetch, KeyError};

/// How long a request waits for one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How many requests wait for one at a time. Nobody has vouched for them yet, and each is held with
/// its token.
const WAITING: usize = 1024;
/// Between the end of a fetch and the next one that a request asks for.
const AT_REQUEST: Duration = Duration::from_secs(10);
/// After a failure, doubled with each.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(5 * 60);
/// Of keys that are of no use, for each set.
const LINES: usize = 10;

/// Where the keys come from, and how the fetching goes.
pub(crate) struct Remote {
    shared: Arc<Shared>,
    /// For those that wait.
    places: Arc<Semaphore>,
    task: Mutex<Option<AbortHandle>>,
}

struct Shared {
    location: Location,
    fetch: Arc<dyn Fetch>,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    phase: Phase,
    /// How many fetches have ended.
    ended: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing has been asked for so far, or since then.
    Idle(Option<Instant>),
    /// A request wants a fetch, and the task is to begin it.
    Wanted,
    Fetching,
}

impl Remote {
    pub(crate) fn new(location: Location, fetch: Arc<dyn Fetch>) -> Self {
        let (progress, _) = watch::channel(Progress { phase: Phase::Idle(None), ended: 0 });
        let shared = Arc::new(Shared { location, fetch, progress });
        Self { shared, places: Arc::new(Semaphore::new(WAITING)), task: Mutex::default() }
    }

    /// Begins to fetch, unless that has begun. Outside of a runtime nothing happens: `false`.
    pub(crate) fn start(&self, guard: Weak<Inner>) -> bool {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_some_and(|task| !task.is_finished()) {
            return true;
        }
        let Ok(runtime) = Handle::try_current() else { return false };
        // At once, so that whoever asks now waits for it.
        self.shared.progress.send_modify(|progress| progress.phase = Phase::Wanted);
        *task = Some(runtime.spawn(run(Arc::clone(&self.shared), guard)).abort_handle());
        true
    }

    /// Waits for a fetch that is under way, or that may begin now: `None` if there is none, so that
    /// nothing new can be known soon, and if too many wait already.
    pub(crate) fn refreshed(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let mut progress = self.shared.progress.subscribe();
        self.shared.progress.send_if_modified(|progress| {
            let rested = match progress.phase {
                Phase::Idle(since) => since.is_none_or(|since| since.elapsed() >= AT_REQUEST),
                Phase::Wanted | Phase::Fetching => false,
            };
            if rested {
                progress.phase = Phase::Wanted;
            }
            rested
        });
        let Progress { phase, ended } = *progress.borrow_and_update();
        if matches!(phase, Phase::Idle(_)) {
            return None;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(async move {
            let _place = place;
            let next = progress.wait_for(|progress| progress.ended > ended);
            // Late or not: what is known then decides.
            let _ = timeout(REQUEST_TIMEOUT, next).await;
        })
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task.take() {
            task.abort();
        }
    }
}

async fn run(shared: Arc<Shared>, guard: Weak<Inner>) {
    let mut wanted = shared.progress.subscribe();
    let mut log = Log::default();
    let mut failures = 0_u32;
    loop {
        shared.progress.send_modify(|progress| progress.phase = Phase::Fetching);
        let fetched = timeout(FETCH_TIMEOUT, shared.location.fetch(&*shared.fetch)).await;
        let Some(guard) = guard.upgrade() else { return };
        let late = |_| {
            let uri = shared.location.uri().clone();
            Err(Failure { uri, error: FetchError::Timeout })
        };
        let pause = match fetched.unwrap_or_else(late) {
            Ok(fetched) => {
                log.success(&shared.location, &fetched.uri, fetched.skipped, failures);
                failures = 0;
                guard.learn(fetched.keys);
                between(fetched.fresh * 9 / 10, fetched.fresh)
            }
            Err(failure) => {
                log.failure(&failure);
                let pause = RETRY_FIRST.saturating_mul(1 << failures.min(16)).min(RETRY_LAST);
                failures = failures.saturating_add(1);
                between(pause / 2, pause)
            }
        };
        drop(guard);
        shared.progress.send_modify(|progress| {
            progress.phase = Phase::Idle(Some(Instant::now()));
            progress.ended += 1;
        });
        let next = wanted.wait_for(|progress| matches!(progress.phase, Phase::Wanted));
        let _ = timeout(pause, next).await;
    }
}

/// What was logged last: it is said again when it is another.
#[derive(Default)]
struct Log {
    error: Option<String>,
    skipped: Vec<Skipped>,
    found: Option<Uri>,
}

impl Log {
    fn success(&mut self, from: &Location, uri: &Uri, skipped: Vec<Skipped>, failures: u32) {
        self.error = None;
        if failures > 0 {
            info!(url = %Shown(uri), failures, "key set fetched again");
        }
        if matches!(from, Location::Issuer { .. }) && self.found.as_ref() != Some(uri) {
            info!(url = %Shown(uri), "the key set of the issuer was found");
            self.found = Some(uri.clone());
        }
        self.unusable(uri, skipped);
    }

    fn failure(&mut self, Failure { uri, error }: &Failure) {
        if let FetchError::Empty(skipped) = error {
            self.unusable(uri, skipped.clone());
        }
        let error = error.to_string();
        if self.error.as_ref() != Some(&error) {
            warn!(%error, url = %Shown(uri), "key set could not be fetched, trying again");
            self.error = Some(error);
        }
    }

    fn unusable(&mut self, uri: &Uri, skipped: Vec<Skipped>) {
        if self.skipped == skipped {
            return;
        }
        for Skipped { place, kid, reason } in skipped.iter().take(LINES) {
            let kid = kid.as_deref().map(|kid| display(Foreign(kid)));
            match reason {
                // A set for encryption as well is usual.
                KeyError::Use(_) | KeyError::Operations => {
                    debug!(%reason, kid, place, url = %Shown(uri), "key is not for signatures");
                }
                _ => warn!(%reason, kid, place, url = %Shown(uri), "key is not usable"),
            }
        }
        if let more @ 1.. = skipped.len().saturating_sub(LINES) {
            warn!(more, url = %Shown(uri), "more keys are not usable");
        }
        self.skipped = skipped;
    }
}

fn between(least: Duration, most: Duration) -> Duration {
    let range = most.saturating_sub(least).as_millis();
    least + Duration::from_millis(fastrand::u64(0..=u64::try_from(range).unwrap_or(u64::MAX)))
}
