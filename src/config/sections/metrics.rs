//! The metrics of Zilla: their names, and what bindings ask for.

use std::collections::BTreeSet;

use http::HeaderName;
use regex::RegexBuilder;

use crate::config::check::support::Ignored;
use crate::config::decode::{Map, Value, suggestion};

macro_rules! metrics {
    ($($variant:ident = $name:literal;)*) => {
        /// A metric of Zilla.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Metric {
            $(#[doc = concat!("`", $name, "`")] $variant),*
        }

        impl Metric {
            /// All of them.
            pub const ALL: &[Metric] = &[$(Metric::$variant),*];

            /// Its name in the file.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Metric::$variant => $name),* }
            }
        }
    };
}

metrics! {
    StreamActiveReceived = "stream.active.received";
    StreamActiveSent = "stream.active.sent";
    StreamOpensReceived = "stream.opens.received";
    StreamOpensSent = "stream.opens.sent";
    StreamDataReceived = "stream.data.received";
    StreamDataSent = "stream.data.sent";
    StreamErrorsReceived = "stream.errors.received";
    StreamErrorsSent = "stream.errors.sent";
    StreamClosesReceived = "stream.closes.received";
    StreamClosesSent = "stream.closes.sent";
    HttpRequestSize = "http.request.size";
    HttpResponseSize = "http.response.size";
    HttpDuration = "http.duration";
    HttpActiveRequests = "http.active.requests";
}

/// Metrics of bindings that tailwater does not have.
const GRPC: &[&str] = &["grpc.active.requests", "grpc.requests.per.rpc", "grpc.responses.per.rpc"];

/// The memory that an expression may take.
const MAX_EXPRESSION_BYTES: usize = 256 * 1024;

/// `telemetry` of a binding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BindingTelemetry {
    /// `telemetry.metrics`: a list of regular expressions that match whole names of metrics. The metrics of
    /// `telemetry.metrics` of the file that one of them matches are recorded for the binding. Default: none.
    pub metrics: BTreeSet<Metric>,
    /// `telemetry.attributes`: a map from names of labels to `${http.request.X}` or `${http.response.X}`, where
    /// X is `method`, `path`, `status` or the name of a header. The `http` metrics of the binding have these
    /// labels. Default: none.
    pub attributes: Vec<(String, AttributeValue)>,
}

/// The value of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttributeValue {
    /// The method of the request.
    Method,
    /// The path of the request, without the query.
    Path,
    /// The status of the response.
    Status,
    /// A header of the request.
    RequestHeader(HeaderName),
    /// A header of the response.
    ResponseHeader(HeaderName),
}

/// `metrics` of `telemetry`: names.
pub(crate) fn names(value: &Value<'_>) -> Vec<Metric> {
    let mut all = BTreeSet::new();
    for value in value.list().unwrap_or_default() {
        let Some(name) = value.text_as("the name of a metric") else { continue };
        // `stream.opens.*` is `received` and `sent`.
        let is_meant = |known: &str| match name.strip_suffix('*') {
            Some(start) => known.starts_with(start),
            None => known == name,
        };
        let before = all.len();
        all.extend(Metric::ALL.iter().copied().filter(|metric| is_meant(metric.name())));
        if GRPC.iter().any(|known| is_meant(known)) {
            value.ignored(Ignored::GrpcMetric);
        } else if all.len() == before && !Metric::ALL.iter().any(|metric| is_meant(metric.name())) {
            let known: Vec<&str> = Metric::ALL
                .iter()
                .map(|metric| metric.name())
                .chain(GRPC.iter().copied())
                .collect();
            let mut help = format!("there are: {}", known.join(", "));
            if let Some(meant) = suggestion(&name, &known) {
                help = format!("did you mean `{meant}`? {help}");
            }
            value.error_help(format!("unknown metric `{}`", name.escape_debug()), Some(help));
        }
    }
    all.into_iter().collect()
}

