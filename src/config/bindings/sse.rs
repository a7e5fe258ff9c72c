//! `sse` and `sse-kafka` bindings.

use std::fmt;
use std::time::Duration;

use regex::Regex;
use tailwater_kafka_types::{Template, Variable, check_topic_name};
use tailwater_route::Pattern;

use crate::config::bindings::files::captured;
use crate::config::bindings::{BindingOutline, Guarded, Route, Routes};
use crate::config::check::support::Ignored;
use crate::config::decode::pattern;
use crate::config::decode::template;
use crate::config::decode::{Map, Value};
use crate::config::report::diagnostic::Span;
use crate::config::sections::models::Model;

/// An `sse` binding of kind `server` answers requests with event streams.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SseServer {
    /// `options.retry`, in milliseconds: how long a browser waits before it reconnects.
    /// Default: 2000, as in Zilla.
    pub retry: Duration,
    /// `options.max-age`, in seconds: the age that a stream may reach. The stream ends after
    /// an event within the last tenth of this time, and its client resumes. Default: any age.
    /// (Not in Zilla.)
    pub max_age: Option<Duration>,
    /// `options.requests`: a list of models for the data of events, by the path of the request. The first entry
    /// that matches counts. Default: none; data stays as it is.
    pub requests: Vec<EventModel>,
    /// `routes`: where requests go, by their path.
    pub routes: Vec<Route<PathCondition>>,
}

/// The model of events, for requests with this path.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EventModel {
    /// `path`: a regular expression that matches the path or a part of it, without the query. `{NAME}` in it
    /// stands for one segment. Required.
    pub path: PathExpression,
    /// `content`: the model of the data of each event. An event whose data does not fit is left out. Required.
    pub content: Model,
}

/// A regular expression for paths.
#[derive(Clone, Debug)]
pub struct PathExpression {
    text: String,
    regex: Regex,
}

impl PathExpression {
    /// Whether it matches a path or a part of it.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.regex.is_match(path)
    }

    fn decode(value: &Value<'_>) -> Option<Self> {
        let text = value.filled("a path, or a regular expression for paths")?;
        let Ok(regex) = Regex::new(&with_segments(&text)) else {
            value.error(format!(
                "`{}` is no regular expression that can be matched in linear time",
                text.escape_debug()
            ));
            return None;
        };
        Some(Self { text, regex })
    }
}

impl fmt::Display for PathExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An expression with one segment in place of each `{NAME}`. Numbers in braces are repetitions.
fn with_segments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        match after.split_once('}') {
            Some((name, after)) if pattern::is_name(name) => {
                out.push_str("[^/]+");
                rest = after;
            }
            _ => {
                out.push('{');
                rest = after;
            }
        }
    }
    out + rest
}

/// An `sse` binding of kind `client` reads event streams of another server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SseClient {
    /// `options.retry`, in milliseconds: how long the client waits before it reconnects.
    /// Default: 2000, as in Zilla.
    pub retry: Duration,
    /// `routes`: where requests go, by their path.
    pub routes: Vec<Route<PathCondition>>,
}

/// A condition on the path of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathCondition {
    /// `path`: a pattern of the path. Default: any.
    pub path: Option<Pattern>,
}

/// An `sse-kafka` binding of kind `proxy` maps paths to topics.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SseKafka {
    /// `routes`: which topic a path stands for. The binding's own `exit` is no route, since
    /// it names no topic.
    pub routes: Vec<Route<PathCondition, SseKafkaWith>>,
}

