//! Whether topics may be read. Only a fetch shows that.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::Error;
use crate::broker::Access;

const POLL: Duration = Duration::from_millis(20);

/// Fetches the end of the first partition of each topic, within this time. Errors do not name a topic, so each
/// partition has a queue of its own.
pub(super) fn of<C: ConsumerContext + 'static>(
    consumer: &Arc<BaseConsumer<C>>,
    topics: &[Arc<str>],
    timeout: Duration,
) -> Result<Vec<Access>, Error> {
    let mut list = TopicPartitionList::new();
    for topic in topics {
        list.add_partition_offset(topic, 0, Offset::End).map_err(Error::kafka)?;
    }
    consumer.incremental_assign(&list).map_err(Error::kafka)?;
    let mut open: Vec<(usize, PartitionQueue<C>)> = Vec::new();
    for (index, topic) in topics.iter().enumerate() {
        open.extend(consumer.split_partition_queue(topic, 0).map(|queue| (index, queue)));
    }
    let mut found = vec![Access::Unknown; topics.len()];
    let until = Instant::now() + timeout;
    while !open.is_empty() && Instant::now() < until {
        // Events of connections.
        drop(consumer.poll(POLL));
        open.retain(|(index, queue)| {
            let access = match queue.poll(Duration::ZERO) {
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => Access::Permitted,
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::TopicAuthorizationFailed,
                ))) => Access::Forbidden,
                // librdkafka tries again by itself.
                Some(Err(_)) | None => return true,
            };
            found.get_mut(*index).into_iter().for_each(|slot| *slot = access);
            false
        });
    }
    Ok(found)
}
