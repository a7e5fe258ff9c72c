use std::net::SocketAddr;

use crate::Result;
use crate::kafka::Pace;
use crate::observed::{Repeated, get};
use crate::report::{Bound, Goal, Unit, median};
use crate::scenarios::{Bench, Column, Scenario, crowd};
use crate::servers::{Kind, Setup, Transport};
use crate::stage::Stage;
use crate::value::Values;

/// The most streams that a page of the list has.
const PAGE: usize = 1000;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "admin-list",
    about: "the administration lists very many streams, each second: its time, and the latency of events",
    describe: |bench| {
        let (clients, events) = crowd::size(bench);
        format!(
            "As `crowd`, with {clients} clients and {events} events of 256 bytes, and the server as in `metrics`. Then the same while `/streams` of the administration is read each second, in pages of {PAGE} streams. The time of a list is that of all its pages, each with a connection of its own."
        )
    },
    servers: &[Kind::Tailwater],
    columns: &[
        Column { name: "p99", unit: Unit::Milliseconds },
        Column { name: "p99 while listing", unit: Unit::Milliseconds },
        Column { name: "time of a list", unit: Unit::Milliseconds },
        Column { name: "longest time of a list", unit: Unit::Milliseconds },
    ],
    goals: &[
        Goal { column: 1, bound: Bound::MaxTimesColumn(1.1, 0) },
        Goal { column: 2, bound: Bound::Max(50.0) },
    ],
    rounds: u16::MAX,
    run,
};

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let (clients, events) = crowd::size(bench);
    let pace = Pace::PerSecond(crowd::PER_SECOND);
    let setup = Setup::from(Transport::Plain).observed();
    let mut stage = Stage::live(bench, kind, setup, Values::Padded, clients, events)?;
    let without = stage.deliver(events, pace)?.milliseconds(0.99);
    let observed = stage.server.observed.as_ref().ok_or("the server has no administration")?;
    let admin = observed.admin;
    let lists = Repeated::each_second(move || list(admin, clients));
    let with = stage.deliver(events, pace)?.milliseconds(0.99);
    let times: Vec<_> = lists.end()?.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    let longest = times.iter().copied().fold(0.0, f64::max);
    Ok(vec![without, with, median(&times), longest])
}

/// Reads all pages, which have to have this number of streams.
fn list(admin: SocketAddr, clients: usize) -> Result<()> {
    let mut listed = 0;
    let mut after = String::new();
    loop {
        let page = get(admin, &format!("/streams?limit={PAGE}{after}"))?;
        listed += page.matches("\"position\":").count();
        let Some((_, rest)) = page.split_once("\"after\":\"") else { break };
        let id = rest.split('"').next().unwrap_or_default();
        after = format!("&after={id}");
    }
    if listed != clients {
        return Err(format!("the list has {listed} streams, not {clients}").into());
    }
    Ok(())
}
