//! `telemetry`: logs, metrics and where they go.

use std::time::Duration;

use super::decode::{Map, Value, suggestion};
use super::diagnostic::Span;
use super::http::seconds;
use super::kafka::Secret;
use super::support::Feature;
use super::tls;

/// The section `telemetry`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Telemetry {
    /// `attributes`: names and values that describe this instance. Default: none.
    pub attributes: Vec<(String, String)>,
    /// `metrics`: the names of what is measured. Default: nothing.
    pub metrics: Vec<String>,
    /// `exporters`: where logs and metrics go. Default: nowhere beside tailwater's own log.
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
    /// What it is, by `type`.
    pub kind: ExporterKind,
}

/// The type of an exporter with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExporterKind {
    /// `stdout`: a line for each request and event of the server.
    Stdout,
    /// `prometheus`: endpoints that are asked for metrics.
    Prometheus {
        /// `endpoints`, at least one.
        endpoints: Vec<PrometheusEndpoint>,
    },
    /// `otlp`: an endpoint that logs and metrics are sent to.
    Otlp(Otlp),
}

/// An endpoint that is asked for metrics over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrometheusEndpoint {
    /// `port`. Required.
    pub port: u16,
    /// `path`. Default: `/metrics`, as in Zilla.
    pub path: String,
}

/// An endpoint of the OpenTelemetry protocol over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Otlp {
    /// `interval`, in seconds. Default: 30.
    pub interval: Duration,
    /// `signals` has `metrics`. Default: both are sent.
    pub metrics: bool,
    /// `signals` has `logs`. Default: both are sent.
    pub logs: bool,
    /// `endpoint.location`. Required.
    pub location: String,
    /// `endpoint.overrides.metrics`. Default: `/v1/metrics`.
    pub metrics_path: String,
    /// `endpoint.overrides.logs`. Default: `/v1/logs`.
    pub logs_path: String,
    /// `credentials.headers.authorization`. Default: none.
    pub authorization: Option<Secret>,
}

/// What can be measured.
const METRICS: &[&str] = &[
    "stream.active.received",
    "stream.active.sent",
    "stream.opens.received",
    "stream.opens.sent",
    "stream.data.received",
    "stream.data.sent",
    "stream.errors.received",
    "stream.errors.sent",
    "stream.closes.received",
    "stream.closes.sent",
    "http.request.size",
    "http.response.size",
    "http.duration",
    "http.active.requests",
    "grpc.active.requests",
    "grpc.requests.per.rpc",
    "grpc.responses.per.rpc",
];

impl Telemetry {
    pub(super) fn decode(map: &Map<'_>) -> Telemetry {
        let mut telemetry = Telemetry::default();
        if let Some(value) = map.get("attributes") {
            value.uses(Feature::TelemetryAttributes);
            telemetry.attributes = attributes(&value);
        }
        if let Some(value) = map.get("metrics") {
            value.uses(Feature::TelemetryMetrics);
            telemetry.metrics = metrics(&value);
        }
        for (name, value) in map.map("exporters").iter().flat_map(Map::entries) {
            super::check_name(&value, name);
            telemetry.exporters.extend(exporter(name, &value));
        }
        map.deny_unknown();
        telemetry
    }
}

/// Checks `telemetry` of a binding, which is not kept: nothing is measured yet.
pub(super) fn decode_of_binding(value: &Value<'_>) {
    let Some(map) = value.map() else { return };
    if let Some(value) = map.get("attributes") {
        attributes(&value);
    }
    if let Some(value) = map.get("metrics") {
        metrics(&value);
    }
    map.deny_unknown();
}

fn attributes(value: &Value<'_>) -> Vec<(String, String)> {
    let map = value.map();
    let entries = map.iter().flat_map(Map::entries);
    entries.filter_map(|(name, value)| Some((name.to_owned(), value.text()?))).collect()
}

