//! Checks between the namespaces of a file: names, and addresses to listen on.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use crate::config::Config;
use crate::config::bindings::Binding;
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
    let mut before: Vec<(&Config, &Binding, &str, &RangeInclusive<u16>)> = Vec::new();
    for config in namespaces {
        for (binding, server) in config.listeners() {
            let mut taken = server.ports.iter().filter_map(|ports| {
                before.iter().find_map(|(of, other, host, others)| {
                    let port = *ports.start().max(others.start()).max(&1);
                    let both = port <= *ports.end().min(others.end());
                    (both && same_host(host, &server.host)).then_some((port, *of, *other))
                })
            });
            if let Some((port, of, other)) = taken.next() {
                let other = match of.name == config.name {
                    true => format!("`{}`", other.name),
                    false => format!("`{}` of the namespace `{}`", other.name, of.name),
                };
                let message = format!(
                    "bindings.{}: {other} listens on port {port} of {} already",
                    binding.name, server.host
                );
                mistake(binding.span, message, Some("expected a port of its own, or another host"));
            }
            before.extend(server.ports.iter().map(|port| (config, binding, &*server.host, port)));
        }
    }
    mistakes
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
