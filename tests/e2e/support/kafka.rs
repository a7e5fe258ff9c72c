//! The Kafka that the tests run on: librdkafka's mock cluster, or the real one of `TAILWATER_TEST_KAFKA`.

use std::collections::VecDeque;
use std::env;
use std::io::{self, Write as _};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use tailwater_kafka::embedded::EmbeddedKafka;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::support::SOON;

/// Held by all tests on the real Kafka, and alone by one that takes it away.
static REAL: RwLock<()> = RwLock::const_new(());

/// A Kafka that other tests may use as well.
pub(crate) async fn kafka() -> Kafka {
    match env::var("TAILWATER_TEST_KAFKA") {
        Ok(servers) => Kafka::real(servers, Turn::Shared(REAL.read().await)),
        Err(_) => Kafka::embedded(),
    }
}

/// A Kafka that can be taken away.
pub(crate) async fn kafka_alone() -> Kafka {
    match env::var("TAILWATER_TEST_KAFKA") {
        Ok(servers) => Kafka::real(servers, Turn::Alone(REAL.write().await)),
        Err(_) => Kafka::embedded(),
    }
}

/// The real Kafka; without one the test has nothing to do, and fails where one is demanded.
pub(crate) async fn real_kafka() -> Option<Kafka> {
    static TOLD: Once = Once::new();
    let servers = real("TAILWATER_TEST_KAFKA", "Kafka: tests/kafka/kafka.sh", &TOLD)?;
    Some(Kafka::real(servers, Turn::Shared(REAL.read().await)))
}

/// The URL of a real registry, under the same conditions.
pub(crate) fn real_registry() -> Option<String> {
    static TOLD: Once = Once::new();
    real("TAILWATER_TEST_APICURIO", "registry: tests/registry/registry.sh", &TOLD)
}

fn real(variable: &str, what: &str, told: &'static Once) -> Option<String> {
    let value = env::var(variable).ok();
    let demanded = env::var("TAILWATER_TEST_REAL_REQUIRED").is_ok_and(|value| value == "1");
    assert!(value.is_some() || !demanded, "there is no {variable}");
    if value.is_none() {
        told.call_once(|| {
            // Past the capture of the test harness.
            let _ = writeln!(
                io::stderr(),
                "\nskipped what needs a real {what} run cargo test -p tailwater --test e2e"
            );
        });
    }
    value
}

/// The listener of the real Kafka that asks for a password.
pub(crate) fn sasl_servers() -> String {
    env::var("TAILWATER_TEST_KAFKA_SASL").expect("kafka.sh run sets it")
}

