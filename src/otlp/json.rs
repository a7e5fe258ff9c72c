//! Metrics and logs as the JSON of OTLP. Integers of 64 bits are strings, as the mapping of protocol buffers says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use crate::metrics::family::{self, Family, Kind, Sample};
use crate::otlp::records::{Field, Record};

/// The attribute that also stands at each data point.
const SERVICE_NAME: &str = "service.name";
/// The counts of a process since its start.
const CUMULATIVE: u8 = 2;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metrics<'a> {
    resource_metrics: [ResourceMetrics<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceMetrics<'a> {
    resource: Resource<'a>,
    scope_metrics: [ScopeMetrics<'a>; 1],
}

#[derive(Serialize)]
struct ScopeMetrics<'a> {
    scope: Scope,
    metrics: Vec<Metric<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Logs<'a> {
    resource_logs: [ResourceLogs<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceLogs<'a> {
    resource: Resource<'a>,
    scope_logs: [ScopeLogs<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogs<'a> {
    scope: Scope,
    log_records: Vec<LogRecord<'a>>,
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: Vec<Attribute<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

const SCOPE: Scope = Scope { name: "tailwater", version: env!("CARGO_PKG_VERSION") };

/// A metric. One of the three kinds is there.
#[derive(Serialize)]
struct Metric<'a> {
    name: &'a str,
    unit: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<Data<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gauge: Option<Data<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    histogram: Option<Data<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    data_points: Vec<Point<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aggregation_temporality: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_monotonic: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Point<'a> {
    start_time_unix_nano: DecimalString<u128>,
    time_unix_nano: DecimalString<u128>,
    attributes: Vec<Attribute<'a>>,
    #[serde(flatten)]
    value: PointValue<'a>,
}

#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum PointValue<'a> {
    Integer {
        as_int: DecimalString<u64>,
    },
    Number {
        as_double: f64,
    },
    Histogram {
        count: DecimalString<u64>,
        sum: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        min: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
        explicit_bounds: &'a [f64],
        bucket_counts: Vec<DecimalString<u64>>,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogRecord<'a> {
    time_unix_nano: DecimalString<u128>,
    observed_time_unix_nano: DecimalString<u128>,
    severity_number: u8,
    severity_text: &'a str,
    body: AnyValue<'a>,
    attributes: Vec<Attribute<'a>>,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'a str,
    value: AnyValue<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::enum_variant_names, reason = "the names are those of OTLP")]
enum AnyValue<'a> {
    StringValue(&'a str),
    IntValue(DecimalString<i64>),
    DoubleValue(f64),
    BoolValue(bool),
}

/// A number as a string.
#[derive(Clone, Copy)]
struct DecimalString<T>(T);

impl<T: std::fmt::Display> Serialize for DecimalString<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

pub(crate) fn metrics<'a>(
    families: &'a [Family],
    resource: &'a [(String, String)],
    started: SystemTime,
    now: SystemTime,
) -> Metrics<'a> {
    let service = resource.iter().find(|(name, _)| name == SERVICE_NAME);
    let service = service.map(|(_, service)| service.as_str());
    let times = Times { started: nanoseconds(started), now: nanoseconds(now) };
    let metrics = families.iter().filter_map(|family| metric(family, service, times)).collect();
    Metrics {
        resource_metrics: [ResourceMetrics {
            resource: self::resource(resource),
            scope_metrics: [ScopeMetrics { scope: SCOPE, metrics }],
        }],
    }
}

pub(crate) fn logs<'a>(records: &'a [Arc<Record>], resource: &'a [(String, String)]) -> Logs<'a> {
    let log_records = records.iter().map(|record| log_record(record)).collect();
    Logs {
        resource_logs: [ResourceLogs {
            resource: self::resource(resource),
            scope_logs: [ScopeLogs { scope: SCOPE, log_records }],
        }],
    }
}

#[derive(Clone, Copy)]
struct Times {
    started: DecimalString<u128>,
    now: DecimalString<u128>,
}

fn metric<'a>(family: &'a Family, service: Option<&'a str>, times: Times) -> Option<Metric<'a>> {
    let points = family.samples.iter().filter_map(|sample| point(sample, service, times));
    let data_points: Vec<_> = points.collect();
    if data_points.is_empty() {
        return None;
    }
    let (name, unit) = family.otlp.unwrap_or((family.name, ""));
    let mut metric =
        Metric { name, unit, description: family.help, sum: None, gauge: None, histogram: None };
    let data = Data { data_points, aggregation_temporality: Some(CUMULATIVE), is_monotonic: None };
    match family.kind {
        Kind::Counter => metric.sum = Some(Data { is_monotonic: Some(true), ..data }),
        Kind::Gauge => metric.gauge = Some(Data { aggregation_temporality: None, ..data }),
        Kind::Histogram => metric.histogram = Some(data),
    }
    Some(metric)
}

