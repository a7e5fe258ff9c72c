use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario, paced};
use crate::servers::Kind;

const PER_SECOND: u32 = 10;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "crowd",
    about: "10 events a second to very many clients: latency, nothing lost",
    describe: |bench| {
        let (clients, events) = size(bench);
        format!(
            "As `paced`, with {clients} clients, and {events} events of 256 bytes, {PER_SECOND} a second."
        )
    },
    servers: &[Kind::Tailwater, Kind::Axum],
    columns: &[
        Column { name: "deliveries per CPU-second", unit: Unit::Rate },
        Column { name: "p50", unit: Unit::Milliseconds },
        Column { name: "p99", unit: Unit::Milliseconds },
    ],
    goals: &[Goal { column: 2, bound: Bound::MaxTimes(1.0, Kind::Axum) }],
    rounds: u16::MAX,
    run: |bench, kind| {
        let (clients, events) = size(bench);
        paced::measure(bench, kind, clients, events, PER_SECOND)
    },
};

pub(super) fn size(bench: &Bench) -> (usize, u64) {
    (bench.clients(10_000, 200), bench.events(200, 20))
}
