use std::panic;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::metadata::{Metadata, MetadataBroker};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tailwater_kafka_types::Budget;
use tokio::time::Instant;

use crate::Error;
use crate::broker::configuration::Configurations;
use crate::broker::contact::Reachability;
use crate::broker::context::Context;
use crate::broker::reader::Readers;
use crate::broker::{End, configuration, receive, timeouts};
use crate::data::gap::Watermarks;
use crate::threads::Threads;

mod backend;

/// The timeout of a query. Within it, librdkafka finds a connection that has died and repeats the request on
/// another one.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often the events of connections are taken while a query waits for its answer.
const DRAIN_INTERVAL: Duration = Duration::from_millis(50);

/// The most threads that connect clients to the leaders of topics.
const CONNECTING: usize = 8;

/// A Kafka cluster that is reached through librdkafka.
pub(crate) struct Librdkafka {
    config: ClientConfig,
    /// The configuration of query clients, which do not consume.
    query_config: ClientConfig,
    /// The query client for metadata and last stable offsets.
    stable: OnceLock<Arc<BaseConsumer<Context>>>,
    /// The query client for high watermarks, with records of open transactions.
    uncommitted: OnceLock<Arc<BaseConsumer<Context>>>,
    /// The clients of all consumers.
    readers: Readers,
    connecting: Arc<AtomicUsize>,
    /// The id of the broker that answered last.
    broker: AtomicI32,
    configurations: Configurations,
    /// The limit of a record's size. A larger record becomes a gap.
    max_record_bytes: usize,
    context: Context,
    threads: Threads,
}

impl std::fmt::Debug for Librdkafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the configuration: it holds the password.
        f.debug_struct("Librdkafka").finish_non_exhaustive()
    }
}

impl Librdkafka {
    /// A cluster with these properties of librdkafka, and those that tailwater depends on.
    pub(crate) fn new(
        properties: &[(String, String)],
        max_record_bytes: usize,
        reachability: Arc<Reachability>,
        threads: Threads,
    ) -> Self {
        let mut config = ClientConfig::new();
        // librdkafka logs at this level why a server ends connections.
        config.set_log_level(RDKafkaLogLevel::Info);
        config
            .set("fetch.wait.max.ms", "50")
            .set("fetch.max.bytes", Budget::FETCH_BYTES.to_string())
            // Records that a disk or a network has corrupted are not delivered.
            .set("check.crcs", "true");
        timeouts::set(&mut config);
        for (name, value) in properties {
            config.set(name, value);
        }
        config
            // assign() fails without a group. No offset is ever committed to it.
            .set("group.id", "tailwater")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            // `latest` and `earliest` would continue elsewhere without an error.
            .set("auto.offset.reset", "error")
            .set("fetch.queue.backoff.ms", "10")
            .set("reconnect.backoff.max.ms", "1000")
            .set("allow.auto.create.topics", "false");
        let chosen = properties.iter().any(|(name, _)| name == timeouts::SOCKET);
        timeouts::fit_fetch_wait(&mut config, chosen);
        receive::fit_record(&mut config, max_record_bytes);
        let mut query_config = config.clone();
        // Without a group there is nothing to coordinate, and nothing to poll but errors.
        query_config.remove("group.id");
        timeouts::set_asking(&mut query_config, chosen);
        let context = Context {
            reachability,
            warned: Arc::default(),
            late: Arc::default(),
            last: Arc::default(),
        };
        Self {
            config,
            readers: Arc::default(),
            connecting: Arc::default(),
            broker: AtomicI32::new(-1),
            stable: OnceLock::new(),
            uncommitted: OnceLock::new(),
            configurations: Configurations::new(&query_config, context.clone()),
            query_config,
            max_record_bytes,
            context,
            threads,
        }
    }

