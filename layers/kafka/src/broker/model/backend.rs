//! The calls of the model of a cluster.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::Error;
use crate::broker::model::reader::Reader;
use crate::broker::model::{Call, Model, Partition, State};
use crate::broker::{Access, Backend, Consumer, End, Presence, TopicDescription};
use crate::data::gap::Watermarks;
use crate::simulation::Random;

/// The cluster as one instance sees it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) model: Model,
    pub(super) seed: u64,
    pub(super) batch: usize,
}

impl Seen {
    async fn offsets(
        &self,
        call: Call,
        topic: &str,
        partitions: usize,
    ) -> Result<Watermarks, Error> {
        let no_offset = || Error::NoOffset { topic: topic.to_owned() };
        let offsets = |state: &mut State| {
            let topic = state.topics.get(topic).ok_or_else(no_offset)?;
            let logs = topic.partitions.get(..partitions).ok_or_else(no_offset)?;
            if logs.iter().any(|log| log.leaderless || log.lagging.is_some()) {
                return Ok(Err(state.faults.failure));
            }
            Ok(Ok(Watermarks {
                low: logs.iter().map(|log| log.low).collect(),
                last_stable: logs.iter().map(Partition::stable).collect(),
                high: logs.iter().map(|log| log.high).collect(),
                tombstones_kept: topic.tombstones_kept.clone(),
                since: None,
            }))
        };
        match self.model.answer(call, offsets).await? {
            Ok(watermarks) => Ok(watermarks),
            Err(after) => {
                if !after.is_zero() {
                    tokio::time::sleep(after).await;
                }
                Err(no_offset())
            }
        }
    }
}

impl Backend for Seen {
    fn cluster(&self) -> &str {
        "model"
    }

    fn consumer(&self, history: bool) -> Result<Box<dyn Consumer>, Error> {
        // librdkafka creates a consumer whether Kafka is reachable or not.
        let (fails, reconnects) = {
            let state = self.model.lock();
            let fails = state.faults.touches(Call::Consumer);
            (history && fails, state.faults.reconnects)
        };
        if fails {
            self.model.note(Call::Consumer)?;
        }
        self.model.change(|state| state.consumers += 1);
        let random = Random(self.seed ^ u64::from(history));
        Ok(Box::new(Reader::new(self.model.clone(), history, random, self.batch, reconnects)))
    }

    fn topics(&self) -> BoxFuture<'_, Result<HashMap<String, usize>, Error>> {
        let topics = |state: &mut State| {
            if state.faults.forgets_topics() {
                return Ok(HashMap::new());
            }
            let State { topics, faults, .. } = state;
            let listed = topics.iter().filter(|(_, topic)| !topic.hidden);
            Ok(listed.map(|(name, topic)| (name.clone(), faults.found(topic.count()))).collect())
        };
        self.model.answer(Call::Topics, topics).boxed()
    }

    fn presence<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Presence, Error>> {
        let presence = |state: &mut State| {
            let State { topics, faults, .. } = state;
            Ok(match topics.get(topic) {
                None if faults.hides_missing => Presence::Forbidden,
                None => Presence::Missing,
                Some(topic) if topic.hidden => Presence::Forbidden,
                Some(topic) => Presence::Partitions(faults.found(topic.count())),
            })
        };
        self.model.answer(Call::Presence, presence).boxed()
    }

    fn access<'a>(&'a self, topics: &'a [Arc<str>]) -> BoxFuture<'a, Result<Vec<Access>, Error>> {
        let access = |state: &mut State| {
            let access = |name: &Arc<str>| match state.topics.get(&**name) {
                None => Access::Unknown,
                Some(topic) if topic.forbidden => Access::Forbidden,
                Some(_) => Access::Permitted,
            };
            Ok(topics.iter().map(access).collect())
        };
        self.model.answer(Call::Access, access).boxed()
    }

    fn drain_events(&self) -> BoxFuture<'_, bool> {
        let drained = async {
            drop(self.model.call(Call::DrainEvents).await);
            false
        };
        drained.boxed()
    }

    fn watermarks<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
        retention: Option<Duration>,
    ) -> BoxFuture<'a, Result<Watermarks, Error>> {
        let watermarks = async move {
            let mut watermarks = self.offsets(Call::Watermarks, topic, partitions).await?;
            watermarks.tombstones_kept = watermarks.tombstones_kept.filter(|_| retention.is_some());
            Ok(watermarks)
        };
        watermarks.boxed()
    }

    fn ends<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
    ) -> BoxFuture<'a, Result<Vec<End>, Error>> {
        let ends = async move {
            let Watermarks { last_stable: stable, high, .. } =
                self.offsets(Call::Ends, topic, partitions).await?;
            Ok(stable.into_iter().zip(high).map(|(stable, high)| End { stable, high }).collect())
        };
        ends.boxed()
    }

    fn first_since<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
        time: i64,
    ) -> BoxFuture<'a, Result<Vec<Option<i64>>, Error>> {
        let first = move |state: &mut State| {
            let logs = state.topics.get(topic).and_then(|topic| topic.partitions.get(..partitions));
            let logs = logs.ok_or_else(|| Error::NoOffset { topic: topic.to_owned() })?;
            let first = |log: &Partition| {
                let mut readable = log.records.iter().filter(|record| record.offset < log.stable());
                let first = readable.find(|record| record.timestamp.is_some_and(|at| at >= time));
                first.map(|record| record.offset)
            };
            Ok(logs.iter().map(first).collect())
        };
        self.model.answer(Call::Times, first).boxed()
    }

    fn opening<'a>(
        &'a self,
        topic: &'a str,
        partitions: usize,
    ) -> BoxFuture<'a, Result<TopicDescription, Error>> {
        let opening = async move {
            let watermarks = self.watermarks(topic, partitions, None).await?;
            let tombstone_retention = self.tombstone_retention(topic).await.ok();
            Ok(TopicDescription { watermarks, tombstone_retention })
        };
        opening.boxed()
    }

    fn tombstone_retention<'a>(
        &'a self,
        topic: &'a str,
    ) -> BoxFuture<'a, Result<Option<Duration>, Error>> {
        let retention = async move {
            let state = self.model.lock();
            let topic = state.topics.get(topic);
            let is_compacted = topic.is_some_and(|topic| topic.tombstones_kept.is_some());
            Ok(is_compacted.then_some(Duration::from_secs(86_400)))
        };
        retention.boxed()
    }
}
