//! The list of open streams, in pages.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::ending::retry;
use super::filter::{Filter, client, events, lag, state_of, subject, topic};
use super::query::Query;
use super::response::Refusal;
use crate::streams::{Kick, OpenStream, Probe, Reason, StreamId, Streams};
use crate::timestamp::rfc3339;

/// The number of streams of a page, if the request names none.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// The maximum number of subjects in an answer.
const MAX_SUBJECTS: usize = 1000;
/// The number of lists of which further pages can be asked for.
const MAX_ORDERS: usize = 32;
/// The maximum number of ids of all these lists. Each takes 8 bytes.
const MAX_IDS: usize = 1 << 20;

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Opened,
    Lag,
    Events,
    Bytes,
}

impl Sort {
    /// What is sorted by, the largest first.
    fn key(self, stream: &OpenStream) -> (u64, Duration) {
        match self {
            Self::Opened => (0, Duration::ZERO),
            // A stream without a place in a log comes after all others.
            Self::Lag => {
                lag(stream).map_or((0, Duration::ZERO), |(records, age)| (records + 1, age))
            }
            Self::Events => (events(stream), Duration::ZERO),
            Self::Bytes => (stream.bytes(), Duration::ZERO),
        }
    }
}

/// A request for a list.
#[derive(Debug)]
pub(super) struct Wanted {
    filter: Filter,
    sort: Sort,
    limit: usize,
    after: Option<After>,
}

/// The last stream of the page before, and the list of that page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct After {
    id: StreamId,
    order: Option<u64>,
}

impl After {
    fn parse(text: &str) -> Option<Self> {
        let (id, order) = match text.split_once('.') {
            Some((id, order)) => (id, Some(u64::from_str_radix(order, 16).ok()?)),
            None => (text, None),
        };
        Some(Self { id: id.parse().ok()?, order })
    }
}

impl std::fmt::Display for After {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.order {
            Some(order) => write!(f, "{}.{order:x}", self.id),
            None => self.id.fmt(f),
        }
    }
}

impl Wanted {
    /// A list of which only the first page is wanted.
    pub(super) fn parse_first(query: Query) -> Result<Self, Refusal> {
        let wanted = Self::parse(query)?;
        match wanted.after {
            None => Ok(wanted),
            Some(_) => Err(Refusal::bad_request("there are no further pages here".to_owned())),
        }
    }

    pub(super) fn parse(mut query: Query) -> Result<Self, Refusal> {
        let filter = Filter::take(&mut query)?;
        let sorts = [
            ("opened", Sort::Opened),
            ("lag", Sort::Lag),
            ("events", Sort::Events),
            ("bytes", Sort::Bytes),
        ];
        let sort = query.word("sort", &sorts)?.unwrap_or(Sort::Opened);
        let limit = query.number("limit", 1..=MAX_LIMIT)?.unwrap_or(LIMIT);
        let after = query.take("after").map(|text| {
            let wrong = || Refusal::bad_request("after is that of the page before".to_owned());
            After::parse(&text).ok_or_else(wrong)
        });
        let after = after.transpose()?;
        query.finish()?;
        Ok(Self { filter, sort, limit, after })
    }
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    total: usize,
    streams: Vec<Listed>,
    after: Option<String>,
}

/// An open stream. Its state is read when it is serialized.
#[derive(Debug)]
pub(super) struct Listed {
    streams: Streams,
    stream: Arc<OpenStream>,
}

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Stream<'a> {
            id: String,
            opened: Option<String>,
            binding: &'a str,
            route: Option<&'a str>,
            topic: Option<&'a str>,
            client: IpAddr,
            peer: SocketAddr,
            subject: Option<&'a str>,
            guard: Option<&'a str>,
            expires: Option<String>,
            protocol: &'static str,
            start: &'static str,
            state: Option<&'static str>,
            lag: Option<Lag>,
            sent: Sent,
            last_write: Option<String>,
            waiting_bytes: usize,
            gaps: Option<u64>,
            position: Option<String>,
        }
        #[derive(Serialize)]
        struct Lag {
            records: u64,
            seconds: f64,
        }
        #[derive(Serialize)]
        struct Sent {
            events: u64,
            bytes: u64,
        }
        let Self { streams, stream } = self;
        let time = |ms| rfc3339(streams.time(ms));
        Stream {
            id: stream.id().to_string(),
            opened: time(stream.opened_ms()),
            binding: &stream.place().binding,
            route: stream.place().route.as_deref(),
            topic: topic(stream),
            client: client(stream),
            peer: stream.peer(),
            subject: subject(stream),
            guard: stream.session().map(tailwater_jwt::Session::guard_name),
            expires: stream.expires().and_then(rfc3339),
            protocol: stream.protocol().name(),
            start: stream.start().name(),
            state: state_of(stream),
            lag: lag(stream).map(|(records, age)| Lag { records, seconds: milliseconds(age) }),
            sent: Sent { events: events(stream), bytes: stream.bytes() },
            last_write: time(stream.last_write_ms()),
            waiting_bytes: stream.waiting_bytes(),
            gaps: stream.probe().map(Probe::gaps),
            position: stream.probe().and_then(Probe::position),
        }
        .serialize(serializer)
    }
}

