//! The events of one client.

use std::collections::VecDeque;
use std::fmt;
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, select};
use tailwater_hub::{Cursor, CursorError, Selector};
use tailwater_sse::{BoxError, Encoded, Events};

use crate::Error;
use crate::data::events::{self, FEW_PARTITIONS, Records, View};
use crate::data::gap::PendingGaps;
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::options::StreamOptions;
use crate::stream::large::LargeEvent;
use crate::stream::live::LiveEvent;
use crate::stream::resume::{Attachment, ResumeFrom};
use crate::topic::Refused;
use crate::topic::registry::TopicHandle;
use crate::topic::snapshot::Replay;

pub(crate) mod large;
pub(crate) mod live;
pub(crate) mod resume;

/// The reconnection time of a client whose stream ended since its topic is refused, in milliseconds: many
/// may end at once.
const RETRY_MS: RangeInclusive<u32> = 8_000..=12_000;

/// The events of one client: a cursor in the log of a topic.
///
/// While Kafka is away or the topic does not exist it waits. It ends by itself where Kafka does not permit
/// the topic, and where there is no room for it: after a comment, and a `retry` field that says to come
/// again later.
pub struct Stream {
    topic: TopicHandle,
    view: View,
    want: Selector<Record>,
    /// Whether id-only blocks are sent.
    id_only_blocks: bool,
    missing_reported: bool,
    /// The last position that the client was sent, while the stream resolves where it resumes.
    last_reported: Option<Positions>,
    /// Of a compacted topic: what snapshot it reads or has read.
    replay: Option<Replay>,
    live: LiveEvent,
    /// Due before anything else.
    pending_gaps: Option<PendingGaps>,
    /// Encoded already, and due before what follows.
    due: VecDeque<Encoded>,
    state: State,
}

enum State {
    /// There is none where the topic is refused.
    Resolving(Pin<Box<dyn Future<Output = Option<Attachment>> + Send>>),
    Following(Following),
    Ended,
}

struct Following {
    cursor: Cursor<Records>,
    epoch: u64,
    /// The client's place, until the log has come by it. Records before it are not for the client.
    ahead: Option<Positions>,
    /// The last position that the client was sent. None where the last event said it: with no filter.
    last_reported: Option<Positions>,
    /// Whether records are left out that events do not say the position of.
    is_filtered: bool,
    /// An event of which the client was given a part.
    large: Option<Box<LargeEvent>>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("topic", &self.topic.name)
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}

impl Stream {
    pub(crate) fn new(
        topic: TopicHandle,
        options: StreamOptions,
        want: Selector<Record>,
        from: ResumeFrom,
    ) -> Self {
        let view = View {
            form: options.event_id_format,
            timestamps: options.timestamps,
            // Streams whose events are the same share them.
            invalid_gaps: options.invalid_gaps && topic.converter.is_some(),
        };
        let state = State::resolving(&topic, from, want.clone());
        Self {
            topic,
            view,
            want,
            id_only_blocks: options.id_only_blocks,
            missing_reported: false,
            last_reported: None,
            replay: None,
            live: LiveEvent::new(options.live_event),
            pending_gaps: None,
            due: VecDeque::new(),
            state,
        }
    }

    /// Whether it has found a place in a log.
    #[cfg(test)]
    pub(crate) fn is_following(&self) -> bool {
        matches!(self.state, State::Following(_))
    }

