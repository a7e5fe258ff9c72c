//! The queue of streams and backfills that wait for a history reader.

use std::collections::VecDeque;
use std::sync::Arc;

use tailwater_hub::{Cursor, Selector};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::data::events::Records;
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::topic::TopicLog;
use crate::topic::history::WINDOW_BYTES;
use crate::topic::history::backfill::Backfill;
use crate::topic::history::reading::Reading;
use crate::topic::retired::RETIRED_BYTES;

/// The smallest window of a backfill, however many there are.
const LEAST_WINDOW_BYTES: usize = 64 * 1024;

/// The streams that wait for a backfill, and the backfills.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Streams whose positions are at most this many offsets apart share a backfill.
    coalesce_offsets: u64,
    /// The topics in the order of their turns. Each has requests or backfills.
    topics: VecDeque<TopicQueue>,
    /// The number of the last ticket. Each request and each suspended backfill has one.
    tickets: u64,
    /// How many backfills were begun.
    begun: u64,
    /// The next turn is for the least work, not for the next topic.
    least_first: bool,
    pub(crate) closed: bool,
}

/// The requests and backfills of one log.
#[derive(Debug)]
struct TopicQueue {
    name: Arc<str>,
    log: Arc<TopicLog>,
    requests: Vec<JoinRequest>,
    /// All backfills, suspended or with a reader.
    backfills: Vec<Arc<Backfill>>,
    suspended: Vec<Suspended>,
}

/// A stream that waits for a backfill.
#[derive(Debug)]
struct JoinRequest {
    ticket: u64,
    at: Positions,
    selector: Selector<Record>,
    reply: oneshot::Sender<Cursor<Records>>,
}

/// A backfill that waits for a reader.
#[derive(Debug)]
struct Suspended {
    ticket: u64,
    reading: Reading,
}

/// A turn that a reader may take next.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    topic: usize,
    work: Work,
    ticket: u64,
    /// How many offsets are left before the live log.
    missing: u64,
    /// A backfill reaches the position sooner than a new one would reach the live log.
    is_covered: bool,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Join(usize),
    Suspended(usize),
}

impl TopicQueue {
    fn is(&self, log: &Arc<TopicLog>) -> bool {
        Arc::ptr_eq(&self.log, log)
    }

    fn candidates(
        &self,
        topic: usize,
        window: usize,
        now: Instant,
    ) -> impl Iterator<Item = Candidate> {
        let first = self.log.hub.first();
        let advancing = self.backfills.iter().filter(move |backfill| backfill.advances(window));
        let heads: Vec<_> = match self.requests.is_empty() {
            true => Vec::new(),
            false => advancing.map(|backfill| backfill.hub.head()).collect(),
        };
        let suspended = self.suspended.iter().enumerate();
        let suspended =
            suspended.filter(move |(_, suspended)| suspended.reading.is_ready(window, now));
        let suspended = suspended.map(move |(at, suspended)| Candidate {
            topic,
            work: Work::Suspended(at),
            ticket: suspended.ticket,
            missing: suspended.reading.missing().unwrap_or(0),
            is_covered: false,
        });
        let requests =
            self.requests.iter().enumerate().filter(|(_, request)| !request.reply.is_closed());
        let requests = requests.map(move |(at, request)| {
            let missing = request.at.offsets_until(&first);
            Candidate {
                topic,
                work: Work::Join(at),
                ticket: request.ticket,
                missing,
                is_covered: heads.iter().any(|head| reaches(head, &request.at, missing)),
            }
        });
        suspended.chain(requests)
    }

    /// The stream at which a backfill for `stream` begins: one that waits further back, if that adds at most as
    /// many offsets as are `missing` anyway.
    fn furthest_back(&self, stream: usize, missing: u64) -> usize {
        let Some(of) = self.requests.get(stream) else { return stream };
        let others = self.requests.iter().enumerate();
        let before = others.filter(|(_, request)| {
            !request.reply.is_closed() && reaches(&request.at, &of.at, missing)
        });
        let furthest = before.max_by_key(|(_, request)| request.at.distance(&of.at));
        furthest.map_or(stream, |(at, _)| at)
    }