/// `with` of an `sse-kafka` route: which records are streamed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SseKafkaWith {
    /// `topic`: the name of the topic, a template. Required.
    pub topic: Template,
    /// `filters`: a list of filters, of which one must match a record. Default: all records.
    pub filters: Vec<Filter>,
    /// `event.id`: the form of event ids. Default: `${etag}`.
    pub event_id: EventId,
    /// `positions`: whether a stream sends blocks that have only an id, where its client
    /// could not resume otherwise. Some client libraries deliver an empty message for such a
    /// block. Default: true. (Not in Zilla.)
    pub positions: bool,
    /// `start`: the query parameters by which a request without an event id may choose where
    /// its stream begins. Default: none. (Not in Zilla.)
    pub start: Vec<StartParameter>,
    /// `live`: whether each stream sends one `event:live` when it has delivered everything
    /// that was in the topic when it began. A request asks for it by `liveEvent=true` in its
    /// query, too. Default: false. (Not in Zilla.)
    pub live: bool,
    /// `invalid`: what a stream sends in place of records that a model rejects: `gap` an `event:gap` with the
    /// reason `invalid`, one for neighbouring records, `skip` nothing. Default: `skip`. (Not in Zilla.)
    pub invalid_gaps: bool,
}

/// A query parameter that says where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartParameter {
    /// `from`: `earliest`, `live` or an event id.
    From,
    /// `since`: a time.
    Since,
}

/// A filter: the key and all headers must match.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Where it stands.
    pub span: Span,
    /// `key`: the key of the record, a template. Default: any.
    pub key: Option<Template>,
    /// `headers`: a map from names of headers to values, which are templates. Default: any.
    pub headers: Vec<(String, Template)>,
}

/// The form of event ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventId {
    /// `${etag}`: the position, and the value of the record's header `etag` if it has one.
    Etag,
    /// `["${base64(key)}","${etag}"]`: the key before it, in a JSON array.
    KeyAndEtag,
}

struct Common {
    retry: Option<Duration>,
    max_age: Option<Duration>,
    requests: Vec<EventModel>,
    routes: Vec<Route<PathCondition>>,
}

impl SseServer {
    pub(crate) fn decode(map: &Map<'_>, outline: &mut BindingOutline) -> Option<SseServer> {
        let Common { retry, max_age, requests, routes } = Common::decode(map, outline, true);
        Some(SseServer { retry: retry?, max_age, requests, routes })
    }
}

impl SseClient {
    pub(crate) fn decode(map: &Map<'_>, outline: &mut BindingOutline) -> Option<SseClient> {
        let Common { retry, routes, .. } = Common::decode(map, outline, false);
        Some(SseClient { retry: retry?, routes })
    }
}

impl Common {
    fn decode(map: &Map<'_>, outline: &mut BindingOutline, of_server: bool) -> Common {
        let mut retry = Some(2000);
        let mut max_age = None;
        let mut requests = Vec::new();
        if let Some(options) = map.map("options") {
            if let Some(value) = options.get("retry") {
                retry = value.number("a number of milliseconds (0 to 86400000)", 0..=86_400_000);
            }
            if of_server && let Some(value) = options.get("max-age") {
                max_age = value.number("a number of seconds (1 to 31536000)", 1..=31_536_000);
            }
            if let Some(value) = options.get("requests") {
                if !of_server {
                    value.ignored(Ignored::SseClientRequests);
                }
                requests = value.each(|item| event_model(&item));
            }
            options.deny_unknown();
        }
        let routes =
            Routes { when: &|value, _| condition(value), with: &|_, _, _| Some(()), own: Some(()) }
                .decode(map, outline);
        let retry = retry.map(Duration::from_millis);
        let max_age = max_age.map(Duration::from_secs);
        Common { retry, max_age, requests, routes }
    }
}

fn event_model(value: &Value<'_>) -> Option<EventModel> {
    let map = value.map()?;
    let path = map.require("path").and_then(|value| PathExpression::decode(&value));
    let content = map.require("content").and_then(|value| Model::decode(&value));
    map.deny_unknown();
    Some(EventModel { path: path?, content: content? })
}

fn condition(value: &Value<'_>) -> Option<PathCondition> {
    let map = value.map()?;
    let path = map.get("path").map(|value| pattern::path(&value));
    map.deny_unknown();
    match path {
        Some(path) => Some(PathCondition { path: Some(path?) }),
        None => Some(PathCondition { path: None }),
    }
}

