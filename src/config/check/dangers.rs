//! Dangers: configurations that are valid and probably wrong, since they give access to clients that should have
//! none, or to no client.
//!
//! Each is a warning that says where it is, what happens and what to write instead.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Component, Path};
use std::sync::Arc;

use ::http::{Request, Uri};
use tailwater_jwt::Keys;
use tailwater_kafka_types::{Part, Template, Variable};
use tailwater_route::{Condition, Scheme};

use crate::config::bindings::files::{FileCondition, FileWith, Filesystem, Symlinks};
use crate::config::bindings::http::{AccessControl, CrossOrigin, HttpCondition};
use crate::config::bindings::sse::{PathCondition, SseKafkaWith};
use crate::config::bindings::{Binding, Guarded, Kind, Route};
use crate::config::check::requirements::Requirements;
use crate::config::report::diagnostic::Span;
use crate::config::sections::security::{Guard, GuardKeys};

mod ports;

/// The maximum number of routes of a binding that are compared with each other.
const MOST_ROUTES: usize = 200;
/// The maximum number of conditions of a route for which requests are made up, and of those that are combined
/// with the conditions of another route.
const MOST_CONDITIONS: usize = 20;
const MOST_PAIRED: usize = 3;

/// Checks the bindings to which a listener leads, except for those with errors.
pub(crate) fn check(requirements: &Requirements<'_>) {
    let mut asked = HashSet::new();
    for binding in
        requirements.running().filter(|binding| requirements.cx.is_sound("bindings", &binding.name))
    {
        match &binding.kind {
            Kind::TcpServer(server) => ports::of_listener(requirements, binding, server),
            Kind::HttpServer(server) => {
                let guard =
                    server.authorization.as_ref().map(|authorization| authorization.guard.as_str());
                guards_behind(requirements, binding, guard);
                if let AccessControl::CrossOrigin(cross) = &server.access_control {
                    credentials(requirements, binding, cross);
                }
                asked.extend(guard);
                open_beside(requirements, binding, &server.routes, exit);
            }
            Kind::HttpClient(client) => {
                open_beside(requirements, binding, &client.routes, exit);
            }
            Kind::SseServer(server) => {
                open_beside(requirements, binding, &server.routes, exit);
            }
            Kind::SseClient(client) => {
                open_beside(requirements, binding, &client.routes, exit);
            }
            Kind::SseKafka(mapping) => {
                open_beside(requirements, binding, &mapping.routes, topic);
            }
            Kind::HttpFilesystem(mapping) => {
                open_beside(requirements, binding, &mapping.routes, file)
            }
            Kind::Filesystem(files) => root(requirements, binding, files),
            _ => {}
        }
    }
    let is_asked = |guard: &&Guard| asked.contains(guard.name.as_str());
    for guard in requirements.guards.iter().filter(is_asked) {
        if requirements.cx.is_sound("guards", &guard.name) {
            self::guard(requirements, guard);
        }
    }
}

/// `credentials` for pages of any origin.
fn credentials(requirements: &Requirements<'_>, binding: &Binding, cross: &CrossOrigin) {
    let any = cross
        .origins
        .as_ref()
        .is_none_or(|origins| origins.iter().any(|origin| origin == "*" || origin == "null"));
    if cross.credentials && any {
        let message = format!(
            "bindings.{}.options.access-control.allow.credentials: pages of any origin may read what a user's cookies give access to",
            binding.name
        );
        let help = "expected the origins of your pages in `allow.origins`, or no `credentials`";
        requirements.cx.danger(cross.credentials_span, message, help);
    }
}

/// No request can take a guarded route if the `http` binding before it uses another guard, or none.
fn guards_behind(requirements: &Requirements<'_>, binding: &Binding, asked: Option<&str>) {
    let mut behind = vec![binding];
    let mut next = 0;
    while let Some(at) = behind.get(next).copied() {
        next += 1;
        for (span, guarded) in guarded_routes(&at.kind) {
            let Some(other) = guarded.iter().find(|guarded| asked != Some(&guarded.guard)) else {
                continue;
            };
            let message = format!(
                "bindings.{}: no request that comes through `{}` can take a route: that binding reads no \
                 credentials for the guard `{}`",
                at.name, binding.name, other.guard
            );
            let help = "expected an `authorization` in its options";
            requirements.cx.danger(span, message, help);
        }
        let exits = requirements
            .outlines
            .iter()
            .filter(|outline| outline.name == at.name)
            .flat_map(|outline| &outline.exits);
        for exit in exits {
            let found = requirements.bindings.iter().find(|binding| binding.name == exit.to);
            if let Some(found) = found.filter(|found| behind.iter().all(|at| at.name != found.name))
            {
                behind.push(found);
            }
        }
    }
}

