//! `telemetry`: logs, metrics and their exporters.

use std::time::Duration;

use crate::config::bindings::kafka::Secret;
use crate::config::bindings::tls::{self, TlsOptions};
use crate::config::check::support::Ignored;
use crate::config::decode::ignored::{self, ignore};
use crate::config::decode::{Map, Section, Value};
use crate::config::report::diagnostic::Span;
use crate::config::sections::catalogs::credentials;
use crate::config::sections::metrics::{self, Metric};

/// The section `telemetry`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Telemetry {
    /// `attributes`: a map from names to texts, for exporters of type `otlp`: what the program is. Of these,
    /// `service.name` also stands at each data point. Default: none.
    pub attributes: Vec<(String, String)>,
    /// `metrics`: the metrics of Zilla that bindings may ask for. Default: none. tailwater's own metrics do not
    /// depend on it.
    pub metrics: Vec<Metric>,
    /// `exporters`: a map from names to exporters. Default: none.
    pub exporters: Vec<Exporter>,
}

/// An entry of `exporters`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exporter {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub span: Span,
    /// `type`: what the exporter writes.
    pub kind: ExporterKind,
    /// `options.access-log.subject`, of an exporter of type `stdout`: what the access log has of the
    /// subject of a token. Default: `off`. (Not in Zilla.)
    pub subject: LoggedSubject,
}

/// What the access log has of the subject of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoggedSubject {
    /// `plain`: the subject itself.
    Plain,
    /// `hash`: 16 hexadecimal digits, which are equal for equal subjects until the process ends.
    Hash,
    /// `off`: nothing.
    #[default]
    Off,
}

impl LoggedSubject {
    /// Of the `options` of an exporter.
    fn decode(exporter: &Map<'_>) -> Self {
        let words = [("plain", Self::Plain), ("hash", Self::Hash), ("off", Self::Off)];
        let Some(options) = exporter.map("options") else { return Self::Off };
        let subject = options.map("access-log").and_then(|log| {
            let subject = log.get("subject").and_then(|value| value.one_of(&words));
            log.deny_unknown();
            subject
        });
        options.deny_unknown();
        subject.unwrap_or_default()
    }
}

/// The type of an exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExporterKind {
    /// `stdout`: the access log, on standard output.
    Stdout,
    /// `prometheus`: all metrics, at ports of their own, as text of Prometheus.
    Prometheus(Prometheus),
    /// `otlp`: metrics and logs, pushed to a collector as JSON over HTTP.
    Otlp(Box<Otlp>),
}

/// An exporter of type `prometheus`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prometheus {
    /// `options.endpoints`: a list of ports, at least one. They are bound on all addresses. Required.
    pub endpoints: Vec<Endpoint>,
}

/// An entry of `options.endpoints`. Its `scheme` has to be `http`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    /// Where it stands.
    pub span: Span,
    /// `port`: the port. Required.
    pub port: u16,
    /// `path`: the path of the metrics. Default: `/metrics`.
    pub path: String,
}

/// An exporter of type `otlp`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Otlp {
    /// `vault`: the vault that has the keys and certificates of `options.tls`. Default: none.
    pub vault: Option<String>,
    /// `options.interval`, in seconds: the time between two pushes. Default: 30.
    pub interval: Duration,
    /// `options.signals`: a list of what is pushed, `metrics` and `logs`. Default: both.
    pub signals: Vec<Signal>,
    /// `options.endpoint.location`: the URL of the collector, `http` or `https`. Required.
    pub location: String,
    /// `options.endpoint.overrides.metrics`: the path of metrics, which is appended to the location. Default:
    /// `/v1/metrics`.
    pub metrics_path: String,
    /// `options.endpoint.overrides.logs`: the path of logs, which is appended to the location. Default:
    /// `/v1/logs`.
    pub logs_path: String,
    /// `options.tls`: the certificates of an `https` connection: `keys`, `trust` and `trustcacerts`. Default: the
    /// system's certificate authorities are trusted.
    pub tls: Option<TlsOptions>,
    /// `options.credentials.headers.authorization`: the value of the header. It is never shown. Default: none.
    pub authorization: Option<Secret>,
}

/// What an exporter of type `otlp` pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// `metrics`: all metrics.
    Metrics,
    /// `logs`: the log of the program and the access log.
    Logs,
}

impl Telemetry {
    pub(crate) fn decode(map: &Map<'_>) -> Telemetry {
        let mut telemetry = Telemetry::default();
        let attributes = map.map("attributes");
        for (name, value) in attributes.iter().flat_map(Map::entries) {
            telemetry.attributes.extend(value.text().map(|text| (name.to_owned(), text)));
        }
        if let Some(value) = map.get("metrics") {
            telemetry.metrics = metrics::names(&value);
        }
        for (name, value) in map.map("exporters").iter().flat_map(Map::entries) {
            crate::config::check_name(&value, name);
            let exporter = value.cx.entry(&value, || exporter(&value));
            telemetry.exporters.extend(exporter.map(|(kind, subject)| Exporter {
                name: name.to_owned(),
                span: value.key,
                kind,
                subject,
            }));
        }
        map.deny_unknown();
        telemetry
    }
}

