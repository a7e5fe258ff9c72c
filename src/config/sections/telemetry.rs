//! `telemetry`: logs, metrics and their exporters.

use crate::config::check::support::Ignored;
use crate::config::decode::ignored::{self, ignore};
use crate::config::decode::{Map, Value};
use crate::config::report::diagnostic::Span;

/// The section `telemetry`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Telemetry {
    /// `exporters`: a map from names to exporters. Default: none.
    pub exporters: Vec<Exporter>,
}

/// An entry of `exporters` that has an effect.
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
}

impl Telemetry {
    pub(crate) fn decode(map: &Map<'_>) -> Telemetry {
        let mut telemetry = Telemetry::default();
        if let Some(value) = map.get("attributes") {
            ignore(&value, Ignored::TelemetryAttributes, &ignored::ATTRIBUTES);
        }
        if let Some(value) = map.get("metrics") {
            ignore(&value, Ignored::TelemetryMetrics, &ignored::METRICS);
        }
        for (name, value) in map.map("exporters").iter().flat_map(Map::entries) {
            crate::config::check_name(&value, name);
            telemetry.exporters.extend(exporter(name, &value));
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

fn exporter(name: &str, value: &Value<'_>) -> Option<Exporter> {
    let words = [("stdout", Form::Stdout), ("prometheus", Form::Prometheus), ("otlp", Form::Otlp)];
    let map = value.map()?;
    match map.require("type")?.one_of(&words)? {
        Form::Stdout => {
            ignored::STDOUT.check(value);
            let name = name.to_owned();
            let subject = LoggedSubject::decode(&map);
            Some(Exporter { name, span: value.key, kind: ExporterKind::Stdout, subject })
        }
        Form::Prometheus => {
            ignore(value, Ignored::ExporterPrometheus, &ignored::PROMETHEUS);
            None
        }
        Form::Otlp => {
            ignore(value, Ignored::ExporterOtlp, &ignored::OTLP);
            None
        }
    }
}
