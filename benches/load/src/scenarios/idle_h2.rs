use crate::Result;
use crate::clients::h2::Fleet;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::idle::SETTLE;
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Server, Transport};
use crate::value::Values;

/// Streams per connection. tailwater allows 128, and browsers open 100.
const STREAMS: usize = 100;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "idle-h2",
    about: "open streams, 100 on each HTTP/2 connection: resident memory of each",
    describe: |bench| {
        format!(
            "{} HTTP/2 connections over TLS 1.3, then as many without TLS. Each connection has one stream without events, then {STREAMS}. Memory is measured as for `idle`, {SETTLE:?} after the last stream is at its start: that of a connection with its first stream, and that of each further stream.",
            connections(bench)
        )
    },
    servers: &[Kind::Tailwater],
    columns: &[
        Column { name: "per further stream, TLS", unit: Unit::Kib },
        Column { name: "per connection, TLS", unit: Unit::Kib },
        Column { name: "per further stream", unit: Unit::Kib },
        Column { name: "per connection", unit: Unit::Kib },
    ],
    goals: &[
        Goal { column: 0, bound: Bound::Max(4.0) },
        Goal { column: 2, bound: Bound::Max(4.0) },
    ],
    rounds: u16::MAX,
    run,
};

fn connections(bench: &Bench) -> usize {
    bench.clients(5000, 200).div_ceil(STREAMS)
}

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let mut values = measure(bench, kind, Transport::Tls)?;
    values.extend(measure(bench, kind, Transport::Plain)?);
    Ok(values)
}

/// The KiB of each further stream, and of each connection.
fn measure(bench: &Bench, kind: Kind, transport: Transport) -> Result<Vec<f64>> {
    let connections = connections(bench);
    let topic = bench.new_topic(Values::Padded)?;
    let server = Server::start(bench, kind, transport, &topic, 1024)?;
    let kib = || server.resident_bytes().map(|bytes| bytes as f64 / 1024.0);

    // One stream before the others causes the cost that all share, such as reading the topic.
    let mut first = Fleet::connect(server.address, bench.tls.h2_client(transport), 1)?;
    first.open(1)?;
    first.wait(SETTLE)?;

    let without = kib()?;
    let mut fleet = Fleet::connect(server.address, bench.tls.h2_client(transport), connections)?;
    fleet.open(1)?;
    fleet.wait(SETTLE)?;
    let with_one = kib()?;
    fleet.open(STREAMS - 1)?;
    fleet.wait(SETTLE)?;
    let with_all = kib()?;

    let further = connections * (STREAMS - 1);
    Ok(vec![(with_all - with_one) / further as f64, (with_one - without) / connections as f64])
}
