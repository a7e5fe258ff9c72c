use std::collections::HashMap;
use std::panic;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigEntry, ResourceSpecifier};
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::metadata::{Metadata, MetadataBroker, MetadataTopic};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::failure::Line;
use super::handle::{Handle, Late};
use super::pieces::Pieces;
use super::{
    Access, Backend, Consumer, End, Fetched, Opening, Presence, Refusal, access, headers, receive,
    timeouts,
};
use crate::Error;
use crate::contact::Reachability;
use crate::gap::{Extent, Reason};
use crate::record::Record;

/// How long one question to Kafka may take. A connection that has died is found in this time, and
/// the question asked once more on another.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often what connections have to say is listened to while an answer is waited for.
const LISTEN: Duration = Duration::from_millis(50);

/// How long a topic's configuration is waited for, and not asked for again where none came.
const CONFIGURATION_TIMEOUT: Duration = Duration::from_secs(2);
const UNANSWERED: Duration = Duration::from_secs(60);

/// How long a reader of history waits to be told who leads what it reads.
const LEADERS_TIMEOUT: Duration = Duration::from_secs(1);

/// How long one handle asks for configurations. It keeps all errors of its connections: rust-rdkafka
/// empties its queue of answers only.
const ADMIN_AGE: Duration = Duration::from_secs(600);

/// How often it is warned of librdkafka's errors, each of which any handle may meet again and again.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// How many different ones within that time.
const WARNINGS: usize = 16;

/// Fetches that were late longer ago say nothing any more.
const CALM: Duration = Duration::from_secs(600);

/// What is fetched ahead: of all live ends, and by each reader of history.
pub(crate) const LIVE_QUEUE_BYTES: usize = 32 * 1024 * 1024;
pub(crate) const HISTORY_QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// Of a record that is too large, the key is kept if it is no longer: a compacted topic may have an older
/// record of it.
const KEPT_KEY_BYTES: usize = 64 * 1024;

/// The largest answer of a broker, but for one record that is larger. librdkafka's own is 50 MiB,
/// which it reaches where a broker leads fifty partitions; and it is held beside the queue. A line of
/// 5 Mbit/s carries it within the time after which a connection counts as dead.
pub(crate) const FETCH_BYTES: usize = 4 * 1024 * 1024;

/// How many threads may connect handles to the leaders of topics.
const CONNECTING: usize = 8;

type Admin = AdminClient<Context>;

/// A cluster that is reached through librdkafka.
pub(crate) struct Librdkafka {
    config: ClientConfig,
    /// Of handles that only ask.
    asking: ClientConfig,
    /// Asks for metadata and stable offsets.
    stable: OnceLock<Arc<BaseConsumer<Context>>>,
    /// Asks for high watermarks, whatever transactions are open.
    uncommitted: OnceLock<Arc<BaseConsumer<Context>>>,
    /// The handles of all readers.
    readers: Readers,
    connecting: Arc<AtomicUsize>,
    /// The broker that answered last.
    broker: AtomicI32,
    /// Asks for configurations, and since when.
    admin: Mutex<Option<(Instant, Arc<Admin>)>>,
    /// When the configuration of a topic was refused, or (`None`) of any was waited for in vain.
    unanswered: Mutex<HashMap<Option<String>, Instant>>,
    /// A larger record is a gap.
    max_record_bytes: usize,
    context: Context,
}

impl std::fmt::Debug for Librdkafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the configuration: it holds the password.
        f.debug_struct("Librdkafka").finish_non_exhaustive()
    }
}