    fn query_client<'a>(
        &self,
        isolation: &str,
        at: &'a OnceLock<Arc<BaseConsumer<Context>>>,
    ) -> Result<&'a Arc<BaseConsumer<Context>>, Error> {
        if let Some(consumer) = at.get() {
            return Ok(consumer);
        }
        let mut config = self.query_config.clone();
        config.set("isolation.level", isolation);
        let consumer = create(&config, self.context.clone())?;
        Ok(at.get_or_init(|| Arc::new(consumer)))
    }

    /// Runs a query. The events of connections are taken while it waits.
    fn query<T: Send>(
        &self,
        question: impl FnOnce() -> T + Send,
        mut meanwhile: impl FnMut(),
    ) -> T {
        thread::scope(|scope| {
            let (ends, ended) = mpsc::channel::<()>();
            let answer = scope.spawn(move || {
                // Dropped when the query ends, also by a panic.
                let _ends = ends;
                question()
            });
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(DRAIN_INTERVAL) {
                self.drain();
                meanwhile();
            }
            answer.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }

    /// Takes the events of the query clients' connections. The context handles them.
    fn drain(&self) {
        for query_client in [&self.stable, &self.uncommitted].into_iter().filter_map(OnceLock::get)
        {
            while query_client.poll(Duration::ZERO).is_some() {}
        }
    }
}

pub(super) fn create(
    config: &ClientConfig,
    context: Context,
) -> Result<BaseConsumer<Context>, Error> {
    BaseConsumer::from_config_and_context(config, context).map_err(|error| refused(config, error))
}

/// Runs two queries at once: each may have to wait for a connection that has died.
fn both<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        (first.join().unwrap_or_else(|panic| panic::resume_unwind(panic)), second)
    })
}

/// The error of a client that can't be created. librdkafka's errors about properties contain their values, which
/// may be secret.
pub(super) fn refused(config: &ClientConfig, error: KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, reason, name, _) => Error::Property { name, reason },
        KafkaError::Nul(_) => {
            let properties = config.config_map();
            let name = properties.iter().find(|(_, value)| value.contains('\0'));
            let name = name.map_or_else(String::new, |(name, _)| (*name).to_owned());
            Error::Property { name, reason: "it has a NUL byte".to_owned() }
        }
        error => Error::kafka(error),
    }
}

/// Asks each partition's leader, all partitions of a leader at once, for the offset at `time`.
fn offsets(
    query_client: &BaseConsumer<Context>,
    topic: &str,
    partitions: usize,
    time: Offset,
) -> Result<Vec<i64>, Error> {
    let mut list = TopicPartitionList::new();
    for (partition, _) in (0..).zip(0..partitions) {
        list.add_partition_offset(topic, partition, time).map_err(Error::kafka)?;
    }
    let list = query_client.offsets_for_times(list, TIMEOUT).map_err(Error::kafka)?;
    let mut offsets = vec![-1; partitions];
    for element in list.elements() {
        element.error().map_err(Error::kafka)?;
        let slot =
            usize::try_from(element.partition()).ok().and_then(|index| offsets.get_mut(index));
        if let (Some(slot), Offset::Offset(offset)) = (slot, element.offset()) {
            *slot = offset;
        }
    }
    Ok(offsets)
}

/// As [`offsets`], for the two timestamps for which each partition has an answer: in ListOffsets, -2 is the
/// earliest offset and -1 is the latest that may be read.
fn bounds(
    query_client: &BaseConsumer<Context>,
    topic: &str,
    partitions: usize,
    time: Offset,
) -> Result<Vec<i64>, Error> {
    let offsets = offsets(query_client, topic, partitions, time)?;
    match offsets.iter().find(|offset| **offset < 0) {
        Some(_) => Err(Error::NoOffset { topic: topic.to_owned() }),
        None => Ok(offsets),
    }
}

