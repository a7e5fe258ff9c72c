//! Checks that need the whole file: what bindings require of each other, of vaults and of guards.

use std::collections::HashSet;

use tailwater_jwt::Keys;
use tailwater_kafka_types::Variable;

use crate::config::bindings::tls::TlsOptions;
use crate::config::bindings::{Binding, BindingOutline, Kind, Type};
use crate::config::check::support::{Ignored, Unsupported, UnsupportedUse};
use crate::config::decode::{Cx, defined};
use crate::config::report::diagnostic::Span;
use crate::config::sections::catalogs::Catalog;
use crate::config::sections::security::{Guard, Vault};
use crate::config::sections::telemetry::{Exporter, ExporterKind};

/// The decoded entries, without those that have errors.
pub(crate) struct Requirements<'w> {
    pub(crate) cx: &'w Cx,
    pub(crate) outlines: &'w [BindingOutline],
    /// Whether a listener leads there, for each of `outlines`.
    pub(crate) reached: &'w [bool],
    pub(crate) vaults: &'w [Vault],
    pub(crate) guards: &'w [Guard],
    pub(crate) catalogs: &'w [Catalog],
    pub(crate) bindings: &'w [Binding],
    pub(crate) exporters: &'w [Exporter],
}

/// Checks the exporters, and the bindings to which a listener leads. Others do not run.
pub(crate) fn check(requirements: &Requirements<'_>) {
    for exporter in requirements.exporters {
        if let ExporterKind::Otlp(otlp) = &exporter.kind
            && let Some(tls) = &otlp.tls
        {
            let entry = format!("telemetry.exporters.{}", exporter.name);
            requirements.vault_of(&entry, exporter.span, otlp.vault.as_deref(), tls);
        }
    }
    for binding in requirements.running() {
        match &binding.kind {
            Kind::TcpClient(client) => requirements.tcp_client(binding, client),
            Kind::TlsServer(server) => {
                requirements.vault(binding, &server.options, &server.signers)
            }
            Kind::TlsClient(client) => {
                requirements.vault(binding, &client.options, &[]);
                requirements.kafka_tls(binding, &client.options);
            }
            Kind::HttpServer(server) => {
                let asked =
                    server.authorization.as_ref().map(|authorization| authorization.guard.as_str());
                requirements.keys_of(asked);
            }
            Kind::SseKafka(mapping) => {
                for route in &mapping.routes {
                    route
                        .with
                        .variables()
                        .for_each(|variable| requirements.attribute(binding, route.span, variable));
                }
            }
            _ => {}
        }
    }
}

