use crate::Result;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario, burst};
use crate::servers::{Kind, Transport};
use crate::value::Values;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "tls-burst",
    about: "the burst over TLS 1.3: bytes per CPU-second",
    describe: |bench| {
        let (clients, events) = burst::size(bench);
        format!(
            "As `burst`, with {clients} clients over TLS 1.3 (TLS_AES_128_GCM_SHA256) and HTTP/1.1, and {events} events of 256 bytes. The bytes are those of the events before encryption."
        )
    },
    servers: &Kind::TLS,
    columns: &[
        Column { name: "bytes per CPU-second", unit: Unit::ByteRate },
        Column { name: "bytes per second", unit: Unit::ByteRate },
    ],
    goals: &[Goal { column: 0, bound: Bound::MinTimes(0.8, Kind::RawTls) }],
    rounds: u16::MAX,
    run,
};

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let delivered = burst::measure(bench, kind, Transport::Tls, Values::Padded)?;
    Ok(vec![
        delivered.bytes_per_cpu_second(),
        delivered.bytes as f64 / delivered.wall.as_secs_f64(),
    ])
}
