use crate::Result;
use crate::clients::h2::Fleet;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::idle::{self, SETTLE, settle};
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Server, Transport};
use crate::stage::ready;
use crate::value::Values;

/// Streams per connection. tailwater allows 128, and browsers open 100.
const STREAMS: usize = 50;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "idle-h2",
    about: "open streams over HTTP/2, one on each connection and many: resident memory of each",
    describe: |bench| {
        format!(
            "{} HTTP/2 connections with one stream each, without events, over TLS 1.3 and without TLS. Memory is measured as for `idle`, {SETTLE:?} after the last stream is at its start. Then, with another process of the server, {} connections have one stream each, and {STREAMS} later: the memory of each further stream.",
            idle::size(bench),
            connections(bench)
        )
    },
    servers: &[Kind::Tailwater, Kind::Axum],
    columns: &[
        Column { name: "per connection, TLS", unit: Unit::Kib },
        Column { name: "per further stream, TLS", unit: Unit::Kib },
        Column { name: "per connection", unit: Unit::Kib },
        Column { name: "per further stream", unit: Unit::Kib },
    ],
    goals: &[
        Goal { column: 0, bound: Bound::Max(24.0) },
        Goal { column: 0, bound: Bound::MaxTimes(0.8, Kind::Axum) },
        Goal { column: 1, bound: Bound::Max(1.6) },
        Goal { column: 1, bound: Bound::MaxTimes(1.0, Kind::Axum) },
        Goal { column: 2, bound: Bound::Max(12.0) },
    ],
    rounds: u16::MAX,
    run,
};

/// The connections with many streams.
fn connections(bench: &Bench) -> usize {
    idle::size(bench).div_ceil(STREAMS)
}

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let mut values = Vec::new();
    for transport in [Transport::TlsH2, Transport::PlainH2] {
        let [per_connection, _] = idle::measure(bench, kind, transport)?;
        values.extend([per_connection, further(bench, kind, transport)?]);
    }
    Ok(values)
}

/// The KiB of each further stream.
fn further(bench: &Bench, kind: Kind, transport: Transport) -> Result<f64> {
    let connections = connections(bench);
    let topic = bench.new_topic(Values::Padded)?;
    let server = Server::start(bench, kind, transport, &topic, 1024)?;
    let tls = bench.tls.dial(transport).tls;
    let mut fleet = Fleet::connect(server.address, tls, connections, ready(kind))?;
    fleet.open(1)?;
    fleet.wait(settle(bench))?;
    let with_one = server.resident_bytes()? as f64;
    fleet.open(STREAMS - 1)?;
    fleet.wait(settle(bench))?;
    let with_all = server.resident_bytes()? as f64;
    Ok((with_all - with_one) / 1024.0 / (connections * (STREAMS - 1)) as f64)
}
