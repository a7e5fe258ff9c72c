use crate::Result;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario, burst};
use crate::servers::{Kind, Transport};
use crate::value::Values;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "burst-h2",
    about: "the burst over TLS 1.3 and HTTP/2, as browsers are: bytes per CPU-second",
    describe: |bench| {
        let (clients, events) = burst::size(bench);
        format!(
            "As `tls-burst`, with {clients} clients over HTTP/2, one stream on each connection, and {events} events of 256 bytes. Beside it is HTTP/1.1 over TLS, from another process of the server. The server `raw-tls` speaks HTTP/1.1 only."
        )
    },
    servers: &Kind::TLS,
    columns: &[
        Column { name: "bytes per CPU-second", unit: Unit::ByteRate },
        Column { name: "deliveries per CPU-second", unit: Unit::Rate },
        Column { name: "bytes per CPU-second of HTTP/1.1", unit: Unit::ByteRate },
    ],
    goals: &[
        Goal { column: 0, bound: Bound::MinTimesColumn(0.8, 2) },
        Goal { column: 0, bound: Bound::MinTimes(0.8, Kind::RawTls) },
    ],
    rounds: u16::MAX,
    run,
};

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let over = |transport| burst::measure(bench, kind, transport, Values::Padded);
    let h1 = over(Transport::Tls)?;
    let h2 = if kind == Kind::RawTls { None } else { Some(over(Transport::TlsH2)?) };
    let first = h2.as_ref().unwrap_or(&h1);
    Ok(vec![first.bytes_per_cpu_second(), first.per_cpu_second(), h1.bytes_per_cpu_second()])
}
