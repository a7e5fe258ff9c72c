use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use tailwater_hub::{Cursor, CursorError, Format, Hub, Selector};
use tower_service::Service;

use crate::{BoxError, Encoded, Event, EventRef, Events, Subscription, encode_event};

/// A log of events, bounded by bytes, that any number of clients read and resume. A clone is another handle
/// to the same log.
///
/// Each event is kept once and encoded once, however many clients there are. A client reads at its own pace:
/// a slow one falls behind in the log, and no other client notices.
///
/// ```
/// use tailwater_sse::{Event, EventLog, SseLayer};
/// use tower::Layer;
///
/// let log = EventLog::new(1 << 20);
/// let service = SseLayer::new().layer(log.source()); // in axum: .route("/events", get_service(service))
/// log.send(Event::data("1.0873").event("quote"));
/// # drop(service);
/// ```
///
/// # Event ids
///
/// The log gives each event an id, in place of one that was set. A client that reconnects with its last event
/// id receives each later event once. A client without an id starts at the end of the log, and is first sent
/// the id of that position in a block without data, so that it misses no event if its connection breaks
/// before the first one.
///
/// # Gaps
///
/// A client that has missed events is sent an event of type `gap` before the stream goes on with the oldest
/// event that is kept. An application should not use that type for its own events. The data is JSON, as the
/// kafka crate writes it:
///
/// | data | reason |
/// |---|---|
/// | `{"from":3,"reason":"retention","to":9}` | Events 3 to 8 are not kept any more: they are older than the log keeps, or the client was too slow. |
/// | `{"from":null,"reason":"id","to":null}` | The id is not one of this log: the process has restarted, or another process has answered. |
#[derive(Clone, Debug)]
pub struct EventLog {
    hub: Hub<EventFormat>,
}

impl EventLog {
    /// An empty log. When its events, their encoded copies included, exceed `capacity_bytes`, the oldest
    /// events are dropped. The newest event is always kept.
    pub fn new(capacity_bytes: usize) -> Self {
        Self { hub: Hub::new(EventFormat { log: fastrand::u32(..) }, 0, capacity_bytes) }
    }

    /// Appends an event. Its timestamp is sent to clients that accept timestamps
    /// ([`Subscription::timestamps`]). Never waits; has no effect once the log is [closed](Self::close).
    pub fn send(&self, event: Event) {
        self.hub.append(vec![Event { id: None, ..event }]);
    }

    /// A source for [`SseLayer`](crate::SseLayer), which serves this log.
    pub fn source(&self) -> EventLogSource {
        EventLogSource { hub: self.hub.clone(), from_earliest: false, id_only_blocks: true }
    }

    /// Ends each stream after the last event. Streams do not end when all handles are dropped.
    pub fn close(&self) {
        self.hub.close();
    }
}

/// Serves an [`EventLog`]: a `Service<Subscription>`, made by [`EventLog::source`].
#[derive(Clone, Debug)]
#[must_use]
pub struct EventLogSource {
    hub: Hub<EventFormat>,
    from_earliest: bool,
    id_only_blocks: bool,
}

impl EventLogSource {
    /// Starts clients without a last event id at the oldest event that is kept. Default: at the end.
    pub fn from_earliest(mut self) -> Self {
        self.from_earliest = true;
        self
    }

    /// Whether a client that starts at the end is sent the id of that position. Some client libraries make an
    /// empty message of a block without data; without the block, such a client misses events if its connection
    /// breaks before the first one. Default: true.
    pub fn id_only_blocks(mut self, id_only_blocks: bool) -> Self {
        self.id_only_blocks = id_only_blocks;
        self
    }

    fn open(&self, subscription: &Subscription) -> EventLogStream {
        let hub = self.hub.clone();
        let timestamps = subscription.timestamps();
        let (cursor, first) = match subscription.last_event_id() {
            Some(id) => resume(&hub, hub.format().parse_id(id).filter(|from| *from <= hub.head())),
            None if self.from_earliest => (cursor_at(&hub, 0), None),
            None => {
                let mut cursor = hub.tail(Selector::All);
                let id = self.id_only_blocks.then(|| hub.format().id(cursor.position()));
                (cursor, id.map(|id| Encoded::id(id.as_bytes())))
            }
        };
        EventLogStream { hub, cursor, first, timestamps }
    }
}