/// Held, not read.
enum Turn {
    Shared(#[allow(dead_code)] RwLockReadGuard<'static, ()>),
    Alone(#[allow(dead_code)] RwLockWriteGuard<'static, ()>),
}

/// A Kafka, real or not.
pub(crate) struct Kafka {
    servers: String,
    producer: ThreadedProducer<Deliveries>,
    embedded: Option<EmbeddedKafka>,
    _turn: Option<Turn>,
}

impl Kafka {
    fn embedded() -> Self {
        let embedded = EmbeddedKafka::start().expect("the mock cluster starts");
        let servers = embedded.servers();
        Self { producer: producer(&servers, &[]), servers, embedded: Some(embedded), _turn: None }
    }

    fn real(servers: String, turn: Turn) -> Self {
        Self { producer: producer(&servers, &[]), servers, embedded: None, _turn: Some(turn) }
    }

    pub(crate) fn is_real(&self) -> bool {
        self.embedded.is_none()
    }

    pub(crate) fn servers(&self) -> &str {
        &self.servers
    }

    /// The name of a topic that no other test uses. There is none of it yet.
    pub(crate) fn name(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        format!("e2e-{}-{number}", std::process::id())
    }

    /// A producer of transactions; two of the same id end those of each other.
    pub(crate) fn transactional(&self, id: &str) -> BaseProducer {
        let producer: BaseProducer =
            config(self.servers()).set("transactional.id", id).create().expect("a producer");
        producer.init_transactions(SOON).expect("it answers");
        producer
    }

    /// A topic of the test's own.
    pub(crate) async fn topic(&self, partitions: i32) -> String {
        let name = self.name();
        // Records with old times stay.
        let config: &[_] = if self.is_real() { &[("retention.ms", "-1")] } else { &[] };
        self.create(&name, partitions, config).await;
        name
    }

    /// Creates a topic; a configuration takes a real Kafka.
    pub(crate) async fn create(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        if let Some(embedded) = &self.embedded {
            assert!(config.is_empty(), "the mock cluster has no configuration of topics");
            embedded.create_topic(name, partitions).expect("the topic is created");
            return;
        }
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = config.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let options = AdminOptions::new().operation_timeout(Some(SOON));
        let results = self.admin().create_topics([&topic], &options).await.expect("it answers");
        for result in results {
            result.expect("the topic is created");
        }
    }

    /// Creates a topic, without what a test before this one left in it.
    pub(crate) async fn create_anew(&self, name: &str, partitions: i32) {
        if self.is_real() {
            let options = AdminOptions::new().operation_timeout(Some(SOON));
            let deleted = self.admin().delete_topics(&[name], &options).await;
            if deleted.expect("it answers")[0].is_ok() {
                self.until_gone(name).await;
            }
        }
        self.create(name, partitions, &[]).await;
    }

    async fn until_gone(&self, name: &str) {
        let gone = async {
            while self.has(name) {
                tokio::time::sleep(LOOK).await;
            }
        };
        super::soon("the topic is gone", gone).await;
    }

    fn has(&self, name: &str) -> bool {
        let admin = self.admin();
        let all = admin.inner().fetch_metadata(None, SOON).expect("metadata");
        all.topics().iter().any(|topic| topic.name() == name && !topic.partitions().is_empty())
    }

    /// Deletes a topic of a real Kafka.
    pub(crate) async fn delete(&self, name: &str) {
        let options = AdminOptions::new().operation_timeout(Some(SOON));
        for result in self.admin().delete_topics(&[name], &options).await.expect("it answers") {
            result.expect("the topic is deleted");
        }
        self.until_gone(name).await;
    }

    /// Gives a topic of a real Kafka more partitions.
    pub(crate) async fn grow(&self, name: &str, partitions: usize) {
        let options = AdminOptions::new().operation_timeout(Some(SOON));
        let new = NewPartitions::new(name, partitions);
        for result in self.admin().create_partitions([&new], &options).await.expect("it answers") {
            result.expect("the topic grows");
        }
    }

    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        config(&self.servers).create().expect("an admin client")
    }

    /// Writes a record and waits until it is there: its partition and offset.
    pub(crate) fn produce(&self, topic: &str, record: Record<'_>) -> (i32, i64) {
        send(&self.producer, topic, record)
            .recv_timeout(SOON)
            .expect("delivered in time")
            .expect("delivered")
    }

    /// Writes records with these properties of librdkafka's producer, all at once.
    pub(crate) fn produce_with<'a>(
        &self,
        properties: &[(&str, &str)],
        topic: &str,
        records: impl IntoIterator<Item = Record<'a>>,
    ) {
        let producer = producer(&self.servers, properties);
        let deliveries: Vec<_> =
            records.into_iter().map(|record| send(&producer, topic, record)).collect();
        for delivery in deliveries {
            delivery.recv_timeout(SOON).expect("delivered in time").expect("delivered");
        }
    }

    /// Writes values into partition 0.
    pub(crate) fn produce_values(&self, topic: &str, values: impl IntoIterator<Item = String>) {
        let values: Vec<String> = values.into_iter().collect();
        let records = values.iter().map(|value| Record::value(value.as_bytes()));
        self.produce_with(&[("linger.ms", "5")], topic, records);
    }

