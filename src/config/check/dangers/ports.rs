//! Connections that no route takes, and which are therefore closed.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use crate::config::bindings::http::HttpVersion;
use crate::config::bindings::tcp::{TcpCondition, TcpServer};
use crate::config::bindings::tls::{TlsCondition, TlsServer};
use crate::config::bindings::{Binding, Kind, Route};
use crate::config::check::requirements::Requirements;
use crate::config::report::describe::ports as describe_ports;

type Ports = Vec<RangeInclusive<u16>>;

/// Checks the ports of a listener, and those of the `tls` bindings to which it leads.
pub(super) fn of_listener(requirements: &Requirements<'_>, binding: &Binding, server: &TcpServer) {
    // Port 0 is unknown until the program listens.
    let known = server.ports.iter().filter(|port| *port.start() > 0).cloned();
    let mut left: Ports = known.collect();
    let named = |name: &str| requirements.bindings.iter().find(|binding| binding.name == name);
    for route in &server.routes {
        let sound = |binding: &&Binding| requirements.cx.is_sound("bindings", &binding.name);
        if let Some(below) = named(&route.exit).filter(sound)
            && let Kind::TlsServer(tls) = &below.kind
        {
            of_tls(requirements, below, tls, &common(&left, &of_route(route, |_| true)));
        }
        // The next route may take connections from other networks.
        left = without(&left, &of_route(route, |condition| condition.cidr.is_none()));
    }
    let mut taken = server.routes.iter().map(|route| of_route(route, |_| true));
    let known = server.ports.iter().filter(|port| *port.start() > 0).cloned().collect();
    let lost = taken.try_fold(known, |left: Ports, taken| {
        let left = without(&left, &taken);
        (!left.is_empty()).then_some(left)
    });
    // A listener without routes is reported elsewhere.
    if let Some(lost) = lost.filter(|lost| !lost.is_empty() && !server.routes.is_empty()) {
        report(requirements, binding, &lost);
    }
}

fn report(requirements: &Requirements<'_>, binding: &Binding, lost: &Ports) {
    let lost = describe_ports(lost);
    let message = format!(
        "bindings.{}: no route takes connections to port {lost}: they are closed",
        binding.name
    );
    let help = format!(
        "expected a route with `when: [{{ port: [{}] }}]`, or an `exit`",
        lost.replace(',', ", ")
    );
    requirements.cx.danger(binding.span, message, help);
}

/// Checks the routes of a `tls` binding for connections to these ports.
fn of_tls(requirements: &Requirements<'_>, binding: &Binding, tls: &TlsServer, ports: &Ports) {
    for route in &tls.routes {
        let never = route.when.iter().map(|when| never(requirements, tls, route, when));
        let never: Option<Vec<String>> = never.collect();
        if let Some(why) = never.as_ref().and_then(|never| never.first()) {
            let message =
                format!("bindings.{}: no connection takes the route: {why}", binding.name);
            let help = "expected a condition that connections can satisfy";
            requirements.cx.danger(route.span, message, help);
        }
    }
    let of_route = |route: &Route<TlsCondition>| -> Ports {
        if route.when.is_empty() {
            return vec![0..=u16::MAX];
        }
        let when = route.when.iter().filter(|when| never(requirements, tls, route, when).is_none());
        when.flat_map(|when| all_if_none(&when.ports)).collect()
    };
    let lost =
        tls.routes.iter().fold(ports.clone(), |left, route| without(&left, &of_route(route)));
    if !lost.is_empty() && !tls.routes.is_empty() {
        report(requirements, binding, &lost);
    }
}

/// Why a condition of a `tls` binding is never satisfied.
fn never(
    requirements: &Requirements<'_>,
    tls: &TlsServer,
    route: &Route<TlsCondition>,
    condition: &TlsCondition,
) -> Option<String> {
    if let Some(alpn) = &condition.alpn {
        let spoken = match requirements
            .bindings
            .iter()
            .find(|binding| binding.name == route.exit)
            .map(|binding| &binding.kind)
        {
            Some(Kind::HttpServer(http)) => http.versions.iter().any(|version| match version {
                HttpVersion::Http11 => alpn == "http/1.1",
                HttpVersion::H2 => alpn == "h2",
            }),
            _ => true,
        };
        if !spoken || !(tls.options.alpn.is_empty() || tls.options.alpn.contains(alpn)) {
            return Some(format!("the protocol `{}` is never negotiated", alpn.escape_debug()));
        }
    }
    let name = condition.authority.as_ref().map(ToString::to_string)?;
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    (address || name.contains(':')).then(|| {
        format!(
            "`{}` never matches: a server name has no port and is not an address",
            name.escape_debug()
        )
    })
}

fn of_route(route: &Route<TcpCondition>, counts: impl Fn(&TcpCondition) -> bool) -> Ports {
    if route.when.is_empty() {
        return vec![0..=u16::MAX];
    }
    route
        .when
        .iter()
        .filter(|when| counts(when))
        .flat_map(|when| all_if_none(&when.ports))
        .collect()
}

fn all_if_none(ports: &[RangeInclusive<u16>]) -> Ports {
    if ports.is_empty() { vec![0..=u16::MAX] } else { ports.to_vec() }
}

/// The ports that are in both.
fn common(one: &Ports, other: &Ports) -> Ports {
    without(one, &without(&vec![0..=u16::MAX], other))
}

/// The ports of one list that are not in the other.
fn without(ports: &Ports, taken: &Ports) -> Ports {
    let mut taken = taken.clone();
    taken.sort_by_key(|range| *range.start());
    let mut left = Ports::new();
    for range in ports {
        let mut next = u32::from(*range.start());
        let end = u32::from(*range.end());
        for taken in &taken {
            let (from, to) = (u32::from(*taken.start()), u32::from(*taken.end()));
            if to < next || from > end {
                continue;
            }
            push(&mut left, next, from);
            next = next.max(to + 1);
        }
        push(&mut left, next, end + 1);
    }
    left
}

/// Adds the ports from one to before another.
fn push(ports: &mut Ports, from: u32, to: u32) {
    if let (true, Ok(from), Ok(last)) =
        (from < to, u16::try_from(from), u16::try_from(to.saturating_sub(1)))
    {
        ports.push(from..=last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_taken_from_ports() {
        for (ports, taken, left) in [
            (&[1..=9][..], &[3..=4][..], &[1..=2, 5..=9][..]),
            (&[1..=9], &[7..=20, 0..=2, 2..=3], &[4..=6]),
            (&[1..=9], &[0..=u16::MAX], &[]),
            (&[0..=u16::MAX], &[0..=0, u16::MAX..=u16::MAX], &[1..=u16::MAX - 1]),
            (&[5..=5, 7..=7], &[6..=6], &[5..=5, 7..=7]),
            (&[5..=5, 7..=7], &[7..=7], &[5..=5]),
            (&[], &[7..=7], &[]),
        ] {
            let ports = ports.to_vec();
            let taken = taken.to_vec();
            assert_eq!(without(&ports, &taken), left, "{ports:?} {taken:?}");
        }
        assert_eq!(common(&vec![1..=9], &vec![0..=3, 9..=12]), [1..=3, 9..=9]);
    }
}
