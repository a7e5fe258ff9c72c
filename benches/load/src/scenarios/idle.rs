use std::time::Duration;

use crate::Result;
use crate::clients::{Fleet, Request};
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Server, Setup, Transport};
use crate::stage::ready;
use crate::value::Values;

/// The time after which the work of opening streams is done, such as timers and freed allocations.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

pub(super) fn settle(bench: &Bench) -> Duration {
    if bench.quick { SETTLE / 10 } else { SETTLE }
}

pub(super) const COLUMNS: &[Column] = &[
    Column { name: "per stream", unit: Unit::Kib },
    Column { name: "process without streams", unit: Unit::Kib },
];

pub(super) const SCENARIO: Scenario = Scenario {
    name: "idle",
    about: "open streams without events: resident memory of each",
    describe: |bench| {
        format!(
            "{} HTTP/1.1 streams without events. Resident memory (VmRSS) is read {SETTLE:?} after the start of the process, and again {SETTLE:?} after the last stream is at its start. The growth is divided by the number of streams.",
            size(bench)
        )
    },
    servers: &Kind::PLAIN,
    columns: COLUMNS,
    goals: &[Goal { column: 0, bound: Bound::Max(5.0) }],
    rounds: u16::MAX,
    run: |bench, kind| Ok(measure(bench, kind, Transport::Plain)?.into()),
};

pub(super) fn size(bench: &Bench) -> usize {
    bench.clients(5000, 200)
}

/// One value for each of [`COLUMNS`].
pub(super) fn measure(bench: &Bench, kind: Kind, setup: impl Into<Setup>) -> Result<[f64; 2]> {
    let streams = size(bench);
    let setup = setup.into();
    let topic = bench.new_topic(Values::Padded)?;
    let server = Server::start(bench, kind, setup, &topic, 1024)?;
    // What a scrape takes is no matter of streams.
    std::thread::sleep(settle(bench));
    let before = server.resident_bytes()? as f64 / 1024.0;
    let requests = vec![Request::all(); streams];
    let dial = bench.tls.dial(setup.transport());
    let mut fleet = Fleet::open(server.address, dial, requests, ready(kind))?;
    fleet.read_for(settle(bench))?;
    let with = server.resident_bytes()? as f64 / 1024.0;
    Ok([(with - before) / streams as f64, before])
}
