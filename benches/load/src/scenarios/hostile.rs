use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::thread;
use std::time::Duration;

use crate::Result;
use crate::clients::PATIENCE;
use crate::report::{Bound, Goal, Unit};
use crate::scenarios::{Bench, Column, Scenario};
use crate::servers::{Kind, Server, Setup, Transport};
use crate::value::Values;

/// Connections at once.
const CONNECTIONS: u64 = 8;
/// Each request of so many is for another topic.
const TOPIC_EACH: u64 = 50;
/// The time in which the ends of requests are counted.
const SETTLE: Duration = Duration::from_secs(1);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "hostile",
    about: "requests with ever other paths, topics and header values: the series of metrics that they add",
    describe: |bench| {
        format!(
            "{} requests on {CONNECTIONS} connections, to a server as in `metrics`. Each has another path and another `user-agent`, which are labels of Zilla's metrics in its configuration. One of {TOPIC_EACH} is for another topic. Before and after, the series of tailwater's own metrics are counted in `/metrics`, and the sets of labels of the metric of Zilla that has the most.",
            requests(bench)
        )
    },
    servers: &[Kind::Tailwater],
    columns: &[
        Column { name: "own series", unit: Unit::Count },
        Column { name: "own series before", unit: Unit::Count },
        Column { name: "sets of labels", unit: Unit::Count },
        Column { name: "sets of labels before", unit: Unit::Count },
        Column { name: "greatest memory", unit: Unit::Mib },
    ],
    goals: &[
        Goal { column: 0, bound: Bound::MaxAboveColumn(1100.0, 1) },
        Goal { column: 2, bound: Bound::MaxAboveColumn(1100.0, 3) },
    ],
    rounds: 1,
    run,
};

fn requests(bench: &Bench) -> u64 {
    bench.events(100_000, 2000)
}

fn run(bench: &Bench, kind: Kind) -> Result<Vec<f64>> {
    let topic = bench.new_topic(Values::Padded)?;
    let setup = Setup::from(Transport::Plain).observed();
    let server = Server::start(bench, kind, setup, &topic, 1024)?;
    let observed = server.observed.as_ref().ok_or("the server has no metrics")?;
    let address = server.address;
    // The series that any request makes.
    send(address, 0..1)?;
    thread::sleep(SETTLE);
    let before = observed.series()?;
    let requests = requests(bench);
    thread::scope(|scope| {
        let each = requests.div_ceil(CONNECTIONS);
        let parts: Vec<_> = (0..CONNECTIONS)
            .map(|part| 1 + part * each..1 + ((part + 1) * each).min(requests))
            .map(|numbers| scope.spawn(move || send(address, numbers)))
            .collect();
        parts.into_iter().try_for_each(|part| part.join().map_err(|_| "a client panicked")?)
    })?;
    thread::sleep(SETTLE);
    let after = observed.series()?;
    let series = [after.own, before.own, after.sets, before.sets].map(|count| count as f64);
    let mut values = Vec::from(series);
    values.push(server.peak_bytes()? as f64 / 1024.0 / 1024.0);
    Ok(values)
}

/// Sends a request for each of these numbers. Those for a topic have a connection of their own, since the answer may
/// be a stream without an end.
fn send(address: SocketAddr, numbers: Range<u64>) -> Result<()> {
    let mut connection = connect(address)?;
    for number in numbers {
        if number.is_multiple_of(TOPIC_EACH) {
            let mut connection = connect(address)?;
            ask(&mut connection, &format!("/topics/topic-{number}"), number)?;
            continue;
        }
        let path = format!("/%22%7D{number}%0A{{/{number}?access_token={number}");
        let length = ask(&mut connection, &path, number)?;
        let mut body = vec![0; length.ok_or("an answer has no length")?];
        connection.read_exact(&mut body)?;
    }
    Ok(())
}

fn connect(address: SocketAddr) -> Result<BufReader<TcpStream>> {
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    Ok(BufReader::new(socket))
}

/// Sends a request and reads the head of its answer. Returns the length of the body, if the head has it.
fn ask(connection: &mut BufReader<TcpStream>, target: &str, number: u64) -> Result<Option<usize>> {
    let request = format!(
        "GET {target} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nuser-agent: {number}\"}},\\n={number}\r\n\r\n"
    );
    connection.get_mut().write_all(request.as_bytes())?;
    let mut length = None;
    let mut line = String::new();
    loop {
        line.clear();
        if connection.read_line(&mut line)? == 0 {
            return Err(format!("{target}: the server closed the connection").into());
        }
        if line.trim_end().is_empty() {
            return Ok(length);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse()?);
        }
    }
}
