//! The parts of the grammar without effect: models, catalogs, transforms, metrics, exporters.
//!
//! Each is one warning, by its [`Ignored`], and no value of it is kept. The shapes below are its grammar: a mistake
//! in it is an error, so that the file stays valid when the feature works one day.

use std::ops::RangeInclusive;

use http::Method;

use crate::config::bindings::http::seconds;
use crate::config::bindings::tls;
use crate::config::check::support::Ignored;
use crate::config::decode::pattern;
use crate::config::decode::{Map, Section, Value, any_of, suggestion};

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

// MODEL

pub(crate) const MODEL: Shape = By(model);

const MODELS: &[(&str, &[Field])] = &[
    (
        "string",
        &[
            optional("encoding", Word(&["utf_8", "utf_16"])),
            optional("minLength", Number("a number of characters", 0..=u32::MAX)),
            optional("maxLength", Number("a number of characters", 0..=u32::MAX)),
            optional("pattern", Text),
        ],
    ),
    ("int32", NUMERIC),
    ("int64", NUMERIC),
    ("float", NUMERIC),
    ("double", NUMERIC),
    ("boolean", &[]),
    ("bytes", &[]),
    ("json", &[required("catalog", SCHEMAS)]),
    ("avro", &[required("catalog", SCHEMAS), optional("view", Word(&["json"]))]),
    ("protobuf", &[required("catalog", MESSAGES), optional("view", Word(&["json"]))]),
];

const NUMERIC: &[Field] = &[
    optional("format", Text),
    optional("range", Text),
    optional("max", Text),
    optional("min", Text),
    optional("exclusiveMax", Text),
    optional("exclusiveMin", Text),
    optional("multiple", Text),
];

const SCHEMAS: Shape = Catalogs(&List(&By(|value| schema(value, &[]))));
const MESSAGES: Shape = Catalogs(&List(&By(|value| schema(value, &[optional("record", Text)]))));

fn model(value: &Value<'_>) {
    if let Some(name) = value.scalar() {
        let needs_catalog = |fields: &[Field]| fields.iter().any(|field| field.key == "catalog");
        if model_fields(value, name).is_some_and(needs_catalog) {
            value.error(format!("the model `{name}` needs a `catalog`"));
        }
        return;
    }
    if !value.is_map() {
        return value.expected("a model");
    }
    let Some(map) = value.map() else { return };
    let name = map.require("model").and_then(|value| Some((value.text()?, value)));
    let Some(fields) = name.and_then(|(name, value)| model_fields(&value, &name)) else { return };
    check_fields(&map, fields);
    check_all(&map, &[optional("validate", By(validate))]);
}

