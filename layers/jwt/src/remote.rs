//! A key set that is somewhere else: fetched by a task, kept when it cannot be fetched anew.

use std::{
    sync::{Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Uri, header};
use serde::Deserialize as _;
use serde_json::Value;
use std::sync::Arc;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    task::AbortHandle,
    time::{Instant, timeout},
};
use tracing::{debug, info, warn};

use crate::{
    BoxError, FETCH_LIMIT, Fetch, Jwk, Unusable,
    guard::Inner,
    json,
    key_set::{KeySet, Shown},
};

/// How long a fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request waits for one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How many requests wait for one at a time. Nobody has vouched for them yet, and each is held with
/// its token.
const WAITING: usize = 1024;
/// Between the end of a fetch and the next one that a request asks for.
const AT_REQUEST: Duration = Duration::from_secs(10);
/// How long a key set is fresh: what its answer says, within these, else the last.
const FRESH_LEAST: Duration = Duration::from_secs(60);
const FRESH_MOST: Duration = Duration::from_secs(24 * 60 * 60);
const FRESH_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// After a failure, doubled with each.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(5 * 60);
/// Of a set: what is more is no set for one issuer.
const KEYS: usize = 100;

/// Where the keys come from, and how the fetching goes.
pub(crate) struct Remote {
    shared: Arc<Shared>,
    /// For those that wait.
    places: Arc<Semaphore>,
    task: Mutex<Option<AbortHandle>>,
}

struct Shared {
    uri: Uri,
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
    pub(crate) fn new(uri: Uri, fetch: Arc<dyn Fetch>) -> Self {
        let (progress, _) = watch::channel(Progress { phase: Phase::Idle(None), ended: 0 });
        let shared = Arc::new(Shared { uri, fetch, progress });
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
    let mut failures = 0_u32;
    loop {
        shared.progress.send_modify(|progress| progress.phase = Phase::Fetching);
        let answer = fetch(&shared).await;
        let Some(guard) = guard.upgrade() else { return };
        let pause = match answer {
            Ok((keys, fresh)) => {
                if failures > 0 {
                    info!(url = %Shown(&shared.uri), failures, "key set fetched again");
                }
                failures = 0;
                guard.learn(keys);
                between(fresh * 9 / 10, fresh)
            }
            Err(error) => {
                if failures == 0 {
                    let error: &dyn std::error::Error = &error;
                    warn!(error, url = %Shown(&shared.uri), "key set could not be fetched, trying again");
                }
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

/// Why an answer is no key set.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no answer within {} s", FETCH_TIMEOUT.as_secs())]
    Timeout,
    #[error("no answer")]
    Transport(#[source] BoxError),
    #[error("answer has the status {0}")]
    Status(StatusCode),
    #[error("answer has more than {FETCH_LIMIT} bytes")]
    TooLarge,
    #[error("answer is no key set")]
    Format,
    #[error("key set has more than {KEYS} keys")]
    TooMany,
    #[error("key set has no key that is usable")]
    Empty,
}

async fn fetch(shared: &Shared) -> Result<(KeySet, Duration), FetchError> {
    let answer = timeout(FETCH_TIMEOUT, shared.fetch.fetch(&shared.uri)).await;
    let answer = answer.map_err(|_| FetchError::Timeout)?.map_err(FetchError::Transport)?;
    let keys = read(&answer, |kid, reason| match reason {
        // A set for encryption as well is usual.
        Unusable::Use(_) | Unusable::Operations => {
            debug!(%reason, kid, url = %Shown(&shared.uri), "key is not for signatures");
        }
        _ => warn!(%reason, kid, url = %Shown(&shared.uri), "key is not usable"),
    })?;
    Ok((keys, fresh(answer.headers())))
}

fn read(
    answer: &Response<Bytes>,
    skipped: impl FnMut(Option<&str>, &Unusable),
) -> Result<KeySet, FetchError> {
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    if answer.body().len() > FETCH_LIMIT {
        return Err(FetchError::TooLarge);
    }
    let mut set = json::object(answer.body()).map_err(|_| FetchError::Format)?;
    let Some(Value::Array(keys)) = set.remove("keys") else { return Err(FetchError::Format) };
    if keys.len() > KEYS {
        return Err(FetchError::TooMany);
    }
    // RFC 7517, 5: what is not understood is ignored.
    let jwks = keys.into_iter().filter_map(|key| Jwk::deserialize(key).ok());
    let keys = KeySet::lenient(jwks, skipped);
    if keys.is_empty() { Err(FetchError::Empty) } else { Ok(keys) }
}

/// How long the answer may be used (RFC 9111, 5.2.2).
fn fresh(headers: &HeaderMap) -> Duration {
    let values = headers.get_all(header::CACHE_CONTROL).into_iter();
    let directives =
        values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let mut fresh = FRESH_DEFAULT;
    for directive in directives {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match &*name.trim().to_ascii_lowercase() {
            "no-cache" | "no-store" => return FRESH_LEAST,
            "max-age" => {
                let seconds = value.trim().trim_matches('"').parse::<u32>();
                fresh = seconds.map_or(fresh, |seconds| Duration::from_secs(seconds.into()));
            }
            _ => {}
        }
    }
    fresh.clamp(FRESH_LEAST, FRESH_MOST)
}

fn between(least: Duration, most: Duration) -> Duration {
    let range = most.saturating_sub(least).as_millis();
    least + Duration::from_millis(fastrand::u64(0..=u64::try_from(range).unwrap_or(u64::MAX)))
}