/// The places of the guarded routes of a binding, and their guards.
fn guarded_routes(kind: &Kind) -> Vec<(Span, &[Guarded])> {
    fn of<W, T>(routes: &[Route<W, T>]) -> Vec<(Span, &[Guarded])> {
        let guarded = routes.iter().filter(|route| !route.guarded.is_empty());
        guarded.map(|guarded| (guarded.span, guarded.guarded.as_slice())).collect()
    }
    match kind {
        Kind::HttpServer(binding) => of(&binding.routes),
        Kind::HttpClient(binding) => of(&binding.routes),
        Kind::SseServer(binding) => of(&binding.routes),
        Kind::SseClient(binding) => of(&binding.routes),
        Kind::SseKafka(binding) => of(&binding.routes),
        Kind::HttpFilesystem(binding) => of(&binding.routes),
        _ => Vec::new(),
    }
}

/// Checks a guard that a binding uses.
fn guard(requirements: &Requirements<'_>, guard: &Guard) {
    let danger = |message: &str, help: &str| {
        requirements.cx.danger(guard.span, format!("guards.{}: {message}", guard.name), help);
    };
    if guard.audience.is_empty() {
        danger(
            "no `audience`: the guard accepts tokens that the issuer made for other services",
            "expected `audience` in its options, what tokens for this service have as `aud`",
        );
    }
    if guard.issuer.is_none() {
        danger(
            "no `issuer`: the guard accepts the tokens of everybody who owns one of the keys",
            "expected `issuer` in its options, what your tokens have as `iss`",
        );
    }
    let url = match &guard.keys {
        Some(GuardKeys::List(_)) => None,
        Some(GuardKeys::Url(url)) => Some(url.clone()),
        None => Keys::well_known(guard.issuer.as_deref().unwrap_or_default()).ok(),
    };
    if url.is_some_and(|url| url.scheme_str() == Some("http") && !is_loopback(&url)) {
        danger(
            "the keys are fetched without TLS: an attacker in the network can replace them and sign tokens",
            "expected a URL with `https`",
        );
    }
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Warns of the folder `/`.
fn root(requirements: &Requirements<'_>, binding: &Binding, files: &Filesystem) {
    let path = Path::new(&files.location);
    let depth = path.components().fold(0_usize, |depth, component| match component {
        Component::Normal(_) => depth + 1,
        Component::ParentDir => depth.saturating_sub(1),
        _ => depth,
    });
    // Symbolic links and the working directory can lead to `/`, too.
    let is_root = || path.canonicalize().is_ok_and(|path| path.parent().is_none());
    if !(path.is_absolute() && depth == 0 || is_root()) {
        return;
    }
    let followed = match files.symlinks {
        Symlinks::Follow => ", wherever symbolic links lead",
        Symlinks::Ignore => "",
    };
    let message = format!(
        "bindings.{}.options: the folder is `/`: each file that this process can read is served{followed}",
        binding.name
    );
    requirements.cx.danger(binding.span, message, "expected the folder of the pages as `location`");
}

/// A condition for which requests can be made up.
trait Sample {
    fn condition(&self) -> Condition;
    /// The names and patterns of headers and pseudo headers.
    fn fields(&self) -> Fields;
}

impl Sample for HttpCondition {
    fn condition(&self) -> Condition {
        self.condition.clone()
    }

    fn fields(&self) -> Fields {
        self.headers.iter().map(|(name, text)| (name.clone(), text.to_string())).collect()
    }
}

impl Sample for FileCondition {
    fn condition(&self) -> Condition {
        self.condition.clone()
    }

    fn fields(&self) -> Fields {
        let path = self.path.iter().map(|path| (":path".to_owned(), path.to_string()));
        let method = self.method.iter().map(|method| (":method".to_owned(), method.to_string()));
        path.chain(method).collect()
    }
}

impl Sample for PathCondition {
    fn condition(&self) -> Condition {
        let path = self.path.clone();
        path.and_then(|path| Condition::any().path(path).ok()).unwrap_or_default()
    }

    fn fields(&self) -> Fields {
        self.path.iter().map(|path| (":path".to_owned(), path.to_string())).collect()
    }
}

type Fields = Vec<(String, String)>;
type Parameter = (Arc<str>, Box<[u8]>);
type Captured = [Parameter];

/// A request, with or without credentials.
struct Asked<'w> {
    requirements: &'w Requirements<'w>,
    request: &'w Request<()>,
    open: bool,
    /// The maximum number of further bindings that are followed.
    depth: usize,
}

