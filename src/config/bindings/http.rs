//! `http` bindings.

use std::time::Duration;

use http::uri::Authority;
use http::{HeaderName, HeaderValue, Uri};
use tailwater_jwt::Credentials;
use tailwater_route::{Condition, Error, ValuePattern};

use crate::config::bindings::{BindingOutline, Route, Routes};
use crate::config::check::support::{Ignored, Unsupported};
use crate::config::decode::ignored::{self, ignore};
use crate::config::decode::{Map, Section, Value};
use crate::config::report::diagnostic::Span;

/// An `http` binding of kind `server` reads requests.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpServer {
    /// `options.versions`: the versions of HTTP that are spoken. Default: both.
    pub versions: Vec<HttpVersion>,
    /// `options.access-control`: what pages of other origins may do. Default: `same-origin`,
    /// as in Zilla.
    pub access_control: AccessControl,
    /// `options.authorization`: the name of a guard, and where its credentials are looked
    /// for. Default: nowhere.
    pub authorization: Option<Authorization>,
    /// `routes`: where requests go, by their headers.
    pub routes: Vec<Route<HttpCondition>>,
}

/// An `http` binding of kind `client` sends requests to another server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpClient {
    /// `options.versions`: the versions of HTTP that are spoken. Default: both.
    pub versions: Vec<HttpVersion>,
    /// `options.authorization`: the name of a guard, and the header in which its token is
    /// sent. Default: no token is sent.
    pub authorization: Option<Authorization>,
    /// `options.overrides`: headers, and the values that replace theirs. Default: none.
    pub overrides: Vec<(HeaderName, HeaderValue)>,
    /// `options.overrides.:authority`: the host that requests name, and its port where it has one.
    /// Default: the address of the server.
    pub authority: Option<Authority>,
    /// `routes`: where requests go, by their headers.
    pub routes: Vec<Route<HttpCondition>>,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpVersion {
    /// `http/1.1`: HTTP/1.1.
    Http11,
    /// `h2`: HTTP/2.
    H2,
}

/// `access-control`: what pages of other origins may do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessControl {
    /// `policy: same-origin`: pages of other origins are refused.
    SameOrigin,
    /// `policy: cross-origin`: pages of other origins may do what its further keys say.
    CrossOrigin(CrossOrigin),
}

/// The further keys of `access-control` with `policy: cross-origin`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrossOrigin {
    /// `allow.origins`: a list of origins, as `https://app.example.org`, or
    /// `https://*.example.org` with `*` for one label. Default: any, except `null` if
    /// `credentials` are allowed.
    pub origins: Option<Vec<String>>,
    /// `allow.methods`: methods of requests. Default: any.
    pub methods: Option<Vec<String>>,
    /// `allow.headers`: headers of requests. `last-event-id` and `cache-control` are allowed
    /// in addition where there are event streams. Default: any.
    pub headers: Option<Vec<String>>,
    /// `allow.credentials`: whether the browser sends cookies. Default: false.
    pub credentials: bool,
    /// Where `allow.credentials` stands.
    pub(crate) credentials_span: Span,
    /// `max-age`, in seconds: how long a browser remembers this. Default: the browser
    /// decides.
    pub max_age: Option<Duration>,
    /// `expose.headers`: headers of responses that a page may read. Default: any.
    pub expose: Option<Vec<String>>,
}

/// `authorization` of an `http` binding: where the credentials for a guard are. In each pattern,
/// `{credentials}` stands for the token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authorization {
    /// `NAME`: the name of the guard.
    pub guard: String,
    /// `credentials.headers`: a map from names of headers to patterns.
    pub headers: Vec<(String, String)>,
    /// `credentials.query`: a map from names of query parameters to patterns.
    pub query: Vec<(String, String)>,
    /// `credentials.cookies`: a map from names of cookies to patterns.
    pub cookies: Vec<(String, String)>,
}

/// A condition on the headers of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpCondition {
    /// `headers`: a map from names of headers to patterns with `*` for any text; all must
    /// match. The pseudo headers `:scheme`, `:authority`, `:path` and `:method` are headers,
    /// too.
    pub headers: Vec<(String, ValuePattern)>,
    /// The same condition for the route layer.
    pub condition: Condition,
}

impl HttpServer {
    pub(crate) fn decode(map: &Map<'_>, outline: &mut BindingOutline) -> Option<HttpServer> {
        let common = Common::decode(map, outline, true);
        Some(HttpServer {
            versions: common.versions,
            access_control: common.access_control,
            authorization: common.authorization,
            routes: common.routes,
        })
    }
}

impl HttpClient {
    pub(crate) fn decode(map: &Map<'_>, outline: &mut BindingOutline) -> Option<HttpClient> {
        let common = Common::decode(map, outline, false);
        Some(HttpClient {
            versions: common.versions,
            authorization: common.authorization,
            overrides: common.overrides.headers,
            authority: common.overrides.authority,
            routes: common.routes,
        })
    }
}

