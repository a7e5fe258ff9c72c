//! `event:live`: the stream has delivered all records that were in the topic when it began.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tailwater_sse::{Encoded, EventRef};
use tokio::sync::oneshot;

use crate::data::positions::Positions;
use crate::topic::registry::Shared;
use crate::topic::requests::Request;
use crate::topic::{Topic, TopicLog};

/// The state of the event `live` of a stream.
pub(crate) enum LiveEvent {
    /// It was sent, or the stream has none.
    Sent,
    /// The end was not requested, or the log ended before the answer.
    Idle,
    /// The end was requested. The answer comes when the log has passed the end.
    Requested(Arc<TopicLog>, oneshot::Receiver<Positions>),
    Due(Arc<TopicLog>, Positions),
}

impl LiveEvent {
    pub(crate) fn new(wanted: bool) -> Self {
        if wanted { Self::Idle } else { Self::Sent }
    }

    /// Requests the end, when the stream is attached to a log. The end of a former log may not exist in this one.
    pub(crate) fn attached(&mut self, shared: &Shared, topic: &Arc<Topic>) {
        if let Self::Requested(log, _) | Self::Due(log, _) = self
            && log.hub.is_closed()
        {
            *self = Self::Idle;
        }
        if let (Self::Idle, Some(log)) = (&*self, topic.log()) {
            let (reply, answer) = oneshot::channel();
            let topic = Arc::clone(topic);
            shared.ask(Request::End { topic, log: Arc::clone(&log), reply });
            *self = Self::Requested(log, answer);
        }
    }

    /// The event, if it is due at the position that `position` returns.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        position: impl FnOnce() -> Positions,
    ) -> Option<Encoded> {
        if let Self::Requested(log, answer) = self
            && let Poll::Ready(answer) = Pin::new(answer).poll(cx)
        {
            *self = match answer {
                Ok(end) => Self::Due(Arc::clone(log), end),
                // The log ended, so the stream is detached, too.
                Err(_) => Self::Idle,
            };
        }
        let Self::Due(_, end) = self else { return None };
        let position = position();
        if !end.at_or_before(&position) {
            return None;
        }
        self.send(&position)
    }

    /// The event with the id of this position, if it was not sent before.
    pub(crate) fn send(&mut self, position: &Positions) -> Option<Encoded> {
        if matches!(std::mem::replace(self, Self::Sent), Self::Sent) {
            return None;
        }
        Some(Encoded::event(EventRef {
            event: Some(b"live"),
            // Browsers dispatch nothing without data.
            data: Some(b"{}"),
            id: Some(position.progress().as_bytes()),
            ..EventRef::default()
        }))
    }
}
