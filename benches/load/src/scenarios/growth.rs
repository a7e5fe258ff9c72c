use crate::Result;
use crate::kafka::Pace;
use crate::report::Unit;
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Transport};
use crate::stage::Stage;
use crate::value::Values;

/// The numbers of clients, in the order of the columns.
pub(crate) const CLIENTS: [usize; 4] = [10, 100, 1000, 10_000];

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "growth",
    about: "the burst with ever more clients: how its cost grows (--plot draws it)",
    describe: |bench| {
        format!(
            "As `burst`, for several numbers of clients. The number of deliveries is the same each time: {}. The columns show deliveries per CPU-second.",
            deliveries(bench)
        )
    },
    servers: &Kind::PLAIN,
    columns: &[
        Column { name: "10 clients", unit: Unit::Rate },
        Column { name: "100 clients", unit: Unit::Rate },
        Column { name: "1000 clients", unit: Unit::Rate },
        Column { name: "10 000 clients", unit: Unit::Rate },
    ],
    goals: &[],
    rounds: u16::MAX,
    run,
};

fn deliveries(bench: &Bench) -> u64 {
    if bench.quick { 20_000 } else { 5_000_000 }
}

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let measure = |clients: usize| {
        let events = deliveries(bench) / clients as u64;
        Stage::live(bench, kind, Transport::Plain, Values::Padded, clients, events)?
            .deliver(events, Pace::AsFastAsPossible)
            .map(|delivered| delivered.per_cpu_second())
    };
    // With --quick the numbers are small: they only show that the scenario runs.
    let clients = CLIENTS.map(|clients| if bench.quick { clients.min(100) } else { clients });
    clients.into_iter().map(measure).collect()
}