fn metrics(value: &Value<'_>) -> Vec<String> {
    value.each(|value| {
        let name = value.text_as("the name of a metric")?;
        // `stream.opens.*` stands for both directions.
        let known = match name.strip_suffix('*') {
            Some(start) => METRICS.iter().any(|value| value.starts_with(start)),
            None => METRICS.contains(&name.as_str()),
        };
        if !known {
            let mut help = format!("there are: {}", METRICS.join(", "));
            if let Some(meant) = suggestion(&name, METRICS) {
                help = format!("did you mean `{meant}`? {help}");
            }
            value.error_help(format!("unknown metric `{}`", name.escape_debug()), Some(help));
        }
        Some(name)
    })
}

#[derive(Clone, Copy)]
enum Form {
    Stdout,
    Prometheus,
    Otlp,
}

fn exporter(name: &str, value: &Value<'_>) -> Option<Exporter> {
    let map = value.map()?;
    let words = [("stdout", Form::Stdout), ("prometheus", Form::Prometheus), ("otlp", Form::Otlp)];
    let form = map.require("type")?.one_of(&words)?;
    if let Some(vault) = map.get("vault") {
        vault.uses(Feature::ExporterVault);
        if let Some(name) = vault.text_as("the name of a vault") {
            vault.reference("vaults", &name);
        }
    }
    let kind = match form {
        Form::Stdout => Some(ExporterKind::Stdout),
        Form::Prometheus => {
            value.uses(Feature::ExporterPrometheus);
            map.map_or_empty("options").and_then(|options| {
                let endpoints = options.require("endpoints");
                options.deny_unknown();
                let endpoints = endpoints?.each(|item| endpoint(&item));
                Some(ExporterKind::Prometheus { endpoints })
            })
        }
        Form::Otlp => {
            value.uses(Feature::ExporterOtlp);
            let options = map.map_or_empty("options");
            options.and_then(|options| otlp(&options)).map(ExporterKind::Otlp)
        }
    };
    map.deny_unknown();
    Some(Exporter { name: name.to_owned(), span: value.key, kind: kind? })
}

fn endpoint(value: &Value<'_>) -> Option<PrometheusEndpoint> {
    let map = value.map()?;
    if let Some(scheme) = map.require("scheme") {
        scheme.one_of(&[("http", ())]);
    }
    let port =
        map.require("port").and_then(|value| value.number("a port (1 to 65535)", 1..=u16::MAX));
    let path = map.text("path").unwrap_or_else(|| "/metrics".to_owned());
    map.deny_unknown();
    Some(PrometheusEndpoint { port: port?, path })
}

/// `credentials` of a connection that tailwater itself opens.
pub(super) fn authorization(map: &Map<'_>) -> Option<Secret> {
    let credentials = map.map("credentials")?;
    let headers = credentials.require("headers").and_then(|value| value.map());
    credentials.deny_unknown();
    let headers = headers?;
    let authorization = headers.get("authorization").and_then(|value| Secret::decode(&value));
    headers.deny_unknown();
    authorization
}

fn otlp(map: &Map<'_>) -> Option<Otlp> {
    let interval = map.get("interval").and_then(|value| seconds(&value));
    let signals = map
        .get("signals")
        .map(|value| value.each(|item| item.one_of(&[("metrics", true), ("logs", false)])));
    let endpoint = map.require("endpoint").and_then(|value| value.map());
    tls::check(map);
    let authorization = authorization(map);
    map.deny_unknown();
    let endpoint = endpoint?;
    if let Some(protocol) = endpoint.get("protocol") {
        protocol.one_of(&[("http", ())]);
    }
    let location = endpoint.require("location").and_then(|value| value.filled("a URL"));
    let overrides = endpoint.map("overrides");
    endpoint.deny_unknown();
    let path = |key, default: &str| {
        let text = overrides.as_ref().and_then(|overrides| overrides.text(key));
        text.unwrap_or_else(|| default.to_owned())
    };
    let metrics_path = path("metrics", "/v1/metrics");
    let logs_path = path("logs", "/v1/logs");
    if let Some(overrides) = &overrides {
        overrides.deny_unknown();
    }
    Some(Otlp {
        interval: interval.unwrap_or(Duration::from_secs(30)),
        metrics: signals.as_ref().is_none_or(|signals| signals.contains(&true)),
        logs: signals.as_ref().is_none_or(|signals| signals.contains(&false)),
        location: location?,
        metrics_path,
        logs_path,
        authorization,
    })
}
