use crate::Result;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario, burst, idle, keyed, paced};
use crate::servers::{Kind, Setup, Transport};
use crate::value::Values;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "metrics",
    about: "`burst`, `paced`, `keyed` and `idle` with all metrics and a scrape each second, and without",
    describe: |_| {
        "`burst`, `paced`, `keyed` and `idle`, first with nothing configured. Then with a scrape of `/metrics` each second, all metrics of Zilla on three bindings, an exporter of type `prometheus`, and one of type `otlp` that pushes each 5 s. The columns show deliveries per CPU-second of `burst` and `paced`, CPU-seconds a second of `keyed`, and the memory of an idle stream."
            .to_owned()
    },
    servers: &[Kind::Tailwater],
    columns: &[
        Column { name: "burst, without", unit: Unit::Rate },
        Column { name: "burst, with", unit: Unit::Rate },
        Column { name: "paced, without", unit: Unit::Rate },
        Column { name: "paced, with", unit: Unit::Rate },
        Column { name: "keyed, without", unit: Unit::Cores },
        Column { name: "keyed, with", unit: Unit::Cores },
        Column { name: "idle, without", unit: Unit::Kib },
        Column { name: "idle, with", unit: Unit::Kib },
    ],
    goals: &[
        Goal { column: 1, bound: Bound::MinTimesColumn(0.97, 0) },
        Goal { column: 3, bound: Bound::MinTimesColumn(0.97, 2) },
        Goal { column: 5, bound: Bound::MaxTimesColumn(1.03, 4) },
        Goal { column: 7, bound: Bound::MaxAboveColumn(0.25, 6) },
    ],
    rounds: u16::MAX,
    run,
};

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let without = Setup::from(Transport::Plain);
    let both = [without, without.observed()];
    let mut values = Vec::new();
    for setup in both {
        values.push(burst::deliver(bench, kind, setup, Values::Padded)?[0]);
    }
    for setup in both {
        values.push(paced::deliver(bench, kind, setup)?[0]);
    }
    for setup in both {
        values.push(keyed::measure(bench, kind, setup)?[0]);
    }
    for setup in both {
        values.push(idle::measure(bench, kind, setup)?[0]);
    }
    Ok(values)
}