/// Lists streams. The order of a list by lag or counts is kept for its further pages, since it would be another one
/// when they are asked for.
#[derive(Debug)]
pub(super) struct Lister {
    streams: Streams,
    orders: Mutex<Orders>,
}

#[derive(Debug, Default)]
struct Orders {
    kept: VecDeque<Order>,
    next: u64,
}

/// A list in its order.
#[derive(Clone, Debug)]
struct Order {
    number: u64,
    total: usize,
    ids: Arc<[StreamId]>,
}

impl Orders {
    fn keep(&mut self, ids: Vec<StreamId>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.kept.push_back(Order { number, total: ids.len(), ids: ids.into() });
        let size = |kept: &VecDeque<Order>| kept.iter().map(|order| order.ids.len()).sum::<usize>();
        while self.kept.len() > MAX_ORDERS || (self.kept.len() > 1 && size(&self.kept) > MAX_IDS) {
            self.kept.pop_front();
        }
        number
    }

    /// The list that a page belongs to: by its number, otherwise the last one with this stream.
    fn find(&self, after: After) -> Option<Order> {
        let mut newest = self.kept.iter().rev();
        let found = match after.order {
            Some(number) => newest.find(|order| order.number == number),
            None => newest.find(|order| order.ids.contains(&after.id)),
        };
        found.cloned()
    }
}

