use crate::Result;
use crate::kafka::Pace;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::keyed::keys_and_records;
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Server, Transport};
use crate::stage::{Keys, Stage};
use crate::value::Values;

const LIMIT_MIB: u64 = 2048;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "soak",
    about: "as `keyed` with more keys and for long, in limited memory: pauses, memory",
    describe: |bench| {
        let (keys, records) = size(bench);
        format!(
            "{records} records of 256 bytes, {} a second, with {} keys in turn. {} clients read one key each. The address space of the server is limited to {LIMIT_MIB} MiB (RLIMIT_AS), so that it would end if it needed more. A pause is a time in which no client receives an event.",
            keys.count, keys.count, keys.clients
        )
    },
    servers: &[Kind::Tailwater],
    columns: &[
        Column { name: "longest pause", unit: Unit::Seconds },
        Column { name: "p99", unit: Unit::Milliseconds },
        Column { name: "greatest memory", unit: Unit::Mib },
        Column { name: "deliveries", unit: Unit::Count },
    ],
    goals: &[
        Goal { column: 0, bound: Bound::Max(2.0) },
        Goal { column: 2, bound: Bound::Max(LIMIT_MIB as f64) },
    ],
    rounds: 1,
    run,
};

fn size(bench: &Bench) -> (Keys, u64) {
    keys_and_records(bench, 10, 40)
}

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let (keys, events) = size(bench);
    let rate = u32::try_from(keys.count)?;
    let topic = bench.new_topic(Values::Padded)?;
    let server = Server::start(bench, kind, Transport::Plain, &topic, 1024)?;
    server.limit_address_space(LIMIT_MIB * 1024 * 1024)?;
    let mut stage = Stage::keyed(bench, kind, server, &topic, keys, rate)?;
    let delivered = stage.deliver(events, Pace::PerSecond(rate))?;
    Ok(vec![
        stage.fleet.longest_pause().as_secs_f64(),
        delivered.milliseconds(0.99),
        stage.server.peak_bytes()? as f64 / 1024.0 / 1024.0,
        delivered.deliveries as f64,
    ])
}
