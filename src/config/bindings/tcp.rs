//! `tcp` bindings.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::uri::Authority;
use ipnet::IpNet;
use tailwater_route::ValuePattern;

use crate::config::bindings::{BindingOutline, Route, Routes, guarded};
use crate::config::check::support::Unsupported;
use crate::config::decode::{Map, Value, decimal};
use crate::config::report::diagnostic::Span;

/// A `tcp` binding of kind `server` listens on ports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpServer {
    /// `options.host`: the address to listen on, as an IP address or a host name. Default:
    /// `0.0.0.0`, as in Zilla.
    pub host: String,
    /// `options.port`: a port, a range `"from-to"`, or a list of these. Required. Port 0 is
    /// any free port.
    pub ports: Vec<RangeInclusive<u16>>,
    /// `options.connections`: how many connections may be open at once. Further connections
    /// are closed. Default: 65536. (Not in Zilla.)
    pub connections: Option<usize>,
    /// `options.write-deadline`, in seconds: a connection is closed if it takes no byte for
    /// this long although there are bytes to write. Default: 60. (Not in Zilla.)
    pub write_deadline: Option<Duration>,
    /// `routes`: where connections go, by local port and the peer's address.
    pub routes: Vec<Route<TcpCondition>>,
}

/// A condition on a connection; all of its keys must be satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpCondition {
    /// `authority`: the host name of the peer, with `*` for any text. Default, and `*` alone:
    /// any.
    pub authority: Option<String>,
    /// `cidr`: a network that has the peer's address, as `10.0.0.0/8`. Default, and a network
    /// of `/0`: any.
    pub cidr: Option<IpNet>,
    /// `port`: the local port, in the forms of `options.port`. Default: any.
    pub ports: Vec<RangeInclusive<u16>>,
}

impl TcpCondition {
    /// Whether a connection to this local port from this address satisfies the condition. An IPv4-mapped IPv6
    /// address counts as its IPv4 address.
    #[must_use]
    pub fn matches(&self, port: u16, peer: IpAddr) -> bool {
        self.takes(port) && self.cidr.is_none_or(|cidr| cidr.contains(&peer.to_canonical()))
    }

    /// Whether some connection to this port satisfies it.
    pub(crate) fn takes(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|range| range.contains(&port))
    }

    fn is_always(&self) -> bool {
        self.authority.is_none() && self.cidr.is_none() && self.ports.is_empty()
    }
}

/// A `tcp` binding of kind `client` opens connections.
///
/// Below a `kafka` client it stands for the connections to Kafka, whose addresses Kafka reports. In
/// older files, whose `kafka` client has no `servers`, its address is that of the first broker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpClient {
    /// `options.host`: the address to connect to, or the only name in
    /// `routes[].when[].authority`. Default, and `*`: the address that the binding above asks
    /// for.
    pub host: Option<String>,
    /// `options.port`: the port. Default: the port that the binding above asks for.
    pub ports: Vec<RangeInclusive<u16>>,
    /// `routes[].when`: which connections may be opened. Default: all. Conditions that are
    /// always satisfied, as `cidr: 0.0.0.0/0` is, or that are satisfied by this address, are
    /// ignored.
    pub when: Vec<TcpCondition>,
    /// Where `options` stand.
    pub options: Option<Span>,
}

impl TcpServer {
    pub(crate) fn decode(map: &Map<'_>, outline: &mut BindingOutline) -> Option<TcpServer> {
        let mut host = Some("0.0.0.0".to_owned());
        let mut listening = None;
        let mut connections = None;
        let mut write_deadline = None;
        if let Some(options) = map.map_or_empty("options") {
            if let Some(value) = options.get("host") {
                host = value.filled("an address or a host name");
            }
            listening = options.require("port").map(|value| listening_ports(&value));
            if let Some(value) = options.get("connections") {
                connections =
                    value.number("a number of connections (1 to 10000000)", 1..=10_000_000);
            }
            if let Some(value) = options.get("write-deadline") {
                let seconds = value.number("a number of seconds (1 to 86400)", 1..=86_400);
                write_deadline = seconds.map(Duration::from_secs);
            }
            options.deny_unknown();
        }
        let routes = Routes { when: &accepted, with: &|_, _, _| Some(()), own: Some(()) }
            .decode(map, outline);
        Some(TcpServer { host: host?, ports: listening?, connections, write_deadline, routes })
    }
}

impl TcpClient {
    /// The address of the server, if the binding has both a host and a port.
    #[must_use]
    pub fn address(&self) -> Option<Authority> {
        let host = self.host.as_ref()?;
        let port = self.ports.first()?.start();
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("{host}:{port}").parse().ok()
    }

    pub(crate) fn decode(map: &Map<'_>, outline: &mut BindingOutline) -> Option<TcpClient> {
        let options = map.map("options");
        let mut client =
            TcpClient { host: None, ports: Vec::new(), when: Vec::new(), options: None };
        if let Some(options) = options {
            client.options = Some(options.value.key);
            client.host = options
                .get("host")
                .and_then(|value| value.parsed("a host name or an address", host));
            client.host.take_if(|host| host == "*");
            client.ports = options.get("port").map(|value| ports(&value)).unwrap_or_default();
            options.deny_unknown();
        }
        if let Some(value) = map.get("routes") {
            let mut always = false;
            for route in value.each(|item| item.map()) {
                guarded(&route, outline);
                let when = route.get("when").map(|value| value.each(|item| condition(&item)));
                route.deny_unknown();
                always |= when.as_ref().is_none_or(Vec::is_empty);
                client.when.extend(when.into_iter().flatten());
            }
            client.settle(always);
            if !client.when.is_empty() {
                outline.unsupported(&value, Unsupported::TcpClientRoutes);
            }
        }
        Some(client)
    }

