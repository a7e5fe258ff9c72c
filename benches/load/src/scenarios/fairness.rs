use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::clients::{Dial, Fleet, Ready, Request};
use crate::kafka::Pace;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Server, Transport};
use crate::value::Values;

const SLOW: usize = 2;
const SLOW_BYTES_PER_SECOND: u64 = 2_000_000;
/// The bytes that slow clients have read when the bystander connects. It is more than sockets hold, so that the
/// server waits for these clients.
const SLOW_BYTES: u64 = 4 * 1024 * 1024;

const FILTERED: usize = 64;
const STALLED: usize = 100;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "fairness",
    about: "other clients replay much, or read nothing: time to the first event of another topic",
    describe: |bench| {
        format!(
            "A bystander connects to a topic with one record, while other clients occupy all history readers of the server. The time is measured from the bystander's connection to its event. The other clients replay a topic with {} records of 256 bytes, written before the server started, from offsets far apart: {SLOW} slow clients that read 2 MB a second; {FILTERED} clients with a filter that matches no record; {STALLED} stalled clients that read nothing.",
            records(bench)
        )
    },
    servers: &[Kind::Tailwater],
    columns: &[
        Column { name: "beside slow ones", unit: Unit::Seconds },
        Column { name: "beside filters", unit: Unit::Seconds },
        Column { name: "beside stalled ones", unit: Unit::Seconds },
    ],
    goals: &[
        Goal { column: 0, bound: Bound::Max(2.0) },
        Goal { column: 1, bound: Bound::Max(2.0) },
        Goal { column: 2, bound: Bound::Max(2.0) },
    ],
    rounds: 3,
    run,
};

/// The mock cluster stores 5 MB of a partition.
fn records(bench: &Bench) -> u64 {
    bench.events(3_000_000, 10_000)
}

fn run(bench: &Bench, _: Kind) -> Result<Vec<f64>> {
    Ok(vec![beside_slow(bench)?, beside(bench, FILTERED, true)?, beside(bench, STALLED, false)?])
}

/// Each case has a server of its own, so that no case depends on another one.
fn start(bench: &Bench) -> Result<(Server, u64)> {
    let records = records(bench);
    let topic = bench.filled_topic(Values::Padded, records, None)?;
    let server = Server::start(bench, Kind::Tailwater, Transport::Plain, &topic, 1024)?;
    Ok((server, records))
}

/// The seconds from the bystander's connection to its event.
fn bystander(bench: &Bench, address: SocketAddr) -> Result<f64> {
    let topic = bench.new_topic(Values::Padded)?;
    bench.kafka.producer(&topic, None)?.send(0, 1, Pace::AsFastAsPossible)?;
    let begin = Instant::now();
    let mut fleet =
        Fleet::open(address, Dial::default(), vec![Request::topic(&topic.name)], Ready::Head)?;
    fleet.read_events(1)?;
    Ok(begin.elapsed().as_secs_f64())
}

fn beside(bench: &Bench, clients: usize, filtered: bool) -> Result<f64> {
    let (server, records) = start(bench)?;
    let request = |client: usize| {
        // No record has this key.
        let request = if filtered { Request::key(0) } else { Request::all() };
        request.since(records * client as u64 / clients as u64)
    };
    // Only the heads of their responses are read.
    let _fleet = Fleet::open(
        server.address,
        Dial::default(),
        (0..clients).map(request).collect(),
        Ready::Head,
    )?;
    bystander(bench, server.address)
}

fn beside_slow(bench: &Bench) -> Result<f64> {
    let (server, records) = start(bench)?;
    let taken = [const { AtomicU64::new(0) }; SLOW];
    let is_over = AtomicBool::new(false);
    let due = SLOW_BYTES.min(records * 128);
    thread::scope(|scope| {
        let address = server.address;
        let is_over = &is_over;
        let slow = |(client, taken)| {
            let request = Request::all().since(records * client as u64 / (2 * SLOW as u64));
            scope.spawn(move || read_slowly(address, &request, taken, is_over))
        };
        let slow: Vec<_> = taken.iter().enumerate().map(slow).collect();
        let is_due = || taken.iter().all(|taken| taken.load(Ordering::Relaxed) >= due);
        while !is_due() && slow.iter().all(|slow| !slow.is_finished()) {
            thread::sleep(Duration::from_millis(10));
        }
        let waited = bystander(bench, address);
        is_over.store(true, Ordering::Relaxed);
        for slow in slow {
            slow.join().map_err(|_| "a slow client panicked")??;
        }
        waited
    })
}

fn read_slowly(
    address: SocketAddr,
    request: &Request,
    taken: &AtomicU64,
    is_over: &AtomicBool,
) -> Result<()> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    socket.write_all(request.text().as_bytes())?;
    let begin = Instant::now();
    let mut buffer = vec![0; 64 * 1024];
    while !is_over.load(Ordering::Relaxed) {
        match socket.read(&mut buffer) {
            Ok(0) => return Err("the stream of a slow client ended".into()),
            Ok(count) => {
                let taken = taken.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
                let due = Duration::from_nanos(taken * 1_000_000_000 / SLOW_BYTES_PER_SECOND);
                thread::sleep(due.saturating_sub(begin.elapsed()));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
