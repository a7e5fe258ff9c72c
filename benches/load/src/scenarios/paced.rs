use crate::Result;
use crate::kafka::Pace;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Setup, Transport};
use crate::stage::Stage;
use crate::value::Values;

const PER_SECOND: u32 = 100;

pub(super) const COLUMNS: &[Column] = &[
    Column { name: "deliveries per CPU-second", unit: Unit::Rate },
    Column { name: "p50", unit: Unit::Milliseconds },
    Column { name: "p99", unit: Unit::Milliseconds },
];

pub(super) const PLAIN: Scenario = Scenario {
    name: "paced",
    about: "100 events a second: deliveries per CPU-second, latency",
    describe: |bench| {
        let (clients, events) = size(bench);
        format!(
            "{clients} clients, and {events} events of 256 bytes, {PER_SECOND} a second. Latency begins just before the producer takes the record (for `raw`: when the event is encoded). It ends when the client reads the event."
        )
    },
    servers: &Kind::PLAIN,
    columns: COLUMNS,
    goals: &[
        Goal { column: 0, bound: Bound::MinTimes(0.72, Kind::Raw) },
        Goal { column: 0, bound: Bound::MinTimes(1.2, Kind::Axum) },
        Goal { column: 2, bound: Bound::MaxTimes(1.0, Kind::Axum) },
    ],
    rounds: u16::MAX,
    run: |bench, kind| Ok(deliver(bench, kind, Transport::Plain)?.into()),
};

pub(super) const TLS: Scenario = Scenario {
    name: "paced-tls",
    about: "`paced` over TLS 1.3: deliveries per CPU-second, latency",
    describe: |bench| {
        let (clients, events) = size(bench);
        format!(
            "As `paced`, with {clients} clients over TLS 1.3 and HTTP/1.1, and {events} events of 256 bytes, {PER_SECOND} a second."
        )
    },
    servers: &Kind::TLS,
    columns: COLUMNS,
    goals: &[Goal { column: 0, bound: Bound::MinTimes(1.15, Kind::Axum) }],
    rounds: u16::MAX,
    run: |bench, kind| Ok(deliver(bench, kind, Transport::Tls)?.into()),
};

pub(super) const H2: Scenario = Scenario {
    name: "paced-h2",
    about: "`paced` over TLS 1.3 and HTTP/2, as browsers are: deliveries per CPU-second, latency",
    describe: |bench| {
        let (clients, events) = size(bench);
        format!(
            "As `paced-tls`, with {clients} clients over TLS 1.3 and HTTP/2, one stream on each connection, and {events} events."
        )
    },
    servers: &[Kind::Tailwater, Kind::Axum],
    columns: COLUMNS,
    goals: &[
        Goal { column: 0, bound: Bound::MinTimes(1.25, Kind::Axum) },
        Goal { column: 2, bound: Bound::MaxTimes(0.5, Kind::Axum) },
    ],
    rounds: u16::MAX,
    run: |bench, kind| Ok(deliver(bench, kind, Transport::TlsH2)?.into()),
};

fn size(bench: &Bench) -> (usize, u64) {
    (bench.clients(1000, 100), bench.events(2000, 100))
}

/// One value for each of [`COLUMNS`].
pub(super) fn deliver(bench: &Bench, kind: Kind, setup: impl Into<Setup>) -> Result<[f64; 3]> {
    let (clients, events) = size(bench);
    measure(bench, kind, setup, clients, events, PER_SECOND)
}

/// One value for each of [`COLUMNS`].
pub(super) fn measure(
    bench: &Bench,
    kind: Kind,
    setup: impl Into<Setup>,
    clients: usize,
    events: u64,
    per_second: u32,
) -> Result<[f64; 3]> {
    let delivered = Stage::live(bench, kind, setup, Values::Padded, clients, events)?
        .deliver(events, Pace::PerSecond(per_second))?;
    let [p50, p99] = [0.5, 0.99].map(|quantile| delivered.milliseconds(quantile));
    Ok([delivered.per_cpu_second(), p50, p99])
}
