//! Queries for the offsets of open topics, for the streams that wait for them. A topic whose query fails is
//! queried again after a pause.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::Error;
use crate::broker::{Backend, End, Presence};
use crate::data::gap::{Truncation, Watermarks};
use crate::data::positions::Positions;
use crate::engine::control::Control;
use crate::timing::Timing;
use crate::topic::registry::Shared;
use crate::topic::requests::Command;
use crate::topic::{Topic, TopicLog};

/// How many timestamps are looked up before other requests are served.
const TIMES_A_TURN: usize = 16;

/// The request of a stream for the watermarks of its topic.
pub(super) struct WatermarksRequest {
    pub(super) at: Instant,
    pub(super) topic: Arc<Topic>,
    pub(super) log: Arc<TopicLog>,
    pub(super) partitions: usize,
    pub(super) resumes: bool,
    pub(super) since: Option<i64>,
    pub(super) reply: oneshot::Sender<Watermarks>,
}

/// The pause after a query for the offsets of a topic has failed.
#[derive(Clone, Copy)]
pub(super) struct Backoff {
    pause: Duration,
    until: Instant,
}

impl Control<'_> {
    /// Answers the streams that wait. A query that fails may have taken seconds, so requests that came in
    /// the meantime are served before the next query that may fail.
    pub(super) async fn serve_requests(&mut self) {
        loop {
            while let Ok(request) = self.requests.try_recv() {
                self.enqueue(request);
            }
            if self.answer().await {
                return;
            }
        }
    }

    /// Asks Kafka once for all streams that wait for the watermarks of a topic, and once for each timestamp at
    /// which they begin. Topics in backoff come last. Requests that Kafka does not answer stay queued. Returns
    /// false if a query failed; the other requests are left then.
    async fn answer(&mut self) -> bool {
        let mut groups: BTreeMap<(Arc<str>, bool), Vec<WatermarksRequest>> = BTreeMap::new();
        for request in std::mem::take(&mut self.watermarks_requests) {
            if request.reply.is_closed() || request.log.hub.is_closed() {
                continue;
            }
            if !self.has_counted(&request).await
                || !self.has_all(&request)
                || !self.is_due(&request.topic)
            {
                self.watermarks_requests.push(request);
            } else {
                let key = (Arc::clone(&request.topic.name), request.resumes);
                groups.entry(key).or_default().push(request);
            }
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|((name, _), _)| self.is_in_trouble(name));
        let mut groups = groups.into_iter();
        let mut times = TIMES_A_TURN;
        for ((_, resumes), group) in groups.by_ref() {
            let Some(first) = group.first() else { continue };
            // A stream that has read nothing yet misses no tombstone.
            let retention = self.tombstone_retention(first).await.filter(|_| resumes);
            let partitions = self.known(&first.topic, &first.log);
            let topic = Arc::clone(&first.topic);
            let log = Arc::clone(&first.log);
            let answered = match self.query_watermarks(&topic, &log, partitions, retention).await {
                Some(watermarks) => self.reply(group, &watermarks, &mut times).await,
                // The streams of a closed log ask again.
                None if log.hub.is_closed() => true,
                None => {
                    self.watermarks_requests.extend(group);
                    false
                }
            };
            if !answered {
                self.watermarks_requests.extend(groups.flat_map(|(_, group)| group));
                return false;
            }
        }
        true
    }

    /// Answers the requests for one topic. Returns false if the query for a timestamp failed. Requests for a
    /// timestamp without an answer stay queued.
    async fn reply(
        &mut self,
        group: Vec<WatermarksRequest>,
        watermarks: &Watermarks,
        times: &mut usize,
    ) -> bool {
        let mut known: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        let mut failed = false;
        for request in group {
            let since = match request.since {
                None => None,
                Some(time) => {
                    let first = match known.remove(&time) {
                        Some(first) => Some(first),
                        None => self.first_since(&request.topic, watermarks, time, times).await,
                    };
                    match first {
                        Some(first) => Some(known.entry(time).or_insert(first).clone()),
                        None => {
                            failed |= self.is_in_trouble(&request.topic.name);
                            self.watermarks_requests.push(request);
                            continue;
                        }
                    }
                }
            };
            // The stream may have left meanwhile.
            drop(request.reply.send(Watermarks { since, ..watermarks.clone() }));
        }
        !failed
    }

    /// The first offsets at or after a timestamp. Where Kafka finds no record that new, the end is taken that
    /// was queried before, so that no record written between both queries is lost.
    async fn first_since(
        &mut self,
        topic: &Topic,
        watermarks: &Watermarks,
        time: i64,
        times: &mut usize,
    ) -> Option<Vec<i64>> {
        let Some(left) = times.checked_sub(1) else {
            self.has_more = true;
            return None;
        };
        *times = left;
        let partitions = watermarks.last_stable.len();
        let first =
            self.query(topic, |backend, name| backend.first_since(name, partitions, time)).await?;
        Some(
            first
                .into_iter()
                .zip(&watermarks.last_stable)
                .map(|(first, end)| first.unwrap_or(*end))
                .collect(),
        )
    }

    /// Whether the partitions that a stream names are known, or Kafka has confirmed some time after the request
    /// that the topic has no more. Brokers learn of new partitions one after the other, and a client may
    /// know them before this instance does.
    async fn has_counted(&mut self, request: &WatermarksRequest) -> bool {
        let known = self.known(&request.topic, &request.log);
        let sure = request.at + self.confirm_time();
        if request.partitions <= known || self.topic_state(&request.topic).counted >= Some(sure) {
            return true;
        }
        let now = Instant::now();
        if now < sure {
            return false;
        }
        let count = self.query(&request.topic, |backend, name| backend.presence(name)).await;
        let count = match count {
            Some(Presence::Partitions(count)) => Some(count),
            Some(Presence::Missing | Presence::Forbidden) | None => None,
        };
        let state = self.topic_state(&request.topic);
        state.partitions = state.partitions.max(count.unwrap_or(0));
        state.counted = state.counted.max(Some(now).filter(|_| count == Some(known)));
        count.is_some_and(|count| count == known || count >= request.partitions)
    }

    /// Whether the log has all known partitions. Until the log reads a partition, retention may remove the
    /// position that a stream would be given there.
    fn has_all(&self, request: &WatermarksRequest) -> bool {
        self.known(&request.topic, &request.log) <= request.log.hub.head().len()
    }

    /// How many partitions the topic is known to have. Its log learns of new ones later than this thread.
    pub(super) fn known(&self, topic: &Topic, log: &TopicLog) -> usize {
        let state = self.topic_states.get(&topic.name);
        let seen = state.map_or(0, |state| state.partitions);
        seen.max(log.hub.head().len())
    }

    pub(super) fn is_in_trouble(&self, name: &str) -> bool {
        self.topic_states.get(name).is_some_and(|state| state.backoff.is_some())
    }

    /// Whether the backoff of the topic is over.
    fn is_due(&self, topic: &Topic) -> bool {
        let backoff = self.topic_states.get(&topic.name).and_then(|state| state.backoff);
        backoff.is_none_or(|backoff| backoff.until <= Instant::now())
    }

    /// The watermarks of an open topic. [`query_open`](Self::query_open) says when there are none.
    pub(super) async fn query_watermarks(
        &mut self,
        topic: &Topic,
        log: &TopicLog,
        partitions: usize,
        retention: Option<Duration>,
    ) -> Option<Watermarks> {
        self.query_open(
            topic,
            log,
            |backend, name| backend.watermarks(name, partitions, retention),
            |watermarks| watermarks.high.clone(),
        )
        .await
    }

    /// The ends of an open topic. [`query_open`](Self::query_open) says when there are none.
    pub(super) async fn query_ends(
        &mut self,
        topic: &Topic,
        log: &TopicLog,
        partitions: usize,
    ) -> Option<Vec<End>> {
        let ends = self
            .query_open(
                topic,
                log,
                |backend, name| backend.ends(name, partitions),
                |ends| ends.iter().map(|end| end.high).collect(),
            )
            .await?;
        topic.set_ends(Positions::new(ends.iter().map(|end| end.stable).collect::<Vec<_>>()));
        Some(ends)
    }

    /// Asks Kafka about an open topic. `None` if Kafka does not answer or the log is closed.
    ///
    /// If a high watermark of the answer is less than the head of the log, Kafka has truncated the partition.
    /// The log is closed then, because no stream may continue in a log with records that Kafka does not have.
    async fn query_open<T>(
        &mut self,
        topic: &Topic,
        log: &TopicLog,
        question: impl for<'q> FnOnce(&'q dyn Backend, &'q str) -> BoxFuture<'q, Result<T, Error>>,
        high: impl FnOnce(&T) -> Vec<i64>,
    ) -> Option<T> {
        if log.hub.is_closed() {
            return None;
        }
        // The head is read before the query: a record that was written after the answer is no sign of a truncation.
        let head = log.hub.head();
        let answer = self.query(topic, question).await?;
        let ends = head.iter().zip(high(&answer));
        let truncated = ends.filter(|((_, next), high)| next > high);
        let truncated: Vec<_> = truncated.map(|((partition, _), high)| (partition, high)).collect();
        if truncated.is_empty() {
            return Some(answer);
        }
        topic.truncate(Truncation::at(truncated));
        self.close_removed(topic);
        None
    }

    /// Asks Kafka, unless the topic is in backoff: a query that fails may take seconds, in which no other
    /// request is served.
    pub(super) async fn query<T>(
        &mut self,
        topic: &Topic,
        question: impl for<'q> FnOnce(&'q dyn Backend, &'q str) -> BoxFuture<'q, Result<T, Error>>,
    ) -> Option<T> {
        if !self.is_due(topic) {
            return None;
        }
        let answer = question(&*self.backend, &topic.name).await;
        let Timing { retry, max_retry, .. } = self.timing;
        let backoff = &mut self.topic_state(topic).backoff;
        match answer {
            Ok(answer) => {
                *backoff = None;
                Some(answer)
            }
            Err(error) => {
                let pause = backoff.map_or(retry, |backoff| max_retry.min(2 * backoff.pause));
                *backoff = Some(Backoff { pause, until: Instant::now() + pause });
                warn!(cluster = self.cluster, %error, topic = %topic.name, ?pause, "offsets can't be read, trying again");
                None
            }
        }
    }

    /// Closes the logs whose heads are offsets that Kafka does not have. Topics that Kafka does not answer for
    /// are checked later.
    pub(super) async fn verify(&mut self, shared: &Shared) {
        if std::mem::take(&mut self.verify_all) {
            self.unverified = shared.held();
        }
        for topic in std::mem::take(&mut self.unverified) {
            // A topic that is not open will be opened at offsets that exist.
            let Some(log) = topic.log() else { continue };
            let head = log.hub.head();
            let Some(watermarks) = self.query_watermarks(&topic, &log, head.len(), None).await
            else {
                if !log.hub.is_closed() {
                    self.unverified.push(topic);
                    self.serve_requests().await;
                }
                continue;
            };
            let is_before = |((_, next), low): ((i32, i64), &i64)| next < *low;
            if head.iter().zip(&watermarks.low).any(is_before) {
                self.close_removed(&topic);
            } else {
                self.send(Command::Reassign { topic: Arc::clone(&topic.name) });
            }
        }
    }

    /// How long the topic keeps tombstones. The log keeps the answer.
    async fn tombstone_retention(&self, request: &WatermarksRequest) -> Option<Duration> {
        let known = &request.log.tombstone_retention;
        if let Some(retention) = known.get() {
            return *retention;
        }
        let name = &request.topic.name;
        match self.backend.tombstone_retention(name).await {
            Ok(retention) => *known.get_or_init(|| retention),
            Err(error) => {
                debug!(%error, topic = %name, "configuration can't be read, taken as not compacted");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tailwater_hub::Hub;
    use tokio::sync::mpsc;

    use super::*;
    use crate::broker::model::Model;
    use crate::data::events::Records;
    use crate::data::filter::Index;
    use crate::engine::inspection::Inspections;
    use crate::threads::Threads;
    use crate::topic::State;
    use crate::topic::requests::Request;

    /// A stream got a position in a partition that its log began to read later. Retention removed the records
    /// between, and the stream got no gap.
    #[tokio::test]
    async fn watermarks_wait_until_the_log_has_all_partitions_that_are_known() {
        let model = Model::default();
        model.create("orders", 2);
        let (tail, _commands) = mpsc::unbounded_channel();
        let (ask, mut requests) = mpsc::unbounded_channel();
        let mut control = control(&model, tail, &mut requests);
        let (topic, log) = open("orders", Positions::new([0]));
        control.topic_state(&topic).partitions = 2;
        let (reply, mut answer) = oneshot::channel();
        let job = Request::Watermarks {
            topic: Arc::clone(&topic),
            log: Arc::clone(&log),
            partitions: 0,
            resumes: false,
            since: None,
            reply,
        };
        ask.send(job).unwrap();
        control.serve_requests().await;
        assert!(answer.try_recv().is_err(), "the log has one of two partitions");

        model.skip("orders", 1, 5);
        model.expire("orders", 1, 3);
        log.hub.set_position(Positions::new([0, 3]));
        control.serve_requests().await;
        assert_eq!(answer.try_recv().unwrap().low, [0, 3]);
    }

    /// Each caller had to look for a truncation in Kafka's answer, and some did not.
    #[tokio::test]
    async fn whatever_is_asked_an_answer_that_ends_before_the_log_closes_it() {
        let model = Model::default();
        model.create("orders", 1);
        model.skip("orders", 0, 3);
        for asks_ends in [true, false] {
            let (tail, mut commands) = mpsc::unbounded_channel();
            let (_ask, mut requests) = mpsc::unbounded_channel();
            let mut control = control(&model, tail, &mut requests);
            let (topic, log) = open("orders", Positions::new([3]));
            let mut is_answered = async || match asks_ends {
                true => control.query_ends(&topic, &log, 1).await.is_some(),
                false => control.query_watermarks(&topic, &log, 1, None).await.is_some(),
            };
            assert!(is_answered().await, "the log stands at Kafka's end");
            log.hub.set_position(Positions::new([5]));
            assert!(!is_answered().await && log.hub.is_closed());
            assert!(topic.log().is_none());
            assert!(matches!(commands.try_recv(), Ok(Command::Unassign { .. })));
            assert!(topic.truncation_between(0, topic.epoch()).invalidates(0, 4));
            assert!(!is_answered().await, "a log that is closed is not asked for");
            assert_eq!(topic.epoch(), 1);
        }
    }

    fn control<'a>(
        model: &Model,
        tail: mpsc::UnboundedSender<Command>,
        requests: &'a mut mpsc::UnboundedReceiver<Request>,
    ) -> Control<'a> {
        let backend = model.backend(1, 5);
        let timing = Timing::default();
        let inspections =
            Arc::new(Inspections::new(Arc::clone(&backend), Threads::default(), timing));
        Control::new(backend, tail, requests, inspections, timing, Arc::default(), String::new())
    }

    /// A topic whose log has this head.
    fn open(name: &str, at: Positions) -> (Arc<Topic>, Arc<TopicLog>) {
        let hub = Hub::new(Records::new(Index::new([])), at.clone(), 0);
        let topic = Arc::new(Topic::new(name.into()));
        let log = Arc::new(TopicLog::new(hub, 0, at, crate::topic::losses::LogLosses::default()));
        topic.state.send_replace(State::Open(Arc::clone(&log)));
        (topic, log)
    }
}
