use std::time::{Duration, Instant};

use crate::Result;
use crate::kafka::Pace;
use crate::process;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::idle::settle;
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Server, Transport};
use crate::stage::Stage;
use crate::value::Values;

const PER_SECOND: u32 = 10;
/// Events that are sent one by one, each when all clients have the one before.
const SINGLE: u32 = 5;
/// The open files that the server keeps for other things than clients, and some more.
const OF_SERVER: u64 = 500;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "idle-100k",
    about: "100 000 streams in one process: memory, and the time of an event to all of them",
    describe: |bench| {
        let (clients, events) = size(bench);
        let wanted = wanted(bench);
        let few = match clients < wanted {
            true => format!(
                " **The limit of open files (`ulimit -Hn`) allows {clients} clients here instead of {wanted}.**"
            ),
            false => String::new(),
        };
        format!(
            "{clients} HTTP/1.1 streams.{few} Memory is measured as for `idle`. Then {SINGLE} events of 256 bytes are sent, each when all clients have the one before: the mean time until the last client has an event, and the processor time that the server takes for it. Then {events} events, {PER_SECOND} a second, which is more than the machine delivers one by one: the longest latency."
        )
    },
    servers: &[Kind::Tailwater],
    columns: &[
        Column { name: "per stream", unit: Unit::Kib },
        Column { name: "until the last client has it", unit: Unit::Seconds },
        Column { name: "CPU time of an event", unit: Unit::Seconds },
        Column { name: "longest latency at 10 a second", unit: Unit::Seconds },
        Column { name: "deliveries per CPU-second at 10 a second", unit: Unit::Rate },
    ],
    goals: &[
        Goal { column: 0, bound: Bound::Max(3.0) },
        Goal { column: 1, bound: Bound::MaxTimesColumn(1.2, 2) },
    ],
    rounds: 3,
    run,
};

fn wanted(bench: &Bench) -> usize {
    bench.clients(100_000, 500)
}

/// The clients that the limit of open files allows, which the server inherits, and the events.
fn size(bench: &Bench) -> (usize, u64) {
    let files = process::permitted_files(wanted(bench) as u64 + OF_SERVER);
    (files.saturating_sub(OF_SERVER) as usize, bench.events(200, 20))
}

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let (clients, events) = size(bench);
    let topic = bench.new_topic(Values::Padded)?;
    let server = Server::start(bench, kind, Transport::Plain, &topic, 1024)?;
    let without = server.resident_bytes()? as f64;
    let mut stage = Stage::open(bench, kind, server, &topic, Transport::Plain, clients)?;
    stage.fleet.read_for(settle(bench))?;
    let with = stage.server.resident_bytes()? as f64;

    stage.send_and_read(u64::from(SINGLE), Pace::PerSecond(PER_SECOND))?;
    let mut wall = Duration::ZERO;
    let cpu = stage.server.cpu_time()?;
    for _ in 0..SINGLE {
        let begin = Instant::now();
        stage.send_and_read(1, Pace::AsFastAsPossible)?;
        wall += begin.elapsed();
    }
    let cpu = stage.server.cpu_time()?.saturating_sub(cpu);
    let delivered = stage.deliver(events, Pace::PerSecond(PER_SECOND))?;
    Ok(vec![
        (with - without) / 1024.0 / clients as f64,
        (wall / SINGLE).as_secs_f64(),
        (cpu / SINGLE).as_secs_f64(),
        delivered.milliseconds(1.0) / 1e3,
        delivered.per_cpu_second(),
    ])
}
