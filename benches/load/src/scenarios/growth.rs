use crate::Result;
use crate::kafka::Pace;
use crate::report::Unit;
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Transport};
use crate::stage::Stage;
use crate::value::Values;

/// The numbers of clients, in the order of the columns.
pub(crate) const CLIENTS: [usize; 4] = [10, 100, 1000, 10_000];

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "growth",
    about: "the burst with ever more clients: how its cost grows (--plot draws it)",
    describe: |bench| {
        format!(
            "As `burst`, for several numbers of clients, and again over TLS 1.3 and HTTP/2 with one stream on each connection. The number of deliveries is the same each time: {}, and {} over HTTP/2. The columns show deliveries per CPU-second.",
            deliveries(bench, Transport::Plain),
            deliveries(bench, Transport::TlsH2)
        )
    },
    servers: &Kind::PLAIN,
    columns: &[
        Column { name: "10 clients", unit: Unit::Rate },
        Column { name: "100 clients", unit: Unit::Rate },
        Column { name: "1000 clients", unit: Unit::Rate },
        Column { name: "10 000 clients", unit: Unit::Rate },
        Column { name: "10 over HTTP/2", unit: Unit::Rate },
        Column { name: "100 over HTTP/2", unit: Unit::Rate },
        Column { name: "1000 over HTTP/2", unit: Unit::Rate },
        Column { name: "10 000 over HTTP/2", unit: Unit::Rate },
    ],
    goals: &[],
    rounds: u16::MAX,
    run,
};

fn deliveries(bench: &Bench, transport: Transport) -> u64 {
    match transport.is_h2() {
        _ if bench.quick => 20_000,
        false => 5_000_000,
        true => 1_000_000,
    }
}

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let mut values = Vec::new();
    for transport in [Transport::Plain, Transport::TlsH2] {
        for clients in CLIENTS {
            if transport.is_h2() && kind == Kind::Raw {
                values.push(f64::NAN);
                continue;
            }
            // With --quick the numbers are small: they only show that the scenario runs.
            let clients = if bench.quick { clients.min(100) } else { clients };
            let events = deliveries(bench, transport) / clients as u64;
            let delivered = Stage::live(bench, kind, transport, Values::Padded, clients, events)?
                .deliver(events, Pace::AsFastAsPossible)?;
            values.push(delivered.per_cpu_second());
        }
    }
    Ok(values)
}
