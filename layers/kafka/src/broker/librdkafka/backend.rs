//! librdkafka as a [`Backend`]. Each call is a future that blocks when it is polled, so it must be polled on a
//! thread that may wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;
use tailwater_kafka_types::Budget;
use tokio::time::Instant;
use tracing::debug;

use crate::Error;
use crate::broker::librdkafka::{Librdkafka, TIMEOUT, both, broker, create, offsets};
use crate::broker::reader::Reader;
use crate::broker::{Access, Backend, Consumer, End, Presence, TopicDescription, access};
use crate::data::gap::Watermarks;

impl Backend for Librdkafka {
    fn cluster(&self) -> &str {
        self.context.reachability.name()
    }

    fn consumer(&self, history: bool) -> Result<Box<dyn Consumer>, Error> {
        let mut config = self.config.clone();
        let queue = if history { Budget::HISTORY_QUEUE_BYTES } else { Budget::LIVE_QUEUE_BYTES };
        config
            .set("enable.partition.eof", if history { "true" } else { "false" })
            .set("queued.max.messages.kbytes", (queue / 1024).to_string());
        let context = self.context.clone();
        let readers = Arc::clone(&self.readers);
        let threads = self.threads.clone();
        let reader =
            Reader::new(config, context, readers, threads, history, self.max_record_bytes)?;
        // Otherwise librdkafka would wait for its timer, which ticks each second.
        let handle = Arc::clone(&reader.handle);
        self.connect(move || drop(handle.consumer.fetch_metadata(None, TIMEOUT)));
        Ok(Box::new(reader))
    }

    fn topics(&self) -> BoxFuture<'_, Result<HashMap<String, usize>, Error>> {
        let answer = async move {
            let query_client = self.query_client("read_committed", &self.stable)?;
            // The other clients connect meanwhile. An error is reported when a client is needed.
            let _ = self.query_client("read_uncommitted", &self.uncommitted);
            self.configurations.connect();
            if !self.context.reachability.is_reached()
                && let Some(uncommitted) = self.uncommitted.get().cloned()
            {
                self.connect(move || drop(uncommitted.fetch_metadata(None, TIMEOUT)));
            }
            let asked = Instant::now();
            let reachability = &self.context.reachability;
            let late = || {
                if asked.elapsed() >= reachability.answer_timeout() {
                    reachability.unanswered(asked);
                }
            };
            let metadata = self.query(|| query_client.fetch_metadata(None, TIMEOUT), late);
            let metadata = metadata.map_err(Error::kafka)?;
            self.broker.store(broker(&metadata), Ordering::Relaxed);
            let topics = metadata.topics().iter().filter_map(|topic| match presence(topic) {
                Presence::Partitions(count) => Some((topic.name().to_owned(), count)),
                Presence::Missing | Presence::Forbidden => None,
            });
            Ok(topics.collect())
        };
        answer.boxed()
    }

    fn presence<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Presence, Error>> {
        let answer = async move {
            let query_client = self.query_client("read_committed", &self.stable)?;
            let metadata =
                query_client.fetch_metadata(Some(topic), TIMEOUT).map_err(Error::kafka)?;
            let found = metadata.topics().iter().find(|known| known.name() == topic);
            Ok(found.map_or(Presence::Missing, presence))
        };
        answer.boxed()
    }

    fn access<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Vec<Access>, Error>> {
        let answer = async move {
            let mut config = self.config.clone();
            config.set("enable.partition.eof", "true").set("queued.max.messages.kbytes", "1024");
            access::of(&Arc::new(create(&config, self.context.clone())?), topics, TIMEOUT)
        };
        answer.boxed()
    }

    fn drain_events(&self) -> BoxFuture<'_, bool> {
        let answer = async move {
            self.drain();
            self.configurations.expire();
            self.context.reachability.take_disconnected()
        };
        answer.boxed()
    }

    fn watermarks<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
        retention: Option<Duration>,
    ) -> BoxFuture<'a, Result<Watermarks, Error>> {
        async move { self.blocking_watermarks(topic, partitions, retention) }.boxed()
    }

    fn first_since<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
        time: i64,
    ) -> BoxFuture<'a, Result<Vec<Option<i64>>, Error>> {
        let answer = async move {
            let query_client = self.query_client("read_committed", &self.stable)?;
            let offsets = offsets(query_client, topic, partitions, Offset::Offset(time))?;
            Ok(offsets.into_iter().map(|offset| (offset >= 0).then_some(offset)).collect())
        };
        answer.boxed()
    }

    fn ends<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
    ) -> BoxFuture<'a, Result<Vec<End>, Error>> {
        async move { self.blocking_ends(topic, partitions) }.boxed()
    }

    fn opening<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
    ) -> BoxFuture<'a, Result<TopicDescription, Error>> {
        let answer = async move {
            self.connect_readers(topic, partitions);
            let retention = || self.blocking_tombstone_retention(topic);
            let (retention, watermarks) =
                both(retention, || self.blocking_watermarks(topic, partitions, None));
            Ok(TopicDescription { watermarks: watermarks?, tombstone_retention: retention.ok() })
        };
        answer.boxed()
    }

    fn tombstone_retention<'a>(
        &'a self,
        topic: &'a str,
    ) -> BoxFuture<'a, Result<Option<Duration>, Error>> {
        async { self.blocking_tombstone_retention(topic) }.boxed()
    }
}

/// What the metadata say of a topic. Between its creation and the election of leaders it has no partitions.
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
