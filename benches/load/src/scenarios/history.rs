use std::time::Instant;

use crate::Result;
use crate::clients::{Fleet, Ready, Request};
use crate::consumer::Consumer;
use crate::kafka::Pace;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Server, Transport};

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
        let topic = bench.filled_topic(records, None)?;
        match kind {
            Kind::Consumer => consume(bench, &topic, records),
            _ => {
                let server = Server::start(bench, kind, Transport::Plain, &topic, 1024)?;
                read(&server, records)
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
            let topic = bench.filled_topic(records, None)?;
            return consume(bench, &topic, records);
        }
        let topic = bench.new_topic()?;
        let server = Server::start(bench, kind, Transport::Plain, &topic, records)?;
        let mut live = Fleet::open(server.address, None, vec![Request::all()], Ready::Id)?;
        bench.kafka.producer(&topic, None)?.send(0, records, Pace::AsFastAsPossible)?;
        live.read_to_number(records - 1)?;
        read(&server, records)
    },
};

pub(super) fn records(bench: &Bench) -> u64 {
    bench.events(1_000_000, QUICK)
}

fn read(server: &Server, records: u64) -> Result<Vec<f64>> {
    let begin = Instant::now();
    let request = Request::all().since_the_beginning();
    let mut fleet = Fleet::open(server.address, None, vec![request], Ready::Head)?;
    fleet.read_events(records)?;
    let wall = begin.elapsed();
    fleet.verify_each(0..records)?;
    Ok(vec![records as f64 / wall.as_secs_f64()])
}

fn consume(bench: &Bench, topic: &str, records: u64) -> Result<Vec<f64>> {
    let read = Consumer::of_history(bench, topic, records)?.wait()?;
    Ok(vec![records as f64 / read.wall.as_secs_f64()])
}