impl Librdkafka {
    /// A cluster with these properties of librdkafka beside those that tailwater's reading rests on.
    pub(crate) fn new(
        properties: &[(String, String)],
        max_record_bytes: usize,
        reachability: Arc<Reachability>,
    ) -> Self {
        let mut config = ClientConfig::new();
        // Why a server ends connections is told at this level.
        config.set_log_level(RDKafkaLogLevel::Info);
        config
            .set("fetch.wait.max.ms", "50")
            .set("fetch.max.bytes", FETCH_BYTES.to_string())
            // What a disk or a network has changed is not delivered.
            .set("check.crcs", "true");
        timeouts::set(&mut config);
        for (name, value) in properties {
            config.set(name, value);
        }
        config
            // assign() is refused without a group. Nothing is ever committed to it.
            .set("group.id", "tailwater")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            // `latest` and `earliest` would go on elsewhere without a word.
            .set("auto.offset.reset", "error")
            .set("fetch.queue.backoff.ms", "10")
            .set("reconnect.backoff.max.ms", "1000")
            .set("allow.auto.create.topics", "false");
        let chosen = properties.iter().any(|(name, _)| name == timeouts::SOCKET);
        timeouts::fit_fetch_wait(&mut config, chosen);
        receive::fit_record(&mut config, max_record_bytes);
        let mut asking = config.clone();
        // Without a group: nothing to coordinate, and nothing to poll but errors.
        asking.remove("group.id");
        timeouts::set_asking(&mut asking, chosen);
        Self {
            config,
            asking,
            readers: Arc::default(),
            connecting: Arc::default(),
            broker: AtomicI32::new(-1),
            stable: OnceLock::new(),
            uncommitted: OnceLock::new(),
            admin: Mutex::default(),
            unanswered: Mutex::default(),
            max_record_bytes,
            context: Context {
                reachability,
                warned: Arc::default(),
                late: Arc::default(),
                last: Arc::default(),
            },
        }
    }

    fn asker<'a>(
        &self,
        isolation: &str,
        at: &'a OnceLock<Arc<BaseConsumer<Context>>>,
    ) -> Result<&'a Arc<BaseConsumer<Context>>, Error> {
        if let Some(consumer) = at.get() {
            return Ok(consumer);
        }
        let mut config = self.asking.clone();
        config.set("isolation.level", isolation);
        let consumer = create(&config, self.context.clone())?;
        Ok(at.get_or_init(|| Arc::new(consumer)))
    }

    /// The answer to a question. What librdkafka says of its connections meanwhile is taken at once.
    fn ask<T: Send>(&self, question: impl FnOnce() -> T + Send, mut meanwhile: impl FnMut()) -> T {
        thread::scope(|scope| {
            let (ends, ended) = mpsc::channel::<()>();
            let asking = scope.spawn(move || {
                // Dropped with the answer, or by a panic.
                let _ends = ends;
                question()
            });
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LISTEN) {
                self.listen();
                meanwhile();
            }
            asking.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }

    /// Takes what handles that only ask have to say of their connections: the context tells it.
    fn listen(&self) {
        for asker in [&self.stable, &self.uncommitted].into_iter().filter_map(OnceLock::get) {
            while asker.poll(Duration::ZERO).is_some() {}
        }
    }

    /// What asks for configurations.
    fn admin(&self) -> Result<Arc<Admin>, Error> {
        let mut kept = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, admin)) = &*kept {
            return Ok(Arc::clone(admin));
        }
        let mut config = self.asking.clone();
        for consumer_only in CONSUMER_ONLY {
            config.remove(consumer_only);
        }
        let admin = Admin::from_config_and_context(&config, self.context.clone())
            .map_err(|error| refused(&config, error))?;
        let admin = Arc::new(admin);
        *kept = Some((Instant::now(), Arc::clone(&admin)));
        Ok(admin)
    }

    /// Another one is made when it is asked for next, if this one is so old.
    fn drop_admin(&self, age: Duration) {
        let mut kept = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        let old = kept.take_if(|(since, _)| since.elapsed() >= age);
        drop(kept);
        // It waits for its threads.
        drop(old);
    }
}

fn create(config: &ClientConfig, context: Context) -> Result<BaseConsumer<Context>, Error> {
    BaseConsumer::from_config_and_context(config, context).map_err(|error| refused(config, error))
}

/// Two questions at once: each may have to wait for a connection that died.
fn both<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        (first.join().unwrap_or_else(|panic| panic::resume_unwind(panic)), second)
    })
}

