use crate::Result;
use crate::clients::{Dial, Fleet, Ready, Request};
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Server, Transport};
use crate::value::Values;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "start",
    about: "from executing the program to its first connection and response",
    describe: |_| {
        "The times begin just before the program is executed. They end when it accepts its first connection, and when the head of its first response, an open stream, arrives.".to_owned()
    },
    servers: &[Kind::Tailwater, Kind::Axum],
    columns: &[
        Column { name: "listens after", unit: Unit::Milliseconds },
        Column { name: "answers after", unit: Unit::Milliseconds },
    ],
    goals: &[Goal { column: 0, bound: Bound::Max(100.0) }],
    rounds: u16::MAX,
    run,
};

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let topic = bench.new_topic(Values::Padded)?;
    let server = Server::start(bench, kind, Transport::Plain, &topic, 1024)?;
    let _fleet = Fleet::open(server.address, Dial::default(), vec![Request::all()], Ready::Head)?;
    let answered_after = server.executed.elapsed();
    Ok(vec![server.listening_after.as_secs_f64() * 1e3, answered_after.as_secs_f64() * 1e3])
}
