//! Where a stream without an id begins, and how the query of a request says so.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::percent_decode;
use tailwater_kafka_types::EventId;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::Error;

/// Where a stream without an id begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DefaultOffset {
    /// At the beginning of each partition. The default.
    #[default]
    Historical,
    /// At the end: only new records are delivered.
    Live,
}

/// Where a stream begins if its client sends no last event id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// At the beginning of each partition.
    Earliest,
    /// At the end: only new records are delivered.
    Live,
    /// After this id, as if the client had sent it.
    Id(EventId),
    /// In each partition at the first record that has this time or a later one, as Kafka finds it. If a
    /// partition has no such record, at its end. The times of a partition need not ascend, so older records
    /// may follow.
    Since(SystemTime),
}

impl From<DefaultOffset> for Start {
    fn from(offset: DefaultOffset) -> Self {
        match offset {
            DefaultOffset::Historical => Self::Earliest,
            DefaultOffset::Live => Self::Live,
        }
    }
}

/// The parameters that may say where a stream begins, in the query of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parameters {
    pub(crate) from: bool,
    pub(crate) since: bool,
}

impl Parameters {
    /// The start that the query names. Parameters that are not allowed are ignored.
    pub(crate) fn start(self, query: &str) -> Result<Option<Start>, Error> {
        let mut start = None;
        for (name, value) in pairs(query) {
            let said = match &*name {
                b"from" if self.from => from(&value)?,
                b"since" if self.since => since(&value)?,
                _ => continue,
            };
            if start.replace(said).is_some() {
                return Err(Error::Start("`from` or `since`, and once"));
            }
        }
        Ok(start)
    }
}

/// The names and values of a query. A `+` stays a plus, as in a last event id, since the offset of a time
/// zone is often not escaped.
fn pairs(query: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    query.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text: &str| percent_decode(text.as_bytes()).collect();
        (decoded(name), decoded(value))
    })
}

/// Whether the query asks for `event:live`. The name is long, so that no parameter of a page has it.
pub(crate) fn asks_for_live(query: &str) -> bool {
    pairs(query).any(|(name, value)| name == b"liveEvent" && value == b"true")
}

fn from(value: &[u8]) -> Result<Start, Error> {
    match value {
        b"earliest" => Ok(Start::Earliest),
        b"live" => Ok(Start::Live),
        id => {
            let id = EventId::decode(id).map(Start::Id);
            id.ok_or(Error::Start("`from` to be `earliest`, `live` or an event id"))
        }
    }
}

fn since(value: &[u8]) -> Result<Start, Error> {
    let time = std::str::from_utf8(value).ok().and_then(|text| {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            UNIX_EPOCH.checked_add(Duration::from_millis(text.parse().ok()?))
        } else {
            OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
        }
    });
    time.map(Start::Since).ok_or(Error::Start(
        "`since` to be a time as `2026-01-31T12:00:00Z` (RFC 3339), or milliseconds since 1970",
    ))
}

/// The time in whole milliseconds since 1970, as Kafka has it, rounded up.
pub(crate) fn epoch_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Parameters = Parameters { from: true, since: true };

    fn at(epoch_ms: u64) -> Start {
        Start::Since(UNIX_EPOCH + Duration::from_millis(epoch_ms))
    }

    #[test]
    fn a_query_says_where_to_begin() {
        let id = |text: &str| Some(Start::Id(EventId::decode(text.as_bytes()).unwrap()));
        for (query, expected) in [
            ("", None),
            ("x=1&froms=live", None),
            ("from=earliest", Some(Start::Earliest)),
            ("x=1&fr%6Fm=%6cive", Some(Start::Live)),
            ("from=AQQABAIC", id("AQQABAIC")),
            ("from=AQIAAg%3D%3D%2Frevision%3D42", id("AQIAAg==")),
            ("from=%5B%22a2V5%22%2C%22AQQABAIC%22%5D", id("AQQABAIC")),
            ("since=0", Some(at(0))),
            ("since=1767225600123", Some(at(1_767_225_600_123))),
            ("since=2026-01-01T00:00:00Z", Some(at(1_767_225_600_000))),
            ("since=2026-01-01t00:00:00.123z", Some(at(1_767_225_600_123))),
            ("since=2026-01-01T02:00:00%2B02:00", Some(at(1_767_225_600_000))),
            ("since=2026-01-01T02:00:00+02:00", Some(at(1_767_225_600_000))),
            ("since=2025-12-31T19:00:00-05:00", Some(at(1_767_225_600_000))),
        ] {
            assert_eq!(BOTH.start(query).unwrap(), expected, "{query}");
        }
    }

    #[test]
    fn what_says_nothing_or_too_much_is_refused() {
        for (query, expected) in [
            ("from=", "`from` to be"),
            ("from", "`from` to be"),
            ("from=latest", "`from` to be"),
            ("from=Live", "`from` to be"),
            ("from=AQQABA", "`from` to be"),
            ("from=%FF", "`from` to be"),
            ("since=", "`since` to be"),
            ("since=yesterday", "`since` to be"),
            ("since=-1", "`since` to be"),
            ("since=1e3", "`since` to be"),
            ("since=99999999999999999999", "`since` to be"),
            ("since=2026-01-01", "`since` to be"),
            ("since=2026-02-30T00:00:00Z", "`since` to be"),
            ("since=2026-01-01T00:00:00", "`since` to be"),
            ("since=%FF", "`since` to be"),
            ("from=live&since=0", "`from` or `since`"),
            ("from=live&from=live", "`from` or `since`"),
            ("since=0&since=0", "`from` or `since`"),
        ] {
            let error = BOTH.start(query).expect_err(query).to_string();
            assert!(error.contains(expected), "{query}: {error}");
        }
    }

    #[test]
    fn a_parameter_that_is_not_allowed_means_nothing() {
        let only = |from, since| Parameters { from, since };
        let query = "from=nowhere&since=never";
        assert_eq!(only(false, false).start(query).unwrap(), None);
        assert_eq!(only(true, false).start("since=never&from=live").unwrap(), Some(Start::Live));
        assert_eq!(only(false, true).start("since=7&from=nowhere").unwrap(), Some(at(7)));
    }

    #[test]
    fn a_query_asks_for_the_live_event_by_one_name_and_value() {
        for (query, asks) in [
            ("liveEvent=true", true),
            ("from=live&live%45vent=tru%65", true),
            ("liveEvent=false&liveEvent=true", true),
            ("liveEvent", false),
            ("liveEvent=", false),
            ("liveEvent=1", false),
            ("liveevent=true", false),
            ("live=true", false),
        ] {
            assert_eq!(asks_for_live(query), asks, "{query}");
        }
    }

    #[test]
    fn a_time_between_two_of_kafkas_is_the_later_one() {
        for (nanos, expected) in [(0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2)] {
            assert_eq!(epoch_ms(UNIX_EPOCH + Duration::from_nanos(nanos)), expected);
        }
        assert_eq!(epoch_ms(UNIX_EPOCH - Duration::from_secs(1)), 0);
        let last = since(b"9223372036854775807").unwrap();
        assert!(matches!(last, Start::Since(time) if epoch_ms(time) == i64::MAX));
    }
}