impl BindingTelemetry {
    /// Whether the binding records something.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty()
    }

    pub(crate) fn decode(map: &Map<'_>) -> BindingTelemetry {
        let mut telemetry = BindingTelemetry::default();
        for value in map.get("metrics").and_then(|value| value.list()).unwrap_or_default() {
            telemetry.metrics.extend(matched(&value));
        }
        let attributes = map.map("attributes");
        for (name, value) in attributes.iter().flat_map(Map::entries) {
            let Some(text) = value.text() else { continue };
            let others = || telemetry.attributes.iter().map(|(other, _)| label_name(other));
            match attribute(&text) {
                Some(of) if is_free(name) && !others().any(|other| other == label_name(name)) => {
                    telemetry.attributes.push((name.to_owned(), of));
                }
                _ => value.ignored(Ignored::Attribute),
            }
        }
        map.deny_unknown();
        telemetry
    }
}

/// The metrics that an expression matches.
fn matched(value: &Value<'_>) -> Vec<Metric> {
    let Some(text) = value.filled("a regular expression for names of metrics") else {
        return Vec::new();
    };
    // `(?:a` and `b)` are no expressions, though they are one with the text around them.
    let whole = format!("^(?:{text})$");
    let build = |text: &str| RegexBuilder::new(text).size_limit(MAX_EXPRESSION_BYTES).build();
    match build(&text).and_then(|_| build(&whole)) {
        Ok(regex) => {
            Metric::ALL.iter().copied().filter(|metric| regex.is_match(metric.name())).collect()
        }
        Err(_) => {
            value.error(format!(
                "`{}` is no regular expression that can be matched in linear time",
                text.escape_debug()
            ));
            Vec::new()
        }
    }
}

/// A name as the name of a label.
pub(crate) fn label_name(name: &str) -> String {
    let mut label: String =
        name.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' }).collect();
    if label.starts_with(|first: char| first.is_ascii_digit()) {
        label.insert(0, '_');
    }
    label
}

/// Whether a label may have this name.
fn is_free(name: &str) -> bool {
    let label = label_name(name);
    !label.is_empty()
        && !label.starts_with("__")
        && !["le", "quantile", "namespace", "binding"].contains(&label.as_str())
}

fn attribute(text: &str) -> Option<AttributeValue> {
    let inner = text.strip_prefix("${http.")?.strip_suffix('}')?;
    let header = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
    match inner.split_once('.')? {
        ("request", "method") => Some(AttributeValue::Method),
        ("request", "path") => Some(AttributeValue::Path),
        ("response", "status") => Some(AttributeValue::Status),
        ("request", name) => header(name).map(AttributeValue::RequestHeader),
        ("response", name) => header(name).map(AttributeValue::ResponseHeader),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_parts_of_requests_and_responses() {
        let header = HeaderName::from_static;
        for (text, expected) in [
            ("${http.request.method}", Some(AttributeValue::Method)),
            ("${http.request.path}", Some(AttributeValue::Path)),
            ("${http.response.status}", Some(AttributeValue::Status)),
            ("${http.request.X-Tenant}", Some(AttributeValue::RequestHeader(header("x-tenant")))),
            ("${http.response.server}", Some(AttributeValue::ResponseHeader(header("server")))),
            ("${http.request.a b}", None),
            ("${http.other.method}", None),
            ("${http.request}", None),
            ("x${http.request.method}", None),
            ("text", None),
        ] {
            assert_eq!(attribute(text), expected, "{text}");
        }
    }

    #[test]
    fn names_of_labels_are_those_of_prometheus() {
        for (name, expected, free) in [
            ("path", "path", true),
            ("http.method", "http_method", true),
            ("1x", "_1x", true),
            ("x-é", "x__", true),
            ("le", "le", false),
            ("name.space", "name_space", true),
            ("binding", "binding", false),
            ("..x", "__x", false),
            ("", "", false),
        ] {
            assert_eq!((label_name(name).as_str(), is_free(name)), (expected, free), "{name}");
        }
    }
}
