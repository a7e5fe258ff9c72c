use std::time::Instant;

use crate::Result;
use crate::kafka::Pace;
use crate::process;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Transport};
use crate::stage::Stage;
use crate::value::Values;

const PER_SECOND: u32 = 10;
/// Events that are more than the buffers of a socket hold, on both sides.
const FILL: u64 = 4000;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "stalled",
    about: "one client of a hundred stops reading: latency of the other clients, memory",
    describe: |bench| {
        let (clients, events) = size(bench);
        format!(
            "{clients} clients. {events} events of 256 bytes, {PER_SECOND} a second, are sent twice. First all clients read. Then one client of a hundred is stalled: it reads nothing, and {FILL} events have filled its socket before. Memory is the growth of resident memory while these clients are stalled. At the end they read again, or reconnect if the server closed their connections, and must receive each event exactly once."
        )
    },
    servers: &[Kind::Tailwater],
    columns: &[
        Column { name: "p99, all reading", unit: Unit::Milliseconds },
        Column { name: "p99 of the others", unit: Unit::Milliseconds },
        Column { name: "memory grows by", unit: Unit::Mib },
        Column { name: "until the stalled ones have all", unit: Unit::Seconds },
    ],
    goals: &[
        Goal { column: 1, bound: Bound::MaxTimesColumn(1.25, 0) },
        Goal { column: 2, bound: Bound::Max(8.0) },
    ],
    rounds: 1,
    run,
};

fn size(bench: &Bench) -> (usize, u64) {
    (bench.clients(10_000, 200), bench.events(250, 20))
}

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let (clients, events) = size(bench);
    let stalled = clients / 100;
    let pace = Pace::PerSecond(PER_SECOND);
    let mut stage = Stage::live(bench, kind, Transport::Plain, Values::Padded, clients, events)?;
    stage.fleet.may_be_cut(0..stalled);
    let before = stage.deliver(events, pace)?.milliseconds(0.99);

    stage.fleet.stall(0..stalled)?;
    stage.send_and_read(FILL, Pace::AsFastAsPossible)?;
    let full = process::full_sockets(stage.server.address.port())?;
    if full < stalled {
        return Err(format!("only {full} sockets are full, not {stalled}").into());
    }
    let memory = stage.server.resident_bytes()? as f64;
    stage.fleet.record_latencies()?;
    stage.send_and_read(events, pace)?;
    let latencies = stage.fleet.take_latencies().ok_or("nothing was recorded")?;
    let during = latencies.value_at_quantile(0.99) as f64 / 1e6;
    let grown = (stage.server.resident_bytes()? as f64 - memory) / 1024.0 / 1024.0;

    let begin = Instant::now();
    stage.fleet.go_on()?;
    stage.read_all()?;
    let complete = begin.elapsed().as_secs_f64();
    Ok(vec![before, during, grown, complete])
}