/// Queries that other queries need, too. They block.
impl Librdkafka {
    fn blocking_watermarks(
        &self,
        topic: &str,
        partitions: usize,
        retention: Option<Duration>,
    ) -> Result<Watermarks, Error> {
        let query_client = self.query_client("read_committed", &self.stable)?;
        let low = || bounds(query_client, topic, partitions, Offset::Beginning);
        let (low, ends) = both(low, || self.blocking_ends(topic, partitions));
        let low = low?;
        let ends = ends?;
        let (stable, high): (_, Vec<i64>) = ends.iter().map(|end| (end.stable, end.high)).unzip();
        let tombstones_kept = match retention {
            None => None,
            Some(retention) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let time =
                    i64::try_from(now.saturating_sub(retention).as_millis()).unwrap_or(i64::MAX);
                let kept = offsets(query_client, topic, partitions, Offset::Offset(time))?;
                // There is no record that new: tombstones may be missing everywhere before the end.
                Some(
                    kept.iter()
                        .zip(&high)
                        .map(|(kept, high)| if *kept < 0 { *high } else { *kept })
                        .collect(),
                )
            }
        };
        Ok(Watermarks { low, last_stable: stable, high, tombstones_kept, since: None })
    }

    fn blocking_ends(&self, topic: &str, partitions: usize) -> Result<Vec<End>, Error> {
        let query_client = self.query_client("read_committed", &self.stable)?;
        let uncommitted = self.query_client("read_uncommitted", &self.uncommitted)?;
        let high = || {
            bounds(uncommitted, topic, partitions, Offset::End).or_else(|_| {
                // This client's metadata lack partitions that were added later, because `topics` uses the other client.
                uncommitted.fetch_metadata(Some(topic), TIMEOUT).map_err(Error::kafka)?;
                bounds(uncommitted, topic, partitions, Offset::End)
            })
        };
        let asked = Instant::now();
        let mut unchecked = true;
        let question = || both(high, || bounds(query_client, topic, partitions, Offset::End));
        let (high, stable) = self.query(question, || {
            if asked.elapsed() >= self.context.reachability.answer_timeout()
                && std::mem::take(&mut unchecked)
            {
                self.check(topic, asked);
            }
        });
        let stable = stable?;
        let high = high?;
        Ok(stable.into_iter().zip(high).map(|(stable, high)| End { stable, high }).collect())
    }

    fn blocking_tombstone_retention(&self, topic: &str) -> Result<Option<Duration>, Error> {
        let known = Some(self.broker.load(Ordering::Relaxed)).filter(|broker| *broker >= 0);
        self.configurations.tombstone_retention(topic, known, || {
            let query_client = self.query_client("read_committed", &self.stable)?;
            let metadata = query_client.fetch_metadata(Some(topic), configuration::TIMEOUT);
            Ok(broker(&metadata.map_err(Error::kafka)?))
        })
    }
}

impl Librdkafka {
    /// Runs `work` on a thread of its own, if there are not too many.
    fn connect(&self, work: impl FnOnce() + Send + 'static) {
        let connecting = Arc::clone(&self.connecting);
        if connecting.fetch_add(1, Ordering::AcqRel) >= CONNECTING {
            connecting.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let run = move || {
            work();
            connecting.fetch_sub(1, Ordering::AcqRel);
        };
        if self.threads.spawn("kafka-connect", run).is_err() {
            self.connecting.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Checks whether all of Kafka does not answer a query, or only leaders of the topic. `asked`: when the query
    /// was sent.
    fn check(&self, topic: &str, asked: Instant) {
        let reachability = Arc::clone(&self.context.reachability);
        let Some(query_client) = self.stable.get().cloned() else { return };
        let topic = topic.to_owned();
        self.connect(move || {
            if query_client.fetch_metadata(Some(&topic), reachability.answer_timeout()).is_err() {
                reachability.unanswered(asked);
            }
        });
    }

    /// Connects all consumers to the leaders of the topic before they read it.
    fn connect_readers(&self, topic: &str, partitions: usize) {
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        for handle in readers.iter().filter_map(Weak::upgrade) {
            let topic = topic.to_owned();
            self.connect(move || {
                handle.learn(&topic, TIMEOUT);
                // Only to be connected.
                let _ = offsets(&handle.consumer, &topic, partitions, Offset::End);
            });
        }
    }
}

/// The id of the broker that gave this answer, or of some other one; -1 if none is known.
fn broker(metadata: &Metadata) -> i32 {
    let some = metadata.brokers().first().map_or(-1, MetadataBroker::id);
    Some(metadata.orig_broker_id()).filter(|broker| *broker >= 0).unwrap_or(some)
}
