//! The events of one client.

use std::collections::VecDeque;
use std::fmt;
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::{Either, select};
use tailwater_hub::Selector;
use tailwater_sse::{BoxError, Encoded, Events};

use crate::data::events::Encoding;
use crate::data::gap::PendingGaps;
use crate::data::positions::Positions;
use crate::data::record::Record;
use crate::options::StreamOptions;
use crate::stream::conversion::{Conversions, EventConverter};
use crate::stream::following::{Following, RECORDS_A_POLL};
use crate::stream::live::LiveEvent;
use crate::stream::resume::{Attachment, ResumeFrom};
use crate::topic::Refused;
use crate::topic::counts::StreamStart;
use crate::topic::registry::TopicHandle;
use crate::topic::snapshot::Replay;
use crate::topic::streams::{StreamEntry, StreamProbe};

pub(crate) mod conversion;
pub(crate) mod following;
pub(crate) mod large;
pub(crate) mod live;
pub(crate) mod resume;

/// The reconnection time of a client whose stream ends because its topic is refused, in milliseconds. It is
/// random, since many such streams may end at once.
const RETRY_MS: RangeInclusive<u32> = 8_000..=12_000;

/// The events of one client: a cursor in the log of a topic.
///
/// While Kafka is not available or the topic does not exist, the stream waits. It ends if Kafka does not
/// permit the topic, and if there is no room for the topic: after a comment, and a `retry` field with which
/// the client reconnects later.
pub struct Stream {
    topic: TopicHandle,
    /// Dropped before the state, whose place in a log it reads.
    entry: StreamEntry,
    encoding: Encoding,
    /// Whether gaps are sent in place of rejected records.
    invalid_gaps: bool,
    selector: Selector<Record>,
    /// What converts the records for this stream alone.
    converter: Option<Arc<EventConverter>>,
    /// Whether id-only blocks are sent.
    id_only_blocks: bool,
    missing_reported: bool,
    /// For a compacted topic: the snapshot that the stream reads or has read.
    replay: Option<Box<Replay>>,
    live: LiveEvent,
    /// Gaps, which are sent before anything else.
    pending_gaps: Option<Box<PendingGaps>>,
    /// Events that are encoded already, and are sent next.
    due: VecDeque<Encoded>,
    state: State,
}

enum State {
    /// The future has no attachment if the topic is refused. The position is the last one that was sent to the
    /// client.
    Resolving(Pin<Box<dyn Future<Output = Option<Attachment>> + Send>>, Option<Positions>),
    Following(Following),
    Ended,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("topic", &self.topic.name)
            .field("encoding", &self.encoding)
            .finish_non_exhaustive()
    }
}

impl Stream {
    pub(crate) fn new(
        topic: TopicHandle,
        options: StreamOptions,
        selector: Selector<Record>,
        converter: Option<Arc<EventConverter>>,
        from: ResumeFrom,
        start: StreamStart,
    ) -> Self {
        let encoding = Encoding { form: options.event_id_format, timestamps: options.timestamps };
        let invalid_gaps = options.invalid_gaps;
        let state = State::resolving(&topic, from, selector.clone(), None);
        let entry = topic.enter(start);
        Self {
            topic,
            entry,
            encoding,
            invalid_gaps,
            selector,
            converter,
            id_only_blocks: options.id_only_blocks,
            missing_reported: false,
            replay: None,
            live: LiveEvent::new(options.live_event),
            pending_gaps: None,
            due: VecDeque::new(),
            state,
        }
    }

    /// Whether the stream is attached to a log.
    #[cfg(test)]
    pub(crate) fn is_following(&self) -> bool {
        matches!(self.state, State::Following(_))
    }

    /// What others can see of the stream while it is polled.
    #[must_use]
    pub fn probe(&self) -> StreamProbe {
        self.entry.probe()
    }

    /// The last write. It has no empty line: many clients would deliver an empty message for it.
    fn refusal(&self) -> Encoded {
        let why = match self.topic.refused() {
            Some(Refused::NoRoom) => "has no room here for now",
            Some(Refused::Forbidden) | None => "does not exist or is not permitted",
        };
        let mut bytes = format!("retry:{}\n", fastrand::u32(RETRY_MS)).into_bytes();
        tailwater_sse::encode_comment(
            format!("topic {} {why}", self.topic.name).as_bytes(),
            &mut bytes,
        );
        Encoded::trusted(bytes.into())
    }

