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
    match value.map()?.require("type")?.one_of(&words)? {
        Form::Stdout => {
            ignored::STDOUT.check(value);
            let name = name.to_owned();
            Some(Exporter { name, span: value.key, kind: ExporterKind::Stdout })
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
