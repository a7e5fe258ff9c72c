use super::{Bench, Column, Scenario};
use crate::Result;
use crate::kafka::Pace;
use crate::report::{Bound, Goal, Unit};
use crate::servers::{Kind, Transport};
use crate::stage::Stage;

const PER_SECOND: u32 = 100;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "paced",
    about: "100 events a second: deliveries per CPU-second, latency",
    describe: |bench| {
        let (clients, events) = size(bench);
        format!(
            "{clients} clients, {events} events of 256 bytes, {PER_SECOND} a second; latency from just before the producer takes a record (raw: from its encoding) to the client's read."
        )
    },
    servers: &Kind::PLAIN,
    columns: &[
        Column { name: "deliveries per CPU-second", unit: Unit::Rate },
        Column { name: "p50", unit: Unit::Milliseconds },
        Column { name: "p99", unit: Unit::Milliseconds },
    ],
    goals: &[
        Goal { column: 0, bound: Bound::MinTimes(1.15, Kind::Axum) },
        Goal { column: 2, bound: Bound::MaxTimes(1.0, Kind::Axum) },
    ],
    run,
};

fn size(bench: &Bench) -> (usize, u64) {
    (bench.clients(1000, 100), bench.events(2000, 100))
}

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let (clients, events) = size(bench);
    let delivered = Stage::live(bench, kind, Transport::Plain, clients, events)?
        .deliver(events, Pace::PerSecond(PER_SECOND))?;
    let milliseconds = |quantile| delivered.latencies.value_at_quantile(quantile) as f64 / 1e6;
    Ok(vec![delivered.per_cpu_second(), milliseconds(0.5), milliseconds(0.99)])
}
