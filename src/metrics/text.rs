//! Metrics as the text of Prometheus, version 0.0.4.

use std::fmt::{self, Display, Write as _};

use crate::config::label_name as label;
use crate::metrics::family::{Family, Histogram, Kind, Sample, Value};

/// The `content-type` of the text.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes families, each with one HELP and one TYPE. A family without series is left out.
pub(crate) fn encode(families: &[Family]) -> String {
    let mut out = String::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        // Writing to a `String` never fails.
        let _ = write_family(&mut out, family);
    }
    out
}

fn write_family(out: &mut String, family: &Family) -> fmt::Result {
    let name = family.name;
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    writeln!(out, "# HELP {name} {}", Escaped { text: family.help, quoted: false })?;
    writeln!(out, "# TYPE {name} {kind}")?;
    for sample in &family.samples {
        match &sample.value {
            Value::Integer(value) => write_sample(out, name, sample, value)?,
            Value::Number(value) => write_sample(out, name, sample, Number(*value))?,
            Value::Histogram(histogram) => write_histogram(out, name, sample, histogram)?,
        }
    }
    Ok(())
}

fn write_sample(out: &mut String, name: &str, sample: &Sample, value: impl Display) -> fmt::Result {
    writeln!(out, "{name}{} {value}", braced(&labels(sample)?))
}

fn write_histogram(
    out: &mut String,
    name: &str,
    sample: &Sample,
    histogram: &Histogram,
) -> fmt::Result {
    // Each bucket has the same labels.
    let labels = labels(sample)?;
    let separator = if labels.is_empty() { "" } else { "," };
    let mut count = 0;
    let limits = histogram.limits.iter().copied().chain([f64::INFINITY]);
    for (limit, in_bucket) in limits.zip(&histogram.counts) {
        count += in_bucket;
        let limit = Number(limit);
        writeln!(out, "{name}_bucket{{le=\"{limit}\"{separator}{labels}}} {count}")?;
    }
    let labels = braced(&labels);
    writeln!(out, "{name}_sum{labels} {}", Number(histogram.sum))?;
    writeln!(out, "{name}_count{labels} {count}")
}

/// The labels with commas between them.
fn labels(sample: &Sample) -> Result<String, fmt::Error> {
    let mut out = String::new();
    for (name, value) in &sample.labels {
        let separator = if out.is_empty() { "" } else { "," };
        let value = Escaped { text: value, quoted: true };
        write!(out, "{separator}{}=\"{value}\"", label(name))?;
    }
    Ok(out)
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

/// A number as Prometheus writes it.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            number => number.fmt(f),
        }
    }
}

/// A HELP, or the value of a label, whose quotes are escaped, too.
struct Escaped<'a> {
    text: &'a str,
    quoted: bool,
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.text.split_inclusive(['\\', '"', '\n']) {
            let mut rest = part.chars();
            match rest.next_back() {
                Some('\\') => write!(f, "{}\\\\", rest.as_str())?,
                Some('\n') => write!(f, "{}\\n", rest.as_str())?,
                Some('"') if self.quoted => write!(f, "{}\\\"", rest.as_str())?,
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_prometheus_reads_them() {
        let sizes = Histogram {
            limits: vec![2.0, 4.0].into(),
            counts: vec![1, 0, 2],
            sum: 12.5,
            range: None,
        };
        let families = [
            Family::counter("a_total", "Back\\slash, \"quotes\"\nand a line")
                .with(&[("path", "a\\b\"c\nd"), ("x", "é")], 7_u64)
                .with(&[], 1.5),
            Family::gauge("without_series", "Is left out"),
            Family::new("size_bytes", "Sizes", Kind::Histogram)
                .with(&[("binding", "in")], sizes.clone())
                .with(&[], sizes),
            Family::gauge("limit", "Limit").with(&[], f64::INFINITY),
        ];
        assert_eq!(
            encode(&families),
            r#"# HELP a_total Back\\slash, "quotes"\nand a line
# TYPE a_total counter
a_total{path="a\\b\"c\nd",x="é"} 7
a_total 1.5
# HELP size_bytes Sizes
# TYPE size_bytes histogram
size_bytes_bucket{le="2",binding="in"} 1
size_bytes_bucket{le="4",binding="in"} 1
size_bytes_bucket{le="+Inf",binding="in"} 3
size_bytes_sum{binding="in"} 12.5
size_bytes_count{binding="in"} 3
size_bytes_bucket{le="2"} 1
size_bytes_bucket{le="4"} 1
size_bytes_bucket{le="+Inf"} 3
size_bytes_sum 12.5
size_bytes_count 3
# HELP limit Limit
# TYPE limit gauge
limit +Inf
"#
        );
    }
}
