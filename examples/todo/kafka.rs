//! The clients of Kafka: topics, a producer that waits for its acknowledgement, and a reader.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tracing::warn;

use crate::tasks::{COMMANDS, TASKS};

/// Both topics have this one.
pub(crate) const PARTITION: i32 = 0;
/// How long Kafka may take for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    config
}

/// Creates the topics that are not there yet. Both have one partition, so all commands have an order.
pub(crate) async fn create_topics(servers: &str) -> KafkaResult<()> {
    let admin: AdminClient<DefaultClientContext> = config(servers).create()?;
    let metadata = admin.inner().fetch_metadata(None, PATIENCE)?;
    let partitions = |name| {
        let topic = metadata.topics().iter().find(|topic| topic.name() == name);
        topic.map_or(0, |topic| topic.partitions().len())
    };
    match [TASKS, COMMANDS].map(partitions) {
        [1, 1] => return Ok(()),
        [0 | 1, 0 | 1] => {}
        _ => return Err(KafkaError::AdminOp(RDKafkaErrorCode::InvalidPartitions)),
    }
    let topic = |name| NewTopic::new(name, 1, TopicReplication::Fixed(-1));
    let topics = [topic(TASKS).set("cleanup.policy", "compact"), topic(COMMANDS)];
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for result in admin.create_topics(&topics, &options).await? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(KafkaError::AdminOp(code)),
        }
    }
    Ok(())
}

/// Writes records that are not lost when a broker is: all replicas acknowledge them, and each is there once, however
/// often librdkafka has to send it.
#[derive(Clone)]
pub(crate) struct Producer(Arc<ThreadedProducer<Acknowledgements>>);

impl Producer {
    pub(crate) fn new(servers: &str) -> KafkaResult<Self> {
        let mut config = config(servers);
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string());
        let producer = ThreadedProducer::from_config_and_context(&config, Acknowledgements)?;
        Ok(Self(producer.into()))
    }

    /// Returns when the record is acknowledged. After an error, it may be there all the same.
    pub(crate) async fn send(&self, topic: &str, key: &str, value: &[u8]) -> KafkaResult<()> {
        let (acknowledged, acknowledgement) = oneshot::channel();
        let record = BaseRecord::with_opaque_to(topic, Box::new(acknowledged));
        self.0.send(record.key(key).payload(value)).map_err(|(error, _)| error)?;
        acknowledgement.await.unwrap_or(Err(KafkaError::Canceled))
    }
}

struct Acknowledgements;

impl ClientContext for Acknowledgements {}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = Box<oneshot::Sender<KafkaResult<()>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        // The client may have left.
        let _ = waiting.send(result.as_ref().map(drop).map_err(|(error, _)| error.clone()));
    }
}

/// Reads a topic without a group. What transactions have aborted is left out.
pub(crate) struct Reader {
    consumer: BaseConsumer,
    is_at_end: bool,
}

impl Reader {
    pub(crate) fn new(servers: &str, topic: &str, from: Offset) -> KafkaResult<Self> {
        let consumer: BaseConsumer = config(servers)
            // librdkafka wants the name of a group, but this consumer does not join it.
            .set("group.id", "todo-reader")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "100")
            .create()?;
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset(topic, PARTITION, from)?;
        consumer.assign(&partitions)?;
        Ok(Self { consumer, is_at_end: false })
    }

    /// The next record, if there is one soon. Errors are temporary: librdkafka connects again.
    pub(crate) fn poll(&mut self) -> Option<BorrowedMessage<'_>> {
        match self.consumer.poll(Duration::from_millis(200))? {
            Ok(record) => Some(record),
            Err(KafkaError::PartitionEOF(_)) => {
                self.is_at_end = true;
                None
            }
            Err(error) => {
                warn!(%error, "a topic can't be read, trying again");
                None
            }
        }
    }

    /// Whether all that was there has been read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.is_at_end
    }
}