/// The options of both kinds. Zilla accepts `access-control` of a client, too, where it has no effect.
struct Common {
    versions: Vec<HttpVersion>,
    access_control: AccessControl,
    authorization: Option<Authorization>,
    overrides: Overrides,
    routes: Vec<Route<HttpCondition>>,
}

impl Common {
    fn decode(map: &Map<'_>, outline: &mut BindingOutline, of_server: bool) -> Common {
        let mut versions = vec![HttpVersion::Http11, HttpVersion::H2];
        let mut access_control = AccessControl::SameOrigin;
        let mut authorization = None;
        let mut overrides = Overrides::default();
        if let Some(options) = map.map("options") {
            if let Some(value) = options.get("versions") {
                let words = [("http/1.1", HttpVersion::Http11), ("h2", HttpVersion::H2)];
                versions = value.each(|item| item.one_of(&words));
                if value.list().is_some_and(|items| items.is_empty()) {
                    value.error("expected at least one of http/1.1 and h2");
                }
            }
            if let Some(value) = options.get("access-control") {
                if !of_server {
                    value.ignored(Ignored::HttpClientAccess);
                }
                let read = value.map().and_then(|value| self::access_control(&value));
                access_control = read.unwrap_or(access_control);
            }
            if let Some(value) = options.get("authorization") {
                authorization = self::authorization(&value);
                let in_headers = |authorization: &Authorization| {
                    authorization.query.is_empty() && authorization.cookies.is_empty()
                };
                if !of_server && !authorization.as_ref().is_none_or(in_headers) {
                    outline.unsupported(&value, Unsupported::HttpClientCredentials);
                }
            }
            if let Some(value) = options.get("overrides") {
                if of_server {
                    ignore(&value, Ignored::HttpOverrides, &ignored::OVERRIDES);
                } else {
                    overrides = client_overrides(&value);
                }
            }
            if let Some(value) = options.get("requests") {
                ignore(&value, Ignored::HttpRequests, &ignored::HTTP_REQUESTS);
            }
            options.deny_unknown();
        }
        let routes =
            Routes { when: &|value, _| condition(value), with: &|_, _, _| Some(()), own: Some(()) }
                .decode(map, outline);
        Common { versions, access_control, authorization, overrides, routes }
    }
}

/// `overrides` of a client.
#[derive(Default)]
struct Overrides {
    headers: Vec<(HeaderName, HeaderValue)>,
    authority: Option<Authority>,
}

fn client_overrides(value: &Value<'_>) -> Overrides {
    let mut overrides = Overrides::default();
    for (name, value) in value.map().iter().flat_map(Map::entries) {
        let name = name.to_ascii_lowercase();
        if name == ":authority" {
            let expected = "a host, with a port where it has one";
            let authority = value.parsed(expected, |text| text.parse().ok());
            overrides.authority = authority.or(overrides.authority);
        } else if let Ok(name) = name.parse::<HeaderName>() {
            let header = value.parsed("the value of a header", |text| text.parse().ok());
            overrides.headers.extend(header.map(|header| (name, header)));
        } else {
            value.error("expected the name of a header, or `:authority`");
        }
    }
    overrides
}

fn access_control(map: &Map<'_>) -> Option<AccessControl> {
    let cross = map.require("policy")?.one_of(&[("same-origin", false), ("cross-origin", true)])?;
    if !cross {
        for value in ["allow", "max-age", "expose"].into_iter().filter_map(|key| map.get(key)) {
            let message = format!("{}: pages of the same origin need no permission", value.path);
            let help = "expected `policy: cross-origin` with this key".to_owned();
            value.cx.error(value.key, message, Some(help));
        }
        map.deny_unknown();
        return Some(AccessControl::SameOrigin);
    }
    let mut out = CrossOrigin::default();
    let texts = |map: &Map<'_>, key| map.get(key).map(|value: Value<'_>| value.texts());
    if let Some(allow) = map.map("allow") {
        out.origins = allow.get("origins").map(|value| value.each(|item| origin(&item)));
        out.methods = texts(&allow, "methods");
        out.headers = texts(&allow, "headers");
        if let Some(value) = allow.get("credentials") {
            out.credentials = value.boolean().unwrap_or(false);
            out.credentials_span = value.key;
        }
        allow.deny_unknown();
    }
    out.max_age = map.get("max-age").and_then(|value| seconds(&value));
    if let Some(expose) = map.map("expose") {
        out.expose = texts(&expose, "headers");
        expose.deny_unknown();
    }
    map.deny_unknown();
    Some(AccessControl::CrossOrigin(out))
}