impl Lister {
    pub(super) fn new(streams: Streams) -> Self {
        Self { streams, orders: Mutex::default() }
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page of a list.
    pub(super) fn page(&self, wanted: &Wanted) -> Result<Page, Refusal> {
        match (wanted.sort, wanted.after) {
            (Sort::Opened, Some(After { order: Some(_), .. })) => {
                Err(Refusal::bad_request("after is that of a list with another sort".to_owned()))
            }
            (Sort::Opened, after) => Ok(self.by_id(wanted, after.map(|after| after.id))),
            (_, None) => Ok(self.first_of_order(wanted)),
            (_, Some(after)) => self.further_of_order(wanted, after),
        }
    }

    /// The first page of a list that is asked for again and again.
    pub(super) fn first_page(&self, wanted: &Wanted) -> Page {
        match wanted.sort {
            Sort::Opened => self.by_id(wanted, None),
            Sort::Lag | Sort::Events | Sort::Bytes => {
                let (found, page) = self.sorted(wanted);
                self.list(found.len(), page, None)
            }
        }
    }

    fn by_id(&self, wanted: &Wanted, after: Option<StreamId>) -> Page {
        let all = wanted.filter.is_empty();
        let mut total = 0;
        let mut page = Vec::new();
        let mut is_last = true;
        // Without a filter there is no need to look at each stream to count them.
        self.streams.visit(after.filter(|_| all), |stream| {
            if !wanted.filter.matches(stream) {
                return true;
            }
            total += 1;
            if after.is_none_or(|after| stream.id() > after) {
                if page.len() < wanted.limit {
                    page.push(Arc::clone(stream));
                } else {
                    is_last = false;
                }
            }
            is_last || !all
        });
        let total = if all { self.streams.len().max(page.len()) } else { total };
        let after = page.last().filter(|_| !is_last);
        let after = after.map(|stream| After { id: stream.id(), order: None });
        self.list(total, page, after)
    }

    /// All streams of a list in its order, and the first page.
    fn sorted(&self, wanted: &Wanted) -> (Vec<StreamId>, Vec<Arc<OpenStream>>) {
        let mut found = Vec::new();
        self.streams.visit(None, |stream| {
            if wanted.filter.matches(stream) {
                found.push((wanted.sort.key(stream), Arc::clone(stream)));
            }
            true
        });
        // Streams with the same key are in the order of their ids: the sort is stable.
        found.sort_by(|(a, _), (b, _)| b.cmp(a));
        let page: Vec<_> =
            found.iter().take(wanted.limit).map(|(_, stream)| Arc::clone(stream)).collect();
        (found.iter().map(|(_, stream)| stream.id()).collect(), page)
    }

    fn first_of_order(&self, wanted: &Wanted) -> Page {
        let (ids, page) = self.sorted(wanted);
        let total = ids.len();
        let after = page
            .last()
            .filter(|_| total > page.len())
            .map(|stream| After { id: stream.id(), order: Some(self.orders().keep(ids)) });
        self.list(total, page, after)
    }

    fn further_of_order(&self, wanted: &Wanted, after: After) -> Result<Page, Refusal> {
        let gone = || Refusal::bad_request("the list of this page is gone: begin anew".to_owned());
        let order = self.orders().find(after).ok_or_else(gone)?;
        let at = order.ids.iter().position(|id| *id == after.id).ok_or_else(gone)?;
        let mut page = Vec::new();
        let mut is_last = true;
        for id in order.ids.iter().skip(at + 1) {
            let Some(stream) = self.streams.find(*id) else { continue };
            if !wanted.filter.matches(&stream) {
                continue;
            }
            if page.len() == wanted.limit {
                is_last = false;
                break;
            }
            page.push(stream);
        }
        let after = page.last().filter(|_| !is_last);
        let after = after.map(|stream| After { id: stream.id(), order: Some(order.number) });
        Ok(self.list(order.total, page, after))
    }

    fn list(&self, total: usize, page: Vec<Arc<OpenStream>>, after: Option<After>) -> Page {
        let streams = page.into_iter().map(|stream| self.listed(stream)).collect();
        Page { total, streams, after: after.map(|after| after.to_string()) }
    }

    fn listed(&self, stream: Arc<OpenStream>) -> Listed {
        Listed { streams: self.streams.clone(), stream }
    }

    /// The stream with this id.
    pub(super) fn one(&self, id: &str) -> Result<Listed, Refusal> {
        self.find(id).map(|stream| self.listed(stream))
    }

    fn find(&self, id: &str) -> Result<Arc<OpenStream>, Refusal> {
        let gone = || Refusal::not_found("no stream with this id is open");
        id.parse().ok().and_then(|id| self.streams.find(id)).ok_or_else(gone)
    }

    /// Ends the stream with this id.
    pub(super) fn kick_one(&self, id: &str, mut query: Query) -> Result<Value, Refusal> {
        let retry = retry(&mut query)?;
        query.finish()?;
        let stream = self.find(id)?;
        let is_ended = stream.kick(Kick { reason: Reason::Kicked, retry });
        Ok(json!({ "ended": usize::from(is_ended) }))
    }

    /// The subjects with their numbers of streams.
    pub(super) fn subjects(&self, mut query: Query) -> Result<Value, Refusal> {
        let sorts = [("subject", false), ("streams", true)];
        let by_streams = query.word("sort", &sorts)?.unwrap_or_default();
        let limit = query.number("limit", 1..=MAX_SUBJECTS)?.unwrap_or(MAX_SUBJECTS);
        query.finish()?;
        let mut subjects = BTreeMap::<String, usize>::new();
        self.streams.visit(None, |stream| {
            if let Some(subject) = subject(stream) {
                match subjects.get_mut(subject) {
                    Some(streams) => *streams += 1,
                    None => drop(subjects.insert(subject.to_owned(), 1)),
                }
            }
            true
        });
        let total = subjects.len();
        let mut subjects: Vec<_> = subjects.into_iter().collect();
        if by_streams {
            subjects.sort_by_key(|(_, streams)| std::cmp::Reverse(*streams));
        }
        let subjects = subjects.into_iter().take(limit);
        let subjects: Value = subjects
            .map(|(subject, streams)| json!({ "subject": subject, "streams": streams }))
            .collect();
        Ok(json!({ "total": total, "subjects": subjects }))
    }
}

/// Seconds with three decimals.
pub(super) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> StreamId {
        format!("s-{number:06x}").parse().unwrap()
    }

    #[test]
    fn the_place_of_a_page_is_read_back() {
        for (text, expected) in [
            ("s-00000a", Some(After { id: id(10), order: None })),
            ("s-00000a.1f", Some(After { id: id(10), order: Some(31) })),
            ("s-00000a.", None),
            ("s-00000a.x", None),
            ("00000a", None),
            ("", None),
        ] {
            assert_eq!(After::parse(text), expected, "{text}");
            if let Some(after) = expected {
                assert_eq!(after.to_string(), text);
            }
        }
    }

    #[test]
    fn the_lists_that_are_kept_are_bounded() {
        let mut orders = Orders::default();
        let last = id(7);
        for number in 0..100 {
            assert_eq!(orders.keep(vec![id(number), last]), number);
        }
        assert_eq!(orders.kept.len(), MAX_ORDERS);
        let find = |orders: &Orders, order| orders.find(After { id: last, order });
        assert_eq!(find(&orders, Some(99)).map(|order| order.total), Some(2));
        assert!(find(&orders, Some(0)).is_none(), "it is gone");
        assert_eq!(find(&orders, None).map(|order| order.number), Some(99), "the last one");
        assert!(orders.find(After { id: id(1000), order: None }).is_none());
        // However long they are.
        for _ in 0..3 {
            orders.keep((0..MAX_IDS as u64 / 2 + 1).map(id).collect());
        }
        assert_eq!(orders.kept.len(), 1);
    }
}