fn model_fields(value: &Value<'_>, name: &str) -> Option<&'static [Field]> {
    let found = MODELS.iter().find(|(known, _)| *known == name);
    if found.is_none() {
        let names: Vec<&str> = MODELS.iter().map(|(name, _)| *name).collect();
        let meant = suggestion(name, &names).map(|word| format!("did you mean `{word}`?"));
        let known = any_of(&names);
        let message = format!("unknown model `{}`: expected {known}", name.escape_debug());
        value.error_help(message, meant);
    }
    found.map(|(_, fields)| *fields)
}

fn validate(value: &Value<'_>) {
    const STRICTNESS: Shape = Word(&["strict", "lenient"]);
    const BOTH: Shape = Fields(&[optional("decode", STRICTNESS), optional("encode", STRICTNESS)]);
    if value.is_map() { BOTH.check(value) } else { STRICTNESS.check(value) }
}

/// A schema of a catalog, by one of three keys.
fn schema(value: &Value<'_>, further: &[Field]) {
    let Some(map) = value.map() else { return };
    let id = map.get("id").inspect(|id| {
        id.number("the number of a schema", 0..=u32::MAX);
    });
    let strategy = map.get("strategy").inspect(|strategy| {
        strategy.one_of(&[("topic", ()), ("encoded", ())]);
    });
    let subject = map.text("subject");
    map.text("version");
    check_fields(&map, further);
    map.deny_unknown();
    if [id.is_some(), strategy.is_some(), subject.is_some()].iter().filter(|is| **is).count() != 1 {
        map.missing("expected one of `id`, `strategy` and `subject`");
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

/// `requests` of `sse` bindings.
pub(crate) const SSE_REQUESTS: Shape =
    List(&Fields(&[required("path", PATH), required("content", MODEL)]));

/// `overrides` of `http` servers.
pub(crate) const OVERRIDES: Shape = Names(&Text);

/// `catalog` of bindings.
pub(crate) const BINDING_CATALOG: Shape = Catalogs(&By(|_| ()));

/// `transforms` of topics.
pub(crate) const TRANSFORMS: Shape = List(&Fields(&[
    optional("extract-key", By(message_field)),
    optional("extract-headers", Names(&By(message_field))),
]));

const PATH: Shape = By(|value| {
    pattern::path(value);
});
const MODELS_BY_NAME: Shape = Names(&MODEL);

fn method(value: &Value<'_>) {
    value.parsed("a method, as `GET`", |text| text.parse::<Method>().ok());
}

fn message_field(value: &Value<'_>) {
    let field = |text: &str| {
        let field = text.strip_prefix("${message.")?.strip_suffix('}')?;
        let name = field.strip_prefix("value.").or_else(|| field.strip_prefix("key."))?;
        (!name.is_empty() && !name.contains(['{', '}'])).then_some(())
    };
    value.parsed(
        "a field of the value or the key, as `${message.value.id}` or `${message.key.id}`",
        field,
    );
}

// `catalogs`

/// An entry of `catalogs`.
pub(crate) const CATALOG: Shape = By(catalog);

const INLINE: &[Field] =
    &[required("subjects", Names(&Fields(&[required("schema", Text), optional("version", Text)])))];
const FILESYSTEM: &[Field] =
    &[required("subjects", Names(&Fields(&[required("path", Filled("the path of a file"))])))];
const REGISTRY: &[Field] = &[
    required("url", Filled("a URL")),
    optional("context", Text),
    optional("max-age", SECONDS),
    optional("tls", TLS),
    optional("credentials", CREDENTIALS),
];
const APICURIO: &[Field] = &[
    required("url", Filled("a URL")),
    optional("group-id", Text),
    optional("use-id", Word(&["globalId", "contentId"])),
    optional("id-encoding", Word(&["default", "legacy"])),
    optional("max-age", SECONDS),
    optional("tls", TLS),
    optional("credentials", CREDENTIALS),
];

const SECONDS: Shape = By(|value| {
    seconds(value);
});
const TLS: Shape = By(tls::check);
const CREDENTIALS: Shape =
    Fields(&[required("headers", Fields(&[optional("authorization", Text)]))]);
const VAULT: Shape = By(|value| {
    if let Some(name) = value.text_as("the name of a vault") {
        value.reference(Section::Vaults, &name);
    }
});

fn catalog(value: &Value<'_>) {
    let Some(map) = value.map() else { return };
    let fields = map.require("type").and_then(|value| {
        value.one_of(&[
            ("inline", const { &[options(INLINE)] }),
            ("filesystem", const { &[options(FILESYSTEM)] }),
            ("schema-registry", const { &[options(REGISTRY)] }),
            ("confluent-schema-registry", const { &[options(REGISTRY)] }),
            ("karapace", const { &[options(REGISTRY)] }),
            ("karapace-schema-registry", const { &[options(REGISTRY)] }),
            ("apicurio", const { &[options(APICURIO)] }),
            ("apicurio-registry", const { &[options(APICURIO)] }),
        ])
    });
    let Some(fields) = fields else { return };
    check_fields(&map, &[optional("vault", VAULT)]);
    check_all(&map, fields);
}

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

/// The keys of an exporter of type `stdout`. Of these, `vault` has no effect.
pub(crate) const STDOUT: Shape =
    Fields(&[required("type", Text), optional("vault", EXPORTER_VAULT)]);

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
