//! The text of `tailwater check`: what a configuration means.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use tailwater_kafka_types::Template;
use tailwater_tls::ClientCertificates;

use crate::config::bindings::files::Symlinks;
use crate::config::bindings::http::{AccessControl, Authorization, HttpCondition, HttpVersion};
use crate::config::bindings::sse::{EventId, PathCondition, SseKafkaWith, StartParameter};
use crate::config::bindings::tls::TlsOptions;
use crate::config::bindings::{Binding, Guarded, Kind, Route};
use crate::config::decode::any_of;
use crate::config::plan::{self, Connection, Next, Resource, Streams, Topics};
use crate::config::report::diagnostic::Severity;
use crate::config::sections::security::{Guard, GuardKeys};
use crate::config::sections::telemetry::{ExporterKind, Signal};
use crate::config::{Config, DefaultOffset, Parsed, TopicSource};
use crate::escape::one_line;

mod memory;
mod models;

/// Describes a configuration: the listeners of each namespace, route by route, down to topic and filter. The
/// maximum memory, the dangers and the ignored keys follow.
///
/// A binding to which several routes lead is described once, at the first of them.
#[must_use]
pub fn describe(parsed: &Parsed) -> String {
    let Parsed { namespaces, report, hash: _ } = parsed;
    let Some(config) = namespaces.first() else { return String::new() };
    let described = HashSet::new();
    let out = String::new();
    let mut describer = Describer { namespaces, config, described, before: Vec::new(), out };
    for config in namespaces {
        if !describer.out.is_empty() {
            describer.out.push('\n');
        }
        describer.config = config;
        describer.namespace();
        let described = std::mem::take(&mut describer.described);
        describer.before.push((config, described));
    }
    for why in parsed.idle() {
        describer.line(0, &format!("\n{why}"));
    }
    if namespaces.iter().any(|namespace| namespace.listeners().next().is_some()) {
        describer.memory();
    }
    for (severity, title) in [(Severity::Danger, "\ndangerous:"), (Severity::Warning, "\nignored:")]
    {
        let of_severity =
            report.diagnostics().iter().filter(|diagnostic| diagnostic.severity == severity);
        for (index, diagnostic) in of_severity.enumerate() {
            if index == 0 {
                describer.line(0, title);
            }
            describer
                .line(1, &format!("{}: {}", report.place(diagnostic.span), diagnostic.message));
            // A key without effect needs no replacement.
            if let (Severity::Danger, Some(help)) = (severity, &diagnostic.help) {
                describer.line(2, help);
            }
        }
    }
    describer.out
}

struct Describer<'c> {
    namespaces: &'c [Config],
    /// The namespace that is described.
    config: &'c Config,
    /// The bindings of it that were described.
    described: HashSet<&'c str>,
    /// The namespaces before, and which of their bindings were described.
    before: Vec<(&'c Config, HashSet<&'c str>)>,
    out: String,
}

impl<'c> Describer<'c> {
    /// Adds a line. If the text begins with a line break, an empty line comes before it.
    fn line(&mut self, depth: usize, text: &str) {
        let text = text.strip_prefix('\n').inspect(|_| self.out.push('\n')).unwrap_or(text);
        for _ in 0..depth {
            self.out.push_str("  ");
        }
        self.out.push_str(&one_line(text));
        self.out.push('\n');
    }

    fn namespace(&mut self) {
        let config = self.config;
        match self.namespaces {
            [_] => self.line(0, &config.name),
            _ => self.line(0, &format!("namespace {}", config.name)),
        }
        for listener in &config.plan().listeners {
            self.out.push('\n');
            self.listener(listener);
        }
        let rest = config.bindings.iter().map(|binding| binding.name.as_str());
        let rest: Vec<&str> = rest.filter(|name| !self.described.contains(name)).collect();
        if !rest.is_empty() {
            let text = format!("\nno listener leads to: {}", rest.join(", "));
            self.line(0, &text);
        }
        for guard in &config.guards {
            self.guard(guard);
        }
        for catalog in &config.catalogs {
            self.catalog(catalog);
        }
        for exporter in &config.telemetry.exporters {
            let text = match &exporter.kind {
                ExporterKind::Stdout => "writes logs to the standard output".to_owned(),
                ExporterKind::Prometheus(prometheus) => {
                    let ports = prometheus.endpoints.iter();
                    let ports = ports.map(|endpoint| format!("{}{}", endpoint.port, endpoint.path));
                    format!("serves metrics at port {}", ports.collect::<Vec<_>>().join(" and "))
                }
                ExporterKind::Otlp(otlp) => {
                    let signals = otlp.signals.iter().map(|signal| match signal {
                        Signal::Metrics => "metrics",
                        Signal::Logs => "logs",
                    });
                    format!(
                        "pushes {} to {} every {} s",
                        signals.collect::<Vec<_>>().join(" and "),
                        otlp.location,
                        otlp.interval.as_secs()
                    )
                }
            };
            self.line(0, &format!("\ntelemetry: {} {text}", exporter.name));
        }
    }