    fn attach(&mut self, attachment: Attachment, last_reported: Option<Positions>) {
        let Attachment { mut cursor, at, epoch, gaps, resolved, replay, live, state } = attachment;
        self.replay = replay.map(Box::new);
        let gapless = gaps.is_empty();
        self.pending_gaps = (!gapless).then(|| Box::new(PendingGaps::new(gaps, &at)));
        if resolved && gapless && self.id_only_blocks {
            self.due.push_back(Encoded::id(at.progress().as_bytes()));
        }
        if live {
            self.due.extend(self.live.send(&at));
        } else {
            self.live.attached(&self.topic.shared(), &self.topic.topic());
        }
        let ahead = (!at.is_behind(&cursor.position())).then(|| at.clone());
        let attached = self.entry.stream().attach(state, &cursor, ahead.as_ref());
        // Nothing is sent when a stream continues in another log, unless there is a gap.
        let last_reported = last_reported.filter(|_| gapless).unwrap_or(at);
        let conversions = self.converter.as_ref().map(Conversions::new);
        // Otherwise the id of each event is the position of the stream.
        let is_filtered = !matches!(self.selector, Selector::All) || conversions.is_some();
        let last_reported = (ahead.is_some() || is_filtered).then_some(last_reported);
        self.state = State::Following(Following {
            attached,
            cursor,
            epoch,
            ahead,
            conversions,
            last_reported,
            is_filtered,
            invalid_gaps: self.invalid_gaps,
            large: None,
            rejected: None,
        });
    }
}

impl State {
    fn resolving(
        topic: &TopicHandle,
        from: ResumeFrom,
        selector: Selector<Record>,
        last_reported: Option<Positions>,
    ) -> Self {
        let shared = topic.shared();
        let topic = topic.topic();
        let attachment = Box::pin(async move {
            let refused = pin!(topic.wait_refused());
            let attachment = pin!(resume::resolve(shared, Arc::clone(&topic), from, selector));
            match select(refused, attachment).await {
                Either::Left(((), _)) => None,
                Either::Right((attachment, _)) => Some(attachment),
            }
        });
        Self::Resolving(attachment, last_reported)
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
            if let Some((reason, gap)) = this.pending_gaps.as_mut().and_then(|gaps| gaps.next()) {
                this.entry.stream().gap(reason);
                return Poll::Ready(Some(Ok(gap)));
            }
            this.pending_gaps = None;
            if let Some(due) = this.due.pop_front() {
                if this.due.is_empty() {
                    this.due = VecDeque::new(); // frees the memory: the stream may be idle for hours
                }
                return Poll::Ready(Some(Ok(due)));
            }
            match &mut this.state {
                State::Resolving(resolving, last_reported) => match resolving.as_mut().poll(cx) {
                    Poll::Ready(Some(attachment)) => {
                        let last_reported = last_reported.take();
                        this.attach(attachment, last_reported);
                    }
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
                    if following.rejected.is_none()
                        && let Some(live) = this.live.poll(cx, || following.position())
                    {
                        following.last_reported =
                            following.last_reported.take().map(|_| following.position());
                        return Poll::Ready(Some(Ok(live)));
                    }
                    let partitions = &this.topic.partitions;
                    match ready!(following.poll(
                        cx,
                        this.encoding,
                        limit,
                        partitions,
                        &mut this.due
                    )) {
                        Ok(Some(encoded)) => return Poll::Ready(Some(Ok(encoded))),
                        Ok(None) if passed < RECORDS_A_POLL => passed += 1,
                        Ok(None) => {
                            if let Some(gap) = following.take_rejected() {
                                return Poll::Ready(Some(Ok(gap)));
                            }
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                        Err(_lost) => {
                            let replay = this.replay.take().map(|replay| *replay);
                            let from =
                                ResumeFrom::Detached(following.position(), following.epoch, replay);
                            let last_reported = following.last_reported.take();
                            let selector = this.selector.clone();
                            this.state =
                                State::resolving(&this.topic, from, selector, last_reported);
                        }
                    }
                }
            }
        }
    }

    fn position(mut self: Pin<&mut Self>) -> Option<Encoded> {
        // Events that are due were not handed out yet, and the position of the stream is after them.
        let may_report = self.id_only_blocks && self.pending_gaps.is_none() && self.due.is_empty();
        let State::Following(following) = &mut self.state else { return None };
        let may_report = may_report && following.rejected.is_none();
        let position = following.position();
        let reported = following
            .last_reported
            .as_mut()
            .filter(|reported| may_report && **reported != position)?;
        *reported = position;
        Some(Encoded::id(reported.progress().as_bytes()))
    }
}
