//! The Kafka cluster of a run: a real one, or librdkafka's mock cluster in this process.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{
    BaseRecord, DefaultProducerContext, DeliveryResult, Producer as _, ProducerContext,
    ThreadedProducer,
};

use crate::Result;
use crate::value::{Stamp, Values};

/// A topic of this run.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) values: Values,
}

pub(crate) struct Kafka {
    servers: String,
    mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Kafka {
    pub(crate) fn real(servers: &str) -> Self {
        Self { servers: servers.to_owned(), mock: None }
    }

    pub(crate) fn mock() -> Result<Self> {
        let mock = MockCluster::new(1)?;
        Ok(Self { servers: mock.bootstrap_servers(), mock: Some(mock) })
    }

    pub(crate) fn servers(&self) -> &str {
        &self.servers
    }

    pub(crate) fn is_mock(&self) -> bool {
        self.mock.is_some()
    }

    /// Creates a topic with one partition.
    pub(crate) fn create_topic(&self, topic: &str, compacted: bool) -> Result<()> {
        if let Some(mock) = &self.mock {
            if compacted {
                return Err("the mock cluster has no compacted topics".into());
            }
            // The mock cluster supports no admin calls.
            return Ok(mock.create_topic(topic, 1, 1)?);
        }
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
        let mut topic = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
        if compacted {
            // Kafka must not remove records during the run.
            topic = topic.set("cleanup.policy", "compact").set("min.compaction.lag.ms", "86400000");
        }
        for created in futures_executor::block_on(admin.create_topics(&[topic], &options))? {
            created
                .map_err(|(topic, code)| format!("topic {topic} could not be created: {code}"))?;
        }
        Ok(())
    }

    /// A producer. `keys` is the number of keys that the records have in turn. With `None` they have no key.
    pub(crate) fn producer(&self, topic: &Topic, keys: Option<u64>) -> Result<Producer> {
        let deliveries = Deliveries::default();
        let producer = self
            .config()
            .set("acks", "1")
            .set("linger.ms", "1")
            .create_with_context::<_, ThreadedProducer<Deliveries>>(deliveries.clone())?;
        Ok(Producer { topic: topic.clone(), keys, producer, deliveries })
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config
    }
}

/// Writes the numbered records of one run.
pub(crate) struct Producer {
    topic: Topic,
    keys: Option<u64>,
    producer: ThreadedProducer<Deliveries>,
    deliveries: Deliveries,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("topic", &self.topic.name).finish_non_exhaustive()
    }
}

impl Producer {
    /// Sends the records. Returns when Kafka has confirmed all.
    pub(crate) fn send(&self, first: u64, count: u64, pace: Pace) -> Result<()> {
        let begin = Instant::now();
        for index in 0..count {
            pace.wait(begin, index);
            let number = first + index;
            let value = Stamp { nanos: now_nanos(), number }.write_as(self.topic.values);
            let key = self.keys.map(|keys| key(number % keys));
            let mut record = BaseRecord::to(&self.topic.name).partition(0).payload(&value);
            record.key = key.as_ref();
            while let Err((error, refused)) = self.producer.send(record) {
                match error {
                    KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => {
                        thread::sleep(Duration::from_millis(1))
                    }
                    error => return Err(error.into()),
                }
                record = refused;
            }
        }
        self.producer.flush(Duration::from_secs(60))?;
        match self.deliveries.failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            failed => Err(format!("Kafka did not take {failed} records").into()),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Deliveries {
    failed: Arc<AtomicU64>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, delivery: &DeliveryResult<'_>, (): ()) {
        if delivery.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The rate of events.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    AsFastAsPossible,
    PerSecond(u32),
}

impl Pace {
    /// The time, after the first event, when the event of this index is due.
    pub(crate) fn due(self, index: u64) -> Duration {
        match self {
            Self::AsFastAsPossible => Duration::ZERO,
            Self::PerSecond(rate) => {
                Duration::from_nanos(index * 1_000_000_000 / u64::from(rate.max(1)))
            }
        }
    }

    pub(crate) fn wait(self, begin: Instant, index: u64) {
        // The time is relative to the first event, so that a late event does not delay the others.
        let left = self.due(index).saturating_sub(begin.elapsed());
        // Events that are due within the same millisecond are sent together. At 20 000 a second a sleep for each
        // would use more processor time than the measured work.
        if left >= Duration::from_millis(1) {
            thread::sleep(left);
        }
    }
}

/// The key of this number.
pub(crate) fn key(number: u64) -> String {
    format!("key-{number:06}")
}

/// The number of a key.
pub(crate) fn key_number(key: &str) -> Option<u64> {
    key.strip_prefix("key-")?.parse().ok()
}

pub(crate) fn now_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
