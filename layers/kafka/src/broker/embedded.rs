//! An in-process Kafka for demonstrations and tests: the mock broker of librdkafka.
//!
//! It speaks Kafka's protocol on a loopback port and keeps records in memory until it is dropped. It is not a
//! full Kafka: no records are compacted or expire, and there are no queries by timestamp and no topic
//! configuration.

use std::fmt;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{
    BaseRecord, DefaultProducerContext, DeliveryResult, ProducerContext, ThreadedProducer,
};

use crate::Error;

/// A Kafka cluster of one broker in this process.
///
/// ```
/// use tailwater_kafka::embedded::{EmbeddedKafka, Message};
///
/// let kafka = EmbeddedKafka::start()?;
/// kafka.create_topic("quotes", 2)?;
/// let message = Message::new("quotes").partition(1).key(b"EURUSD").value(b"1.0873");
/// assert_eq!(kafka.produce(&message)?, (1, 0));
/// # Ok::<(), tailwater_kafka::Error>(())
/// ```
pub struct EmbeddedKafka {
    producer: Producer,
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl fmt::Debug for EmbeddedKafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedKafka").field("servers", &self.servers()).finish_non_exhaustive()
    }
}

/// A record to produce. Without a partition, Kafka's partitioner chooses one by the key.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Message<'a> {
    topic: &'a str,
    partition: Option<i32>,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [(&'a str, Option<&'a [u8]>)],
    timestamp: Option<i64>,
}

impl<'a> Message<'a> {
    /// A record for this topic. It has a null key and a null value until they are set.
    pub fn new(topic: &'a str) -> Self {
        Self { topic, partition: None, key: None, value: None, headers: &[], timestamp: None }
    }

    /// Sets the partition.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the key.
    pub fn key(mut self, key: &'a [u8]) -> Self {
        self.key = Some(key);
        self
    }

    /// Sets the value.
    pub fn value(mut self, value: &'a [u8]) -> Self {
        self.value = Some(value);
        self
    }

    /// Sets the headers, in order.
    pub fn headers(mut self, headers: &'a [(&'a str, Option<&'a [u8]>)]) -> Self {
        self.headers = headers;
        self
    }

    /// Sets the timestamp, in milliseconds since 1970. By default it is the current time.
    pub fn timestamp(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }
}

impl EmbeddedKafka {
    /// Starts the broker on a free loopback port.
    ///
    /// # Errors
    /// [`Error::Kafka`] if librdkafka can't start it.
    pub fn start() -> Result<Self, Error> {
        let cluster = MockCluster::new(1).map_err(Error::kafka)?;
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("linger.ms", "0")
            .set("message.max.bytes", "20000000")
            .set("partitioner", "murmur2_random");
        let producer =
            ThreadedProducer::from_config_and_context(&config, Deliveries).map_err(Error::kafka)?;
        Ok(Self { producer: Producer(producer), cluster })
    }

    /// The value for a client's `bootstrap.servers`.
    #[must_use]
    pub fn servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// [`Error::Kafka`] if a topic of this name exists.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), Error> {
        self.cluster.create_topic(name, partitions, 1).map_err(Error::kafka)
    }

    /// Writes a record and waits until it is there: its partition and offset.
    ///
    /// # Errors
    /// [`Error::Kafka`] if it was not delivered within a minute.
    pub fn produce(&self, message: &Message<'_>) -> Result<(i32, i64), Error> {
        self.producer.produce(message)
    }

    /// A producer for other threads. It works until the broker is dropped.
    #[must_use]
    pub fn producer(&self) -> Producer {
        self.producer.clone()
    }

    /// Makes the broker unreachable, or reachable again with all its records.
    ///
    /// # Errors
    /// [`Error::Kafka`] if librdkafka can't do so.
    pub fn set_reachable(&self, reachable: bool) -> Result<(), Error> {
        let done = if reachable { self.cluster.broker_up(1) } else { self.cluster.broker_down(1) };
        done.map_err(Error::kafka)
    }
}

/// Writes records into an [`EmbeddedKafka`]. Clones share a connection.
#[derive(Clone)]
pub struct Producer(ThreadedProducer<Deliveries>);

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

impl Producer {
    /// Writes a record and waits until it is there: its partition and offset.
    ///
    /// # Errors
    /// [`Error::Kafka`] if it was not delivered within a minute.
    pub fn produce(&self, message: &Message<'_>) -> Result<(i32, i64), Error> {
        let (delivered, delivery) = sync_channel(1);
        let mut record =
            BaseRecord::<[u8], [u8], _>::with_opaque_to(message.topic, Box::new(delivered));
        record.partition = message.partition;
        record.key = message.key;
        record.payload = message.value;
        record.timestamp = message.timestamp;
        if !message.headers.is_empty() {
            let add = |headers: OwnedHeaders, (key, value): &(&str, Option<&[u8]>)| {
                headers.insert(Header { key, value: *value })
            };
            record.headers = Some(message.headers.iter().fold(OwnedHeaders::new(), add));
        }
        self.0.send(record).map_err(|(error, _)| Error::kafka(error))?;
        delivery.recv_timeout(Duration::from_secs(60)).map_err(Error::kafka)?
    }
}

/// Passes the result of each delivery to the thread that waits for it.
struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<SyncSender<Result<(i32, i64), Error>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let result = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(Error::kafka(error.clone())),
        };
        // The producing thread may have given up.
        let _ = waiting.send(result);
    }
}
