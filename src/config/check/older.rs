//! Older files: the address of Kafka is an option of the `tcp` client below the `kafka` client.

use crate::config::bindings::kafka::Server;
use crate::config::bindings::tcp::TcpClient;
use crate::config::bindings::{Binding, BindingOutline, Kind};
use crate::config::decode::Cx;

/// The maximum number of ports: more are probably not the ports of the brokers of one cluster.
const MOST_SERVERS: usize = 16;

/// Gives each `kafka` client without `servers` the address of the `tcp` client below it. Clients to which no
/// listener leads need no address.
pub(crate) fn fill_servers(
    cx: &Cx,
    outlines: &[BindingOutline],
    reached: &[bool],
    bindings: &mut [Binding],
) {
    for index in 0..bindings.len() {
        let Some((name, Kind::KafkaClient(client))) =
            bindings.get(index).map(|value| (value.name.as_str(), &value.kind))
        else {
            continue;
        };
        let is_reached =
            outlines.iter().zip(reached).any(|(outline, reached)| outline.name == name && *reached);
        if !is_reached || !client.servers_below {
            continue;
        }
        let servers = find(cx, bindings, name, &client.exit);
        if let Some(Binding { kind: Kind::KafkaClient(client), .. }) = bindings.get_mut(index) {
            client.servers = servers;
        }
    }
}

fn find(cx: &Cx, bindings: &[Binding], name: &str, exit: &str) -> Vec<Server> {
    let binding = |name: &str| bindings.iter().find(|binding| binding.name == name);
    let mut path = vec![name];
    let mut at = exit;
    let tcp = loop {
        path.push(at);
        match binding(at).map(|binding| (binding, &binding.kind)) {
            Some((found, Kind::TcpClient(tcp))) => break Some((found, tcp)),
            Some((_, Kind::TlsClient(tls))) if path.len() < 3 => match tls.routes.first() {
                Some(route) => at = &route.exit,
                None => break None,
            },
            _ => break None,
        }
    };
    let Some((below, tcp)) = tcp else { return Vec::new() }; // said where the exit stands
    if !path.iter().all(|name| cx.is_sound("bindings", name)) || !tcp.when.is_empty() {
        return Vec::new(); // what is missing may be there
    }
    match servers(tcp) {
        Ok(servers) => servers,
        Err(missing) => {
            let message = format!(
                "bindings.{name}: the address of Kafka is missing: there are no `servers` here, and {missing} at `{}`, which the exit leads to",
                below.name
            );
            let help = format!(
                "expected `options` with `servers`, as `[\"kafka.example.com:9092\"]`, or, as in older files, \
                 with `host` and `port` at `{}`",
                below.name
            );
            let span = binding(name).map(|binding| binding.span).unwrap_or_default();
            cx.error(span, message, Some(help));
            Vec::new()
        }
    }
}

fn servers(tcp: &TcpClient) -> Result<Vec<Server>, &'static str> {
    let Some(host) = &tcp.host else { return Err("no `host`") };
    let ports: Vec<u16> = tcp.ports.iter().cloned().flatten().take(MOST_SERVERS + 1).collect();
    match ports.as_slice() {
        [] => Err("no `port`"),
        ports if ports.contains(&0) => Err("port 0"),
        ports if ports.len() > MOST_SERVERS => Err("more than 16 ports"),
        ports => Ok(ports.iter().map(|port| Server { host: host.clone(), port: *port }).collect()),
    }
}