fn point<'a>(sample: &'a Sample, service: Option<&'a str>, times: Times) -> Option<Point<'a>> {
    let labels = sample.labels.iter().map(|(name, value)| text_attribute(name, value));
    let mut attributes: Vec<_> = labels.collect();
    if !sample.labels.iter().any(|(name, _)| name == SERVICE_NAME) {
        attributes.extend(service.map(|service| text_attribute(SERVICE_NAME, service)));
    }
    let value = match &sample.value {
        family::Value::Integer(value) => PointValue::Integer { as_int: DecimalString(*value) },
        // JSON has no infinity.
        family::Value::Number(value) if !value.is_finite() => return None,
        family::Value::Number(value) => PointValue::Number { as_double: *value },
        family::Value::Histogram(histogram) => {
            let (min, max) = histogram.range.unzip();
            PointValue::Histogram {
                count: DecimalString(histogram.counts.iter().sum()),
                sum: histogram.sum,
                min,
                max,
                explicit_bounds: &histogram.limits,
                bucket_counts: histogram.counts.iter().copied().map(DecimalString).collect(),
            }
        }
    };
    let Times { started, now } = times;
    Some(Point { start_time_unix_nano: started, time_unix_nano: now, attributes, value })
}

fn log_record(record: &Record) -> LogRecord<'_> {
    let mut attributes = vec![text_attribute("target", record.target)];
    attributes.extend(record.fields.iter().map(|(name, value)| {
        let value = match value {
            Field::Text(text) => AnyValue::StringValue(text),
            Field::Integer(number) => AnyValue::IntValue(DecimalString(*number)),
            Field::Number(number) => AnyValue::DoubleValue(*number),
            Field::Bool(value) => AnyValue::BoolValue(*value),
        };
        Attribute { key: name, value }
    }));
    let time = nanoseconds(record.time);
    let (severity_number, severity_text) = record.severity;
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        severity_number,
        severity_text,
        body: AnyValue::StringValue(&record.message),
        attributes,
    }
}

fn resource(attributes: &[(String, String)]) -> Resource<'_> {
    let mut all = BTreeMap::from([(SERVICE_NAME, "tailwater")]);
    all.extend(attributes.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    let attributes = all.into_iter().map(|(name, text)| text_attribute(name, text));
    Resource { attributes: attributes.collect() }
}

fn text_attribute<'a>(key: &'a str, text: &'a str) -> Attribute<'a> {
    Attribute { key, value: AnyValue::StringValue(text) }
}

fn nanoseconds(time: SystemTime) -> DecimalString<u128> {
    DecimalString(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::metrics::family::Histogram;

    #[test]
    fn metrics_are_written_as_the_protocol_says() {
        let sizes = Histogram {
            limits: vec![2.0, 4.0].into(),
            counts: vec![1, 0, 2],
            sum: 12.5,
            range: Some((1.0, 7.5)),
        };
        let mut opens = Family::counter("stream_opens_received_total", "Opened")
            .with(&[("namespace", "example")], u64::MAX);
        opens.otlp = Some(("stream.opens.received", ""));
        let families = [
            opens,
            Family::gauge("limit", "Limit").with(&[], f64::INFINITY),
            Family::gauge("ratio", "Ratio").with(&[], 0.5),
            Family::new("size_bytes", "Sizes", Kind::Histogram).with(&[], sizes),
        ];
        let resource = [(SERVICE_NAME.to_owned(), "orders".to_owned())];
        let second = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let service = json!({ "key": "service.name", "value": { "stringValue": "orders" } });
        let at = |mut point: Value| {
            point["startTimeUnixNano"] = json!("1000000000");
            point["timeUnixNano"] = json!("2000000000");
            point
        };
        assert_eq!(
            serde_json::to_value(metrics(&families, &resource, second(1), second(2))).unwrap(),
            json!({ "resourceMetrics": [{
                "resource": { "attributes": [service] },
                "scopeMetrics": [{
                    "scope": { "name": "tailwater", "version": env!("CARGO_PKG_VERSION") },
                    "metrics": [
                        {
                            "name": "stream.opens.received", "unit": "", "description": "Opened",
                            "sum": {
                                "aggregationTemporality": 2, "isMonotonic": true,
                                "dataPoints": [at(json!({
                                    "asInt": "18446744073709551615",
                                    "attributes": [
                                        { "key": "namespace", "value": { "stringValue": "example" } },
                                        service,
                                    ],
                                }))],
                            },
                        },
                        {
                            "name": "ratio", "unit": "", "description": "Ratio",
                            "gauge": {
                                "dataPoints": [at(json!({ "asDouble": 0.5, "attributes": [service] }))],
                            },
                        },
                        {
                            "name": "size_bytes", "unit": "", "description": "Sizes",
                            "histogram": {
                                "aggregationTemporality": 2,
                                "dataPoints": [at(json!({
                                    "count": "3", "sum": 12.5, "min": 1.0, "max": 7.5,
                                    "explicitBounds": [2.0, 4.0], "bucketCounts": ["1", "0", "2"],
                                    "attributes": [service],
                                }))],
                            },
                        },
                    ],
                }],
            }] })
        );
    }
}