    /// Itself, unless its topic is refused.
    pub(crate) fn permitted(self) -> Result<Self, Error> {
        match self.topic.error() {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    /// The last write. Without an empty line, of which many clients make an empty message.
    fn refusal(&self) -> Encoded {
        let why = match self.topic.refused() {
            Some(Refused::Crowded) => "has no room here for now",
            Some(Refused::Forbidden) | None => "does not exist or is not permitted",
        };
        let mut bytes = format!("retry:{}\n", fastrand::u32(RETRY_MS)).into_bytes();
        tailwater_sse::encode_comment(
            format!("topic {} {why}", self.topic.name).as_bytes(),
            &mut bytes,
        );
        Encoded::trusted(bytes.into())
    }

    fn attach(&mut self, attachment: Attachment) {
        let Attachment { mut cursor, at, epoch, gaps, resolved, replay, live } = attachment;
        self.replay = replay;
        let gapless = gaps.is_empty();
        self.pending_gaps = (!gapless).then(|| PendingGaps::new(gaps, &at));
        if resolved && gapless && self.id_only_blocks {
            self.due.push_back(Encoded::id(at.progress().as_bytes()));
        }
        if live {
            self.due.extend(self.live.send(&at));
        } else {
            self.live.attached(&self.topic.shared(), &self.topic.topic());
        }
        let ahead = (!at.is_behind(&cursor.position())).then(|| at.clone());
        // A client is sent nothing when its stream goes on in another log, unless there is a gap.
        let last_reported = self.last_reported.take().filter(|_| gapless).unwrap_or(at);
        // Without a filter each event says the position that it moves the client to.
        let is_filtered = !matches!(self.want, Selector::All);
        let last_reported = (ahead.is_some() || is_filtered).then_some(last_reported);
        let large = None;
        let following = Following { cursor, epoch, ahead, last_reported, is_filtered, large };
        self.state = State::Following(following);
    }
}

impl State {
    fn resolving(topic: &TopicHandle, from: ResumeFrom, want: Selector<Record>) -> Self {
        let (shared, topic) = (topic.shared(), topic.topic());
        Self::Resolving(Box::pin(async move {
            let refused = pin!(topic.wait_refused());
            let attachment = pin!(resume::resolve(shared, Arc::clone(&topic), from, want));
            match select(refused, attachment).await {
                Either::Left(((), _)) => None,
                Either::Right((attachment, _)) => Some(attachment),
            }
        }))
    }
}

impl Events for Stream {
    fn poll_events(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Option<Result<Encoded, BoxError>>> {
        let this = &mut *self;
        let mut passed = 0;
        loop {
            if let Some(gap) = this.pending_gaps.as_mut().and_then(PendingGaps::next) {
                return Poll::Ready(Some(Ok(gap)));
            }
            this.pending_gaps = None;
            if let Some(due) = this.due.pop_front() {
                return Poll::Ready(Some(Ok(due)));
            }
            match &mut this.state {
                State::Resolving(resolving) => match resolving.as_mut().poll(cx) {
                    Poll::Ready(Some(attachment)) => this.attach(attachment),
                    Poll::Ready(None) => {
                        this.state = State::Ended;
                        return Poll::Ready(Some(Ok(this.refusal())));
                    }
                    Poll::Pending if this.topic.is_missing() && !this.missing_reported => {
                        this.missing_reported = true;
                        let name = &this.topic.name;
                        let text = format!("topic {name} does not exist yet or is not permitted");
                        return Poll::Ready(Some(Ok(Encoded::comment(text.as_bytes()))));
                    }
                    Poll::Pending => return Poll::Pending,
                },
                State::Ended => return Poll::Ready(None),
                State::Following(following) => {
                    if let Some(part) = following.next_part(limit) {
                        return Poll::Ready(Some(Ok(part)));
                    }
                    if let Some(live) = this.live.poll(cx, || following.place()) {
                        following.last_reported =
                            following.last_reported.take().map(|_| following.place());
                        return Poll::Ready(Some(Ok(live)));
                    }
                    let partitions = &this.topic.partitions;
                    match ready!(following.poll(cx, this.view, limit, partitions, &mut this.due)) {
                        Ok(Some(encoded)) => return Poll::Ready(Some(Ok(encoded))),
                        Ok(None) if passed < RECORDS_A_POLL => passed += 1,
                        Ok(None) => {
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        Err(_lost) => {
                            let replay = this.replay.take();
                            let from =
                                ResumeFrom::Detached(following.place(), following.epoch, replay);
                            this.last_reported = following.last_reported.take();
                            this.state = State::resolving(&this.topic, from, this.want.clone());
                        }
                    }
                }
            }
        }
    }

    fn position(mut self: Pin<&mut Self>) -> Option<Encoded> {
        // What is due has not been handed out, and the place lies behind it.
        let may_report = self.id_only_blocks && self.pending_gaps.is_none() && self.due.is_empty();
        let State::Following(following) = &mut self.state else { return None };
        let place = following.place();
        let reported = following
            .last_reported
            .as_mut()
            .filter(|reported| may_report && **reported != place)?;
        *reported = place;
        Some(Encoded::id(reported.progress().as_bytes()))
    }
}

/// Records that one poll looks at before others get their turn.
const RECORDS_A_POLL: usize = 1024;

impl Following {
    /// Where the stream goes on: everything before was delivered or is not for the client.
    fn place(&mut self) -> Positions {
        let mark = self.cursor.position();
        self.ahead.as_ref().map_or_else(|| mark.clone(), |ahead| ahead.max(&mark))
    }

    /// What comes next of an event of which the client was given a part.
    fn next_part(&mut self, limit: usize) -> Option<Encoded> {
        let part = self.large.as_mut()?.next(limit);
        if !part.is_part() {
            self.large = None;
        }
        Some(part)
    }

    /// The next write; none where the next records were rejected.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        view: View,
        limit: usize,
        partitions: &AtomicUsize,
        due: &mut VecDeque<Encoded>,
    ) -> Poll<Result<Option<Encoded>, CursorError>> {
        if let Some(encoded) = ready!(self.poll_ahead(cx, view, limit, due)?) {
            return Poll::Ready(Ok(Some(encoded)));
        }
        let batch = ready!(self.cursor.poll_batch(cx, &view, limit)?);
        if batch.bytes().is_empty() {
            let last = self.cursor.last(&batch);
            if !view.shows(last.record()) {
                // No event says this position: the stream says it while it is idle.
                self.last_reported.get_or_insert_with(|| last.before());
                return Poll::Ready(Ok(None));
            }
            let after = last.after();
            let mut event = LargeEvent::new(view, last.record(), &after.progress());
            self.last_reported =
                self.last_reported.take().filter(|_| self.is_filtered).map(|_| after);
            let part = event.next(limit);
            self.large = part.is_part().then(|| Box::new(event));
            return Poll::Ready(Ok(Some(part)));
        }
        // After the batch: it may hold records of a partition that was added just before.
        let wide = partitions.load(Ordering::Acquire) > FEW_PARTITIONS;
        let mut long = None;
        if !self.is_filtered {
            self.last_reported = None;
        }
        if wide || self.last_reported.is_some() {
            let last = self.cursor.last(&batch);
            let after = last.after();
            long = if wide { view.long_id(last.record(), &after.progress()) } else { None };
            self.last_reported = self.last_reported.take().map(|_| after);
        }
        let bytes = match long {
            Some(id) => with_id(batch.bytes(), &id),
            None => batch.into_bytes(),
        };
        Poll::Ready(Ok(Some(Encoded::trusted(bytes))))
    }

    /// Delivers what lies past the client's place while the log has not come by it. Ready with
    /// nothing once it has.
    fn poll_ahead(
        &mut self,
        cx: &mut Context<'_>,
        view: View,
        limit: usize,
        due: &mut VecDeque<Encoded>,
    ) -> Poll<Result<Option<Encoded>, CursorError>> {
        let mut write = Write::default();
        for _ in 0..RECORDS_A_POLL {
            let Some(ahead) = &self.ahead else { break };
            let item = match self.cursor.poll_next(cx) {
                Poll::Ready(Ok(item)) => item,
                // The head of a log that moves without records (a new partition) counts as well.
                Poll::Pending if write.is_empty() && ahead.is_behind(&self.cursor.position()) => {
                    self.ahead = None;
                    break;
                }
                Poll::Ready(Err(lost)) if write.is_empty() => return Poll::Ready(Err(lost)),
                Poll::Pending if write.is_empty() => return Poll::Pending,
                // A loss is met again by the next poll, and nothing is registered for before it.
                Poll::Ready(Err(_)) | Poll::Pending => break,
            };
            let (record, after) = (item.record(), item.after());
            let mut next = Write::default();
            if record.offset >= ahead.next(record.partition) && view.shows(record) {
                let left = record.gap_from(ahead.next(record.partition));
                let record = left.as_ref().unwrap_or(record);
                let place = ahead.max(&after);
                let progress = place.progress();
                if events::is_large(record) {
                    self.large = Some(Box::new(LargeEvent::new(view, record, &progress)));
                } else {
                    view.encode(record, &progress, &mut next.events);
                    next.id = view.long_id(record, &progress);
                }
                self.last_reported = Some(place);
            }
            if ahead.is_behind(&after) {
                self.ahead = None;
            }
            if !write.is_empty() && write.events.len() + next.len() > limit {
                due.push_back(Encoded::trusted(next.finish()));
                break;
            }
            write.append(next);
            if write.len() >= limit || self.large.is_some() {
                break;
            }
        }
        if write.is_empty()
            && let Some(part) = self.next_part(limit)
        {
            return Poll::Ready(Ok(Some(part)));
        }
        match (&self.ahead, write.is_empty()) {
            (_, false) => Poll::Ready(Ok(Some(Encoded::trusted(write.finish())))),
            (None, true) => Poll::Ready(Ok(None)),
            (Some(_), true) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// Events that go out together. A long id stands on the last of them only.
#[derive(Default)]
struct Write {
    events: Vec<u8>,
    /// The id line that the last event was encoded without.
    id: Option<Vec<u8>>,
}

impl Write {
    fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    fn len(&self) -> usize {
        self.events.len() + self.id.as_ref().map_or(0, Vec::len)
    }

    fn append(&mut self, next: Self) {
        if !next.is_empty() {
            self.events.extend_from_slice(&next.events);
            self.id = next.id;
        }
    }

    fn finish(self) -> Bytes {
        let events = Bytes::from(self.events);
        match self.id {
            Some(id) => with_id(&events, &id),
            None => events,
        }
    }
}

/// Events whose last one has no id yet: the line goes before the empty line that ends them.
fn with_id(events: &Bytes, id: &[u8]) -> Bytes {
    let open = events.len().saturating_sub(1);
    let mut bytes = BytesMut::with_capacity(open + id.len());
    bytes.extend_from_slice(&events[..open]);
    bytes.extend_from_slice(id);
    bytes.freeze()
}
