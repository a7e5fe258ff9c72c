//! The families of open streams, by binding and topic.

use crate::metrics::family::Family;
use crate::streams::{StreamCounts, Streams};

/// Adds the families of the streams that a process serves.
pub(super) fn collect(streams: &Streams, out: &mut Vec<Family>) {
    let counts = streams.counts();
    let mut open = Family::gauge("tailwater_streams", "Open event streams");
    let help = "Event streams that were opened, by where they began";
    let mut opened = Family::counter("tailwater_streams_opened_total", help);
    let help = "Event streams that have ended, by the reason";
    let mut ended = Family::counter("tailwater_streams_ended_total", help);
    for counts in &counts {
        let labels = labels(counts);
        open.add(&labels, counts.open());
        for (start, count) in counts.opened().filter(|(_, count)| *count > 0) {
            opened.add(&[&labels[..], &[("start", start.name())]].concat(), count);
        }
        for (reason, count) in counts.ended().filter(|(_, count)| *count > 0) {
            ended.add(&[&labels[..], &[("reason", reason.name())]].concat(), count);
        }
    }
    out.extend([open, opened, ended]);
}

/// The labels of a binding and topic. Streams of other servers have no topic.
fn labels(counts: &StreamCounts) -> Vec<(&'static str, &str)> {
    let topic = counts.topic.as_deref().map(|topic| ("topic", topic));
    [("binding", &*counts.binding)].into_iter().chain(topic).collect()
}
