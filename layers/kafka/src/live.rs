//! `event:live`: a stream has delivered all that was in the topic when it began.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tailwater_sse::{Encoded, EventRef};
use tokio::sync::oneshot;

use crate::cluster::Shared;
use crate::control::Job;
use crate::positions::Positions;
use crate::topic::{Opened, Topic};

/// What a stream knows of the place at which it is live.
pub(crate) enum Live {
    /// It was told, or nobody wants to be told.
    Told,
    /// Nobody was asked, or in vain: the log ended.
    Unknown,
    /// The answer comes once the log has come by that place: no stream is there before.
    Asked(Arc<Opened>, oneshot::Receiver<Positions>),
    Known(Arc<Opened>, Positions),
}

impl Live {
    pub(crate) fn new(wanted: bool) -> Self {
        if wanted { Self::Unknown } else { Self::Told }
    }

    /// The stream has a seat. Where it was to be live in a log that has ended since may not exist.
    pub(crate) fn seated(&mut self, shared: &Shared, topic: &Arc<Topic>) {
        if let Self::Asked(log, _) | Self::Known(log, _) = self
            && log.hub.is_closed()
        {
            *self = Self::Unknown;
        }
        if let (Self::Unknown, Some(opened)) = (&*self, topic.opened()) {
            let (reply, answer) = oneshot::channel();
            let topic = Arc::clone(topic);
            shared.ask(Job::End { topic, opened: Arc::clone(&opened), reply });
            *self = Self::Asked(opened, answer);
        }
    }

    /// The event, if it is due at the place that `stands` tells.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stands: impl FnOnce() -> Positions,
    ) -> Option<Encoded> {
        if let Self::Asked(log, answer) = self
            && let Poll::Ready(answer) = Pin::new(answer).poll(cx)
        {
            *self = match answer {
                Ok(end) => Self::Known(Arc::clone(log), end),
                // The stream loses its seat, too.
                Err(_) => Self::Unknown,
            };
        }
        let Self::Known(_, end) = self else { return None };
        let place = stands();
        if !end.at_or_before(&place) {
            return None;
        }
        self.tell(&place)
    }

    /// The event with the id of this place, if it was not told before.
    pub(crate) fn tell(&mut self, place: &Positions) -> Option<Encoded> {
        if matches!(std::mem::replace(self, Self::Told), Self::Told) {
            return None;
        }
        Some(Encoded::event(EventRef {
            event: Some(b"live"),
            // Browsers dispatch nothing without data.
            data: Some(b"{}"),
            id: Some(place.progress().as_bytes()),
            ..EventRef::default()
        }))
    }
}