/// Why there is no client of this configuration. Errors of properties come with their values, and
/// those are secret.
fn refused(config: &ClientConfig, error: KafkaError) -> Error {
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
    asker: &BaseConsumer<Context>,
    topic: &str,
    partitions: usize,
    time: Offset,
) -> Result<Vec<i64>, Error> {
    let mut list = TopicPartitionList::new();
    for (partition, _) in (0..).zip(0..partitions) {
        list.add_partition_offset(topic, partition, time).map_err(Error::kafka)?;
    }
    let list = asker.offsets_for_times(list, TIMEOUT).map_err(Error::kafka)?;
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

/// As [`offsets`], for the two times that every partition has an answer for: ListOffsets knows -2
/// (the earliest) and -1 (the latest that may be read) as times.
fn bounds(
    asker: &BaseConsumer<Context>,
    topic: &str,
    partitions: usize,
    time: Offset,
) -> Result<Vec<i64>, Error> {
    let offsets = offsets(asker, topic, partitions, time)?;
    match offsets.iter().find(|offset| **offset < 0) {
        Some(_) => Err(Error::NoOffset { topic: topic.to_owned() }),
        None => Ok(offsets),
    }
}

impl Backend for Librdkafka {
    fn consumer(&self, history: bool) -> Result<Box<dyn Consumer>, Error> {
        let mut config = self.config.clone();
        let queue = if history { HISTORY_QUEUE_BYTES } else { LIVE_QUEUE_BYTES };
        config
            .set("enable.partition.eof", if history { "true" } else { "false" })
            .set("queued.max.messages.kbytes", (queue / 1024).to_string());
        let (context, readers) = (self.context.clone(), Arc::clone(&self.readers));
        let reader = Reader::new(config, context, readers, history, self.max_record_bytes)?;
        // librdkafka would wait for its timer, which ticks each second.
        let handle = Arc::clone(&reader.handle);
        self.connect(move || drop(handle.consumer.fetch_metadata(None, TIMEOUT)));
        Ok(Box::new(reader))
    }

    fn topics(&self) -> Result<HashMap<String, usize>, Error> {
        let asker = self.asker("read_committed", &self.stable)?;
        // The others connect meanwhile. Why there is none is told when one is needed.
        let _ = (self.asker("read_uncommitted", &self.uncommitted), self.admin());
        if !self.context.reachability.is_reached()
            && let Some(uncommitted) = self.uncommitted.get().cloned()
        {
            self.connect(move || drop(uncommitted.fetch_metadata(None, TIMEOUT)));
        }
        let (asked, reachability) = (Instant::now(), &self.context.reachability);
        let late = || {
            if asked.elapsed() >= reachability.patience() {
                reachability.unanswered(asked);
            }
        };
        let metadata = self.ask(|| asker.fetch_metadata(None, TIMEOUT), late);
        let metadata = metadata.map_err(Error::kafka)?;
        self.broker.store(broker(&metadata), Ordering::Relaxed);
        let topics = metadata.topics().iter().filter_map(|topic| match presence(topic) {
            Presence::Partitions(count) => Some((topic.name().to_owned(), count)),
            Presence::Missing | Presence::Forbidden => None,
        });
        Ok(topics.collect())
    }

    fn presence(&self, topic: &str) -> Result<Presence, Error> {
        let asker = self.asker("read_committed", &self.stable)?;
        let metadata = asker.fetch_metadata(Some(topic), TIMEOUT).map_err(Error::kafka)?;
        let found = metadata.topics().iter().find(|it| it.name() == topic);
        Ok(found.map_or(Presence::Missing, presence))
    }

    fn access(&self, topics: &[Arc<str>]) -> Result<Vec<Access>, Error> {
        let mut config = self.config.clone();
        config.set("enable.partition.eof", "true").set("queued.max.messages.kbytes", "1024");
        access::of(&Arc::new(create(&config, self.context.clone())?), topics, TIMEOUT)
    }

    fn hear(&self) -> bool {
        self.listen();
        self.drop_admin(ADMIN_AGE);
        self.context.reachability.take_disconnected()
    }

    fn extent(
        &self,
        topic: &str,
        partitions: usize,
        retention: Option<Duration>,
    ) -> Result<Extent, Error> {
        let asker = self.asker("read_committed", &self.stable)?;
        let low = || bounds(asker, topic, partitions, Offset::Beginning);
        let (low, ends) = both(low, || self.ends(topic, partitions));
        let (low, ends) = (low?, ends?);
        let (stable, high): (_, Vec<i64>) = ends.iter().map(|end| (end.stable, end.high)).unzip();
        let tombstones_kept = match retention {
            None => None,
            Some(retention) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let time =
                    i64::try_from(now.saturating_sub(retention).as_millis()).unwrap_or(i64::MAX);
                let kept = offsets(asker, topic, partitions, Offset::Offset(time))?;
                // No record is that young: everything before the end may have lost its tombstones.
                Some(
                    kept.iter()
                        .zip(&high)
                        .map(|(kept, high)| if *kept < 0 { *high } else { *kept })
                        .collect(),
                )
            }
        };
        Ok(Extent { low, stable, high, tombstones_kept, since: None })
    }

    fn first_since(
        &self,
        topic: &str,
        partitions: usize,
        time: i64,
    ) -> Result<Vec<Option<i64>>, Error> {
        let asker = self.asker("read_committed", &self.stable)?;
        let offsets = offsets(asker, topic, partitions, Offset::Offset(time))?;
        Ok(offsets.into_iter().map(|offset| (offset >= 0).then_some(offset)).collect())
    }

    fn ends(&self, topic: &str, partitions: usize) -> Result<Vec<End>, Error> {
        let asker = self.asker("read_committed", &self.stable)?;
        let uncommitted = self.asker("read_uncommitted", &self.uncommitted)?;
        let high = || {
            bounds(uncommitted, topic, partitions, Offset::End).or_else(|_| {
                // Its own idea of the topic lacks partitions that came later: `topics` asks the other.
                uncommitted.fetch_metadata(Some(topic), TIMEOUT).map_err(Error::kafka)?;
                bounds(uncommitted, topic, partitions, Offset::End)
            })
        };
        let (asked, mut doubts) = (Instant::now(), true);
        let question = || both(high, || bounds(asker, topic, partitions, Offset::End));
        let (high, stable) = self.ask(question, || {
            if asked.elapsed() >= self.context.reachability.patience()
                && std::mem::take(&mut doubts)
            {
                self.check(topic, asked);
            }
        });
        let (stable, high) = (stable?, high?);
        Ok(stable.into_iter().zip(high).map(|(stable, high)| End { stable, high }).collect())
    }

    fn opening(&self, topic: &str, partitions: usize) -> Result<Opening, Error> {
        self.connect_readers(topic, partitions);
        let retention = || self.tombstone_retention(topic);
        let (retention, extent) = both(retention, || self.extent(topic, partitions, None));
        Ok(Opening { extent: extent?, tombstone_retention: retention.ok() })
    }

    fn tombstone_retention(&self, topic: &str) -> Result<Option<Duration>, Error> {
        if self.was_unanswered(topic) {
            return Err(Error::NoConfiguration);
        }
        // Any broker knows. The controller, which librdkafka asks unless it is told whom, is waited for
        // in vain, for the timeout's whole length, where there is none: the mock cluster says so.
        let known = Some(self.broker.load(Ordering::Relaxed)).filter(|broker| *broker >= 0);
        let answer =
            known.map_or(Err(Error::NoConfiguration), |broker| self.describe(topic, broker));
        let answer = answer.or_else(|_| {
            // It may know brokers that are gone.
            self.drop_admin(Duration::ZERO);
            let asker = self.asker("read_committed", &self.stable)?;
            let metadata = asker.fetch_metadata(Some(topic), CONFIGURATION_TIMEOUT);
            self.describe(topic, broker(&metadata.map_err(Error::kafka)?))
        });
        let told =
            "configuration can't be read: taken as not compacted, and asked for again in a minute";
        let answer = match answer {
            Err(error) => {
                self.unanswered().insert(None, Instant::now());
                self.drop_admin(Duration::ZERO);
                warn!(%error, "{told}");
                return Err(error);
            }
            Ok(answer) => answer,
        };
        if let Err(error) = &answer {
            self.unanswered().insert(Some(topic.to_owned()), Instant::now());
            warn!(%error, topic, "{told}");
        }
        let value = |name| {
            let entries = answer.as_ref().ok().into_iter().flatten();
            entries.filter(|entry| entry.name == name).find_map(|entry| entry.value.as_deref())
        };
        let policy = value("cleanup.policy").unwrap_or_default();
        let compacted = policy.split(',').any(|policy| policy.trim() == "compact");
        let retention = value("delete.retention.ms").and_then(|value| value.parse().ok());
        let retention = retention.filter(|_| compacted).map(Duration::from_millis);
        answer.map(|_| retention).map_err(Error::kafka)
    }
}