impl<'w> Requirements<'w> {
    /// The bindings to which a listener leads.
    pub(crate) fn running(&self) -> impl Iterator<Item = &'w Binding> {
        let reached = self.outlines.iter().zip(self.reached).filter(|(_, reached)| **reached);
        let names: HashSet<&str> = reached.map(|(outline, _)| outline.name.as_str()).collect();
        self.bindings.iter().filter(move |binding| names.contains(binding.name.as_str()))
    }

    /// Reports an unsupported feature of a running binding.
    fn unsupported(&self, feature: Unsupported, span: Span, path: String) {
        let used = UnsupportedUse { feature, span, path };
        self.cx.diagnostics.borrow_mut().push(used.diagnostic(true));
    }

    /// The bindings of a type with an exit to this one, of those that a listener leads to.
    fn above(&self, name: &str, of: Type) -> impl Iterator<Item = &BindingOutline> {
        let leads =
            move |outline: &&BindingOutline| outline.exits.iter().any(|exit| exit.to == name);
        let reached = self.outlines.iter().zip(self.reached).filter(|(_, reached)| **reached);
        reached
            .map(|(outline, _)| outline)
            .filter(move |outline| outline.of == Some(of))
            .filter(leads)
    }

    /// A `tcp` client below a `kafka` client with `servers` needs no address: Kafka reports those of its
    /// brokers. Below an `http` client the address is required.
    fn tcp_client(&self, binding: &Binding, client: &crate::config::TcpClient) {
        let name = binding.name.as_str();
        let below = |of| {
            let encrypting = self.above(name, Type::TlsClient).map(|outline| outline.name.as_str());
            encrypting.chain([name]).flat_map(move |path| self.above(path, of))
        };
        let beside = |outline: &BindingOutline| {
            let kind = self
                .bindings
                .iter()
                .find(|binding| binding.name == outline.name)
                .map(|binding| &binding.kind);
            matches!(kind, Some(Kind::KafkaClient(client)) if !client.servers_below)
        };
        if let Some(span) = client.options
            && below(Type::KafkaClient).any(beside)
        {
            let path = format!("bindings.{name}.options");
            self.cx.ignored(Ignored::TcpClientAddress, span, &path);
        }
        if (client.host.is_none() || client.ports.is_empty())
            && self.cx.is_sound("bindings", name)
            && below(Type::HttpClient).next().is_some()
        {
            let message = format!("bindings.{name}: the address of the server is missing");
            let help = "expected `options` with `host` and `port`".to_owned();
            self.cx.error(binding.span, message, Some(help));
        }
    }

    /// The vault of a `tls` binding must have the stores whose aliases the options name.
    fn vault(&self, binding: &Binding, options: &TlsOptions, signers: &[String]) {
        let name = binding.vault.as_deref();
        let vault = self.vaults.iter().find(|vault| Some(vault.name.as_str()) == name);
        if name.is_some() && vault.is_none() {
            return; // reported at the name
        }
        let sound = |vault: &Vault| self.cx.is_sound("vaults", &vault.name);
        if !self.cx.is_sound("bindings", &binding.name) || !vault.is_none_or(sound) {
            return;
        }
        if name.is_none() && matches!(binding.kind, Kind::TlsServer(_)) {
            return; // reported already: it always needs a vault
        }
        let keys = options.keys.is_empty() && signers.is_empty();
        let stores = [
            ("keys", keys, vault.is_some_and(|vault| vault.keys.is_some())),
            ("signers", signers.is_empty(), vault.is_some_and(|vault| vault.signers.is_some())),
            ("trust", options.trust.is_empty(), vault.is_some_and(|vault| vault.trust.is_some())),
        ];
        self.stores(&format!("bindings.{}", binding.name), binding.span, name, &stores);
        self.revocation(vault);
    }

    /// The vault of a catalog must have the stores that its `tls` names aliases of.
    pub(crate) fn catalog_vault(&self, catalog: &Catalog, options: &TlsOptions) {
        let entry = format!("catalogs.{}", catalog.name);
        self.vault_of(&entry, catalog.span, catalog.vault.as_deref(), options);
    }

    /// The vault of an entry that opens connections must have the stores that its `tls` names aliases of.
    fn vault_of(&self, entry: &str, span: Span, name: Option<&str>, options: &TlsOptions) {
        let vault = self.vaults.iter().find(|vault| Some(vault.name.as_str()) == name);
        let sound = |vault: &Vault| self.cx.is_sound("vaults", &vault.name);
        if name.is_some() && vault.is_none() || !vault.is_none_or(sound) {
            return; // said where the name or the vault stands
        }
        let stores = [
            ("keys", options.keys.is_empty(), vault.is_some_and(|vault| vault.keys.is_some())),
            ("trust", options.trust.is_empty(), vault.is_some_and(|vault| vault.trust.is_some())),
        ];
        self.stores(entry, span, name, &stores);
        self.revocation(vault);
    }

    /// Reports stores that the vault of an entry lacks: of each its name, whether the entry uses it, and whether
    /// it is there.
    fn stores(&self, entry: &str, span: Span, vault: Option<&str>, stores: &[(&str, bool, bool)]) {
        for (store, unused, there) in stores {
            if *unused || *there {
                continue;
            }
            let (message, help) = match vault {
                Some(name) => (
                    format!("{entry}: the vault `{name}` has no `{store}`"),
                    format!("expected `options.{store}` with a `store` there"),
                ),
                None => (
                    format!("{entry}: `vault` is missing"),
                    "its options name aliases, which a vault defines".to_owned(),
                ),
            };
            self.cx.error(span, message, Some(help));
        }
    }

    fn revocation(&self, vault: Option<&Vault>) {
        // Revocation lists are not read, so no binding can rely on them.
        if let Some(vault) = vault.filter(|vault| vault.revocation) {
            let path = format!("vaults.{}.options.revocation", vault.name);
            self.unsupported(Unsupported::Revocation, vault.span, path);
        }
    }

    /// Reports the options that librdkafka does not have.
    fn kafka_tls(&self, binding: &Binding, options: &TlsOptions) {
        if self.above(&binding.name, Type::KafkaClient).next().is_none() {
            return;
        }
        let path = |key| format!("bindings.{}.options.{key}", binding.name);
        if options.version.is_some() {
            self.unsupported(Unsupported::TlsKafkaVersion, binding.span, path("version"));
        }
        for (key, names) in [("sni", &options.sni), ("alpn", &options.alpn)] {
            if !names.is_empty() {
                self.cx.ignored(Ignored::TlsKafkaNames, binding.span, &path(key));
            }
        }
    }

    /// A guard that a binding uses must have keys.
    fn keys_of(&self, asked: Option<&str>) {
        let guard = self.guards.iter().find(|guard| Some(guard.name.as_str()) == asked);
        let Some(guard) = guard.filter(|guard| self.cx.is_sound("guards", &guard.name)) else {
            return;
        };
        let issuer = guard.issuer.as_deref().unwrap_or_default();
        if guard.keys.is_none() && Keys::well_known(issuer).is_err() {
            let message = format!("guards.{}: there are no keys", guard.name);
            let help = "expected `keys`, or a URL as `issuer`, from which the keys are fetched";
            self.cx.error(guard.span, message, Some(help.to_owned()));
        }
    }

    /// An attribute in a template must be an attribute of its guard.
    fn attribute(&self, binding: &Binding, span: Span, variable: &Variable) {
        let Variable::Attribute { guard, name } = variable else { return };
        let guard = self.guards.iter().find(|candidate| candidate.name == *guard);
        let Some(guard) = guard.filter(|guard| self.cx.is_sound("guards", &guard.name)) else {
            return;
        };
        let names: Vec<&str> = guard.attributes.iter().map(|(name, _)| name.as_str()).collect();
        if !names.contains(&name.as_str()) {
            let message = format!(
                "bindings.{}: the guard `{}` has no attribute `{}`",
                binding.name,
                guard.name,
                name.escape_debug()
            );
            self.cx.error(span, message, Some(defined(name, &names)));
        }
    }
}
