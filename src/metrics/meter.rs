//! The metrics of Zilla: what bindings record.
//!
//! A stream of Zilla has two directions. *Received* is the request, *sent* the response. Of a connection or an
//! exchange, both are over at the same time: an event stream is a response to a request that stays open with it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::request::Parts;
use ::http::{HeaderMap, StatusCode};

use crate::config::{AttributeValue, Binding, Config, Metric, Type};
use crate::metrics::family::{Family, Kind, Sample, Value};
use crate::metrics::histogram::PowersOfTwo;
use crate::metrics::labels::{LabelSet, Sets, Weight, cut, header_value, method};

/// The meters of all bindings.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    all: Mutex<Vec<Arc<Meter>>>,
    /// The sets of labels of metrics of finished requests, and of active ones.
    finished: Arc<Weight>,
    active: Arc<Weight>,
}

/// The metrics of one binding.
#[derive(Debug)]
pub(crate) struct Meter {
    namespace: Arc<str>,
    binding: Arc<str>,
    metrics: BTreeSet<Metric>,
    attributes: Vec<(Arc<str>, AttributeValue)>,
    received: Direction,
    sent: Direction,
    finished: Sets<Finished>,
    active: Sets<AtomicU64>,
}

/// The counters of one direction.
#[derive(Debug, Default)]
struct Direction {
    opens: AtomicU64,
    closes: AtomicU64,
    errors: AtomicU64,
    bytes: AtomicU64,
}

/// The histograms of requests with the same labels.
#[derive(Debug)]
pub(crate) struct Finished {
    /// In microseconds.
    pub(crate) duration: PowersOfTwo,
    pub(crate) request_bytes: PowersOfTwo,
    pub(crate) response_bytes: PowersOfTwo,
}

impl Default for Finished {
    fn default() -> Self {
        Self {
            duration: PowersOfTwo::new(1000),
            request_bytes: PowersOfTwo::new(1),
            response_bytes: PowersOfTwo::new(1),
        }
    }
}

impl Meters {
    /// The meter of a binding, or `None` if it records nothing.
    pub(crate) fn of(&self, config: &Config, binding: &Binding) -> Option<Arc<Meter>> {
        let metrics = metrics_of(config, binding);
        if metrics.is_empty() {
            return None;
        }
        let mut all = self.all();
        let is_same =
            |meter: &&Arc<Meter>| *meter.namespace == config.name && *meter.binding == binding.name;
        if let Some(meter) = all.iter().find(is_same) {
            return Some(Arc::clone(meter));
        }
        let attributes = binding.telemetry.attributes.iter();
        let meter = Arc::new(Meter {
            namespace: config.name.as_str().into(),
            binding: binding.name.as_str().into(),
            metrics,
            attributes: attributes
                .map(|(name, value)| (name.as_str().into(), value.clone()))
                .collect(),
            received: Direction::default(),
            sent: Direction::default(),
            finished: Sets::new(&self.finished),
            active: Sets::new(&self.active),
        });
        all.push(Arc::clone(&meter));
        Some(meter)
    }