#[derive(Clone, Copy)]
enum Form {
    Stdout,
    Prometheus,
    Otlp,
}

fn exporter(value: &Value<'_>) -> Option<(ExporterKind, LoggedSubject)> {
    let forms = [("stdout", Form::Stdout), ("prometheus", Form::Prometheus), ("otlp", Form::Otlp)];
    let map = value.map()?;
    let form = map.require("type")?.one_of(&forms)?;
    let mut subject = LoggedSubject::Off;
    let kind = match form {
        Form::Stdout => {
            unused_vault(&map);
            subject = LoggedSubject::decode(&map);
            Some(ExporterKind::Stdout)
        }
        Form::Prometheus => {
            unused_vault(&map);
            map.map_or_empty("options")
                .and_then(|map| prometheus(&map))
                .map(ExporterKind::Prometheus)
        }
        Form::Otlp => {
            let vault = map.get("vault").and_then(|value| vault(&value));
            let options = map.map_or_empty("options");
            options.and_then(|map| otlp(&map, vault)).map(Box::new).map(ExporterKind::Otlp)
        }
    };
    map.deny_unknown();
    Some((kind?, subject))
}

fn vault(value: &Value<'_>) -> Option<String> {
    let name = value.text_as("the name of a vault")?;
    value.reference(Section::Vaults, &name);
    Some(name)
}

fn unused_vault(map: &Map<'_>) {
    if let Some(value) = map.get("vault") {
        ignore(&value, Ignored::ExporterVault, &ignored::VAULT);
    }
}

fn prometheus(options: &Map<'_>) -> Option<Prometheus> {
    let value = options.require("endpoints");
    options.deny_unknown();
    let value = value?;
    let endpoints = value.each(|value| endpoint(&value));
    if value.list().is_some_and(|list| list.is_empty()) {
        value.error("expected at least one endpoint");
    }
    Some(Prometheus { endpoints })
}

fn endpoint(value: &Value<'_>) -> Option<Endpoint> {
    let map = value.map()?;
    map.require("scheme").and_then(|value| value.one_of(&[("http", ())]));
    let port = map.require("port");
    let port = port.and_then(|value| value.number("a port (1 to 65535)", 1..=65_535));
    let path = map.get("path").map(|value| path(&value));
    map.deny_unknown();
    let path = path.unwrap_or_else(|| Some("/metrics".to_owned()))?;
    Some(Endpoint { span: value.key, port: port?, path })
}

/// A path of a URL, without a query.
fn path(value: &Value<'_>) -> Option<String> {
    value.parsed("a path, as `/metrics`", |text| {
        let is_path = text.starts_with('/') && !text.contains(['?', '#']);
        let uri: Option<http::uri::PathAndQuery> = text.parse().ok();
        (is_path && uri.is_some()).then(|| text.to_owned())
    })
}

fn otlp(options: &Map<'_>, vault: Option<String>) -> Option<Otlp> {
    let interval = options.get("interval").map(|value| {
        let seconds = value.number("a number of seconds (1 to 31536000)", 1..=31_536_000);
        seconds.map(Duration::from_secs)
    });
    let words = [("metrics", Signal::Metrics), ("logs", Signal::Logs)];
    let signals = options.get("signals").map(|value| value.each(|value| value.one_of(&words)));
    let mut location = None;
    let mut paths = ["/v1/metrics", "/v1/logs"].map(|path| Some(path.to_owned()));
    if let Some(endpoint) = options.map_or_empty("endpoint") {
        endpoint.get("protocol").and_then(|value| value.one_of(&[("http", ())]));
        location = endpoint.require("location").and_then(|value| url(&value));
        if let Some(overrides) = endpoint.map("overrides") {
            for (key, held) in ["metrics", "logs"].into_iter().zip(&mut paths) {
                if let Some(value) = overrides.get(key) {
                    *held = path(&value);
                }
            }
            overrides.deny_unknown();
        }
        endpoint.deny_unknown();
    }
    let tls = options.get("tls").and_then(|value| {
        let is_https = location.as_ref().is_none_or(|url: &String| url.starts_with("https:"));
        if !is_https {
            value.ignored(Ignored::ExporterTls);
        }
        tls::of_connection(&value).filter(|_| is_https)
    });
    let authorization = options.get("credentials").map(|value| credentials(&value));
    options.deny_unknown();
    let [metrics_path, logs_path] = paths;
    Some(Otlp {
        vault,
        interval: interval.unwrap_or(Some(Duration::from_secs(30)))?,
        signals: signals.unwrap_or_else(|| vec![Signal::Metrics, Signal::Logs]),
        location: location?,
        metrics_path: metrics_path?,
        logs_path: logs_path?,
        tls,
        authorization: authorization.unwrap_or(Some(None))?,
    })
}

/// The URL of a collector. A user in it could be shown by a proxy or a log: credentials have their own key.
fn url(value: &Value<'_>) -> Option<String> {
    value.parsed("an absolute http or https URL without user and query", |text| {
        let uri: http::Uri = text.parse().ok()?;
        let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme))?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        if authority.host().is_empty() || uri.query().is_some() {
            return None;
        }
        Some(format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/')))
    })
}
