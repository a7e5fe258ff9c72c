use crate::Result;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario, burst, paced};
use crate::servers::{Kind, Setup, Transport};
use crate::value::Values;

const COLUMNS: &[Column] = &[
    Column { name: "burst, one thread", unit: Unit::Rate },
    Column { name: "burst, two threads", unit: Unit::Rate },
    Column { name: "paced, one thread", unit: Unit::Rate },
    Column { name: "paced, two threads", unit: Unit::Rate },
    Column { name: "p99, one thread", unit: Unit::Milliseconds },
    Column { name: "p99, two threads", unit: Unit::Milliseconds },
];

const GOALS: &[Goal] = &[
    Goal { column: 1, bound: Bound::MinTimesColumn(0.9, 0) },
    Goal { column: 3, bound: Bound::MinTimesColumn(0.9, 2) },
    Goal { column: 5, bound: Bound::MaxTimesColumn(1.0, 4) },
];

pub(super) const PLAIN: Scenario = Scenario {
    name: "threads",
    about: "`burst` and `paced` with one thread and with two: deliveries per CPU-second, p99",
    describe: |_| {
        "`burst` and `paced` with `--threads 1` and with `--threads 2`: deliveries per CPU-second, and the p99 of `paced`. The server has a lower priority than the clients, so that two threads of it do not hold them up."
            .to_owned()
    },
    servers: &[Kind::Tailwater],
    columns: COLUMNS,
    goals: GOALS,
    rounds: u16::MAX,
    run: |bench, kind| run(bench, kind, Transport::Plain),
};

pub(super) const TLS: Scenario = Scenario {
    name: "threads-tls",
    about: "`threads` over TLS 1.3",
    describe: |_| "As `threads`, over TLS 1.3 and HTTP/1.1.".to_owned(),
    servers: &[Kind::Tailwater],
    columns: COLUMNS,
    goals: GOALS,
    rounds: u16::MAX,
    run: |bench, kind| run(bench, kind, Transport::Tls),
};

fn run(bench: &Bench, kind: Kind, transport: Transport) -> Result<Vec<f64>> {
    let with = |threads| Setup::from(transport).threads(threads).yielding();
    let burst = |threads| burst::deliver(bench, kind, with(threads), Values::Padded);
    let paced = |threads| paced::deliver(bench, kind, with(threads));
    let [burst_of_one, _] = burst(1)?;
    let [burst_of_two, _] = burst(2)?;
    let [paced_of_one, _, p99_of_one] = paced(1)?;
    let [paced_of_two, _, p99_of_two] = paced(2)?;
    Ok(vec![burst_of_one, burst_of_two, paced_of_one, paced_of_two, p99_of_one, p99_of_two])
}
