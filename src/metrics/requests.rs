//! How long requests took until the head of their response: `http.server.request.duration` of OpenTelemetry. Event
//! streams last for days, so that the time of whole exchanges says nothing of the server.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::{Method, StatusCode};
use tailwater_route::Scheme;

use crate::metrics::family::{Family, Histogram, Kind, Sample};
use crate::metrics::labels;

/// The limits of the semantic conventions, in seconds.
const LIMITS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// What the requests of a series have in common. All values are of the server: their number is bounded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    method: &'static str,
    scheme: &'static str,
    status: u16,
    route: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Durations {
    counts: [u64; LIMITS.len() + 1],
    sum: Duration,
}

/// The durations of requests, by their labels.
#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<BTreeMap<Labels, Durations>>);

impl Requests {
    /// A request has its response.
    pub(crate) fn answered(
        &self,
        method: &Method,
        scheme: Option<Scheme>,
        status: StatusCode,
        route: Option<&Arc<str>>,
        duration: Duration,
    ) {
        let labels = Labels {
            method: match labels::method(method) {
                // As the conventions spell it.
                labels::OTHER => "_OTHER",
                known => known,
            },
            scheme: if scheme == Some(Scheme::Https) { "https" } else { "http" },
            status: status.as_u16(),
            route: route.cloned(),
        };
        let seconds = duration.as_secs_f64();
        let bucket = LIMITS.partition_point(|limit| *limit < seconds);
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let durations = requests.entry(labels).or_default();
        durations.sum += duration;
        if let Some(count) = durations.counts.get_mut(bucket) {
            *count += 1;
        }
    }

    /// The family for OTLP. Prometheus does not get it.
    pub(super) fn family(&self) -> Family {
        let requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let samples = requests.iter().map(|(of, durations)| {
            let mut labels: Vec<(Cow<'static, str>, Arc<str>)> = vec![
                (Cow::Borrowed("http.request.method"), of.method.into()),
                (Cow::Borrowed("http.response.status_code"), of.status.to_string().into()),
                (Cow::Borrowed("url.scheme"), of.scheme.into()),
            ];
            labels.extend(of.route.clone().map(|route| (Cow::Borrowed("http.route"), route)));
            let histogram = Histogram {
                limits: LIMITS.into(),
                counts: durations.counts.to_vec(),
                sum: durations.sum.as_secs_f64(),
                range: None,
            };
            Sample { labels, value: histogram.into() }
        });
        Family {
            otlp: Some(("http.server.request.duration", "s")),
            samples: samples.collect(),
            ..Family::new("", "Duration of HTTP server requests", Kind::Histogram)
        }
    }
}

/// The records that were read from Kafka, as OpenTelemetry names them.
pub(super) fn consumed(families: &[Family]) -> Option<Family> {
    let read = families.iter().find(|family| family.name == "tailwater_records_read_total")?;
    let samples = read.samples.iter().map(|sample| {
        let system = (Cow::Borrowed("messaging.system"), Arc::from("kafka"));
        let topics = sample.labels.iter().filter(|(name, _)| name == "topic");
        let topic =
            topics.map(|(_, topic)| (Cow::Borrowed("messaging.destination.name"), topic.clone()));
        Sample { labels: [system].into_iter().chain(topic).collect(), value: sample.value.clone() }
    });
    Some(Family {
        otlp: Some(("messaging.client.consumed.messages", "{message}")),
        samples: samples.collect(),
        ..Family::counter("", "Number of messages that were delivered to the application")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::family::Value;

    #[test]
    fn requests_are_counted_by_what_the_server_knows() {
        let requests = Requests::default();
        let route: Arc<str> = "/orders/{customer}".into();
        for (method, milliseconds) in [("GET", 5), ("GET", 6), ("GET", 60_000), ("BREW", 0)] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let duration = Duration::from_millis(milliseconds);
            requests.answered(&method, None, StatusCode::OK, Some(&route), duration);
        }
        let family = requests.family();
        let [get, brew] = &family.samples[..] else { panic!("{family:?}") };
        let labels: Vec<_> = get.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        let expected = [
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("url.scheme", "http"),
            ("http.route", "/orders/{customer}"),
        ];
        assert_eq!(labels, expected);
        assert_eq!(&*brew.labels[0].1, "_OTHER");
        let Value::Histogram(histogram) = &get.value else { panic!("{get:?}") };
        // A limit is part of its bucket.
        assert_eq!((histogram.counts[0], histogram.counts[1]), (1, 1));
        assert_eq!((histogram.counts[LIMITS.len()], histogram.sum), (1, 60.011));
    }
}