    /// Whether no binding records anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// The families of all metrics that a binding records.
    pub(crate) fn collect(&self, out: &mut Vec<Family>) {
        let all = self.all().clone();
        for metric in Metric::ALL {
            let mut family = family(*metric);
            for meter in all.iter().filter(|meter| meter.metrics.contains(metric)) {
                meter.collect(*metric, &mut family.samples);
            }
            if !family.samples.is_empty() {
                out.push(family);
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Meter>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The metrics that a binding records: those that it asks for and the file lists.
fn metrics_of(config: &Config, binding: &Binding) -> BTreeSet<Metric> {
    let asked = binding.telemetry.metrics.iter().copied();
    asked.filter(|metric| config.telemetry.metrics.contains(metric)).collect()
}

/// Whether a binding of requests records something.
pub(crate) fn records_requests(config: &Config) -> bool {
    let of_requests = |binding: &&Binding| {
        use Type::{HttpFilesystem, HttpServer, SseClient, SseKafka, SseServer};
        matches!(binding.kind.of(), HttpServer | SseServer | SseClient | SseKafka | HttpFilesystem)
    };
    let mut bindings = config.bindings.iter().filter(of_requests);
    bindings.any(|binding| !metrics_of(config, binding).is_empty())
}

/// A metric without series.
fn family(metric: Metric) -> Family {
    let (name, otlp, unit, kind, help) = match metric {
        Metric::StreamActiveReceived => (
            "stream_active_received",
            "stream.active.received",
            "",
            Kind::Gauge,
            "Number of currently active received streams",
        ),
        Metric::StreamActiveSent => (
            "stream_active_sent",
            "stream.active.sent",
            "",
            Kind::Gauge,
            "Number of currently active sent streams",
        ),
        Metric::StreamOpensReceived => (
            "stream_opens_received_total",
            "stream.opens.received",
            "",
            Kind::Counter,
            "Number of opened received streams",
        ),
        Metric::StreamOpensSent => (
            "stream_opens_sent_total",
            "stream.opens.sent",
            "",
            Kind::Counter,
            "Number of opened sent streams",
        ),
        Metric::StreamDataReceived => (
            "stream_data_received_bytes_total",
            "stream.data.received",
            "bytes",
            Kind::Counter,
            "Bytes of data on received streams",
        ),
        Metric::StreamDataSent => (
            "stream_data_sent_bytes_total",
            "stream.data.sent",
            "bytes",
            Kind::Counter,
            "Bytes of data on sent streams",
        ),
        Metric::StreamErrorsReceived => (
            "stream_errors_received_total",
            "stream.errors.received",
            "",
            Kind::Counter,
            "Number of errors on received streams",
        ),
        Metric::StreamErrorsSent => (
            "stream_errors_sent_total",
            "stream.errors.sent",
            "",
            Kind::Counter,
            "Number of errors on sent streams",
        ),
        Metric::StreamClosesReceived => (
            "stream_closes_received_total",
            "stream.closes.received",
            "",
            Kind::Counter,
            "Number of closed received streams",
        ),
        Metric::StreamClosesSent => (
            "stream_closes_sent_total",
            "stream.closes.sent",
            "",
            Kind::Counter,
            "Number of closed sent streams",
        ),
        Metric::HttpRequestSize => (
            "http_request_size_bytes",
            "http.server.request.size",
            "bytes",
            Kind::Histogram,
            "HTTP request content length",
        ),
        Metric::HttpResponseSize => (
            "http_response_size_bytes",
            "http.server.response.size",
            "bytes",
            Kind::Histogram,
            "HTTP response content length",
        ),
        Metric::HttpDuration => (
            "http_duration_milliseconds",
            "http.server.duration",
            "milliseconds",
            Kind::Histogram,
            "Duration of HTTP requests",
        ),
        Metric::HttpActiveRequests => (
            "http_active_requests",
            "http.server.active_requests",
            "",
            Kind::Gauge,
            "Number of active HTTP requests",
        ),
    };
    Family { name, otlp: Some((otlp, unit)), help, kind, samples: Vec::new() }
}

impl Meter {
    fn collect(&self, metric: Metric, out: &mut Vec<Sample>) {
        let mut number = |value: u64| {
            out.push(Sample { labels: self.labels(None), value: Value::Integer(value) });
        };
        let active = |direction: &Direction| {
            // The opens are read last: what is open can't be less than nothing.
            let over = direction.closes.load(Relaxed) + direction.errors.load(Relaxed);
            direction.opens.load(Relaxed).saturating_sub(over)
        };
        // The set of a request is there before its end.
        let counted = |histogram: &PowersOfTwo| {
            let histogram = histogram.read();
            histogram.range.is_some().then(|| histogram.into())
        };
        match metric {
            Metric::StreamActiveReceived => number(active(&self.received)),
            Metric::StreamActiveSent => number(active(&self.sent)),
            Metric::StreamOpensReceived => number(self.received.opens.load(Relaxed)),
            Metric::StreamOpensSent => number(self.sent.opens.load(Relaxed)),
            Metric::StreamDataReceived => number(self.received.bytes.load(Relaxed)),
            Metric::StreamDataSent => number(self.sent.bytes.load(Relaxed)),
            Metric::StreamErrorsReceived => number(self.received.errors.load(Relaxed)),
            Metric::StreamErrorsSent => number(self.sent.errors.load(Relaxed)),
            Metric::StreamClosesReceived => number(self.received.closes.load(Relaxed)),
            Metric::StreamClosesSent => number(self.sent.closes.load(Relaxed)),
            Metric::HttpRequestSize => {
                self.each(&self.finished, |set| counted(&set.request_bytes), out);
            }
            Metric::HttpResponseSize => {
                self.each(&self.finished, |set| counted(&set.response_bytes), out);
            }
            Metric::HttpDuration => {
                self.each(&self.finished, |set| counted(&set.duration), out);
            }
            Metric::HttpActiveRequests => {
                self.each(&self.active, |set| Some(Value::Integer(set.load(Relaxed))), out);
            }
        }
    }

    fn each<T>(&self, sets: &Sets<T>, read: impl Fn(&T) -> Option<Value>, out: &mut Vec<Sample>) {
        let samples = sets.all().into_iter().filter_map(|(labels, counted)| {
            let value = read(&counted)?;
            Some(Sample { labels: self.labels(Some(&labels)), value })
        });
        out.extend(samples);
    }

    /// All labels of a series. The attributes come by name.
    fn labels(&self, of: Option<&LabelSet>) -> Vec<(Cow<'static, str>, Arc<str>)> {
        let mut attributes: Vec<(Cow<'static, str>, Arc<str>)> = Vec::new();
        for ((name, _), value) in self.attributes.iter().zip(of.into_iter().flat_map(|of| &of.0)) {
            if let Some(value) = value {
                attributes.push((name.to_string().into(), Arc::clone(value)));
            }
        }
        attributes.sort();
        let mut labels = vec![
            (Cow::Borrowed("namespace"), Arc::clone(&self.namespace)),
            (Cow::Borrowed("binding"), Arc::clone(&self.binding)),
        ];
        labels.append(&mut attributes);
        labels
    }

    pub(crate) fn open_received(&self) {
        self.received.opens.fetch_add(1, Relaxed);
    }

    pub(crate) fn open_sent(&self) {
        self.sent.opens.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_received(&self, bytes: u64) {
        self.received.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn add_sent(&self, bytes: u64) {
        self.sent.bytes.fetch_add(bytes, Relaxed);
    }

    /// Whether it records the bytes of a direction.
    pub(crate) fn records_bytes(&self) -> bool {
        let of_bytes = [Metric::StreamDataReceived, Metric::StreamDataSent];
        of_bytes.iter().any(|metric| self.metrics.contains(metric))
    }

    /// A stream is over. `was_answered`: its response had begun.
    pub(crate) fn end(&self, is_good: bool, was_answered: bool) {
        let sent = was_answered.then_some(&self.sent);
        for direction in [&self.received].into_iter().chain(sent) {
            let counter = if is_good { &direction.closes } else { &direction.errors };
            counter.fetch_add(1, Relaxed);
        }
    }

    /// The gauge of active requests with the labels of this one.
    pub(crate) fn active(&self, request: &LabelSet) -> Option<Arc<AtomicU64>> {
        let wanted = self.metrics.contains(&Metric::HttpActiveRequests);
        wanted.then(|| self.active.get(request.clone()))
    }

    /// The histograms of requests with these labels.
    pub(crate) fn finished(&self, labels: LabelSet) -> Option<Arc<Finished>> {
        let of_finished = [Metric::HttpRequestSize, Metric::HttpResponseSize, Metric::HttpDuration];
        let wanted = of_finished.iter().any(|metric| self.metrics.contains(metric));
        wanted.then(|| self.finished.get(labels))
    }

    /// The labels that a request has.
    pub(crate) fn request_labels(&self, request: &Parts) -> LabelSet {
        let values = self.attributes.iter().map(|(_, value)| match value {
            AttributeValue::Method => Some(method(&request.method).into()),
            AttributeValue::Path => Some(cut(request.uri.path()).into()),
            AttributeValue::RequestHeader(name) => header_value(&request.headers, name),
            AttributeValue::Status | AttributeValue::ResponseHeader(_) => None,
        });
        LabelSet(values.collect())
    }

    /// Adds the labels that a response has.
    pub(crate) fn add_response_labels(
        &self,
        labels: &mut LabelSet,
        status: StatusCode,
        headers: &HeaderMap,
    ) {
        for ((_, value), label) in self.attributes.iter().zip(&mut labels.0) {
            match value {
                AttributeValue::Status => *label = Some(status.as_str().into()),
                AttributeValue::ResponseHeader(name) => *label = header_value(headers, name),
                AttributeValue::Method
                | AttributeValue::Path
                | AttributeValue::RequestHeader(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ::http::Request;

    use super::*;
    use crate::config;
    use crate::metrics::labels::{MAX_SET_BYTES, MAX_VALUE_BYTES, OTHER};

    fn meter(telemetry: &str) -> (Meters, Option<Arc<Meter>>) {
        let file = format!(
            "name: example
telemetry: {{ metrics: [stream.opens.received, http.duration, http.active.requests] }}
bindings:
  web: {{ type: http, kind: server, exit: pages, telemetry: {telemetry} }}
  pages: {{ type: http-filesystem, kind: proxy, exit: files }}
  files: {{ type: filesystem, kind: server, options: {{ location: www }} }}
"
        );
        let parsed = config::parse("zilla.yaml", file.as_bytes(), &|_| None).unwrap();
        let config = &parsed.namespaces[0];
        let meters = Meters::default();
        let meter = meters.of(config, config.binding("web").unwrap());
        (meters, meter)
    }

    fn parts(request: ::http::request::Builder) -> Parts {
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_binding_records_what_it_asks_for_and_the_file_lists() {
        assert!(meter("{}").1.is_none());
        assert!(meter("{ metrics: [stream.opens.sent] }").1.is_none());
        let (meters, meter) = meter("{ metrics: ['stream.*', 'http.dur'] }");
        meter.unwrap().open_received();
        let mut families = Vec::new();
        meters.collect(&mut families);
        let names: Vec<_> = families.iter().map(|family| family.name).collect();
        assert_eq!(names, ["stream_opens_received_total"]);
    }

    #[test]
    fn values_of_clients_are_bounded_and_credentials_are_not_shown() {
        let attributes = "{ m: '${http.request.method}', p: '${http.request.path}', a: '${http.request.authorization}', t: '${http.request.x-t}', s: '${http.response.status}' }";
        let (_, meter) = meter(&format!("{{ metrics: ['http.*'], attributes: {attributes} }}"));
        let meter = meter.unwrap();
        let long = "a".repeat(5000);
        let request = Request::get(format!("/{long}?access_token=secret"))
            .method("BREW")
            .header("authorization", "Bearer secret")
            .header("x-t", &b"\xff\"\\"[..]);
        let mut labels = meter.request_labels(&parts(request));
        meter.add_response_labels(&mut labels, StatusCode::NOT_FOUND, &HeaderMap::new());
        let texts: Vec<_> = labels.0.iter().map(|label| label.as_deref().unwrap()).collect();
        assert_eq!(texts, [OTHER, &format!("/{}", "a".repeat(1023)), "***", "\u{fffd}\"\\", "404"]);
        let none = meter.request_labels(&parts(Request::get("/")));
        assert_eq!(none.0.iter().filter(|label| label.is_none()).count(), 3);
    }

    #[test]
    fn a_hundred_thousand_hostile_values_add_a_thousand_sets_and_one() {
        let attributes = "{ p: '${http.request.path}', h: '${http.request.h}' }";
        let (meters, meter) =
            meter(&format!("{{ metrics: ['http.*'], attributes: {attributes} }}"));
        let meter = meter.unwrap();
        for index in 0..100_000_u64 {
            let request = Request::get(format!("/{index}")).header("h", index);
            let labels = meter.request_labels(&parts(request));
            meter.active(&labels).unwrap().fetch_add(1, Relaxed);
            meter.finished(labels).unwrap().duration.record(1000);
        }
        let mut families = Vec::new();
        meters.collect(&mut families);
        let names: Vec<_> = families.iter().map(|family| family.name).collect();
        assert_eq!(names, ["http_duration_milliseconds", "http_active_requests"]);
        for family in &families {
            assert_eq!(family.samples.len(), 1001, "{}", family.name);
            let other = |sample: &&Sample| {
                let mut attributes = sample.labels.iter().skip(2);
                attributes.all(|(_, value)| &**value == OTHER)
            };
            let others: Vec<_> = family.samples.iter().filter(other).collect();
            assert_eq!(others.len(), 1);
            match &others[0].value {
                Value::Histogram(histogram) => {
                    assert_eq!(histogram.counts.iter().sum::<u64>(), 99_000);
                }
                value => assert_eq!(*value, Value::Integer(99_000)),
            }
        }
    }

    /// A scrape had 225 MB after 1200 requests with long paths.
    #[test]
    fn the_bytes_of_all_values_are_bounded() {
        let (meters, meter) =
            meter("{ metrics: ['http.duration'], attributes: { p: '${http.request.path}' } }");
        let meter = meter.unwrap();
        for index in 0..2000 {
            let path = format!("/{index:04}{}", "a".repeat(2 * MAX_VALUE_BYTES));
            let labels = meter.request_labels(&parts(Request::get(path)));
            meter.finished(labels).unwrap().duration.record(1000);
        }
        let mut families = Vec::new();
        meters.collect(&mut families);
        let sets = MAX_SET_BYTES / MAX_VALUE_BYTES;
        assert_eq!(families[0].samples.len(), sets + 1);
        let text = crate::metrics::text::encode(&families);
        assert!(text.len() < 66 * (sets + 1) * (MAX_VALUE_BYTES + 200), "{}", text.len());
    }
}
