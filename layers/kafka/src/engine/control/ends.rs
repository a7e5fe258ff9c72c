//! Streams that wait until the log of a topic has reached the end that the topic had when they asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::data::positions::Positions;
use crate::engine::control::Control;
use crate::engine::control::watch::Late;
use crate::engine::control::watchdog::PROBED;
use crate::topic::{Topic, TopicLog};

/// The request of a stream.
pub(super) struct EndRequest {
    pub(super) topic: Arc<Topic>,
    pub(super) log: Arc<TopicLog>,
    pub(super) reply: oneshot::Sender<Positions>,
}

/// An end of a topic, and the streams that wait for the log to reach it.
pub(super) struct End {
    topic: Arc<Topic>,
    log: Arc<TopicLog>,
    at: Positions,
    replies: Vec<oneshot::Sender<Positions>>,
}

/// The ends that streams wait for.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) end_requests: Vec<EndRequest>,
    waiting: Vec<End>,
    /// When the first log that has not reached its end is probed, and the pause before that.
    probe: Option<(Instant, Duration)>,
}

impl Ends {
    /// When to check the heads of the logs again.
    pub(super) fn due(&self, pause: Duration) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| Instant::now() + pause)
    }
}

impl Control<'_> {
    /// Answers the streams whose logs have reached their ends.
    pub(super) async fn answer_ends(&mut self) {
        self.find_ends().await;
        self.ends.waiting.retain_mut(|end| {
            end.replies.retain(|reply| !reply.is_closed());
            if end.at.at_or_before(&end.log.hub.head()) {
                for reply in end.replies.drain(..) {
                    // The stream may have left meanwhile.
                    let _ = reply.send(end.at.clone());
                }
            }
            !end.replies.is_empty() && !end.log.hub.is_closed()
        });
        let first = 4 * self.timing.min_refresh;
        let Some(end) = self.ends.waiting.first() else {
            self.ends.probe = None;
            return;
        };
        let (at, pause) = *self.ends.probe.get_or_insert((Instant::now() + first, first));
        if at <= Instant::now() {
            let topic = Arc::clone(&end.topic);
            let log = Arc::clone(&end.log);
            self.skip_holes(&topic, &log).await;
            // The next time, another log is probed.
            self.ends.waiting.rotate_left(1);
            let pause = self.timing.max_retry.min(2 * pause);
            self.ends.probe = Some((Instant::now() + pause, pause));
        }
    }

    /// Asks Kafka for the ends, once for all requests of a topic.
    async fn find_ends(&mut self) {
        let mut groups: BTreeMap<Arc<str>, Vec<EndRequest>> = BTreeMap::new();
        for request in std::mem::take(&mut self.ends.end_requests) {
            if !request.reply.is_closed() && !request.log.hub.is_closed() {
                let name = Arc::clone(&request.topic.name);
                groups.entry(name).or_default().push(request);
            }
        }
        for group in groups.into_values() {
            let Some(first) = group.first() else { continue };
            let topic = Arc::clone(&first.topic);
            let log = Arc::clone(&first.log);
            let partitions = self.known(&topic, &log);
            match self.query_ends(&topic, &log, partitions).await {
                Some(ends) => {
                    let at: Vec<i64> = ends.iter().map(|end| end.stable).collect();
                    let at = Positions::new(at);
                    let replies = group.into_iter().map(|request| request.reply).collect();
                    self.ends.waiting.push(End { topic, log, at, replies });
                }
                // The streams of a log that is closed ask again.
                None if log.hub.is_closed() => {}
                None => self.ends.end_requests.extend(group),
            }
        }
    }

    /// Moves a log past holes. Between the head of a log and the end there may be no record, only the marker
    /// of a transaction, and then the log does not move before the next record. A consumer reads from the head
    /// on to find out, and the tail skips what is a hole.
    async fn skip_holes(&mut self, topic: &Topic, log: &TopicLog) {
        let head = log.hub.head();
        let of_log = self.ends.waiting.iter().filter(|end| std::ptr::eq(&*end.log, log));
        let end = of_log.fold(head.clone(), |end, next| end.max(&next.at));
        // Partitions that the log does not have yet are read from their beginning.
        let late = head.iter().map(|(partition, head)| {
            let due = end.next(partition);
            Late { partition, head, due }
        });
        let mut late: Vec<Late> = late.filter(|late| late.head < late.due).collect();
        late.truncate(PROBED);
        // A leader elected since may end earlier, and does not answer this query while it does (KIP-207).
        if self.query_ends(topic, log, end.len()).await.is_some() {
            self.probe(topic, &late).await;
        }
    }
}