/// What metadata says of a topic. Between creation and the election of leaders it has no partitions yet.
fn presence(topic: &MetadataTopic) -> Presence {
    match topic.error().map(RDKafkaErrorCode::from) {
        None => Presence::Partitions(topic.partitions().len()),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::InvalidTopic) => {
            Presence::Missing
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Presence::Forbidden,
        Some(error) => {
            debug!(%error, topic = topic.name(), "topic can't be read for now");
            Presence::Partitions(0)
        }
    }
}

impl Librdkafka {
    /// The topic's configuration, or why it is refused; an error if nobody answered.
    fn describe(
        &self,
        topic: &str,
        broker: i32,
    ) -> Result<Result<Vec<ConfigEntry>, RDKafkaErrorCode>, Error> {
        let admin = self.admin()?;
        let options =
            AdminOptions::new().request_timeout(Some(CONFIGURATION_TIMEOUT)).broker_id(broker);
        let topics = [ResourceSpecifier::Topic(topic)];
        let answer = futures_executor::block_on(admin.describe_configs(&topics, &options));
        let resource = answer.map_err(Error::kafka)?.pop().ok_or(Error::NoConfiguration)?;
        Ok(resource.map(|resource| resource.entries))
    }

    fn unanswered(&self) -> MutexGuard<'_, HashMap<Option<String>, Instant>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the topic's configuration, or any, was asked for in vain a moment ago.
    fn was_unanswered(&self, topic: &str) -> bool {
        let mut unanswered = self.unanswered();
        unanswered.retain(|_, since| since.elapsed() < UNANSWERED);
        [None, Some(topic.to_owned())].iter().any(|of| unanswered.contains_key(of))
    }

