//! Checks between the namespaces of a file: names, and addresses to listen on.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use crate::config::Config;
use crate::config::report::diagnostic::{Diagnostic, Severity, Span};

/// A name for bindings that is unique in the process: it begins with `NAMESPACE:` if another namespace has
/// bindings with the same names.
pub(crate) fn label(config: &Config, all: &[Config], bindings: &[&str]) -> String {
    let mut others = all.iter().filter(|other| other.name != config.name);
    let name = bindings.join("/");
    match others.any(|other| bindings.iter().all(|binding| other.binding(binding).is_some())) {
        true => format!("{}:{name}", config.name),
        false => name,
    }
}

/// The errors of namespaces that are valid by themselves.
pub(crate) fn check(namespaces: &[Config], text: &str) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    let mut mistake = |span, message: String, help: Option<&str>| {
        let help = help.map(str::to_owned);
        mistakes.push(Diagnostic { severity: Severity::Error, span, message, help });
    };
    let mut names: HashMap<&str, Span> = HashMap::new();
    for config in namespaces {
        if let Some(first) = names.get(config.name.as_str()) {
            let line = text.bytes().take(first.start).filter(|byte| *byte == b'\n').count() + 1;
            let message =
                format!("name: the document at line {line} is the namespace `{}`", config.name);
            mistake(config.span, message, Some("expected another name in each document"));
        } else {
            names.insert(&config.name, config.span);
        }
    }
    let mut before: Vec<Listener<'_>> = Vec::new();
    for listener in namespaces.iter().flat_map(listeners) {
        if let Some((port, other)) = before.iter().find_map(|other| listener.shares(other)) {
            let name = match other.namespace == listener.namespace {
                true => format!("`{}`", other.name),
                false => format!("`{}` of the namespace `{}`", other.name, other.namespace),
            };
            let Listener { section, name: own, host, .. } = listener;
            let message =
                format!("{section}.{own}: {name} listens on port {port} of {host} already");
            let help = "expected a port of its own, or another host";
            mistake(listener.span, message, Some(help));
        }
        before.push(listener);
    }
    mistakes
}

/// What listens on ports.
struct Listener<'c> {
    namespace: &'c str,
    section: &'static str,
    name: &'c str,
    span: Span,
    host: &'c str,
    ports: Vec<RangeInclusive<u16>>,
}

impl Listener<'_> {
    /// A port that both have.
    fn shares<'o, 'c>(&self, other: &'o Listener<'c>) -> Option<(u16, &'o Listener<'c>)> {
        let both = self.ports.iter().flat_map(|ports| {
            other.ports.iter().filter_map(|others| {
                let port = *ports.start().max(others.start()).max(&1);
                (port <= *ports.end().min(others.end())).then_some(port)
            })
        });
        both.min().filter(|_| same_host(other.host, self.host)).map(|port| (port, other))
    }
}

/// The `tcp` servers and the endpoints of exporters.
fn listeners(config: &Config) -> Vec<Listener<'_>> {
    let namespace = config.name.as_str();
    let servers = config.listeners().map(|(binding, server)| Listener {
        namespace,
        section: "bindings",
        name: &binding.name,
        span: binding.span,
        host: &server.host,
        ports: server.ports.clone(),
    });
    let endpoints = config.prometheus().map(|(exporter, endpoint)| Listener {
        namespace,
        section: "telemetry.exporters",
        name: &exporter.name,
        span: endpoint.span,
        host: "::",
        ports: vec![endpoint.port..=endpoint.port],
    });
    servers.chain(endpoints).collect()
}

/// Whether two hosts certainly have an address in common. Names are not resolved.
fn same_host(one: &str, other: &str) -> bool {
    let address = |host: &str| match host {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        host => host.parse().ok(),
    };
    match (address(one), address(other)) {
        // `::` includes the addresses of IPv4.
        (Some(IpAddr::V6(all)), Some(_)) | (Some(_), Some(IpAddr::V6(all)))
            if all.is_unspecified() =>
        {
            true
        }
        (Some(one @ IpAddr::V4(_)), Some(other @ IpAddr::V4(_))) => {
            one == other || one.is_unspecified() || other.is_unspecified()
        }
        (Some(one), Some(other)) => one == other,
        (None, None) => one.eq_ignore_ascii_case(other),
        _ => false,
    }
}
