//! Streams that wait until the log of a topic has come by the end that it had when they asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Control;
use super::watch::Late;
use super::watchdog::PROBED;
use crate::data::positions::Positions;
use crate::topic::{Topic, TopicLog};

/// A stream that asked.
pub(super) struct EndRequest {
    pub(super) topic: Arc<Topic>,
    pub(super) log: Arc<TopicLog>,
    pub(super) reply: oneshot::Sender<Positions>,
}

/// An end, and the streams that asked for it.
pub(super) struct End {
    topic: Arc<Topic>,
    log: Arc<TopicLog>,
    at: Positions,
    replies: Vec<oneshot::Sender<Positions>>,
}

/// All ends that are waited for.
#[derive(Default)]
pub(super) struct Ends {
    pub(super) end_requests: Vec<EndRequest>,
    waiting: Vec<End>,
    /// When it is looked into what keeps a log, and how long that took to be due.
    probe: Option<(Instant, Duration)>,
}

impl Ends {
    /// When to look at them again, if nothing else happens before.
    pub(super) fn due(&self, pause: Duration) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| Instant::now() + pause)
    }
}

impl Control<'_> {
    /// Answers those whose log has come by the end.
    pub(super) fn answer_ends(&mut self) {
        self.find_ends();
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
            self.pass_holes(&topic, &log);
            // The next one may have a better chance.
            self.ends.waiting.rotate_left(1);
            let pause = self.timing.max_retry.min(2 * pause);
            self.ends.probe = Some((Instant::now() + pause, pause));
        }
    }

    /// One question for all end_requests of a topic.
    fn find_ends(&mut self) {
        let mut groups: HashMap<Arc<str>, Vec<EndRequest>> = HashMap::new();
        for newcomer in std::mem::take(&mut self.ends.end_requests) {
            if !newcomer.reply.is_closed() && !newcomer.log.hub.is_closed() {
                let name = Arc::clone(&newcomer.topic.name);
                groups.entry(name).or_default().push(newcomer);
            }
        }
        for group in groups.into_values() {
            let Some(first) = group.first() else { continue };
            let topic = Arc::clone(&first.topic);
            let log = Arc::clone(&first.log);
            let partitions = self.known(&topic, &log);
            match self.query_ends(&topic, &log, partitions) {
                Some(ends) => {
                    let at: Vec<i64> = ends.iter().map(|end| end.stable).collect();
                    let at = Positions::new(at);
                    let replies = group.into_iter().map(|newcomer| newcomer.reply).collect();
                    self.ends.waiting.push(End { topic, log, at, replies });
                }
                // The streams of a log that is closed ask again.
                None if log.hub.is_closed() => {}
                None => self.ends.end_requests.extend(group),
            }
        }
    }

    /// What lies between the head of a log and the end may be no record but the marker of a transaction:
    /// the log then stands still until the next record. Whether it does is found by reading on from
    /// there, and the log told to go on behind.
    fn pass_holes(&mut self, topic: &Topic, log: &TopicLog) {
        let head = log.hub.head();
        let of_log = self.ends.waiting.iter().filter(|end| std::ptr::eq(&*end.log, log));
        let end = of_log.fold(head.clone(), |end, next| end.max(&next.at));
        // Partitions that the log has not heard of yet are read from their beginning.
        let late = head.iter().map(|(partition, head)| {
            let due = end.next(partition);
            Late { partition, head, due }
        });
        let mut late: Vec<Late> = late.filter(|late| late.head < late.due).collect();
        late.truncate(PROBED);
        // A leader that has taken over since they were told may end earlier, and does not tell them then.
        if self.query_ends(topic, log, end.len()).is_some() {
            self.probe(topic, &late);
        }
    }
}