    /// Adds the line of a route and the binding to which it leads. Returns false if the binding was described
    /// before.
    fn binding(&mut self, depth: usize, before: &str, binding: &'c Binding) -> bool {
        let name = &binding.name;
        let is_new = self.described.insert(name);
        let text = match is_new {
            true => format!("{before}{name}: {}", summary(binding)),
            false => format!("{before}{name} (see above)"),
        };
        self.line(depth, &text);
        is_new
    }

    fn listener(&mut self, server: &plan::TcpServer<'c>) {
        if !self.binding(0, "", server.binding) {
            return;
        }
        for route in &server.routes {
            let before = before(route.rule, |condition| {
                let ports = (!condition.ports.is_empty())
                    .then(|| format!("port {}", self::ports(&condition.ports)));
                let from = condition.cidr.map(|cidr| format!("from {cidr}"));
                ports.into_iter().chain(from).collect::<Vec<_>>().join(" ")
            });
            match &route.next {
                Next::Tls(tls) => self.tls_server(1, &before, tls),
                Next::Http(http) => self.http_server(1, &before, http),
            }
        }
    }

    fn tls_server(&mut self, depth: usize, to: &str, server: &plan::TlsServer<'c>) {
        if !self.binding(depth, to, server.binding) {
            return;
        }
        for route in &server.routes {
            let before = before(route.rule, |condition| {
                let name = condition.authority.iter().map(|authority| format!("name {authority}"));
                let alpn = condition.alpn.iter().map(|alpn| format!("protocol {alpn}"));
                let ports = (!condition.ports.is_empty())
                    .then(|| format!("port {}", self::ports(&condition.ports)));
                name.chain(alpn).chain(ports).collect::<Vec<_>>().join(" ")
            });
            self.http_server(depth + 1, &before, &route.next);
        }
    }

    fn http_server(&mut self, depth: usize, to: &str, server: &plan::HttpServer<'c>) {
        if !self.binding(depth, to, server.binding) {
            return;
        }
        if let Some(authorization) = &server.options.authorization {
            self.line(depth + 1, &credentials(authorization));
        }
        for route in &server.routes {
            let before = before(route.rule, headers);
            match &route.next {
                Resource::Sse(sse) => self.sse_server(depth + 1, &before, sse),
                Resource::Files(files) => self.files(depth + 1, &before, files),
            }
        }
    }

    fn sse_server(&mut self, depth: usize, to: &str, server: &plan::SseServer<'c>) {
        if !self.binding(depth, to, server.binding) {
            return;
        }
        for events in &server.options.requests {
            self.event_model(depth + 1, events);
        }
        for route in &server.routes {
            let before = before(route.rule, path);
            match &route.next {
                Streams::Topics(proxy) => self.topics(depth + 1, &before, proxy),
                Streams::Upstream(client) => self.sse_client(depth + 1, &before, client),
            }
        }
    }

    fn topics(&mut self, depth: usize, to: &str, proxy: &plan::SseKafka<'c>) {
        if !self.binding(depth, to, proxy.binding) {
            return;
        }
        for route in &proxy.routes {
            let with = &route.rule.with;
            let text = format!("{}topic {}", before(route.rule, path), with.topic);
            self.line(depth + 1, &text);
            self.stream(depth + 2, with, &route.next);
        }
    }

