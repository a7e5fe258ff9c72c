//! What operators ask for of a stream, and which streams they mean.

use std::net::IpAddr;
use std::time::Duration;

use super::query::Query;
use super::response::Refusal;
use crate::blocks;
use crate::streams::{OpenStream, Probe};

/// Which streams are meant. All that is given has to hold.
#[derive(Debug, Default)]
pub(super) struct Filter {
    topic: Option<String>,
    pub(super) subject: Option<String>,
    client: Option<IpAddr>,
    binding: Option<String>,
    state: Option<&'static str>,
    lag_over: Option<u64>,
}

const STATES: [(&str, &str); 5] = [
    ("seeking", "seeking"),
    ("history", "history"),
    ("snapshot", "snapshot"),
    ("ahead", "ahead"),
    ("live", "live"),
];

impl Filter {
    pub(super) fn take(query: &mut Query) -> Result<Self, Refusal> {
        let client = query.take("client").map(|text| {
            let wrong = |_| Refusal::bad_request("client is an IP address".to_owned());
            text.parse::<IpAddr>().map(|address| address.to_canonical()).map_err(wrong)
        });
        Ok(Self {
            topic: query.take("topic"),
            subject: query.take("subject"),
            client: client.transpose()?,
            binding: query.take("binding"),
            state: query.word("state", &STATES)?,
            lag_over: query.number("lag_over", 0..=u64::MAX)?,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        let Self { topic, subject, client, binding, state, lag_over } = self;
        let texts = [topic, subject, binding];
        texts.iter().all(|text| text.is_none())
            && client.is_none()
            && state.is_none()
            && lag_over.is_none()
    }

    pub(super) fn matches(&self, stream: &OpenStream) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        is(&self.topic, topic(stream))
            && is(&self.subject, subject(stream))
            && is(&self.binding, Some(&stream.place().binding))
            && self.client.is_none_or(|client| client == self::client(stream))
            && self.state.is_none_or(|state| state_of(stream) == Some(state))
            && self
                .lag_over
                .is_none_or(|least| lag(stream).is_some_and(|(records, _)| records > least))
    }
}

pub(super) fn topic(stream: &OpenStream) -> Option<&str> {
    stream.probe().map(Probe::topic)
}

pub(super) fn subject(stream: &OpenStream) -> Option<&str> {
    blocks::subject(stream.session()?)
}

/// What a stream of a topic does.
pub(super) fn state_of(stream: &OpenStream) -> Option<&'static str> {
    stream.probe().map(Probe::state)
}

pub(super) fn client(stream: &OpenStream) -> IpAddr {
    stream.peer().ip().to_canonical()
}

/// The records that a stream is behind, and for how long. `None` if it has no place in a log.
pub(super) fn lag(stream: &OpenStream) -> Option<(u64, Duration)> {
    stream.probe()?.lag()
}

pub(super) fn events(stream: &OpenStream) -> u64 {
    stream.probe().map_or(0, Probe::events)
}
