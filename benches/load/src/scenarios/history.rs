use std::time::Instant;

use crate::Result;
use crate::clients::{Dial, Fleet, Ready, Request};
use crate::consumer::Consumer;
use crate::kafka::Pace;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Server, Transport};
use crate::value::Values;

const SERVERS: &[Kind] = &[Kind::Tailwater, Kind::Consumer];
const COLUMNS: &[Column] = &[Column { name: "records per second", unit: Unit::Rate }];

/// The mock cluster stores 5 MB of a partition.
const QUICK: u64 = 10_000;

pub(super) const FROM_KAFKA: Scenario = Scenario {
    name: "history",
    about: "one client from the beginning, read from Kafka: records per second",
    describe: |bench| {
        format!(
            "{} records of 256 bytes are written before the server starts. The time is measured from the request of the first client to its last event, and for `consumer` from the assignment to the last record.",
            records(bench)
        )
    },
    servers: SERVERS,
    columns: COLUMNS,
    goals: &[Goal { column: 0, bound: Bound::MinTimes(0.6, Kind::Consumer) }],
    rounds: u16::MAX,
    run: |bench, kind| {
        let records = records(bench);
        let topic = bench.filled_topic(Values::Padded, records, None)?;
        match kind {
            Kind::Consumer => consume(bench, &topic.name, records),
            _ => {
                let server = Server::start(bench, kind, Transport::Plain, &topic, 1024)?;
                Ok(vec![read(&server, records)?.per_second])
            }
        }
    },
};

pub(super) const FROM_LOG: Scenario = Scenario {
    name: "history-log",
    about: "one client from the beginning, read from the log: records per second",
    describe: |bench| {
        format!(
            "{} records of 256 bytes are written while another client is connected, so that the log of the server contains them, encoded. The log may use 1 KiB for each record. The time is measured as for `history`.",
            records(bench)
        )
    },
    servers: SERVERS,
    columns: COLUMNS,
    goals: &[Goal { column: 0, bound: Bound::MinTimes(3.0, Kind::Consumer) }],
    rounds: u16::MAX,
    run: |bench, kind| {
        let records = records(bench);
        if kind == Kind::Consumer {
            let topic = bench.filled_topic(Values::Padded, records, None)?;
            return consume(bench, &topic.name, records);
        }
        let topic = bench.new_topic(Values::Padded)?;
        let server = Server::start(bench, kind, Transport::Plain, &topic, records)?;
        let mut live =
            Fleet::open(server.address, Dial::default(), vec![Request::all()], Ready::Id)?;
        bench.kafka.producer(&topic, None)?.send(0, records, Pace::AsFastAsPossible)?;
        live.read_to_number(records - 1)?;
        Ok(vec![read(&server, records)?.per_second])
    },
};

pub(super) const OF_AVRO: Scenario = Scenario {
    name: "history-avro",
    about: "the history of a topic of Avro, which the server makes JSON of: records per second",
    describe: |bench| {
        format!(
            "As `history`, with {} records of five fields. They are some 45 bytes of Avro and some 100 bytes of JSON. tailwater has the schema inline. The second column is a topic of the same records as JSON, which has no model, and is read from another process of the server.",
            records(bench)
        )
    },
    servers: &[Kind::Tailwater],
    columns: &[
        Column { name: "records per second", unit: Unit::Rate },
        Column { name: "records per second of JSON", unit: Unit::Rate },
    ],
    goals: &[Goal { column: 0, bound: Bound::MinTimesColumn(0.6, 1) }],
    rounds: u16::MAX,
    run: |bench, kind| {
        let records = records(bench);
        // Both topics are filled before either is read.
        let avro = bench.filled_topic(Values::Avro, records, None)?;
        let json = bench.filled_topic(Values::Json, records, None)?;
        let from = |topic| {
            let server = Server::start(bench, kind, Transport::Plain, topic, 1024)?;
            read(&server, records)
        };
        let (avro, json) = (from(&avro)?, from(&json)?);
        if avro.event_bytes != json.event_bytes {
            return Err("the events differ in size".into());
        }
        Ok(vec![avro.per_second, json.per_second])
    },
};

pub(super) fn records(bench: &Bench) -> u64 {
    bench.events(1_000_000, QUICK)
}

struct Read {
    per_second: f64,
    event_bytes: u64,
}

fn read(server: &Server, records: u64) -> Result<Read> {
    let begin = Instant::now();
    let request = Request::all().since_the_beginning();
    let mut fleet = Fleet::open(server.address, Dial::default(), vec![request], Ready::Head)?;
    fleet.read_events(records)?;
    let wall = begin.elapsed();
    fleet.verify_each(0..records)?;
    Ok(Read { per_second: records as f64 / wall.as_secs_f64(), event_bytes: fleet.event_bytes() })
}

fn consume(bench: &Bench, topic: &str, records: u64) -> Result<Vec<f64>> {
    let read = Consumer::of_history(bench, topic, records)?.wait()?;
    Ok(vec![records as f64 / read.wall.as_secs_f64()])
}
