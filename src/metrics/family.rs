//! Metrics as plain values: what a scrape and a push are made of.

use std::borrow::Cow;
use std::sync::Arc;

/// All series of one metric.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Family {
    /// The name in the text of Prometheus, with its unit.
    pub(crate) name: &'static str,
    /// The name and the unit in OTLP, if they differ.
    pub(crate) otlp: Option<(&'static str, &'static str)>,
    /// What it means, in one line.
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One series. A histogram is one sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Names and values. A name may have characters that Prometheus does not permit.
    pub(crate) labels: Vec<(Cow<'static, str>, Arc<str>)>,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Integer(u64),
    Number(f64),
    Histogram(Histogram),
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    /// The upper limits of the buckets, inclusive. One more bucket is without a limit.
    pub(crate) limits: Cow<'static, [f64]>,
    /// The number of values in each bucket alone, one more than `limits`.
    pub(crate) counts: Vec<u64>,
    pub(crate) sum: f64,
    /// The smallest and the largest value, if they are known.
    pub(crate) range: Option<(f64, f64)>,
}

impl Family {
    pub(crate) fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, Kind::Counter)
    }

    pub(crate) fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(name, help, Kind::Gauge)
    }

    pub(crate) fn new(name: &'static str, help: &'static str, kind: Kind) -> Self {
        Self { name, otlp: None, help, kind, samples: Vec::new() }
    }

    /// Adds a series.
    pub(crate) fn add(&mut self, labels: &[(&'static str, &str)], value: impl Into<Value>) {
        let labels = labels.iter().map(|(name, value)| (Cow::Borrowed(*name), Arc::from(*value)));
        let sample = Sample { labels: labels.collect(), value: value.into() };
        self.samples.push(sample);
    }

    /// The family with one more series.
    #[must_use]
    pub(crate) fn with(mut self, labels: &[(&'static str, &str)], value: impl Into<Value>) -> Self {
        self.add(labels, value);
        self
    }
}

impl Value {
    /// Adds the value of another series to this one. Both are of the same kind.
    #[cfg(feature = "kafka")]
    pub(crate) fn merge(&mut self, other: &Value) {
        match (self, other) {
            (Self::Integer(value), Self::Integer(other)) => *value = value.saturating_add(*other),
            (Self::Number(value), Self::Number(other)) => *value += other,
            (Self::Histogram(value), Self::Histogram(other)) => {
                for (count, other) in value.counts.iter_mut().zip(&other.counts) {
                    *count += other;
                }
                value.sum += other.sum;
            }
            _ => {}
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Integer(value.try_into().unwrap_or(u64::MAX))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<Histogram> for Value {
    fn from(value: Histogram) -> Self {
        Self::Histogram(value)
    }
}
