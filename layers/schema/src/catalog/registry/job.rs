use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::debug;
use tracing::field::display;

use crate::catalog::registry::FetchError;
use crate::catalog::registry::cache::{NewRequest, Purpose};
use crate::catalog::registry::health::Chain;
use crate::catalog::registry::resolve::{Resolved, compile, resolve};
use crate::catalog::registry::shared::Shared;
use crate::catalog::{SchemaKind, SchemaRef, SchemaText};

/// The pauses between attempts that find no schema. The replicas of a registry may lag.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// What the task of a registry is told to do.
pub(crate) enum Job {
    Request(Request),
    Compile(Compile),
    /// One attempt, for a caller that waits for its result.
    Fetch(Arc<Shared>, SchemaRef, oneshot::Sender<Result<Resolved, FetchError>>),
}

/// A schema that is asked for until there is a result.
pub(crate) struct Request {
    running: Running,
    kind: SchemaKind,
    purpose: Purpose,
}

/// A schema that is there, and is to be compiled.
pub(crate) struct Compile {
    running: Running,
    kind: SchemaKind,
    text: Arc<SchemaText>,
}

/// Ends the request in the cache when it is dropped, with or without a result, and wakes what waits for it.
struct Running {
    shared: Arc<Shared>,
    schema: SchemaRef,
    done: watch::Sender<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.health.abandoned(&self.schema);
        self.shared.cache().end(&self.schema);
    }
}

/// Runs the jobs of a registry until it is dropped.
pub(crate) async fn run(mut jobs: UnboundedReceiver<Job>) {
    let mut tasks = JoinSet::new();
    while let Some(job) = jobs.recv().await {
        while tasks.try_join_next().is_some() {}
        match job {
            Job::Request(request) => tasks.spawn(request.run()),
            Job::Compile(compile) => tasks.spawn(compile.run()),
            Job::Fetch(shared, schema, result) => tasks.spawn(async move {
                let _ = result.send(resolve(&shared, &schema, None).await);
            }),
        };
    }
}

impl Request {
    pub(crate) fn new(shared: Arc<Shared>, request: NewRequest) -> Self {
        let NewRequest { schema, kind, purpose, done } = request;
        Self { running: Running { shared, schema, done }, kind, purpose }
    }

    async fn run(self) {
        let Self { running, kind, purpose } = self;
        let Running { shared, schema, done } = &running;
        let mut pauses = match purpose {
            Purpose::First if !shared.cache().many_are_missing() => PAUSES.iter(),
            Purpose::First | Purpose::Recheck | Purpose::Refresh => [].iter(),
        };
        let mut failures = 0;
        loop {
            let Err(error) = resolve(shared, schema, Some(kind)).await else {
                shared.health.answered(schema);
                return;
            };
            let is_refresh = purpose == Purpose::Refresh;
            if error.is_transient() {
                shared.health.failed(schema, &error, !is_refresh);
            } else {
                shared.health.answered(schema);
            }
            if is_refresh {
                let stale = shared.cache().keep_subject(schema);
                let stale = stale.map(display);
                debug!(registry = %shared.url, error = %Chain(&error), %schema, stale, "old schema stays in use");
                return;
            }
            if error.is_transient() {
                shared.health.pause(failures, &error).await;
                failures += 1;
                // The cache has a receiver of its own.
                if done.receiver_count() <= 1 {
                    return;
                }
            } else if let Some(pause) = pauses.next() {
                sleep(*pause).await;
            } else {
                let is_new = shared.cache().put_missing(schema);
                if is_new {
                    shared.health.missing(schema, &error);
                }
                return;
            }
        }
    }
}

impl Compile {
    pub(crate) fn new(shared: Arc<Shared>, request: NewRequest, text: Arc<SchemaText>) -> Self {
        let NewRequest { schema, kind, purpose: _, done } = request;
        Self { running: Running { shared, schema, done }, kind, text }
    }

    async fn run(self) {
        let shared = &self.running.shared;
        compile(shared, &self.text, self.kind).await;
        // Those that have to leave are dropped when the lock is free.
        let _left = shared.cache().weigh(&self.text);
    }
}