impl Service<Subscription> for EventLogSource {
    type Response = EventLogStream;
    type Error = Infallible;
    type Future = Ready<Result<EventLogStream, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, subscription: Subscription) -> Self::Future {
        ready(Ok(self.open(&subscription)))
    }
}

/// One client's events of an [`EventLog`]: the response of [`EventLogSource`].
#[derive(Debug)]
pub struct EventLogStream {
    hub: Hub<EventFormat>,
    cursor: Cursor<EventFormat>,
    /// An id or a gap, which is written before the events.
    first: Option<Encoded>,
    timestamps: bool,
}

impl Events for EventLogStream {
    fn poll_events(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Option<Result<Encoded, BoxError>>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        loop {
            match std::task::ready!(this.cursor.poll_batch(cx, &this.timestamps, limit)) {
                Ok(batch) => return Poll::Ready(Some(Ok(Encoded::trusted(batch.into_bytes())))),
                Err(CursorError::Lagged { .. }) => {
                    let (cursor, gap) = resume(&this.hub, Some(this.cursor.position()));
                    this.cursor = cursor;
                    if gap.is_some() {
                        return Poll::Ready(gap.map(Ok));
                    }
                }
                Err(_) => return Poll::Ready(None),
            }
        }
    }
}

/// A cursor after the first `seen` events of the log, or at the oldest event if later ones are not kept.
fn cursor_at(hub: &Hub<EventFormat>, seen: u64) -> Cursor<EventFormat> {
    loop {
        // The oldest event may be dropped between these calls.
        let next = seen.max(hub.first());
        if let Some(cursor) = hub.seek(|position| *position <= next, Selector::All) {
            return cursor;
        }
    }
}

/// A cursor for a client that has seen the first `seen` events of the log, or whose id is not of this log; and
/// the gap, if it has missed events.
fn resume(hub: &Hub<EventFormat>, seen: Option<u64>) -> (Cursor<EventFormat>, Option<Encoded>) {
    let mut cursor = cursor_at(hub, seen.unwrap_or(0));
    let next = cursor.position();
    let data = match seen {
        Some(seen) if seen == next => return (cursor, None),
        Some(seen) => format!(r#"{{"from":{seen},"reason":"retention","to":{next}}}"#),
        None => r#"{"from":null,"reason":"id","to":null}"#.to_owned(),
    };
    let gap = Event::data(data).event("gap").id(hub.format().id(next));
    (cursor, Some(Encoded::event(&gap)))
}

/// A position is the number of events before it.
#[derive(Debug)]
struct EventFormat {
    /// A random number, by which the ids of other logs are recognized.
    log: u32,
}

impl EventFormat {
    fn id(&self, position: u64) -> String {
        format!("{:08x}-{position}", self.log)
    }

    fn parse_id(&self, id: &[u8]) -> Option<u64> {
        let (log, position) = std::str::from_utf8(id).ok()?.split_once('-')?;
        let position = position.parse().ok()?;
        (log == format!("{:08x}", self.log)).then_some(position)
    }
}

impl Format for EventFormat {
    type Record = Event;
    type Position = u64;
    /// Whether timestamps are written.
    type Encoding = bool;

    fn weight(&self, event: &Event) -> usize {
        let EventRef { event, data, .. } = EventRef::from(event);
        let bytes: usize = [event, data].into_iter().flatten().map(<[u8]>::len).sum();
        size_of::<Event>() + bytes
    }

    fn advance(&self, position: &u64, events: &[Event]) -> u64 {
        position + events.len() as u64
    }

    fn encode(&self, timestamps: &bool, position: &u64, event: &Event, out: &mut Vec<u8>) {
        let id = self.id(position + 1);
        let event = EventRef::from(event);
        let timestamp = event.timestamp.filter(|_| *timestamps);
        encode_event(EventRef { timestamp, id: Some(id.as_bytes()), ..event }, out);
    }
}