    /// Does this on a thread of its own, if there are not too many.
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
        if thread::Builder::new().name("kafka-connect".to_owned()).spawn(run).is_err() {
            self.connecting.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Whether it is Kafka that does not answer what was asked then, or leaders of the topic.
    fn check(&self, topic: &str, asked: Instant) {
        let reachability = Arc::clone(&self.context.reachability);
        let (Some(asker), topic) = (self.stable.get().cloned(), topic.to_owned()) else { return };
        self.connect(move || {
            if asker.fetch_metadata(Some(&topic), reachability.patience()).is_err() {
                reachability.unanswered(asked);
            }
        });
    }

    /// Has all readers know and be connected to the topic's leaders before they are to read.
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

/// The broker that gave this answer, or some other one; -1 if none is known.
fn broker(metadata: &Metadata) -> i32 {
    let some = metadata.brokers().first().map_or(-1, MetadataBroker::id);
    Some(metadata.orig_broker_id()).filter(|broker| *broker >= 0).unwrap_or(some)
}

/// Properties that librdkafka warns about on a handle that does not consume.
const CONSUMER_ONLY: [&str; 10] = [
    "check.crcs",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "isolation.level",
    "auto.offset.reset",
    "fetch.wait.max.ms",
    "fetch.max.bytes",
    "fetch.queue.backoff.ms",
    "allow.auto.create.topics",
];

/// The handles of readers that are there.
type Readers = Arc<Mutex<Vec<Weak<Handle<Context>>>>>;

struct Reader {
    handle: Arc<Handle<Context>>,
    readers: Readers,
    config: ClientConfig,
    context: Context,
    /// The offsets from which it was to read.
    assigned: HashMap<(String, i32), i64>,
    /// How long an answer may take, at first and now.
    first_patience: Duration,
    patience: Duration,
    pieces: Pieces,
    history: bool,
    max_record_bytes: usize,
}

impl Reader {
    fn new(
        config: ClientConfig,
        context: Context,
        readers: Readers,
        history: bool,
        max_record_bytes: usize,
    ) -> Result<Self, Error> {
        // Its own fetches and errors, not those of others.
        let context = Context { late: Arc::default(), last: Arc::default(), ..context };
        let handle = new_handle(&config, context.clone(), &readers)?;
        let first_patience = timeouts::patience(&config);
        Ok(Self {
            handle,
            readers,
            config,
            context,
            assigned: HashMap::new(),
            first_patience,
            patience: first_patience,
            pieces: Pieces::default(),
            history,
            max_record_bytes,
        })
    }

    /// Waits twice as long for an answer where fetches are late: on a slow line, one that does not come within
    /// the time would be asked for again and again. Where none was late for a while it is as at first: a
    /// connection that dies is to be found soon.
    fn fit_patience(&mut self) {
        if self.context.has_late_fetches(self.patience) {
            self.renew(timeouts::longer(self.patience));
            warn!(
                seconds = self.patience.as_secs_f64(),
                "answers of Kafka come late, waiting longer"
            );
        } else if self.patience > self.first_patience && self.context.late().is_over(CALM) {
            self.renew(self.first_patience);
        }
    }

    /// Goes on with another handle, which waits so long for an answer.
    fn renew(&mut self, patience: Duration) {
        self.patience = patience;
        timeouts::set_patience(&mut self.config, self.patience);
        let handle = match new_handle(&self.config, self.context.clone(), &self.readers) {
            Ok(handle) => handle,
            Err(error) => {
                warn!(%error, "no consumer that waits for another time");
                return;
            }
        };
        let positions = self.handle.consumer.position();
        for element in positions.iter().flat_map(TopicPartitionList::elements) {
            let place = (element.topic().to_owned(), element.partition());
            if let (Offset::Offset(next), Some(at)) =
                (element.offset(), self.assigned.get_mut(&place))
            {
                *at = next.max(*at);
            }
        }
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next) in &self.assigned {
            // The offset is one that librdkafka took before.
            let _ = list.add_partition_offset(topic, *partition, Offset::Offset(*next));
        }
        if let Err(error) = handle.consumer.incremental_assign(&list) {
            warn!(%error, "partitions can't be read on");
        }
        let former = std::mem::replace(&mut self.handle, handle);
        // It waits until its partitions are given back. Without a thread it does so here.
        let _ = thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop(former));
    }
}

