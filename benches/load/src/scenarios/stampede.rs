use std::time::Instant;

use crate::Result;
use crate::clients::{Dial, Fleet, Ready, Request};
use crate::consumer::Consumer;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario, history};
use crate::servers::{Kind, Server, Transport};
use crate::value::Values;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "stampede",
    about: "many clients replay a topic at once: bytes read from Kafka, memory",
    describe: |bench| {
        format!(
            "{} clients request a topic at the same time, from its beginning. Its {} records of 256 bytes were written before the server started. The columns show the bytes that the server receives from Kafka, as the kernel counts them on its connections, and the greatest resident memory (VmHWM) of the server. The server `consumer` reads the topic once.",
            clients(bench),
            history::records(bench)
        )
    },
    servers: &[Kind::Tailwater, Kind::Consumer],
    columns: &[
        Column { name: "received from Kafka", unit: Unit::Mib },
        Column { name: "greatest memory", unit: Unit::Mib },
        Column { name: "deliveries per second", unit: Unit::Rate },
        Column { name: "until all have all", unit: Unit::Seconds },
    ],
    goals: &[
        Goal { column: 0, bound: Bound::MaxTimes(2.0, Kind::Consumer) },
        Goal { column: 1, bound: Bound::Max(MEMORY_MIB) },
    ],
    rounds: 1,
    run,
};

/// The sum of 256 MiB for the log, 16 MiB for each of two readers and as much in librdkafka, 32 MiB for the live
/// consumer, and 64 KiB for each of 1000 streams.
const MEMORY_MIB: f64 = 256.0 + 64.0 + 32.0 + 62.5;

fn clients(bench: &Bench) -> usize {
    bench.clients(1000, 50)
}

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let records = history::records(bench);
    let topic = bench.filled_topic(Values::Padded, records, None)?;
    let mib = |bytes: f64| bytes / 1024.0 / 1024.0;
    if kind == Kind::Consumer {
        let mut consumer = Consumer::of_history(bench, &topic.name, records)?;
        let wall = consumer.wait()?.wall.as_secs_f64();
        return Ok(vec![mib(consumer.received_bytes()?), f64::NAN, records as f64 / wall, wall]);
    }
    let server = Server::start(bench, kind, Transport::Plain, &topic, 1024)?;
    let requests = vec![Request::all().since_the_beginning(); clients(bench)];
    let deliveries = records * requests.len() as u64;
    let begin = Instant::now();
    let mut fleet = Fleet::open(server.address, Dial::default(), requests, Ready::Head)?;
    fleet.read_events(records)?;
    let wall = begin.elapsed().as_secs_f64();
    fleet.verify_each(0..records)?;
    let received = server.received_bytes()?;
    let peak = server.peak_bytes()? as f64;
    Ok(vec![mib(received), mib(peak), deliveries as f64 / wall, wall])
}