    /// Writes numbers, with their last digit as key, from a thread of its own: each once, whatever
    /// happens to the broker.
    pub(crate) fn load(&self, topic: &str, partitions: i32) -> Load {
        let producer = producer(&self.servers, &[("enable.idempotence", "true")]);
        let topic = topic.to_owned();
        let ends = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let mut waiting = VecDeque::new();
            let delivered = |delivery: std::sync::mpsc::Receiver<Delivery>| {
                delivery.recv_timeout(SOON).expect("delivered in time").expect("delivered");
            };
            let mut number = 0;
            while !until.load(Ordering::Relaxed) {
                let value = number.to_string();
                let key = (number % 10).to_string();
                let partition = i32::try_from(number % i64::from(partitions)).expect("few");
                let record = Record::value(&value).key(&key).partition(partition);
                waiting.push_back(send(&producer, &topic, record));
                number += 1;
                // As fast as a few on the way are taken.
                while waiting.len() > 5 {
                    waiting.pop_front().into_iter().for_each(delivered);
                }
            }
            waiting.into_iter().for_each(delivered);
            number
        });
        Load { ends, thread }
    }

    /// Takes the brokers away, as a crash does.
    pub(crate) fn take_away(&self) {
        match &self.embedded {
            Some(embedded) => embedded.set_reachable(false).expect("the broker goes"),
            None => control("kill"),
        }
    }

    /// Takes the brokers away, and brings them back.
    pub(crate) fn kill(&self) {
        self.take_away();
        self.bring_back();
    }

    /// Stops a real broker cleanly and starts it again.
    pub(crate) fn restart(&self) {
        control("restart-broker");
    }

    /// Brings the brokers back with all that was written.
    pub(crate) fn bring_back(&self) {
        match &self.embedded {
            Some(embedded) => embedded.set_reachable(true).expect("the broker comes back"),
            None => control("start"),
        }
    }
}

/// Records that are being written.
pub(crate) struct Load {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<i64>,
}

impl Load {
    /// Ends it, and says how many there are.
    pub(crate) fn end(self) -> i64 {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("all are delivered")
    }
}

fn control(command: &str) {
    let script = env::var("TAILWATER_TEST_KAFKA_CONTROL").expect("kafka.sh run sets it");
    let status = Command::new(script).arg(command).status().expect("the script runs");
    assert!(status.success(), "kafka.sh {command}: {status}");
}

pub(crate) fn config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("message.max.bytes", "4000000");
    config
}

fn producer(servers: &str, properties: &[(&str, &str)]) -> ThreadedProducer<Deliveries> {
    let mut config = config(servers);
    config.set("linger.ms", "0");
    for (name, value) in properties {
        config.set(*name, *value);
    }
    ThreadedProducer::from_config_and_context(&config, Deliveries).expect("a producer")
}

type Delivery = Result<(i32, i64), KafkaError>;

fn send(
    producer: &ThreadedProducer<Deliveries>,
    topic: &str,
    record: Record<'_>,
) -> std::sync::mpsc::Receiver<Delivery> {
    let (delivered, delivery) = sync_channel(1);
    let mut base = BaseRecord::<[u8], [u8], _>::with_opaque_to(topic, Box::new(delivered));
    base.partition = Some(record.partition);
    base.key = record.key;
    base.payload = record.value;
    base.timestamp = record.timestamp;
    if !record.headers.is_empty() {
        let add = |headers: OwnedHeaders, (key, value): &(&str, Option<&[u8]>)| {
            headers.insert(Header { key, value: *value })
        };
        base.headers = Some(record.headers.iter().fold(OwnedHeaders::new(), add));
    }
    let mut unsent = Some(base);
    while let Some(record) = unsent.take() {
        match producer.send(record) {
            Ok(()) => {}
            // The producer's own queue is full: its thread empties it.
            Err((
                KafkaError::MessageProduction(rdkafka::types::RDKafkaErrorCode::QueueFull),
                back,
            )) => {
                std::thread::yield_now();
                unsent = Some(back);
            }
            Err((error, _)) => panic!("{error}"),
        }
    }
    delivery
}

struct Deliveries;

impl ClientContext for Deliveries {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<SyncSender<Delivery>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let result = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        let _ = waiting.send(result);
    }
}

/// A record of partition 0 with the time of its writing, until it is given more.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Record<'a> {
    partition: i32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [(&'a str, Option<&'a [u8]>)],
    timestamp: Option<i64>,
}

impl<'a> Record<'a> {
    pub(crate) fn value(value: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { value: Some(value.as_ref()), ..Self::default() }
    }

    pub(crate) fn tombstone() -> Self {
        Self::default()
    }

    pub(crate) fn partition(self, partition: i32) -> Self {
        Self { partition, ..self }
    }

    pub(crate) fn key(self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { key: Some(key.as_ref()), ..self }
    }

    pub(crate) fn headers(self, headers: &'a [(&'a str, Option<&'a [u8]>)]) -> Self {
        Self { headers, ..self }
    }

    pub(crate) fn timestamp(self, milliseconds: i64) -> Self {
        Self { timestamp: Some(milliseconds), ..self }
    }
}

/// Between two looks at something that nothing tells of.
pub(crate) const LOOK: Duration = Duration::from_millis(20);
