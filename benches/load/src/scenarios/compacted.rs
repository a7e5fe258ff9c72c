use std::time::Instant;

use crate::Result;
use crate::clients::{Dial, Fleet, Ready, Request};
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Server, Transport};
use crate::value::Values;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "compacted",
    about: "a compacted topic from the beginning: events, time",
    describe: |bench| {
        let (keys, records) = size(bench);
        if bench.kafka.is_mock() {
            return "Not on the mock cluster, which has no compacted topics.".to_owned();
        }
        format!(
            "A compacted topic with {records} records of 256 bytes over {keys} keys. Kafka has not yet removed any record. One client has read the topic. Then a second client reads it from the beginning. The time is measured from its request to the newest record."
        )
    },
    servers: &[Kind::Tailwater],
    columns: &[
        Column { name: "events", unit: Unit::Count },
        Column { name: "until the newest", unit: Unit::Seconds },
        Column { name: "the client before", unit: Unit::Seconds },
    ],
    goals: &[
        Goal { column: 0, bound: Bound::Max(50_000.0) },
        Goal { column: 1, bound: Bound::Max(2.0) },
    ],
    rounds: u16::MAX,
    run,
};

fn size(bench: &Bench) -> (u64, u64) {
    let records = bench.events(10_000_000, 20_000);
    (records / 200, records)
}

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    if bench.kafka.is_mock() {
        return Ok(vec![f64::NAN; 3]);
    }
    let (keys, records) = size(bench);
    let topic = bench.filled_topic(Values::Padded, records, Some(keys))?;
    let server = Server::start(bench, kind, Transport::Plain, &topic, 1024)?;
    let (_, before) = read(&server, keys, records)?;
    let (events, wall) = read(&server, keys, records)?;
    Ok(vec![events, wall, before])
}

fn read(server: &Server, keys: u64, records: u64) -> Result<(f64, f64)> {
    let begin = Instant::now();
    let requests = vec![Request::all().since_the_beginning()];
    let mut fleet = Fleet::open(server.address, Dial::default(), requests, Ready::Head)?;
    fleet.read_to_number(records - 1)?;
    let wall = begin.elapsed().as_secs_f64();
    let events = fleet.deliveries();
    // The client receives either the newest record of each key, or all records.
    if events == keys {
        fleet.verify_each(records - keys..records)?;
    } else {
        fleet.verify_each(0..records)?;
    }
    Ok((events as f64, wall))
}