fn new_handle(
    config: &ClientConfig,
    context: Context,
    readers: &Readers,
) -> Result<Arc<Handle<Context>>, Error> {
    let handle = Arc::new(Handle::new(create(config, context)?));
    let mut readers = readers.lock().unwrap_or_else(PoisonError::into_inner);
    readers.retain(|reader| reader.strong_count() > 0);
    readers.push(Arc::downgrade(&handle));
    Ok(handle)
}

/// The record, or a gap in its place if it is too large.
fn record(message: &BorrowedMessage<'_>, pieces: &mut Pieces, max_bytes: usize) -> Fetched {
    let (topic, piece) = pieces.of(message.topic());
    let (partition, offset) = (message.partition(), message.offset());
    let of_headers = |headers| {
        let sizes = headers::readable(headers)
            .map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len));
        sizes.sum::<usize>()
    };
    let mut bytes = message.key_len().saturating_add(message.payload_len());
    if bytes <= max_bytes {
        bytes = bytes.saturating_add(message.headers().map_or(0, of_headers));
    }
    if bytes > max_bytes {
        debug!(%topic, partition, offset, bytes, "a record is too large");
        let key = message.key().filter(|key| key.len() <= KEPT_KEY_BYTES.min(max_bytes));
        let gap = Record::gap(partition, (offset, offset + 1), Reason::TooLarge, key);
        return Fetched::Record(Arc::clone(topic), gap);
    }
    let headers = message.headers().into_iter().flat_map(headers::readable);
    let record = Record::new(
        (partition, offset, message.timestamp().to_millis()),
        message.key(),
        message.payload(),
        headers.map(|header| (header.key.as_bytes(), header.value)),
        piece,
    );
    Fetched::Record(Arc::clone(topic), record)
}

