//! The maximum memory of the process: the budgets of clusters, and what each connection adds.

use std::collections::{BTreeMap, BTreeSet};

use tailwater_jwt::Guard;
use tailwater_kafka_types::{Budget, Limits};
use tailwater_schema::catalog::registry::Registry;

use crate::config::label;
use crate::config::plan::{self, Next};
use crate::config::report::describe::Describer;
use crate::limits::{
    CONNECTIONS, IDLE_BYTES, IDLE_TLS_BYTES, KERNEL_BYTES, TOKEN_FACTOR, UNREAD_BYTES,
};

const KIB: usize = 1024;

/// The topics that are read from a cluster.
#[derive(Default)]
struct Topics {
    named: BTreeSet<String>,
    /// Whether paths of requests name further topics.
    any: bool,
}

impl Describer<'_> {
    /// Covers the bindings that listeners lead to, so these are described before.
    pub(super) fn memory(&mut self) {
        let mut budgets: BTreeMap<String, (Budget, Topics)> = BTreeMap::new();
        for (config, described) in &self.before {
            for used in config.plan().clusters(|binding| described.contains(&*binding.name)) {
                let source = &used.source;
                let mut limits = Limits::default();
                limits.memory_bytes = source.memory_bytes().unwrap_or(limits.memory_bytes);
                limits.max_record_bytes =
                    source.max_record_bytes().unwrap_or(limits.max_record_bytes);
                let mut topics = Topics::default();
                for topic in used.topics {
                    topics.any |= topic.as_literal().is_none();
                    topics.named.extend(topic.as_literal().map(str::to_owned));
                }
                topics.named.extend(source.bootstrap().iter().cloned());
                let path = label(config, self.namespaces, &source.names()).replace('/', " -> ");
                budgets.insert(path, (Budget::new(&limits), topics));
            }
        }
        self.line(0, "\nmemory, at most:");
        let mut sum = 0;
        let mut further_broker = 0;
        for (path, (budget, topics)) in &budgets {
            self.line(1, path);
            let most = budget.topics;
            let logs = budget.logs_of(if topics.any { most } else { topics.named.len() });
            let of = if topics.any {
                format!("logs, if it has {most} topics")
            } else {
                "logs, shared by its topics".to_owned()
            };
            self.row(2, &of, logs);
            self.row(2, "read ahead at the live ends", budget.live);
            self.row(2, "history", budget.history);
            sum += budget.total() - budget.logs + logs;
            further_broker += budget.further_broker;
        }
        for guard in self.namespaces.iter().flat_map(|namespace| &namespace.guards) {
            let bytes = TOKEN_FACTOR * Guard::CACHE_BYTES;
            self.row(1, &format!("{}: verified tokens, about", guard.name), bytes);
            sum += bytes;
        }
        let catalogs = self.namespaces.iter().flat_map(|namespace| &namespace.catalogs);
        let registries: Vec<_> = catalogs.filter(|catalog| catalog.registry().is_some()).collect();
        for registry in &registries {
            self.row(1, &format!("{}: schemas", registry.name), Registry::MAX_CACHED_BYTES);
            let fetching = format!("{}: schemas that are fetched", registry.name);
            self.row(1, &fetching, Registry::MAX_FETCHING_BYTES);
            sum += Registry::MAX_CACHED_BYTES + Registry::MAX_FETCHING_BYTES;
        }
        if !registries.is_empty() {
            self.row(1, "schemas that are compiled", Registry::MAX_COMPILING_BYTES);
            sum += Registry::MAX_COMPILING_BYTES;
        }
        self.row(1, "sum", sum);
        if further_broker > 0 {
            self.row(1, "and for each further broker", further_broker);
            self.line(1, "and compressed batches, while librdkafka unpacks them");
        }
        let record = budgets.values().map(|(budget, _)| budget.record).max().unwrap_or(0);
        for config in self.namespaces {
            for listener in &config.plan().listeners {
                let name = label(config, self.namespaces, &[&listener.binding.name]);
                self.connections(&name, listener, record);
            }
        }
    }

    fn connections(&mut self, name: &str, server: &plan::TcpServer<'_>, record: usize) {
        let most = server.options.connections.unwrap_or(CONNECTIONS);
        let encrypted = server.routes.iter().any(|route| matches!(route.next, Next::Tls(_)));
        let idle = if encrypted { IDLE_TLS_BYTES } else { IDLE_BYTES };
        self.line(1, &format!("{name}: {most} connections, a stream each"));
        self.row(2, &format!("idle, {} each", amount(idle)), most * idle);
        let unread = idle + UNREAD_BYTES;
        self.row(2, &format!("if nobody reads, {} each", amount(unread)), most * unread);
        let pieces = format!("if each keeps other records, {} more", amount(Budget::PIECE_BYTES));
        self.row(2, &pieces, most * Budget::PIECE_BYTES);
        if record > Budget::PIECE_BYTES {
            let records = format!("if each is within a large record, {}", amount(record));
            self.row(2, &records, most.saturating_mul(record));
        }
        self.row(
            2,
            &format!("and in the kernel, {} each", amount(KERNEL_BYTES)),
            most * KERNEL_BYTES,
        );
    }

    fn row(&mut self, depth: usize, what: &str, bytes: usize) {
        let width = 46 - 2 * depth;
        self.line(depth, &format!("{what:<width$} {:>9}", amount(bytes)));
    }
}

/// An amount of memory with three digits.
fn amount(bytes: usize) -> String {
    let units = [("TiB", KIB.pow(4)), ("GiB", KIB.pow(3)), ("MiB", KIB.pow(2)), ("KiB", KIB)];
    let unit = units.into_iter().find(|(_, unit)| bytes >= *unit);
    let Some((name, unit)) = unit else { return format!("{bytes} B") };
    // In tenths, rounded.
    let tenths = (10 * bytes + unit / 2) / unit;
    match (tenths / 10, tenths % 10) {
        (whole @ ..100, tenth @ 1..) => format!("{whole}.{tenth} {name}"),
        _ => format!("{} {name}", (tenths + 5) / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_told_to_three_digits() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (2765, "2.7 KiB"),
            (67 * KIB, "67 KiB"),
            (256 * KIB * KIB, "256 MiB"),
            (1000 * KIB * KIB + 300 * KIB, "1000 MiB"),
            (100 * KIB * KIB + 600 * KIB, "101 MiB"),
            (4 * KIB * KIB * KIB + 300 * KIB * KIB, "4.3 GiB"),
            (KIB * KIB * KIB * KIB, "1 TiB"),
        ] {
            assert_eq!(amount(bytes), expected, "{bytes}");
        }
    }
}
