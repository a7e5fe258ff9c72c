//! Metrics and logs as the JSON of OTLP. Integers of 64 bits are strings, as the mapping of protocol buffers says.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::metrics::family::{self, Family, Kind, Sample};
use crate::otlp::records::{Field, Record};

/// The attribute that also stands at each data point.
const SERVICE_NAME: &str = "service.name";

pub(crate) fn metrics(
    families: &[Family],
    resource: &[(String, String)],
    started: SystemTime,
    now: SystemTime,
) -> Value {
    let service = resource.iter().find(|(name, _)| name == SERVICE_NAME);
    let service = service.map(|(_, service)| service.as_str());
    let times = Times { started: nanoseconds(started), now: nanoseconds(now) };
    let metrics = families.iter().filter_map(|family| metric(family, service, &times));
    let metrics: Vec<Value> = metrics.collect();
    json!({
        "resourceMetrics": [{
            "resource": self::resource(resource),
            "scopeMetrics": [{ "scope": scope(), "metrics": metrics }],
        }],
    })
}

pub(crate) fn logs(records: &[Arc<Record>], resource: &[(String, String)]) -> Value {
    let records: Vec<Value> = records.iter().map(|record| log_record(record)).collect();
    json!({
        "resourceLogs": [{
            "resource": self::resource(resource),
            "scopeLogs": [{ "scope": scope(), "logRecords": records }],
        }],
    })
}

struct Times {
    started: String,
    now: String,
}

fn metric(family: &Family, service: Option<&str>, times: &Times) -> Option<Value> {
    let points = family.samples.iter().filter_map(|sample| point(sample, service, times));
    let points: Vec<Value> = points.collect();
    if points.is_empty() {
        return None;
    }
    let (name, unit) = family.otlp.unwrap_or((family.name, ""));
    let (kind, data) = match family.kind {
        Kind::Counter => (
            "sum",
            json!({ "dataPoints": points, "aggregationTemporality": 2, "isMonotonic": true }),
        ),
        Kind::Gauge => ("gauge", json!({ "dataPoints": points })),
        Kind::Histogram => {
            ("histogram", json!({ "dataPoints": points, "aggregationTemporality": 2 }))
        }
    };
    let mut metric = json!({ "name": name, "unit": unit, "description": family.help });
    metric[kind] = data;
    Some(metric)
}

fn point(sample: &Sample, service: Option<&str>, times: &Times) -> Option<Value> {
    let mut attributes: Vec<Value> =
        sample.labels.iter().map(|(name, value)| text_attribute(name, value)).collect();
    if !sample.labels.iter().any(|(name, _)| name == SERVICE_NAME) {
        attributes.extend(service.map(|service| text_attribute(SERVICE_NAME, service)));
    }
    let mut point = json!({
        "startTimeUnixNano": times.started,
        "timeUnixNano": times.now,
        "attributes": attributes,
    });
    match &sample.value {
        family::Value::Integer(value) => point["asInt"] = value.to_string().into(),
        // JSON has no infinity.
        family::Value::Number(value) if !value.is_finite() => return None,
        family::Value::Number(value) => point["asDouble"] = (*value).into(),
        family::Value::Histogram(histogram) => {
            let counts: Vec<String> = histogram.counts.iter().map(ToString::to_string).collect();
            let count: u64 = histogram.counts.iter().sum();
            point["count"] = count.to_string().into();
            point["sum"] = histogram.sum.into();
            if let Some((min, max)) = histogram.range {
                point["min"] = min.into();
                point["max"] = max.into();
            }
            point["explicitBounds"] = histogram.limits.to_vec().into();
            point["bucketCounts"] = counts.into();
        }
    }
    Some(point)
}

fn log_record(record: &Record) -> Value {
    let mut attributes = vec![text_attribute("target", record.target)];
    attributes.extend(record.fields.iter().map(|(name, value)| {
        let value = match value {
            Field::Text(text) => json!({ "stringValue": text }),
            Field::Integer(number) => json!({ "intValue": number.to_string() }),
            Field::Number(number) => json!({ "doubleValue": number }),
            Field::Bool(value) => json!({ "boolValue": value }),
        };
        json!({ "key": name, "value": value })
    }));
    let time = nanoseconds(record.time);
    let (number, text) = record.severity;
    json!({
        "timeUnixNano": time,
        "observedTimeUnixNano": time,
        "severityNumber": number,
        "severityText": text,
        "body": { "stringValue": record.message },
        "attributes": attributes,
    })
}

fn resource(attributes: &[(String, String)]) -> Value {
    let mut all: Map<String, Value> = Map::new();
    all.insert(SERVICE_NAME.to_owned(), "tailwater".into());
    all.extend(attributes.iter().map(|(name, text)| (name.clone(), text.as_str().into())));
    let attributes =
        all.into_iter().map(|(key, text)| json!({ "key": key, "value": { "stringValue": text } }));
    json!({ "attributes": attributes.collect::<Vec<_>>() })
}

fn scope() -> Value {
    json!({ "name": "tailwater", "version": env!("CARGO_PKG_VERSION") })
}

fn text_attribute(key: &str, text: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": text } })
}

fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
            metrics(&families, &resource, second(1), second(2)),
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