impl Consumer for Reader {
    fn assign(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), Error> {
        if self.history {
            // A handle that is connected looks for the leaders of a topic that it does not know at the
            // next tick of its timer, within a second. If nobody answers now, it does so still.
            self.handle.learn(topic, LEADERS_TIMEOUT);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset))
            .map_err(Error::kafka)?;
        self.assigned.insert((topic.to_owned(), partition), offset);
        self.handle.consumer.incremental_assign(&list).map_err(Error::kafka)
    }

    fn unassign(&mut self, topic: &str, partition: i32) -> Result<(), Error> {
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        self.pieces.forget(topic);
        self.assigned.remove(&(topic.to_owned(), partition));
        self.handle.consumer.incremental_unassign(&list).map_err(Error::kafka)
    }

    fn poll(&mut self, timeout: Duration, limit_bytes: usize, into: &mut Vec<Fetched>) {
        self.fit_patience();
        let mut timeout = timeout;
        let mut bytes = 0;
        while bytes < limit_bytes {
            let Some(polled) = self.handle.consumer.poll(timeout) else { return };
            timeout = Duration::ZERO;
            let fetched = match polled {
                Ok(message) => record(&message, &mut self.pieces, self.max_record_bytes),
                Err(KafkaError::PartitionEOF(partition)) => Fetched::End(partition),
                Err(KafkaError::MessageConsumption(code)) if out_of_range(code) => {
                    Fetched::OutOfRange
                }
                Err(KafkaError::MessageConsumption(code)) if refuses(code) => {
                    Fetched::Refused(self.context.refusal())
                }
                Err(KafkaError::MessageConsumption(RDKafkaErrorCode::TopicAuthorizationFailed)) => {
                    Fetched::Denied
                }
                Err(error) => {
                    // Broker loss and the like: librdkafka goes on by itself.
                    debug!(%error, "fetch failed, trying again");
                    continue;
                }
            };
            if let Fetched::Record(_, record) = &fetched {
                bytes += record.weight();
            }
            into.push(fetched);
        }
    }
}

fn out_of_range(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::AutoOffsetReset
            | RDKafkaErrorCode::OffsetOutOfRange
            | RDKafkaErrorCode::LogTruncation
    )
}

/// Whether it is what a partition has that can't be read, and not the way to it: a checksum that is wrong, a
/// compression that is not known or does not unpack, a format that is not known; the last two are told
/// by the broker, and of batches that never come whole.
fn refuses(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::BadCompression
            | RDKafkaErrorCode::NotImplemented
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::MessageSizeTooLarge
    )
}

/// The first offset of the batch that an error of librdkafka is about. Its texts say `at offset 5` or
/// `of message at 5`, and nothing else says it.
fn batch_of(reason: &str) -> Option<i64> {
    let rest = ["offset ", "message at "].iter().find_map(|before| {
        let (_, rest) = reason.split_once(before)?;
        rest.starts_with(|digit: char| digit.is_ascii_digit()).then_some(rest)
    })?;
    rest.split(|digit: char| !digit.is_ascii_digit()).next()?.parse().ok()
}

