use crate::report::{Bound, Goal};
use crate::scenarios::{Bench, Scenario, paced};
use crate::servers::{Kind, Transport};

pub(super) const PER_SECOND: u32 = 10;

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
    columns: paced::COLUMNS,
    goals: &[Goal { column: 2, bound: Bound::MaxTimes(1.0, Kind::Axum) }],
    rounds: u16::MAX,
    run: |bench, kind| {
        let (clients, events) = size(bench);
        let transport = Transport::Plain;
        Ok(paced::measure(bench, kind, transport, clients, events, PER_SECOND)?.into())
    },
};

pub(super) fn size(bench: &Bench) -> (usize, u64) {
    (bench.clients(10_000, 200), bench.events(200, 20))
}
