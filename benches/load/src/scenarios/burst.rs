use crate::Result;
use crate::kafka::Pace;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Setup, Transport};
use crate::stage::{Delivered, Stage};
use crate::value::Values;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "burst",
    about: "many events as fast as possible: deliveries per CPU-second",
    describe: |bench| {
        let (clients, events) = size(bench);
        format!(
            "{clients} clients. {events} events of 256 bytes are sent as fast as possible. The measurement ends when each client has all events."
        )
    },
    servers: &Kind::PLAIN,
    columns: &[
        Column { name: "deliveries per CPU-second", unit: Unit::Rate },
        Column { name: "deliveries per second", unit: Unit::Rate },
    ],
    goals: &[
        Goal { column: 0, bound: Bound::MinTimes(0.85, Kind::Raw) },
        Goal { column: 0, bound: Bound::MinTimes(8.0, Kind::Axum) },
    ],
    rounds: u16::MAX,
    run: |bench, kind| Ok(deliver(bench, kind, Transport::Plain, Values::Padded)?.into()),
};

pub(super) fn size(bench: &Bench) -> (usize, u64) {
    (bench.clients(1000, 100), bench.events(20_000, 1000))
}

/// Deliveries per CPU-second, and per second.
pub(super) fn deliver(
    bench: &Bench,
    kind: Kind,
    setup: impl Into<Setup>,
    values: Values,
) -> Result<[f64; 2]> {
    let delivered = measure(bench, kind, setup, values)?;
    Ok([delivered.per_cpu_second(), delivered.deliveries as f64 / delivered.wall.as_secs_f64()])
}

pub(super) fn measure(
    bench: &Bench,
    kind: Kind,
    setup: impl Into<Setup>,
    values: Values,
) -> Result<Delivered> {
    let (clients, events) = size(bench);
    Stage::live(bench, kind, setup, values, clients, events)?
        .deliver(events, Pace::AsFastAsPossible)
}