/// Where a route leads a request with these captured parameters. `None` if a guard rejects the request.
type Leads<W, T> = fn(&Route<W, T>, &Asked<'_>, &Captured) -> Option<String>;

/// Warns of a guarded route if an open route leads the same request to the same place: a client without a token
/// takes the open route.
fn open_beside<W: Sample, T>(
    requirements: &Requirements<'_>,
    binding: &Binding,
    routes: &[Route<W, T>],
    leads: Leads<W, T>,
) {
    if routes.iter().all(|route| route.guarded.is_empty()) {
        return;
    }
    let there = |route: &Route<W, T>, open, request: &Request<()>| {
        let asked = Asked { requirements, request, open, depth: 4 };
        let captured = captures(route, request)?;
        leads(route, &asked, &captured)
    };
    let routes: Vec<Sampled<'_, W, T>> = routes.iter().take(MOST_ROUTES).map(sampled).collect();
    for (index, guarded) in routes.iter().enumerate() {
        if guarded.route.guarded.is_empty() {
            continue;
        }
        let of_guarded = guarded.alone.iter().filter_map(|request| {
            let closed = there(guarded.route, false, request)?;
            Some((request, closed))
        });
        let of_guarded: Vec<(&Request<()>, String)> = of_guarded.collect();
        let leads_alike = |open: &Sampled<'_, W, T>, request: &Request<()>| {
            let closed = there(guarded.route, false, request);
            closed.is_some() && closed == there(open.route, true, request)
        };
        let is_same = |open: &Sampled<'_, W, T>| {
            paired(&guarded.paired, &open.paired).any(|request| leads_alike(open, &request))
                || of_guarded.iter().any(|(request, closed)| {
                    there(open.route, true, request).as_ref() == Some(closed)
                })
                || open.alone.iter().any(|request| leads_alike(open, request))
        };
        let same = routes.iter().position(|open| open.route.guarded.is_empty() && is_same(open));
        if let Some(at) = same {
            let order = if at > index { "a later" } else { "an earlier" };
            let message = format!(
                "bindings.{}: the route is guarded, but {order} route without `guarded` leads to the same: requests without credentials take that route",
                binding.name
            );
            let help = "expected `guarded` on both routes, or another path for the open one";
            requirements.cx.danger(guarded.route.span, message, help);
        }
    }
}

/// The parameters that a route captures of a request. `None` if its conditions do not match. Guards are not
/// considered.
fn captures<W: Sample, T>(route: &Route<W, T>, request: &Request<()>) -> Option<Vec<Parameter>> {
    match route.when.as_slice() {
        [] => Some(Vec::new()),
        when => when.iter().find_map(|when| when.condition().captures(request)),
    }
}

/// Where the bindings behind an exit lead a request.
fn exit<W, T>(route: &Route<W, T>, asked: &Asked<'_>, _: &Captured) -> Option<String> {
    let depth = asked.depth.checked_sub(1)?;
    let binding = asked.requirements.bindings.iter().find(|binding| binding.name == route.exit);
    let asked = &Asked { depth, ..*asked };
    match binding.map(|binding| &binding.kind) {
        Some(Kind::SseServer(server)) => first(&route.exit, &server.routes, asked, exit),
        Some(Kind::SseKafka(mapping)) => first(&route.exit, &mapping.routes, asked, topic),
        Some(Kind::HttpFilesystem(mapping)) => first(&route.exit, &mapping.routes, asked, file),
        _ => Some(route.exit.clone()),
    }
}