/// Takes what librdkafka has to say into our log. Its errors of connections come again and again
/// while a broker is away, and it goes on by itself: they are told as the reason why Kafka is away.
#[derive(Clone, Debug)]
struct Context {
    reachability: Arc<Reachability>,
    warned: Arc<Mutex<Vec<(String, Instant)>>>,
    /// When fetches of this handle timed out.
    late: Arc<Mutex<Late>>,
    /// The reason of the last error of this handle.
    last: Arc<Mutex<String>>,
}

impl Context {
    fn late(&self) -> MutexGuard<'_, Late> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the handle's fetches time out one after the other.
    fn has_late_fetches(&self, patience: Duration) -> bool {
        self.late().take_repeated(patience)
    }

    /// What the error is about that was polled just now: rust-rdkafka tells the reason here, and hands out
    /// the code alone.
    fn refusal(&self) -> Refusal {
        let reason = std::mem::take(&mut *self.last());
        Refusal { batch: batch_of(&reason), reason }
    }

    fn last(&self) -> MutexGuard<'_, String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time to warn of this. What differs in numbers only (times, attempts) is the same
    /// trouble; another one is told at once: the first may not be the cause.
    fn warns(&self, message: &str) -> bool {
        let kind: String = message.chars().filter(|it| !it.is_ascii_digit()).collect();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warned.retain(|(_, at)| at.elapsed() < WARNING_INTERVAL);
        let new = warned.len() < WARNINGS && warned.iter().all(|(known, _)| *known != kind);
        if new {
            warned.push((kind, Instant::now()));
        }
        new
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if let "FAIL" | "REQTMOUT" = facility {
            if let Some(line) = Line::parse(message) {
                match line.failure() {
                    Some(failure) => self.reachability.failed(line.server, failure),
                    None => self.reachability.disconnected(),
                }
            }
            if message.contains("Timed out FetchRequest in flight") {
                let server = Line::parse(message).map_or("", |line| line.server);
                self.late().note(server, Instant::now());
            }
            debug!(facility, "librdkafka: {message}");
            return;
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                warn!(facility, "librdkafka: {message}");
            }
            RDKafkaLogLevel::Error if self.warns(message) => {
                warn!(facility, "librdkafka: {message}")
            }
            _ => debug!(facility, "librdkafka: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, "librdkafka: {reason}");
        reason.clone_into(&mut self.last());
    }
}

impl ConsumerContext for Context {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_batch_is_found_in_the_texts_of_librdkafka() {
        for (reason, batch) in [
            ("Decompression (codec 0x4) of message at 12 of 3000 bytes failed: Local: x", Some(12)),
            (
                "MessageSet at offset 7 (80 bytes) failed CRC32C check (original 0x1 != 0x2)",
                Some(7),
            ),
            ("Unsupported Message(Set) MagicByte 9 at offset 3", Some(3)),
            ("Message at relative offset 0 (9 bytes) failed CRC32 check", Some(0)),
            ("Fetch from broker 1 failed: Broker: Message could not be read", None),
            ("at offset -1", None),
            ("", None),
        ] {
            assert_eq!(batch_of(reason), batch, "{reason}");
        }
    }

    #[test]
    fn each_trouble_is_warned_of_once_and_another_at_once() {
        let reachability = Arc::new(Reachability::new("", "localhost:9092"));
        let (warned, late, last) = (Arc::default(), Arc::default(), Arc::default());
        let context = Context { reachability, warned, late, last };
        assert!(context.warns("localhost:9092: Connect failed (after 5ms in state CONNECT)"));
        assert!(!context.warns("localhost:9092: Connect failed (after 17ms in state CONNECT)"));
        assert!(context.warns("localhost:9092: SSL handshake failed"));
        let others = (0..100).filter(|it| context.warns(&"x".repeat(*it))).count();
        assert_eq!(others, WARNINGS - 2);
    }
}