    /// Takes the address from the conditions if they have only one, and drops the conditions if they allow
    /// every connection to it.
    fn settle(&mut self, always: bool) {
        if let (None, [only]) = (&self.host, self.when.as_slice())
            && let TcpCondition { authority: Some(name), cidr: None, ports } = only
            && !name.contains('*')
        {
            self.host = host(name);
            if self.ports.is_empty() {
                self.ports.clone_from(ports);
            }
        }
        let admits = |condition: &TcpCondition| match (&condition.authority, &self.host) {
            (None, _) => condition.is_always(),
            (Some(pattern), Some(host)) => {
                let named = ValuePattern::new(&pattern.to_ascii_lowercase());
                let port = |port: &u16| condition.takes(*port);
                condition.cidr.is_none()
                    && named.is_ok_and(|named| named.matches(host.to_ascii_lowercase().as_bytes()))
                    && self
                        .ports
                        .iter()
                        .all(|range| [range.start(), range.end()].into_iter().all(port))
            }
            (Some(_), None) => false,
        };
        if always || self.when.iter().any(admits) {
            self.when.clear();
        }
    }
}

/// A host to connect to: a name, or an address without brackets. `*` is any host.
fn host(text: &str) -> Option<String> {
    let address = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if address.parse::<IpAddr>().is_ok() {
        return Some(address.to_owned());
    }
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (text == "*" || (!text.is_empty() && text.bytes().all(named))).then(|| text.to_owned())
}

/// A network. `IpNet` accepts more spellings of numbers than the grammar has.
fn network(text: &str) -> Option<IpNet> {
    let (address, prefix_length) = text.split_once('/')?;
    IpNet::new(address.parse().ok()?, decimal(prefix_length)?).ok()
}

/// A condition. Keys that are always satisfied are dropped.
fn condition(value: &Value<'_>) -> Option<TcpCondition> {
    let map = value.map()?;
    let authority = map.get("authority").and_then(|value| value.filled("the name of a host"));
    let cidr = match map.get("cidr") {
        None => None,
        Some(value) => Some(value.parsed("a network, as `10.0.0.0/8`", network)?),
    };
    let ports = map.get("port").map(|value| ports(&value)).unwrap_or_default();
    map.deny_unknown();
    let authority = authority.filter(|authority| authority != "*");
    let cidr = cidr.filter(|cidr| cidr.prefix_len() > 0);
    Some(TcpCondition { authority, cidr, ports })
}

/// A condition of a listener, for which the names of peers are unknown.
fn accepted(value: &Value<'_>, outline: &mut BindingOutline) -> Option<TcpCondition> {
    let condition = condition(value)?;
    if condition.authority.is_some()
        && let Some(authority) = value.map().and_then(|value| value.get("authority"))
    {
        outline.unsupported(&authority, Unsupported::TcpAuthority);
    }
    Some(condition)
}

const PORT: &str = "a port (0 to 65535), \"from-to\" or a list of these";

/// A port, a range or a list of these.
pub(crate) fn ports(value: &Value<'_>) -> Vec<RangeInclusive<u16>> {
    if value.is_list() {
        if value.list().is_some_and(|items| items.is_empty()) {
            value.expected(PORT);
        }
        return value.each(|item| item.parsed(PORT, range));
    }
    value.parsed(PORT, range).into_iter().collect()
}

/// Ports to listen on. None may be listed twice.
fn listening_ports(value: &Value<'_>) -> Vec<RangeInclusive<u16>> {
    let items = match value.is_list() {
        true => value.list().unwrap_or_default(),
        false => Vec::new(),
    };
    let mut before: Vec<RangeInclusive<u16>> = Vec::new();
    for item in items {
        let Some(ports) = item.scalar().and_then(range) else { continue };
        // Port 0 is a different port each time.
        let twice = |range: &&RangeInclusive<u16>| {
            *range.start().max(ports.start()).max(&1) <= *range.end().min(ports.end())
        };
        if before.iter().any(|range| twice(&range)) {
            item.error("a port is listed twice");
        }
        before.push(ports);
    }
    ports(value)
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let from = decimal(from.trim())?;
    let to = decimal(to.trim())?;
    (from <= to).then_some(from..=to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("1.2.3.4/32", "1.2.3.5", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("fe80::/10", "fe80::1", true),
            ("::/0", "10.0.0.1", false),
        ] {
            let cidr = Some(super::network(network).unwrap());
            let condition = TcpCondition { authority: None, cidr, ports: Vec::new() };
            let matches = condition.matches(80, address.parse().unwrap());
            assert_eq!(matches, expected, "{network} {address}");
        }
        for text in [
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "010.0.0.0/8",
            "x/8",
            "::/129",
        ] {
            assert_eq!(network(text), None, "{text}");
        }
    }

    #[test]
    fn ports_are_numbers_or_ranges() {
        assert_eq!(range("7114"), Some(7114..=7114));
        assert_eq!(range("7114-7115"), Some(7114..=7115));
        for text in ["", "-1", "70000", "2-1", "1-", "http", "0x10", "1-2-3"] {
            assert_eq!(range(text), None, "{text}");
        }
    }
}
