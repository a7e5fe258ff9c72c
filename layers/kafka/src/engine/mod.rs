//! The tasks of a cluster, each of which has a thread of its own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tracing::error;

use crate::Error;
use crate::broker::Backend;
use crate::broker::contact::Reachability;
use crate::data::filter::Index;
use crate::engine::control::Control;
use crate::engine::inspection::Inspections;
use crate::engine::tail::Exit;
use crate::options::ClusterOptions;
use crate::threads::Threads;
use crate::topic::history::History;
use crate::topic::registry::{Shared, Topics};
use crate::topic::requests::Request;
use crate::topic::retired::RetiredLogs;
use crate::topic::snapshot::Tables;
use crate::topic::totals::Totals;

pub(crate) mod backfill;
pub(crate) mod compaction;
pub(crate) mod control;
mod index;
mod inspection;
pub(crate) mod tail;

/// Starts the tasks of a cluster. They end when the last cluster and the last stream are dropped.
pub(crate) fn start(
    backend: Arc<dyn Backend>,
    reachability: Arc<Reachability>,
    index: Index,
    options: ClusterOptions,
    threads: Threads,
) -> Result<Arc<Shared>, Error> {
    let consumer = backend.consumer(false)?;
    let (control, mut jobs) = mpsc::unbounded_channel();
    let (tail, mut commands) = mpsc::unbounded_channel();
    let retired = Arc::new(RetiredLogs::default());
    let history =
        Arc::new(History::new(options.timing, options.max_record_bytes, Arc::clone(&retired)));
    let topics = Topics::new(&options);
    let (tables, mut requests) = Tables::new(options.memory_bytes);
    let panics = Arc::default();
    let inspections =
        Arc::new(Inspections::new(Arc::clone(&backend), threads.clone(), options.timing));
    let of_index = threads.clone();
    let shared = Shared {
        options,
        index,
        history: Arc::clone(&history),
        tables,
        topics,
        totals: Totals::default(),
        streams: Arc::default(),
        build_index: Box::new(move |hub| index::build(&of_index, hub)),
        reachability,
        restarts: AtomicU64::new(0),
        panics: Arc::clone(&panics),
        control: control.clone(),
        threads: threads.clone(),
    };
    let shared = Arc::new(shared);
    shared.ask(Request::FindTopic);

    let timing = shared.options.timing;
    for _ in 0..shared.options.history_readers {
        let backend = Arc::clone(&backend);
        let history = Arc::clone(&history);
        let inspections = Arc::clone(&inspections);
        supervise(&threads, "kafka-history", timing.retry, &panics, async move || {
            history.read(&*backend, &inspections).await;
        })?;
    }
    let mut consumer = Some(consumer);
    let of_tail = Arc::clone(&backend);
    supervise(&threads, "kafka-tail", timing.retry, &panics, async move || {
        loop {
            let consumer = match consumer.take() {
                Some(consumer) => Some(consumer),
                // A consumer that panicked or was given up has lost its assignment.
                None => tail::reconnect(&*of_tail, &mut commands, &control).await,
            };
            let Some(consumer) = consumer else { return };
            if tail::run(consumer, &mut commands, &control, &timing).await == Exit::Disconnected {
                return;
            }
        }
    })?;
    let weak = Arc::downgrade(&shared);
    let budget = shared.tables.budget();
    supervise(&threads, "kafka-compacted", timing.retry, &panics, async move || {
        compaction::run(&mut requests, &weak, &history, &budget, timing).await;
    })?;
    let weak = Arc::downgrade(&shared);
    let name = shared.reachability.name().to_owned();
    supervise(&threads, "kafka-control", timing.retry, &panics, async move || {
        let backend = Arc::clone(&backend);
        let inspector = Arc::clone(&inspections);
        let retired = Arc::clone(&retired);
        let name = name.clone();
        let tail = tail.clone();
        let control = Control::new(backend, tail, &mut jobs, inspector, timing, retired, name);
        control.run(&weak).await;
        inspections.close();
    })?;
    Ok(shared)
}

/// Runs `work` on a thread of its own until it returns. If it panics, it is run again. Streams that waited
/// for it repeat their requests.
fn supervise(
    threads: &Threads,
    name: &'static str,
    pause: Duration,
    panics: &Arc<AtomicU64>,
    mut work: impl AsyncFnMut() + Send + 'static,
) -> Result<(), Error> {
    let panics = Arc::clone(panics);
    let task = async move || {
        // A panic drops the state of `work`. Shared state is valid whenever its lock is free.
        while AssertUnwindSafe(work()).catch_unwind().await.is_err() {
            panics.fetch_add(1, Ordering::Relaxed);
            error!(thread = name, "a thread panicked and is restarted");
            tokio::time::sleep(pause).await;
        }
    };
    threads.run(name, task).map_err(Error::kafka)
}
