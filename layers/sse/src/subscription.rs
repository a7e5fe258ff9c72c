use std::str::FromStr;

use bytes::Bytes;
use http::request::Parts;

/// The request of a client for an event stream.
#[derive(Clone, Debug)]
pub struct Subscription {
    parts: Parts,
    last_event_id: Option<Bytes>,
    timestamps: bool,
}

impl Subscription {
    /// A subscription with the head of a request.
    pub fn new(parts: Parts, last_event_id: Option<Bytes>, timestamps: bool) -> Self {
        Self { parts, last_event_id, timestamps }
    }

    /// The head of the request, with its extensions.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The last event id of the header, else that of the query. Opaque bytes, never empty.
    pub fn last_event_id(&self) -> Option<&Bytes> {
        self.last_event_id.as_ref()
    }

    /// The last event id, parsed. `None` if there is none, or if it does not parse.
    pub fn parse_last_event_id<T: FromStr>(&self) -> Option<T> {
        std::str::from_utf8(self.last_event_id()?).ok()?.parse().ok()
    }

    /// Whether the client accepts `timestamp` fields (`accept: text/event-stream;ext=timestamp`).
    pub fn timestamps(&self) -> bool {
        self.timestamps
    }
}
