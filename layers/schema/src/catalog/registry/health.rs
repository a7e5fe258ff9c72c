use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::iter::successors;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::MAX_DEPTH;
use crate::catalog::SchemaRef;
use crate::catalog::registry::FetchError;

/// The first and the longest pause after a failure. The pause doubles with each failure.
const MIN_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(10);
/// The shortest time between two lines about missing schemas.
const MISSING_INTERVAL: Duration = Duration::from_secs(1);

/// Whether a registry answers. It logs an outage once at its beginning and once at its end.
#[derive(Debug)]
pub(crate) struct Health {
    /// The registry's URL, without secrets.
    registry: String,
    state: Mutex<State>,
    /// Whether the registry has not answered the last request as it should.
    is_down: AtomicBool,
    /// The number of outages that have ended.
    recovered: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Since when the registry does not answer some request as it should.
    outage: Option<Outage>,
    /// What is tried again and again.
    failing: HashSet<SchemaRef>,
    /// When a missing schema was logged last, and how many were not logged since.
    missing: Option<(Instant, u64)>,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    error: FetchError,
}

impl Health {
    pub(crate) fn new(registry: String) -> Self {
        Self {
            registry,
            state: Mutex::default(),
            is_down: AtomicBool::new(false),
            recovered: watch::Sender::new(0),
        }
    }

    /// The registry has answered, be it that it has no such schema.
    pub(crate) fn answered(&self, schema: &SchemaRef) {
        let mut state = self.state();
        state.failing.remove(schema);
        if self.is_down.swap(false, Relaxed) {
            self.recovered.send_modify(|outages| *outages += 1);
        }
        if state.failing.is_empty()
            && let Some(Outage { since, .. }) = state.outage.take()
        {
            let seconds = since.elapsed().as_secs();
            info!(registry = self.registry, seconds, "schemas are fetched again");
        }
    }

    /// The registry has not answered as it should. `is_awaited` says whether the request is tried until it does.
    pub(crate) fn failed(&self, schema: &SchemaRef, error: &FetchError, is_awaited: bool) {
        let mut state = self.state();
        self.is_down.store(true, Relaxed);
        if is_awaited {
            state.failing.insert(schema.clone());
        }
        if let Some(outage) = &mut state.outage {
            debug!(registry = self.registry, %error, %schema, "schema cannot be fetched yet");
            outage.error = error.clone();
            return;
        }
        state.outage = Some(Outage { since: Instant::now(), error: error.clone() });
        warn!(
            registry = self.registry,
            error = %Chain(error), %schema,
            "schemas cannot be fetched, trying again"
        );
    }

    /// The registry does not have the schema. One a second is logged.
    pub(crate) fn missing(&self, schema: &SchemaRef, error: &FetchError) {
        let mut state = self.state();
        let unlogged = match &mut state.missing {
            Some((last, unlogged)) if last.elapsed() < MISSING_INTERVAL => {
                *unlogged += 1;
                return;
            }
            Some((_, unlogged)) => *unlogged,
            None => 0,
        };
        state.missing = Some((Instant::now(), 0));
        let others = (unlogged > 0).then_some(unlogged);
        warn!(registry = self.registry, error = %Chain(error), %schema, others, "schema is missing");
    }

    pub(crate) fn is_down(&self) -> bool {
        self.is_down.load(Relaxed)
    }

    /// Nothing waits for the schema any more.
    pub(crate) fn abandoned(&self, schema: &SchemaRef) {
        self.state().failing.remove(schema);
    }

    /// The error of the latest failure, and for how long the outage lasts.
    pub(crate) fn outage(&self) -> Option<(FetchError, Duration)> {
        let state = self.state();
        state.outage.as_ref().map(|outage| (outage.error.clone(), outage.since.elapsed()))
    }

    /// Waits after this many failures in a row, or shorter if the registry answers another request.
    pub(crate) async fn pause(&self, failures: u32, error: &FetchError) {
        let mut recovered = self.recovered.subscribe();
        let pause = backoff(failures, MAX_RETRY);
        let asked = error.retry_after().unwrap_or_default();
        // What the registry asks for holds even if it has answered others. One that answers all but one request
        // must not be asked for that one without a pause.
        let least = asked.max(pause.min(MIN_RETRY));
        sleep(least).await;
        let _ = timeout(pause.saturating_sub(least), recovered.changed()).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pause that doubles with each failure, shortened at random by up to a half.
pub(crate) fn backoff(failures: u32, most: Duration) -> Duration {
    let pause = MIN_RETRY.saturating_mul(1 << failures.min(16)).min(most.max(MIN_RETRY));
    pause.mul_f32(0.5 + fastrand::f32() / 2.0)
}

/// Displays an error with its causes. Their texts are escaped already.
pub(crate) struct Chain<'a>(pub(crate) &'a FetchError);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        let causes = successors(self.0.source(), |&error| error.source());
        causes.take(MAX_DEPTH).try_for_each(|error| write!(f, ": {error}"))
    }
}