    /// Begins a backfill for a stream that waits, and for those near it.
    fn begin(&mut self, stream: usize, coalesce_offsets: u64) -> Option<Reading> {
        let at = self.requests.get(stream)?.at.clone();
        let is_near = |request: &mut JoinRequest| request.at.distance(&at) <= coalesce_offsets;
        let members: Vec<_> = self.requests.extract_if(.., is_near).collect();
        let start = members.iter().fold(at, |start, member| start.min(&member.at));
        let records = self.log.hub.format().past();
        let backfill = Backfill::new(&self.log, records, start.clone(), members.len() - 1);
        for member in members {
            // The stream may have left meanwhile.
            let _ = member.reply.send(backfill.hub.tail(member.selector));
        }
        let backfill = Arc::new(backfill);
        self.backfills.push(Arc::clone(&backfill));
        Some(Reading::new(Arc::clone(&self.name), backfill, &start))
    }
}

/// Whether a backfill with this head reaches the position `at` sooner than a new one would read the offsets
/// `missing` from there.
fn reaches(head: &Positions, at: &Positions, missing: u64) -> bool {
    head.at_or_before(at) && head.distance(at) <= missing
}

impl Queue {
    pub(crate) fn new(coalesce_offsets: u64) -> Self {
        let topics = VecDeque::new();
        Self { coalesce_offsets, topics, tickets: 0, begun: 0, least_first: false, closed: false }
    }

    fn of(&mut self, log: &Arc<TopicLog>) -> Option<&mut TopicQueue> {
        self.topics.iter_mut().find(|topic| topic.is(log))
    }

    /// How far a backfill may be ahead of its slowest stream. All backfills must fit among the retired logs with
    /// their encoded events.
    pub(crate) fn window(&self) -> usize {
        let backfills: usize = self.topics.iter().map(|topic| topic.backfills.len()).sum();
        (RETIRED_BYTES / 4 / backfills.max(1)).clamp(LEAST_WINDOW_BYTES, WINDOW_BYTES)
    }

    /// A cursor in a backfill that is being read, or a receiver for one in a later backfill.
    pub(crate) fn join(
        &mut self,
        name: &Arc<str>,
        log: &Arc<TopicLog>,
        at: &Positions,
        selector: &Selector<Record>,
    ) -> Result<Cursor<Records>, oneshot::Receiver<Cursor<Records>>> {
        let coalesce_offsets = self.coalesce_offsets;
        if let Some(topic) = self.of(log)
            && let Some(cursor) = topic
                .backfills
                .iter()
                .find_map(|backfill| backfill.join(at, coalesce_offsets, selector))
        {
            return Ok(cursor);
        }
        self.tickets += 1;
        let ticket = self.tickets;
        let (reply, answer) = oneshot::channel();
        let request = JoinRequest { ticket, at: at.clone(), selector: selector.clone(), reply };
        match self.of(log) {
            Some(topic) => {
                // Readers may be busy for long. Without this, requests of streams that have left would pile up.
                if topic.requests.len() == topic.requests.capacity() {
                    topic.requests.retain(|request| !request.reply.is_closed());
                }
                topic.requests.push(request);
            }
            None => self.topics.push_back(TopicQueue {
                name: Arc::clone(name),
                log: Arc::clone(log),
                requests: vec![request],
                backfills: Vec::new(),
                suspended: Vec::new(),
            }),
        }
        Err(answer)
    }

