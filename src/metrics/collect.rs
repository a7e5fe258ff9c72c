//! The families of tailwater itself.

use std::collections::{BTreeMap, HashSet};

use tailwater_http::ConnectionCounts;

use crate::metrics::Metrics;
use crate::metrics::family::{Family, Value};
use crate::metrics::process::seconds;
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
        streams::collect(&self.handle.streams, &mut out);
        #[cfg(feature = "kafka")]
        crate::metrics::kafka::collect(&self.handle.clusters, &mut out);
        self.connections(&mut out);
        self.tls(&mut out);
        self.upstreams(&mut out);
        self.guards(&mut out);
        self.exporters(&mut out);
        self.process.collect(&mut out);
        self.workers(&mut out);
        if !self.handle.meters.is_empty() {
            self.handle.streams.count_bytes();
            self.handle.meters.collect(&mut out);
        }
        out
    }

    fn program(&self, out: &mut Vec<Family>) {
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("revision", REVISION)];
        let help = "Version and revision of the program";
        out.push(Family::gauge("tailwater_build_info", help).with(&labels, 1_u64));
        let help = "Hash of the configuration in force";
        let labels = [("hash", self.handle.config_hash.as_str())];
        out.push(Family::gauge("tailwater_config_info", help).with(&labels, 1_u64));
        let help = "Whether the last configuration that was read is in force";
        let name = "tailwater_config_last_reload_successful";
        out.push(Family::gauge(name, help).with(&[], 1_u64));
        let help = "Time at which the configuration came into force";
        let name = "tailwater_config_last_reload_success_timestamp_seconds";
        out.push(Family::gauge(name, help).with(&[], seconds(self.process.started())));
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

    /// The metrics that Zilla has of each process, whether the file asks for them or not.
    fn workers(&self, out: &mut Vec<Family>) {
        let Self { handle, .. } = self;
        let count: u64 = handle.threads.try_into().unwrap_or(u64::MAX);
        let open: usize =
            handle.connections.iter().map(|(_, connections)| connections.counts().open).sum();
        let usage = open.saturating_mul(100) / handle.max_connections.max(1);
        let mut add = |family: Family, otlp, value: Value| {
            out.push(Family { otlp: Some((otlp, "")), ..family.with(&[], value) });
        };
        let help = "Engine workers count";
        let family = Family::counter("engine_workers_count_total", help);
        add(family, "engine.workers.count", count.into());
        let help = "Engine workers capacity";
        let family = Family::gauge("engine_workers_capacity", help);
        add(family, "engine.workers.capacity", handle.max_connections.into());
        let help = "Engine workers usage";
        let family = Family::gauge("engine_workers_usage", help);
        add(family, "engine.workers.usage", usage.into());
    }

    fn tls(&self, out: &mut Vec<Family>) {
        let help = "TLS handshakes by their result";
        let mut handshakes = Family::counter("tailwater_tls_handshakes_total", help);
        let help = "Time at which a certificate expires";
        let mut not_after = Family::gauge("tailwater_tls_certificate_not_after_seconds", help);
        for (binding, config) in &self.handle.tls {
            let counts = config.handshakes();
            for (result, count) in [("ok", counts.done), ("failed", counts.failed)] {
                handshakes.add(&[("binding", binding), ("result", result)], count);
            }
            let mut aliases = HashSet::new();
            for identity in config.identities() {
                let alias = identity.alias();
                if aliases.insert(alias.to_owned()) {
                    let labels = [("binding", binding.as_str()), ("alias", alias)];
                    not_after.add(&labels, seconds(identity.not_after()));
                }
            }
        }
        out.extend([handshakes, not_after]);
    }

    fn upstreams(&self, out: &mut Vec<Family>) {
        // A binding has one for each of its routes.
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for (binding, layer) in &self.handle.upstreams {
            *counts.entry(binding).or_default() += layer.reconnects();
        }
        let help = "How often a stream of another server was requested again";
        let mut reconnects = Family::counter("tailwater_upstream_reconnects_total", help);
        for (binding, count) in counts {
            reconnects.add(&[("binding", binding)], count);
        }
        out.push(reconnects);
    }

    fn guards(&self, out: &mut Vec<Family>) {
        let help = "Requests that were refused for their token";
        let mut rejections = Family::counter("tailwater_auth_rejections_total", help);
        let help = "Challenges that were sent to streams";
        let mut challenges = Family::counter("tailwater_challenges_sent_total", help);
        let help = "Answers to challenges";
        let mut renewals = Family::counter("tailwater_renewals_total", help);
        let help = "Time since the key set of a guard was fetched";
        let mut keys_age = Family::gauge("tailwater_keys_age_seconds", help);
        for (guard, counts) in self.handle.guards.iter().map(|(name, guard)| (name, guard.counts()))
        {
            for (reason, count) in counts.rejections {
                rejections.add(&[("guard", guard), ("reason", reason)], count);
            }
            challenges.add(&[("guard", guard)], counts.challenges);
            for (result, count) in [("ok", counts.renewals), ("failed", counts.failed_renewals)] {
                renewals.add(&[("guard", guard), ("result", result)], count);
            }
            if let Some(age) = counts.keys_age {
                keys_age.add(&[("guard", guard)], age.as_secs_f64());
            }
        }
        out.extend([rejections, challenges, renewals, keys_age]);
    }

    fn exporters(&self, out: &mut Vec<Family>) {
        // Namespaces may have exporters of the same name.
        let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for exporter in &self.handle.exporters {
            let (failures, dropped) = counts.entry(&exporter.name).or_default();
            *failures += exporter.failures();
            *dropped += exporter.dropped();
        }
        let help = "Pushes to a collector that failed";
        let mut failures = Family::counter("tailwater_otlp_failures_total", help);
        let help = "Log records that were dropped since the collector took none";
        let mut dropped = Family::counter("tailwater_otlp_dropped_records_total", help);
        for (exporter, (failed, lost)) in counts {
            failures.add(&[("exporter", exporter)], failed);
            dropped.add(&[("exporter", exporter)], lost);
        }
        out.extend([failures, dropped]);
    }
}