    fn sse_client(&mut self, depth: usize, to: &str, client: &plan::SseClient<'c>) {
        if !self.binding(depth, to, client.binding) {
            return;
        }
        for route in &client.routes {
            self.http_client(depth + 1, &before(route.rule, path), &route.next);
        }
    }

    fn http_client(&mut self, depth: usize, to: &str, client: &plan::HttpClient<'c>) {
        if !self.binding(depth, to, client.binding) {
            return;
        }
        if let Some(authorization) = &client.options.authorization {
            let names = authorization.headers.iter().map(|(name, _)| name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            let text = format!(
                "credentials for {} are forwarded in the header {names}",
                authorization.guard
            );
            self.line(depth + 1, &text);
        }
        for route in &client.routes {
            let to = before(route.rule, headers);
            match &route.next.connection {
                Connection::Tcp(tcp) => {
                    self.binding(depth + 1, &to, tcp.binding);
                }
                Connection::Tls(tls) if self.binding(depth + 1, &to, tls.binding) => {
                    for route in &tls.routes {
                        let to = before(route.rule, |_| String::new());
                        self.binding(depth + 2, &to, route.next.binding);
                    }
                }
                Connection::Tls(_) => {}
            }
        }
    }

    fn files(&mut self, depth: usize, to: &str, proxy: &plan::HttpFilesystem<'c>) {
        if !self.binding(depth, to, proxy.binding) {
            return;
        }
        for route in &proxy.routes {
            let before = before(route.rule, |condition| {
                let path = condition.path.as_ref().map(|path| path.to_string());
                let method = condition.method.iter().map(ToString::to_string);
                method.chain(path).collect::<Vec<_>>().join(" ")
            });
            let target = |target: &Option<_>, name| {
                target.as_ref().map(|template: &Template| format!("{name} {template} in "))
            };
            let with = &route.rule.with;
            let path = target(&with.path, "file").unwrap_or_default();
            let folder = target(&with.directory, "folder").unwrap_or_default();
            self.binding(depth + 1, &format!("{before}{path}{folder}"), route.next.binding);
        }
    }

    fn guard(&mut self, guard: &Guard) {
        let keys = match &guard.keys {
            Some(GuardKeys::Url(url)) => {
                // The whole URL may contain a password.
                format!("keys of {}{}", url.host().unwrap_or_default(), url.path())
            }
            Some(GuardKeys::List(keys)) => {
                let name = |kid: &str| kid.escape_debug().to_string();
                let names = keys
                    .iter()
                    .map(|key| key.jwk.kid.as_deref().map_or("without a name".to_owned(), name));
                format!("keys {}", names.collect::<Vec<_>>().join(", "))
            }
            None => "keys of the issuer".to_owned(),
        };
        self.line(0, &format!("\nguard {}: JSON Web Tokens, {keys}", guard.name));
        let issuer = guard.issuer.as_deref().unwrap_or("any");
        let audience = match guard.audience.as_slice() {
            [] => "any".to_owned(),
            some => some.join(" or "),
        };
        self.line(1, &format!("issuer {issuer}, audience {audience}"));
        self.line(1, &format!("roles in {}, identity in {}", guard.roles, guard.identity));
        for (name, claim) in &guard.attributes {
            self.line(1, &format!("attribute {name} in {claim}"));
        }
        if !guard.leeway.is_zero() {
            self.line(1, &format!("clocks may be {} s apart", guard.leeway.as_secs()));
        }
        let without = if guard.without_expiry { "valid for ever" } else { "refused" };
        self.line(1, &format!("tokens without an expiry are {without}"));
        self.line(
            1,
            &match guard.challenge {
                Some(time) => {
                    format!(
                        "streams get a challenge {} s before their token expires",
                        time.as_secs()
                    )
                }
                None => "streams get no challenge before their token expires".to_owned(),
            },
        );
    }

    fn stream(&mut self, depth: usize, with: &SseKafkaWith, topics: &Topics<'c>) {
        for (index, filter) in with.filters.iter().enumerate() {
            let key = filter.key.iter().map(|key| format!("key {key}"));
            let headers =
                filter.headers.iter().map(|(name, value)| format!("header {name}: {value}"));
            let parts: Vec<String> = key.chain(headers).collect();
            let word = if index == 0 { "records with" } else { "or with" };
            self.line(depth, &format!("{word} {}", parts.join(" and ")));
        }
        let id = match with.event_id {
            EventId::Etag => "${etag}",
            EventId::KeyAndEtag => r#"["${base64(key)}","${etag}"]"#,
        };
        let positions = if with.positions { "" } else { ", no blocks with an id alone" };
        self.line(depth, &format!("event ids: {id}{positions}"));
        let sources = topics.sources(with.topic.as_literal());
        if sources.is_empty() {
            self.line(depth, "no route of the Kafka bindings takes this topic");
        }
        if with.invalid_gaps {
            self.line(depth, "records that a model rejects become event:gap");
        }
        if with.live {
            self.line(
                depth,
                "each stream gets event:live when it has delivered all that was there",
            );
        }
        if !with.start.is_empty() {
            let names = with.start.iter().map(|parameter| match parameter {
                StartParameter::From => "from",
                StartParameter::Since => "since",
            });
            let names = names.collect::<Vec<_>>().join(" or ");
            self.line(
                depth,
                &format!("a request may choose its start by the query parameter {names}"),
            );
        }
        for source in sources {
            self.source(depth, with.topic.as_literal(), &source);
        }
    }

    fn source(&mut self, depth: usize, topic: Option<&str>, source: &TopicSource<'c>) {
        self.described.extend(source.names());
        self.described.insert(&source.cluster.exit);
        let tls = source.connection.tls();
        let below = tls.iter().flat_map(|tls| &tls.routes).map(|route| &*route.rule.exit);
        self.described.extend(below);
        let describe = |value| match value {
            DefaultOffset::Historical => "historical, from the first record",
            DefaultOffset::Live => "live, from the next record",
        };
        let offset = match topic {
            Some(topic) => describe(source.default_offset(topic)).to_owned(),
            None => {
                let live: Vec<&str> = source.topics_with(DefaultOffset::Live);
                let others = describe(DefaultOffset::Historical);
                if live.is_empty() {
                    others.to_owned()
                } else {
                    format!("{others}; live: {}", live.join(", "))
                }
            }
        };
        self.line(depth, &format!("without an id: {offset}"));
        self.models(depth, topic, source);
        let servers: Vec<String> =
            source.cluster.servers.iter().map(|server| server.to_string()).collect();
        let mut text = format!("Kafka: {}", servers.join(", "));
        if tls.is_some() {
            text.push_str(", by TLS");
        }
        if let Some(crate::config::KafkaAuthorization::Password { mechanism, username, .. }) =
            &source.cluster.authorization
        {
            let _ = write!(text, ", as {username} by {mechanism}");
        }
        let _ = write!(text, " ({})", source.names().join(" -> "));
        self.line(depth, &text);
        let bootstrap = source.bootstrap();
        if !bootstrap.is_empty() {
            self.line(
                depth,
                &format!("read from the start of the program: {}", bootstrap.join(", ")),
            );
        }
    }
}

/// The start of a line: the conditions and guards of a route.
fn before<W, T>(route: &Route<W, T>, describe: impl Fn(&W) -> String) -> String {
    format!("{}{} -> ", when(&route.when, describe), guarded(&route.guarded))
}

fn path(condition: &PathCondition) -> String {
    condition.path.as_ref().map(|path| path.to_string()).unwrap_or_default()
}

fn when<W>(conditions: &[W], describe: impl Fn(&W) -> String) -> String {
    let conditions: Vec<String> = conditions.iter().map(describe).collect();
    if conditions.is_empty() || conditions.iter().any(String::is_empty) {
        "always".to_owned()
    } else {
        conditions.join(" or ")
    }
}

/// The tokens that a route requires.
fn guarded(guarded: &[Guarded]) -> String {
    let each = guarded.iter().map(|guarded| match guarded.roles.as_slice() {
        [] => format!(" with a token for {}", guarded.guard),
        roles => {
            format!(" with a token for {} and role {}", guarded.guard, roles.join(" and role "))
        }
    });
    each.collect::<Vec<_>>().join(" and")
}

fn headers(condition: &HttpCondition) -> String {
    let headers = condition.headers.iter().map(|(name, pattern)| format!("{name} {pattern}"));
    headers.collect::<Vec<_>>().join(", ")
}

/// The places of credentials, in the order in which they are tried.
fn credentials(authorization: &Authorization) -> String {
    let places = [
        ("cookie", &authorization.cookies),
        ("header", &authorization.headers),
        ("query parameter", &authorization.query),
    ];
    let places = places
        .into_iter()
        .flat_map(|(what, names)| names.iter().map(move |(name, _)| format!("{what} {name}")));
    let places = places.collect::<Vec<_>>().join(", then ");
    format!("credentials for {}: {places}", authorization.guard)
}

/// The authorities whose certificates are accepted.
fn trusted(options: &TlsOptions) -> String {
    let system = options.trustcacerts.unwrap_or(options.trust.is_empty());
    let system = system.then(|| "the system's authorities".to_owned());
    options.trust.iter().cloned().chain(system).collect::<Vec<_>>().join(" and ")
}

fn summary(binding: &Binding) -> String {
    match &binding.kind {
        Kind::TlsServer(server) => {
            let mut text = "TLS".to_owned();
            for (what, names) in [("keys", &server.options.keys), ("signers", &server.signers)] {
                if !names.is_empty() {
                    let _ = write!(text, ", {what} {}", names.join(", "));
                }
            }
            if let Some(vault) = &binding.vault {
                let _ = write!(text, " of {vault}");
            }
            text.push_str(match server.mutual {
                ClientCertificates::Required => ", client certificates required",
                ClientCertificates::Requested => ", client certificates requested",
                _ => return text,
            });
            let _ = write!(text, " of {}", trusted(&server.options));
            text
        }
        Kind::TlsClient(client) => format!("TLS, trusts {}", trusted(&client.options)),
        Kind::SseClient(_) => "event streams of another server".to_owned(),
        Kind::HttpClient(client) => {
            let h2 = client.versions == [HttpVersion::H2];
            format!("requests in {}", if h2 { "h2" } else { "http/1.1" })
        }
        Kind::TcpClient(client) => match (&client.host, client.ports.first()) {
            (Some(host), Some(ports)) => format!("connects to {host}:{}", ports.start()),
            _ => "connects".to_owned(),
        },
        Kind::TcpServer(server) => format!("listens on {}:{}", server.host, ports(&server.ports)),
        Kind::HttpServer(server) => {
            let version = |version: &HttpVersion| match version {
                HttpVersion::Http11 => "http/1.1",
                HttpVersion::H2 => "h2",
            };
            let versions: Vec<&str> = server.versions.iter().map(version).collect();
            format!("{}, {}", any_of(&versions), access(&server.access_control))
        }
        Kind::SseServer(server) => {
            let mut text = format!("event streams, retry {} ms", server.retry.as_millis());
            if let Some(max_age) = server.max_age {
                let _ = write!(text, ", each for at most {} s", max_age.as_secs());
            }
            text
        }
        Kind::SseKafka(_) => "topics as event streams".to_owned(),
        Kind::HttpFilesystem(_) => "static files".to_owned(),
        Kind::Filesystem(files) => {
            let links = match files.symlinks {
                Symlinks::Follow => "followed",
                Symlinks::Ignore => "ignored",
            };
            format!("folder {}, symbolic links are {links}", files.location)
        }
        _ => binding.kind.of().to_string(),
    }
}

fn access(access: &AccessControl) -> String {
    let AccessControl::CrossOrigin(cross) = access else {
        return "pages of the same origin only".to_owned();
    };
    let mut text = match &cross.origins {
        None => "pages of any origin".to_owned(),
        Some(origins) => format!("pages of {}", origins.join(", ")),
    };
    for (name, list) in [("methods", &cross.methods), ("headers", &cross.headers)] {
        if let Some(list) = list {
            let _ = write!(text, ", {name} {}", list.join(" "));
        }
    }
    if cross.credentials {
        text.push_str(", with credentials");
    }
    text
}

pub(crate) fn ports(ranges: &[RangeInclusive<u16>]) -> String {
    let ranges = ranges.iter().map(|range| match range.start() == range.end() {
        true => range.start().to_string(),
        false => format!("{}-{}", range.start(), range.end()),
    });
    ranges.collect::<Vec<_>>().join(",")
}
