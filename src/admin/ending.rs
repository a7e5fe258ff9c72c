//! The end of streams by a request.

use std::time::Duration;

use super::filter::Filter;
use super::query::Query;
use super::response::Refusal;
use crate::streams::{Kick, Reason, Streams};

/// The longest reconnection time of kicked clients.
const MAX_RETRY_MS: u64 = 60 * 60 * 1000;
/// The longest time for which a subject is refused.
const MAX_BLOCK_SECONDS: u64 = 24 * 60 * 60;

/// Which streams are ended, and how.
#[derive(Debug)]
pub(super) struct Ending {
    filter: Filter,
    retry: Option<Duration>,
    /// The subject that is refused, and for how long.
    pub(super) block: Option<(String, Duration)>,
}

impl Ending {
    pub(super) fn parse(mut query: Query) -> Result<Self, Refusal> {
        let filter = Filter::take(&mut query)?;
        let retry = retry(&mut query)?;
        let block = query.number("block", 1..=MAX_BLOCK_SECONDS)?;
        query.finish()?;
        if filter.is_empty() {
            let text = "a filter is required: topic, subject, client, binding, state or lag_over";
            return Err(Refusal::bad_request(text.to_owned()));
        }
        let block = match (block, &filter.subject) {
            (None, _) => None,
            (Some(seconds), Some(subject)) => Some((subject.clone(), Duration::from_secs(seconds))),
            (Some(_), None) => {
                return Err(Refusal::bad_request("block needs subject".to_owned()));
            }
        };
        Ok(Self { filter, retry, block })
    }

    /// Ends the streams. Returns their number.
    pub(super) fn end(&self, streams: &Streams) -> usize {
        let kick = Kick { reason: Reason::Kicked, retry: self.retry };
        streams.kick(kick, |stream| self.filter.matches(stream))
    }
}

pub(super) fn retry(query: &mut Query) -> Result<Option<Duration>, Refusal> {
    Ok(query.number("retry", 0..=MAX_RETRY_MS)?.map(Duration::from_millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_needs_a_filter_and_a_block_its_subject() {
        let parse = |query: &str| Ending::parse(Query::parse(Some(query)).unwrap());
        for (query, is_valid) in [
            ("topic=a", true),
            ("lag_over=0&retry=0", true),
            ("subject=a&block=1", true),
            ("client=::1", true),
            ("", false),
            ("retry=1", false),
            ("topic=a&block=1", false),
            ("subject=a&block=0", false),
            ("client=a", false),
            ("topic=a&sort=lag", false),
        ] {
            assert_eq!(parse(query).is_ok(), is_valid, "{query}");
        }
    }
}