/// Where the first route leads that takes a request. If none does, the binding itself.
fn first<W: Sample, T>(
    binding: &str,
    routes: &[Route<W, T>],
    asked: &Asked<'_>,
    leads: Leads<W, T>,
) -> Option<String> {
    let routes = routes.get(..MOST_ROUTES.min(routes.len())).unwrap_or_default();
    let mut taking =
        routes.iter().filter_map(|route| Some((route, captures(route, asked.request)?)));
    let Some(one) = taking.next() else { return Some(binding.to_owned()) };
    let passes =
        |(route, _): &(&Route<W, T>, Vec<Parameter>)| !asked.open || route.guarded.is_empty();
    let (route, captured) = std::iter::once(one).chain(taking).find(passes)?;
    leads(route, asked, &captured)
}

fn topic(
    route: &Route<PathCondition, SseKafkaWith>,
    _: &Asked<'_>,
    captured: &Captured,
) -> Option<String> {
    Some(format!("{} {}", route.exit, filled(&route.with.topic, captured)))
}

fn file(
    route: &Route<FileCondition, FileWith>,
    asked: &Asked<'_>,
    captured: &Captured,
) -> Option<String> {
    let file =
        |template: &Option<Template>| template.as_ref().map(|template| filled(template, captured));
    let path = file(&route.with.path).unwrap_or_else(|| asked.request.uri().path().to_owned());
    let folder = file(&route.with.directory).unwrap_or_default();
    Some(format!("{} {folder} {}", route.exit, path.trim_start_matches('/')))
}

/// A route, with the requests that are made up for it.
struct Sampled<'r, W, T> {
    route: &'r Route<W, T>,
    /// The fields of its first conditions, to be combined with those of another route.
    paired: Vec<Fields>,
    /// The requests for its further conditions.
    alone: Vec<Request<()>>,
}

fn sampled<W: Sample, T>(route: &Route<W, T>) -> Sampled<'_, W, T> {
    let mut paired: Vec<Fields> = match route.when.as_slice() {
        [] => vec![Vec::new()],
        when => when.iter().take(MOST_CONDITIONS).map(Sample::fields).collect(),
    };
    let alone = paired.split_off(MOST_PAIRED.min(paired.len()));
    Sampled { route, paired, alone: alone.into_iter().filter_map(sample).collect() }
}

/// Requests that one of two routes takes, or both, by the combined fields of their conditions.
fn paired(ones: &[Fields], others: &[Fields]) -> impl Iterator<Item = Request<()>> {
    let pairs = ones.iter().flat_map(|one| others.iter().map(move |other| (one, other)));
    pairs.flat_map(|(one, other)| [joined(one, other), joined(other, one)]).filter_map(sample)
}

/// The fields of a condition, and the further fields of another one.
fn joined(fields: &Fields, besides: &Fields) -> Fields {
    let is_new = |(name, _): &&(String, String)| fields.iter().all(|(known, _)| known != name);
    fields.iter().chain(besides.iter().filter(is_new)).cloned().collect()
}

/// A request with these fields.
fn sample(fields: Fields) -> Option<Request<()>> {
    let mut path = "/x".to_owned();
    let mut request = Request::builder();
    for (name, pattern) in fields {
        let value = example(&pattern);
        request = match name.as_str() {
            ":path" => {
                path = if value.starts_with('/') { value } else { format!("/{value}") };
                request
            }
            ":method" => request.method(value.as_str()),
            ":authority" => request.header("host", value),
            ":scheme" if value.eq_ignore_ascii_case("https") => request.extension(Scheme::Https),
            ":scheme" => request,
            name => request.header(name, value),
        };
    }
    request.uri(path).body(()).ok()
}

/// A text that a pattern matches.
fn example(pattern: &str) -> String {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '*']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        text.push('x');
        rest = match from.split_once('}') {
            Some((_, after)) if from.starts_with('{') => after,
            _ => from.strip_prefix(['{', '*']).unwrap_or_default(),
        };
    }
    text + rest
}

/// A template with its parameters filled in. Variables of guards are kept.
fn filled(template: &Template, captured: &Captured) -> String {
    let part = |part: &Part| match part {
        Part::Literal(text) => text.clone(),
        Part::Variable(Variable::Parameter(name)) => {
            let value = captured
                .iter()
                .find(|(parameter, _)| **parameter == **name)
                .map(|(_, value)| value);
            value.map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
        }
        Part::Variable(variable) => variable.to_string(),
        _ => String::new(),
    };
    template.parts().iter().map(part).collect()
}