    /// Joins the streams that wait to a backfill that reaches them.
    pub(crate) fn join_waiting(&mut self, backfill: &Backfill) {
        let coalesce_offsets = self.coalesce_offsets;
        let Some(topic) = self.of(&backfill.log) else { return };
        if !topic.requests.is_empty() {
            for request in std::mem::take(&mut topic.requests) {
                match backfill.join(&request.at, coalesce_offsets, &request.selector) {
                    Some(cursor) => drop(request.reply.send(cursor)),
                    None => topic.requests.push(request),
                }
            }
        }
    }

    /// The turns that a reader may take, with topics in order.
    fn candidates(&self, now: Instant) -> impl Iterator<Item = Candidate> {
        let window = self.window();
        let topics = self.topics.iter().enumerate();
        topics.flat_map(move |(at, topic)| topic.candidates(at, window, now))
    }

    /// Whether a stream or a backfill waits that no running backfill reaches.
    pub(crate) fn is_waited_for(&self, now: Instant) -> bool {
        self.candidates(now).any(|candidate| !candidate.is_covered)
    }

    /// Whether an idle reader has nothing to do.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.candidates(now).next().is_none()
    }

    /// Whether backfills wait for a reader or for their streams.
    pub(crate) fn has_suspended(&self) -> bool {
        self.topics.iter().any(|topic| !topic.suspended.is_empty())
    }

    /// The next turn. Topics take turns, and within a topic the oldest ticket comes first. Every other turn is for
    /// the least work, so that little work does not wait for much.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Reading> {
        let all: Vec<_> = self.candidates(now).collect();
        let is_covered = all.iter().all(|candidate| candidate.is_covered);
        let among = all.iter().filter(|candidate| candidate.is_covered == is_covered);
        let next = match self.least_first {
            true => among.min_by_key(|candidate| (candidate.missing, candidate.ticket)),
            false => among.min_by_key(|candidate| (candidate.topic, candidate.ticket)),
        };
        let Candidate { topic: at, work, missing, .. } = *next?;
        let least_first = self.least_first;
        let coalesce_offsets = self.coalesce_offsets;
        let topic = self.topics.get_mut(at)?;
        let reading = match work {
            Work::Suspended(at) => Some(topic.suspended.swap_remove(at).reading),
            Work::Join(at) if least_first => topic.begin(at, coalesce_offsets),
            Work::Join(at) => topic.begin(topic.furthest_back(at, missing), coalesce_offsets),
        };
        if let (Work::Join(_), Some(_)) = (work, &reading) {
            self.begun += 1;
        }
        let topic = self.topics.remove(at);
        self.topics.extend(topic);
        self.least_first = !self.least_first;
        reading
    }

    /// Queues a backfill for its next turn.
    pub(crate) fn suspend(&mut self, reading: Reading) {
        self.tickets += 1;
        let ticket = self.tickets;
        if let Some(topic) = self.of(&reading.backfill.log) {
            topic.suspended.push(Suspended { ticket, reading });
        }
    }

    /// Removes a backfill that has ended.
    pub(crate) fn remove(&mut self, backfill: &Arc<Backfill>) {
        if let Some(topic) = self.of(&backfill.log) {
            topic.backfills.retain(|other| !Arc::ptr_eq(other, backfill));
        }
    }

    /// Removes requests and backfills without streams. Returns the backfills: they have ended.
    pub(crate) fn remove_ended(&mut self) -> Vec<Reading> {
        let mut over = Vec::new();
        for topic in &mut self.topics {
            let ended = topic.log.hub.is_closed();
            topic.requests.retain(|request| !ended && !request.reply.is_closed());
            let gone =
                topic.suspended.extract_if(.., |suspended| suspended.reading.backfill.is_over());
            over.extend(gone.map(|suspended| suspended.reading));
        }
        self.topics.retain(|topic| !topic.requests.is_empty() || !topic.backfills.is_empty());
        over
    }

    /// The backfills that wait for their turn.
    pub(crate) fn suspended(&mut self) -> impl Iterator<Item = &mut Reading> {
        self.topics
            .iter_mut()
            .flat_map(|topic| &mut topic.suspended)
            .map(|suspended| &mut suspended.reading)
    }

    #[cfg(test)]
    pub(crate) fn backfills(&self) -> impl Iterator<Item = &Arc<Backfill>> {
        self.topics.iter().flat_map(|topic| &topic.backfills)
    }

    /// How many streams wait for a backfill.
    pub(crate) fn waiting(&self) -> usize {
        let requests = self.topics.iter().flat_map(|topic| &topic.requests);
        requests.filter(|request| !request.reply.is_closed()).count()
    }

    /// How many backfills there are, and how many were begun.
    pub(crate) fn counts(&self) -> (usize, u64) {
        (self.topics.iter().map(|topic| topic.backfills.len()).sum(), self.begun)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tailwater_hub::Hub;

    use super::*;
    use crate::data::filter::Index;

    const COALESCE_OFFSETS: u64 = 10;

    struct Fixture {
        queue: Queue,
        streams: Vec<Cursor<Records>>,
        answers: Vec<oneshot::Receiver<Cursor<Records>>>,
    }

    /// A log that begins at this offset.
    fn log_from(first: i64) -> Arc<TopicLog> {
        let first = Positions::new([first]);
        let hub = Hub::new(Records::new(Index::new([])), first, usize::MAX);
        Arc::new(TopicLog::new(
            hub,
            0,
            Positions::new([0]),
            crate::topic::losses::LogLosses::default(),
        ))
    }

    fn fixture() -> Fixture {
        Fixture { queue: Queue::new(COALESCE_OFFSETS), streams: Vec::new(), answers: Vec::new() }
    }

    impl Fixture {
        fn join(&mut self, log: &Arc<TopicLog>, at: i64) {
            let at = Positions::new([at]);
            match self.queue.join(&"topic".into(), log, &at, &Selector::All) {
                Ok(cursor) => self.streams.push(cursor),
                Err(answer) => self.answers.push(answer),
            }
        }

        /// Takes a turn. Returns the topic and the head of its backfill.
        fn turn(&mut self, topics: &[&Arc<TopicLog>]) -> Option<(usize, i64, Reading)> {
            let reading = self.queue.next(Instant::now())?;
            self.answers.retain_mut(|answer| match answer.try_recv() {
                Ok(cursor) => {
                    self.streams.push(cursor);
                    false
                }
                Err(_) => true,
            });
            let topic = topics.iter().position(|topic| Arc::ptr_eq(topic, &reading.backfill.log));
            let at = reading.backfill.hub.head().next(0);
            Some((topic.expect("one of these"), at, reading))
        }

        fn turns(&mut self, topics: &[&Arc<TopicLog>], count: usize) -> Vec<(usize, i64)> {
            let mut turns = Vec::new();
            for _ in 0..count {
                let (topic, at, reading) = self.turn(topics).expect("somebody waits");
                turns.push((topic, at));
                self.queue.suspend(reading);
            }
            turns
        }
    }

    fn append(backfill: &Backfill, bytes: usize) {
        let at = backfill.hub.head().next(0);
        let value = vec![b'x'; bytes];
        let headers = std::iter::empty();
        let record = Record::new((0, at, None), None, Some(&value), headers, &mut BytesMut::new());
        backfill.hub.append(vec![record]);
    }

    #[test]
    fn topics_take_turns_and_every_other_one_is_for_the_least_work() {
        let mut fixture = fixture();
        let many = log_from(10_000);
        let one = log_from(20_000);
        let little = log_from(100);
        // No position is nearer to another than to the end.
        for at in [0, 6000, 9000] {
            fixture.join(&many, at);
        }
        fixture.join(&one, 0);
        fixture.join(&little, 0);
        let topics = [&many, &one, &little];
        let turns = fixture.turns(&topics, 10);
        let in_order: Vec<_> = turns.iter().step_by(2).copied().collect();
        assert_eq!(in_order, [(0, 0), (1, 0), (0, 6000), (1, 0), (0, 9000)]);
        assert!(turns.iter().skip(1).step_by(2).all(|turn| *turn == (2, 0)), "{turns:?}");
    }

    #[test]
    fn a_stream_waits_for_a_backfill_that_reaches_it_sooner_than_a_new_one_would_end() {
        let mut fixture = fixture();
        let topic = log_from(10_000);
        for at in [4000, 3000, 9000, 0, 5] {
            fixture.join(&topic, at);
        }
        // The furthest back that is not too far, with those near it.
        let (_, at, first) = fixture.turn(&[&topic]).expect("they wait");
        assert_eq!((at, first.backfill.hub.cursors()), (0, 2));
        let now = Instant::now();
        assert!(fixture.queue.is_waited_for(now), "it is far to 9000");
        let (_, at, last) = fixture.turn(&[&topic]).expect("they wait");
        assert_eq!(at, 9000);
        assert!(!fixture.queue.is_waited_for(now), "the others wait for the first backfill");
        // A backfill whose streams take nothing reaches no position, nor does one that got no records.
        append(&first.backfill, WINDOW_BYTES + 1);
        assert!(fixture.queue.is_waited_for(now));
        fixture.streams.retain_mut(|cursor| cursor.position().next(0) == 9000);
        assert!(!fixture.queue.is_waited_for(now));
        first.backfill.set_fruitful(false);
        assert!(fixture.queue.is_waited_for(now));
        // A reader with nothing else to do does not wait for it.
        first.backfill.set_fruitful(true);
        let (_, at, _) = fixture.turn(&[&topic]).expect("they wait");
        assert_eq!(at, 3000);
        drop(last);
    }

    #[test]
    fn a_stream_that_waits_joins_a_backfill_that_comes_near() {
        let mut fixture = fixture();
        let topic = log_from(1000);
        fixture.join(&topic, 0);
        let (_, _, reading) = fixture.turn(&[&topic]).expect("it waits");
        fixture.join(&topic, 100);
        for _ in 0..89 {
            append(&reading.backfill, 1);
        }
        fixture.queue.join_waiting(&reading.backfill);
        assert_eq!((fixture.queue.waiting(), reading.backfill.hub.cursors()), (1, 1));
        append(&reading.backfill, 1);
        fixture.queue.join_waiting(&reading.backfill);
        let mut cursor = fixture.answers.remove(0).try_recv().expect("it is taken in");
        assert_eq!((fixture.queue.waiting(), cursor.position().next(0)), (0, 90));
    }

    #[test]
    fn a_backfill_whose_streams_take_nothing_has_no_turn() {
        let mut fixture = fixture();
        let topic = log_from(1000);
        fixture.join(&topic, 0);
        let (_, _, reading) = fixture.turn(&[&topic]).expect("it waits");
        append(&reading.backfill, WINDOW_BYTES + 1);
        let backfill = Arc::clone(&reading.backfill);
        fixture.queue.suspend(reading);
        assert!(fixture.turn(&[&topic]).is_none());
        fixture.streams.clear();
        assert!(backfill.is_over());
        assert_eq!(fixture.queue.remove_ended().len(), 1);
        fixture.queue.remove(&backfill);
        fixture.queue.remove_ended();
        assert!(fixture.queue.topics.is_empty());
    }

    #[test]
    fn many_backfills_have_a_small_window() {
        let mut fixture = fixture();
        let topic = log_from(1 << 40);
        assert_eq!(fixture.queue.window(), WINDOW_BYTES);
        for number in (0..40).rev() {
            fixture.join(&topic, (1 << 40) - (1 << number));
        }
        fixture.turns(&[&topic], 200);
        assert!(fixture.queue.window() <= RETIRED_BYTES / 4 / 30, "{}", fixture.queue.window());
    }
}
