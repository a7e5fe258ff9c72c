use std::str::FromStr;

use bytes::Bytes;
use http::request::Parts;

/// What a client asked for: the request, and what the event stream protocol says in it.
#[derive(Clone, Debug)]
pub struct Subscription {
    parts: Parts,
    last_event_id: Option<Bytes>,
    timestamps: bool,
}

impl Subscription {
    /// A subscription made of a request's head.
    pub fn new(parts: Parts, last_event_id: Option<Bytes>, timestamps: bool) -> Self {
        Self { parts, last_event_id, timestamps }
    }

    /// The head of the request, with its extensions.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The last event id: opaque bytes, never empty. From the header, else the query.
    pub fn last_event_id(&self) -> Option<&Bytes> {
        self.last_event_id.as_ref()
    }

    /// The last event id, parsed. `None` if there is none, or if it does not parse.
    pub fn parse_last_event_id<T: FromStr>(&self) -> Option<T> {
        std::str::from_utf8(self.last_event_id()?).ok()?.parse().ok()
    }

    /// Whether the client wants `timestamp` fields (`accept: text/event-stream;ext=timestamp`).
    pub fn timestamps(&self) -> bool {
        self.timestamps
    }
}