impl SseKafka {
    pub(crate) fn decode(map: &Map<'_>, outline: &mut BindingOutline) -> Option<SseKafka> {
        if map.get("routes").is_none() && outline.own.is_some() {
            map.missing("`routes` is missing: each says which topic a path stands for");
        }
        let mut routes = Routes { when: &|value, _| condition(value), with: &with, own: None }
            .decode(map, outline);
        routes.iter_mut().for_each(ask_for_claims);
        Some(SseKafka { routes })
    }
}

/// Adds the guards whose claims the templates of a route contain to `guarded`: a client without credentials gets
/// 401.
fn ask_for_claims(route: &mut Route<PathCondition, SseKafkaWith>) {
    for variable in route.with.variables() {
        if let Variable::Identity { guard } | Variable::Attribute { guard, .. } = variable
            && !route.guarded.iter().any(|guarded| guarded.guard == *guard)
        {
            route.guarded.push(Guarded { guard: guard.clone(), roles: Vec::new() });
        }
    }
}

impl SseKafkaWith {
    /// The variables of its templates.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        let of_filters = self.filters.iter().flat_map(|filter| {
            filter.key.iter().chain(filter.headers.iter().map(|(_, header)| header))
        });
        [&self.topic].into_iter().chain(of_filters).flat_map(Template::variables)
    }
}

fn with(
    map: &Map<'_>,
    when: Option<&[PathCondition]>,
    _: &mut BindingOutline,
) -> Option<SseKafkaWith> {
    let with = map.require("with")?.map()?;
    let params = when.map(|when| captured(when.iter().map(|when| when.path.as_ref())));
    let params = params.as_deref();
    let topic = with.require("topic").and_then(|value| {
        let template = template::decode(&value, params)?;
        if let Some(Err(error)) = template.as_literal().map(check_topic_name) {
            value
                .error(format!("the topic name `{}` {error}", template.to_string().escape_debug()));
            return None;
        }
        Some(template)
    });
    let filters = with.get("filters").map(|value| value.each(|item| filter(&item, params)));
    let event_id = with.map("event").map(|event| {
        let id = event.require("id").and_then(|value| value.parsed(EVENT_ID, event_id));
        event.deny_unknown();
        id
    });
    let positions = with.get("positions").map(|value| value.boolean());
    let start = [("from", StartParameter::From), ("since", StartParameter::Since)];
    let start = with.get("start").map(|value| value.each(|item| item.one_of(&start)));
    let live = with.get("live").map(|value| value.boolean());
    let invalid = [("skip", false), ("gap", true)];
    let invalid_gaps = with.get("invalid").map(|value| value.one_of(&invalid));
    with.deny_unknown();
    Some(SseKafkaWith {
        topic: topic?,
        filters: filters.unwrap_or_default(),
        event_id: event_id.unwrap_or(Some(EventId::Etag))?,
        positions: positions.unwrap_or(Some(true))?,
        start: start.unwrap_or_default(),
        live: live.unwrap_or(Some(false))?,
        invalid_gaps: invalid_gaps.unwrap_or(Some(false))?,
    })
}

fn filter(value: &Value<'_>, params: Option<&[String]>) -> Option<Filter> {
    let map = value.map()?;
    let key = map.get("key").and_then(|value| template::decode(&value, params));
    let mut headers = Vec::new();
    for (name, value) in map.map("headers").iter().flat_map(Map::entries) {
        headers.push((name.to_owned(), template::decode(&value, params)?));
    }
    if map.get("key").is_none() && map.get("headers").is_none() {
        map.missing("a filter has a `key`, `headers` or both");
    }
    map.deny_unknown();
    Some(Filter { span: value.span(), key, headers })
}

const EVENT_ID: &str = r#"`${etag}` or `["${base64(key)}","${etag}"]`"#;

fn event_id(text: &str) -> Option<EventId> {
    match text.replace(' ', "").as_str() {
        "${etag}" => Some(EventId::Etag),
        r#"["${base64(key)}","${etag}"]"# => Some(EventId::KeyAndEtag),
        _ => None,
    }
}
