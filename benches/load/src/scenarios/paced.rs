use crate::Result;
use crate::kafka::Pace;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Transport};
use crate::stage::Stage;
use crate::value::Values;

const PER_SECOND: u32 = 100;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "paced",
    about: "100 events a second: deliveries per CPU-second, latency",
    describe: |bench| {
        let (clients, events) = size(bench);
        format!(
            "{clients} clients, and {events} events of 256 bytes, {PER_SECOND} a second. Latency begins just before the producer takes the record (for `raw`: when the event is encoded). It ends when the client reads the event."
        )
    },
    servers: &Kind::PLAIN,
    columns: &[
        Column { name: "deliveries per CPU-second", unit: Unit::Rate },
        Column { name: "p50", unit: Unit::Milliseconds },
        Column { name: "p99", unit: Unit::Milliseconds },
    ],
    goals: &[
        Goal { column: 0, bound: Bound::MinTimes(0.72, Kind::Raw) },
        Goal { column: 0, bound: Bound::MinTimes(1.2, Kind::Axum) },
        Goal { column: 2, bound: Bound::MaxTimes(1.0, Kind::Axum) },
    ],
    rounds: u16::MAX,
    run,
};

fn size(bench: &Bench) -> (usize, u64) {
    (bench.clients(1000, 100), bench.events(2000, 100))
}

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let (clients, events) = size(bench);
    measure(bench, kind, clients, events, PER_SECOND)
}

/// Deliveries per CPU-second, p50 and p99.
pub(super) fn measure(
    bench: &Bench,
    kind: Kind,
    clients: usize,
    events: u64,
    per_second: u32,
) -> Result<Vec<f64>> {
    let delivered = Stage::live(bench, kind, Transport::Plain, Values::Padded, clients, events)?
        .deliver(events, Pace::PerSecond(per_second))?;
    let [p50, p99] = [0.5, 0.99].map(|quantile| delivered.milliseconds(quantile));
    Ok(vec![delivered.per_cpu_second(), p50, p99])
}
