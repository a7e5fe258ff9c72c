use std::time::Duration;

use crate::Result;
use crate::consumer::Consumer;
use crate::kafka::Pace;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Server, Setup, Transport};
use crate::stage::{Keys, Stage};
use crate::value::Values;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "keyed",
    about: "many keys, a client for some of them: processor time, latency",
    describe: |bench| {
        let (keys, events) = size(bench);
        format!(
            "{} records of 256 bytes, {} a second, with {} keys in turn. {} clients read one key each. The server `consumer` reads the topic and serves no client. The server `raw` writes each event to its client, without Kafka. Latency is measured as for `paced`. The share of Kafka and the producer differs between runs, so that a second consumer reads beside tailwater.",
            events, keys.count, keys.count, keys.clients
        )
    },
    servers: &[Kind::Tailwater, Kind::Consumer, Kind::Raw],
    columns: &[
        Column { name: "CPU-seconds a second", unit: Unit::Cores },
        Column { name: "p50", unit: Unit::Milliseconds },
        Column { name: "p99", unit: Unit::Milliseconds },
        Column { name: "p99 of a consumer beside", unit: Unit::Milliseconds },
    ],
    goals: &[
        Goal { column: 0, bound: Bound::MaxTimesSum(1.5, [Kind::Consumer, Kind::Raw]) },
        Goal { column: 2, bound: Bound::MaxAboveColumn(20.0, 3) },
    ],
    rounds: u16::MAX,
    run: |bench, kind| Ok(measure(bench, kind, Transport::Plain)?.into()),
};

fn size(bench: &Bench) -> (Keys, u64) {
    keys_and_records(bench, 4, 20)
}

/// The keys, `for_each` per client, and the number of records in `seconds`. Each key has a record a second.
pub(super) fn keys_and_records(bench: &Bench, for_each: u64, seconds: u64) -> (Keys, u64) {
    let clients = bench.clients(5000, 50);
    let keys = Keys { count: for_each * clients as u64, clients };
    (keys, bench.events(seconds * keys.count, 5 * keys.count).next_multiple_of(keys.count))
}

/// CPU-seconds a second, p50, p99, and the p99 of a consumer beside.
pub(super) fn measure(bench: &Bench, kind: Kind, setup: impl Into<Setup>) -> Result<[f64; 4]> {
    let (keys, events) = size(bench);
    let rate = u32::try_from(keys.count)?;
    let topic = bench.new_topic(Values::Padded)?;
    if kind == Kind::Consumer {
        let mut consumer = Consumer::live(bench, &topic.name, keys.count, events)?;
        let producer = bench.kafka.producer(&topic, Some(keys.count))?;
        producer.send(0, keys.count, Pace::PerSecond(rate))?;
        consumer.wait_until_warm()?;
        let cpu = consumer.cpu_time()?;
        producer.send(keys.count, events, Pace::PerSecond(rate))?;
        let read = consumer.wait()?;
        let cpu = consumer.cpu_time()?.saturating_sub(cpu);
        let cores = cpu.as_secs_f64() / read.wall.as_secs_f64();
        return Ok([cores, milliseconds(read.p50), milliseconds(read.p99), f64::NAN]);
    }
    let server = Server::start(bench, kind, setup, &topic, 1024)?;
    let beside = match kind {
        Kind::Tailwater => Some(Consumer::live(bench, &topic.name, keys.count, events)?),
        _ => None,
    };
    let delivered = Stage::keyed(bench, kind, server, &topic, keys, rate)?
        .deliver(events, Pace::PerSecond(rate))?;
    let beside = match beside {
        None => f64::NAN,
        Some(mut consumer) => {
            consumer.wait_until_warm()?;
            milliseconds(consumer.wait()?.p99)
        }
    };
    Ok([
        delivered.cpu.as_secs_f64() / delivered.wall.as_secs_f64(),
        delivered.milliseconds(0.5),
        delivered.milliseconds(0.99),
        beside,
    ])
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