/// An entry of `allow.origins`.
fn origin(value: &Value<'_>) -> Option<String> {
    const ORIGIN: &str =
        "`*`, or an origin as `https://app.example.org`, or `https://*.example.org` for one label";
    let valid = |text: &str| {
        let (_, rest) = text.split_once("://").unwrap_or(("", text));
        let rest = rest.strip_prefix("*.").unwrap_or(rest);
        let domain = !rest.starts_with(['.', ':']) && !rest.is_empty();
        let scheme = text.split_once("://").is_some_and(|(rest, _)| !rest.contains('*'));
        let alone = !text.contains('*') || (scheme && domain && !rest.contains('*'));
        (text == "*" || alone).then(|| text.to_owned())
    };
    let text = value.parsed(ORIGIN, valid)?;
    if text != "*" && text != "null" && !is_origin(&text) {
        value.warning(format!(
            "no page has the origin `{}`: expected {ORIGIN}",
            text.escape_debug()
        ));
    }
    Some(text)
}

/// Whether a browser can send this as `Origin`. A `/` at its end is accepted.
fn is_origin(text: &str) -> bool {
    let text = text.strip_suffix('/').unwrap_or(text).replacen("://*.", "://x.", 1);
    let plain = |uri: Uri| uri.path() == "/" && uri.query().is_none() && !text.contains(['@', '#']);
    let authority = text.split_once("://").is_some_and(|(_, rest)| !rest.contains('/'));
    authority && text.parse::<Uri>().is_ok_and(plain)
}

/// A number of seconds, at most a year: a larger one is probably in another unit.
pub(crate) fn seconds(value: &Value<'_>) -> Option<Duration> {
    value.number("a number of seconds (0 to 31536000)", 0..=31_536_000).map(Duration::from_secs)
}

fn authorization(value: &Value<'_>) -> Option<Authorization> {
    let map = value.map()?;
    let mut entries = map.entries();
    let (Some((guard, of_guard)), None) = (entries.next(), entries.next()) else {
        value.error("expected one guard with its `credentials`");
        return None;
    };
    of_guard.reference(Section::Guards, guard);
    let of_guard = of_guard.map()?;
    let credentials = of_guard.require("credentials").and_then(|value| value.map());
    of_guard.deny_unknown();
    let credentials = credentials?;
    let mut empty = true;
    let mut places = |key, add| {
        let map = credentials.map(key);
        let entries = map.iter().flat_map(Map::entries).inspect(|_| empty = false);
        entries.filter_map(|(name, value)| place(name, &value, add)).collect::<Vec<_>>()
    };
    let mut headers = places("headers", Credentials::header);
    headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
    let query = places("query", Credentials::query);
    let cookies = places("cookies", Credentials::cookie);
    credentials.deny_unknown();
    if empty {
        let message = "expected a place in `headers`, `query` or `cookies`";
        credentials.missing(message);
    }
    Some(Authorization { guard: guard.to_owned(), headers, query, cookies })
}

/// A place of credentials: its name and its pattern.
fn place(
    name: &str,
    value: &Value<'_>,
    add: fn(Credentials, &str, &str) -> Result<Credentials, tailwater_jwt::Error>,
) -> Option<(String, String)> {
    let once = |text: &str| (text.matches("{credentials}").count() == 1).then(|| text.to_owned());
    let pattern = value.parsed("a text with `{credentials}` in it", once)?;
    if let Err(error) = add(Credentials::new(), name, &pattern) {
        let span = match error {
            tailwater_jwt::Error::Name(_) => value.key,
            _ => value.span(),
        };
        value.cx.error(span, format!("{}: {error}", value.path), None);
        return None;
    }
    Some((name.to_owned(), pattern))
}

fn condition(value: &Value<'_>) -> Option<HttpCondition> {
    let map = value.map()?;
    let entries = map.require("headers");
    map.deny_unknown();
    let mut headers: Vec<(String, ValuePattern)> = Vec::new();
    let mut condition = Some(Condition::any());
    for (name, value) in entries?.map()?.entries() {
        let name = name.to_ascii_lowercase();
        if headers.iter().any(|(header, _)| *header == name) {
            value.cx.error(value.key, format!("{}: the header is listed twice", value.path), None);
        }
        let Some(text) = value.text_as("a pattern, as `localhost:*`") else {
            condition = None;
            continue;
        };
        let added = ValuePattern::new(&text).and_then(|pattern| {
            let before = condition.clone().unwrap_or_default();
            Ok((pattern.clone(), before.header(&name, pattern)?))
        });
        match added {
            Ok((pattern, added)) => {
                headers.push((name, pattern));
                condition = condition.and(Some(added));
            }
            Err(error @ (Error::Header(_) | Error::PseudoHeader(_))) => {
                value.cx.error(value.key, format!("{}: {error}", value.path), None);
                condition = None;
            }
            Err(error) => {
                value.error(match error {
                    // Its text contains the pattern.
                    Error::Start(_) => error.to_string(),
                    _ => format!("bad pattern `{}`: {error}", text.escape_debug()),
                });
                condition = None;
            }
        }
    }
    Some(HttpCondition { headers, condition: condition? })
}
