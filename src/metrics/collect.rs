//! The families of tailwater itself.

use tailwater_http::ConnectionCounts;

use crate::metrics::Metrics;
use crate::metrics::family::{Family, Value};
use crate::metrics::streams;

/// The revision of the source, if the build has named it.
const REVISION: &str = match option_env!("TAILWATER_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

impl Metrics {
    /// All families, with their values of now.
    pub(super) fn families(&self) -> Vec<Family> {
        let mut out = Vec::new();
        self.program(&mut out);
        self.connections(&mut out);
        streams::collect(&self.handle.streams, &mut out);
        self.process.collect(&mut out);
        out
    }

    fn program(&self, out: &mut Vec<Family>) {
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("revision", REVISION)];
        let help = "Version and revision of the program";
        out.push(Family::gauge("tailwater_build_info", help).with(&labels, 1_u64));
        let help = "Hash of the configuration in force";
        let labels = [("hash", &*self.config_hash)];
        out.push(Family::gauge("tailwater_config_info", help).with(&labels, 1_u64));
        let help = "Whether the last configuration that was read is in force";
        let name = "tailwater_config_last_reload_successful";
        out.push(Family::gauge(name, help).with(&[], 1_u64));
        let help = "Time at which the configuration came into force";
        let name = "tailwater_config_last_reload_success_timestamp_seconds";
        out.push(Family::gauge(name, help).with(&[], self.process.started()));
    }

    fn connections(&self, out: &mut Vec<Family>) {
        let bindings: Vec<_> = self
            .handle
            .connections
            .iter()
            .map(|(binding, connections)| (binding.as_str(), connections.counts()))
            .collect();
        let each = |mut family: Family, value: fn(&ConnectionCounts) -> Value| {
            for (binding, counts) in &bindings {
                family.add(&[("binding", binding)], value(counts));
            }
            family
        };
        let help = "Open connections of a tcp binding";
        out.push(each(Family::gauge("tailwater_connections", help), |counts| counts.open.into()));
        let help = "Connections that were accepted and served";
        let accepted = Family::counter("tailwater_connections_accepted_total", help);
        out.push(each(accepted, |counts| counts.accepted.into()));
        let help = "Connections that were closed at once: at the limit of the binding (cap), or for lack of open files (files)";
        let mut refused = Family::counter("tailwater_connections_refused_total", help);
        for (binding, counts) in &bindings {
            let by_cap = counts.refused.saturating_sub(counts.refused_by_parent);
            refused.add(&[("binding", binding), ("reason", "cap")], by_cap);
            refused.add(&[("binding", binding), ("reason", "files")], counts.refused_by_parent);
        }
        out.push(refused);
        let help =
            "Connections that were closed since their socket took no byte within the deadline";
        let stalled = Family::counter("tailwater_connections_stalled_total", help);
        out.push(each(stalled, |counts| counts.stalled.into()));
        let help = "Connections that ended in a panic";
        let panicked = Family::counter("tailwater_connections_panicked_total", help);
        out.push(each(panicked, |counts| counts.panicked.into()));
        let help = "Connections that could not be accepted";
        let errors = Family::counter("tailwater_connections_accept_errors_total", help);
        out.push(each(errors, |counts| counts.accept_errors.into()));
    }
}
