use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Column, Scenario, burst};
use crate::servers::{Kind, Transport};
use crate::value::Values;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "burst-avro",
    about: "the burst of a topic of Avro, which the server makes JSON of: deliveries per CPU-second",
    describe: |bench| {
        let (clients, events) = burst::size(bench);
        format!(
            "As `burst`, with {clients} clients and {events} records of five fields, as in `history-avro`. The last two columns are a topic of the same records as JSON, which has no model, and is read from another process of the server."
        )
    },
    servers: &[Kind::Tailwater],
    columns: &[
        Column { name: "deliveries per CPU-second", unit: Unit::Rate },
        Column { name: "deliveries per second", unit: Unit::Rate },
        Column { name: "deliveries per CPU-second of JSON", unit: Unit::Rate },
        Column { name: "deliveries per second of JSON", unit: Unit::Rate },
    ],
    goals: &[Goal { column: 0, bound: Bound::MinTimesColumn(0.95, 2) }],
    rounds: u16::MAX,
    run: |bench, kind| {
        let of = |values| burst::deliver(bench, kind, Transport::Plain, values);
        Ok([of(Values::Avro)?, of(Values::Json)?].concat())
    },
};
