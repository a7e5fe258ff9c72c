//! The parts of the grammar without effect: models of `http` requests, metrics, exporters.
//!
//! Each is one warning, by its [`Ignored`], and no value of it is kept. The shapes below are its grammar: a mistake
//! in it is an error, so that the file stays valid when the feature works one day.

use std::ops::RangeInclusive;

use http::Method;

use crate::config::bindings::http::seconds;
use crate::config::bindings::tls;
use crate::config::check::support::Ignored;
use crate::config::decode::pattern;
use crate::config::decode::{Map, Section, Value, suggestion};
use crate::config::sections::models::Model;

/// Warns that a value has no effect, and reports the mistakes in it.
pub(crate) fn ignore(value: &Value<'_>, feature: Ignored, shape: &Shape) {
    value.ignored(feature);
    shape.check(value);
}

/// The values that are accepted in a place.
pub(crate) enum Shape {
    Text,
    /// A text that is not empty, and the name of such a text in errors.
    Filled(&'static str),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A number within a range, and the name of such a number in errors.
    Number(&'static str, RangeInclusive<u32>),
    List(&'static Shape),
    /// One value, or a list of values.
    OneOrMore(&'static Shape),
    /// A mapping with any names.
    Names(&'static Shape),
    /// A mapping with names of `catalogs`.
    Catalogs(&'static Shape),
    /// A mapping with these keys and no others.
    Fields(&'static [Field]),
    /// A value that a function checks.
    By(fn(&Value<'_>)),
}

/// A key of a mapping.
pub(crate) struct Field {
    key: &'static str,
    kind: FieldKind,
}

enum FieldKind {
    Optional(Shape),
    Required(Shape),
    /// A mapping that counts as empty if it is absent, so that missing keys are reported.
    Options(&'static [Field]),
}

const fn optional(key: &'static str, shape: Shape) -> Field {
    Field { key, kind: FieldKind::Optional(shape) }
}

const fn required(key: &'static str, shape: Shape) -> Field {
    Field { key, kind: FieldKind::Required(shape) }
}

const fn options(fields: &'static [Field]) -> Field {
    Field { key: "options", kind: FieldKind::Options(fields) }
}

use Shape::{By, Catalogs, Fields, Filled, List, Names, Number, OneOrMore, Text, Word};

impl Shape {
    pub(crate) fn check(&self, value: &Value<'_>) {
        match self {
            Text => {
                value.text();
            }
            Filled(what) => {
                value.filled(what);
            }
            Word(words) => {
                let words: Vec<(&str, ())> = words.iter().map(|word| (*word, ())).collect();
                value.one_of(&words);
            }
            Number(what, range) => {
                value.number(what, range.clone());
            }
            OneOrMore(shape) if !value.is_list() => shape.check(value),
            List(shape) | OneOrMore(shape) => {
                value.list().iter().flatten().for_each(|item| shape.check(item));
            }
            Names(shape) => {
                let map = value.map();
                map.iter().flat_map(Map::entries).for_each(|(_, value)| shape.check(&value));
            }
            Catalogs(shape) => {
                for (name, value) in value.map().iter().flat_map(Map::entries) {
                    value.reference(Section::Catalogs, name);
                    shape.check(&value);
                }
            }
            Fields(fields) => {
                if let Some(map) = value.map() {
                    check_all(&map, fields);
                }
            }
            By(check) => check(value),
        }
    }
}

/// Checks a mapping that has these keys and no others.
fn check_all(map: &Map<'_>, fields: &[Field]) {
    check_fields(map, fields);
    map.deny_unknown();
}

fn check_fields(map: &Map<'_>, fields: &[Field]) {
    for Field { key, kind } in fields {
        match kind {
            FieldKind::Optional(shape) => map.get(key).iter().for_each(|value| shape.check(value)),
            FieldKind::Required(shape) => {
                map.require(key).iter().for_each(|value| shape.check(value));
            }
            FieldKind::Options(fields) => {
                map.map_or_empty(key).iter().for_each(|options| check_all(options, fields));
            }
        }
    }
}

// Options of bindings

/// `requests` of `http` bindings.
pub(crate) const HTTP_REQUESTS: Shape = List(&Fields(&[
    required("path", PATH),
    optional("method", By(method)),
    optional(
        "params",
        Fields(&[optional("path", MODELS_BY_NAME), optional("query", MODELS_BY_NAME)]),
    ),
    optional("content-type", List(&Text)),
    optional("headers", MODELS_BY_NAME),
    optional("content", MODEL),
    optional(
        "responses",
        List(&Fields(&[
            optional("status", OneOrMore(&Number("a status (100 to 599)", 100..=599))),
            optional("content-type", List(&Text)),
            optional("headers", MODELS_BY_NAME),
            optional("content", MODEL),
        ])),
    ),
]));

/// `overrides` of `http` servers.
pub(crate) const OVERRIDES: Shape = Names(&Text);

/// `catalog` of bindings.
pub(crate) const BINDING_CATALOG: Shape = Catalogs(&By(|_| ()));

const PATH: Shape = By(|value| {
    pattern::path(value);
});
const MODEL: Shape = By(|value| {
    Model::decode(value);
});
const MODELS_BY_NAME: Shape = Names(&MODEL);

fn method(value: &Value<'_>) {
    value.parsed("a method, as `GET`", |text| text.parse::<Method>().ok());
}

const SECONDS: Shape = By(|value| {
    seconds(value);
});
const TLS: Shape = By(|value| {
    tls::of_connection(value);
});
const CREDENTIALS: Shape =
    Fields(&[required("headers", Fields(&[optional("authorization", Text)]))]);
const VAULT: Shape = By(|value| {
    if let Some(name) = value.text_as("the name of a vault") {
        value.reference(Section::Vaults, &name);
    }
});

// `telemetry`

/// `attributes`, of `telemetry` and of bindings.
pub(crate) const ATTRIBUTES: Shape = Names(&Text);

/// `metrics`, of `telemetry` and of bindings.
pub(crate) const METRICS: Shape = List(&By(metric));

/// `telemetry` of a binding.
pub(crate) const BINDING_TELEMETRY: Shape =
    Fields(&[optional("attributes", ATTRIBUTES), optional("metrics", METRICS)]);

/// An exporter of type `prometheus`.
pub(crate) const PROMETHEUS: Shape = Fields(&[
    required("type", Text),
    optional("vault", EXPORTER_VAULT),
    options(&[required(
        "endpoints",
        List(&Fields(&[
            required("scheme", Word(&["http"])),
            required("port", Number("a port (1 to 65535)", 1..=65_535)),
            optional("path", Text),
        ])),
    )]),
]);

/// An exporter of type `otlp`.
pub(crate) const OTLP: Shape = Fields(&[
    required("type", Text),
    optional("vault", EXPORTER_VAULT),
    options(&[
        optional("interval", SECONDS),
        optional("signals", List(&Word(&["metrics", "logs"]))),
        required(
            "endpoint",
            Fields(&[
                optional("protocol", Word(&["http"])),
                required("location", Filled("a URL")),
                optional("overrides", Fields(&[optional("metrics", Text), optional("logs", Text)])),
            ]),
        ),
        optional("tls", TLS),
        optional("credentials", CREDENTIALS),
    ]),
]);

/// The keys of an exporter of type `stdout`. Of these, `vault` has no effect. `options` are read elsewhere.
pub(crate) const STDOUT: Shape = Fields(&[
    required("type", Text),
    optional("vault", EXPORTER_VAULT),
    optional("options", By(|_| ())),
]);

const EXPORTER_VAULT: Shape = By(|value| ignore(value, Ignored::ExporterVault, &VAULT));

const KNOWN_METRICS: &[&str] = &[
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

fn metric(value: &Value<'_>) {
    let Some(name) = value.text_as("the name of a metric") else { return };
    // `stream.opens.*` is `received` and `sent`.
    let known = match name.strip_suffix('*') {
        Some(start) => KNOWN_METRICS.iter().any(|metric| metric.starts_with(start)),
        None => KNOWN_METRICS.contains(&name.as_str()),
    };
    if !known {
        let mut help = format!("there are: {}", KNOWN_METRICS.join(", "));
        if let Some(meant) = suggestion(&name, KNOWN_METRICS) {
            help = format!("did you mean `{meant}`? {help}");
        }
        value.error_help(format!("unknown metric `{}`", name.escape_debug()), Some(help));
    }
}
