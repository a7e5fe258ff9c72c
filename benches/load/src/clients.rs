//! Thousands of small clients on one thread. They count events and read the timestamps in them.

mod connection;
mod frames;
pub(crate) mod h2;
mod stream;

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE;
use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};
use rustls::ClientConfig;

use crate::Result;
use crate::clients::connection::Connection;
use crate::clients::frames::Frames;
use crate::clients::stream::Response;
use crate::kafka::{self, now_nanos};
use crate::process;
use crate::tls::NAME;
use crate::value::{Stamp, Tally, push_zigzag};

/// Connections that are opened at once. The backlog of a listener has room for them.
const WAVE: usize = 100;
/// Clients with the same source address, which are fewer than the ports that the kernel chooses from
/// (net.ipv4.ip_local_port_range).
const PER_SOURCE: usize = 10_000;
const READ_BYTES: usize = 256 * 1024;
/// A run fails if no client receives an event in this time. It is longer than the kernel's timer for a segment
/// that a stalled client had no room for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The request of a client.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    path: String,
    last_event_id: Option<String>,
}

impl Request {
    /// Requests the whole topic.
    pub(crate) fn all() -> Self {
        Self { path: "/events".to_owned(), last_event_id: None }
    }

    /// Requests the records of one key.
    pub(crate) fn key(number: u64) -> Self {
        Self { path: format!("/keys/{}", kafka::key(number)), last_event_id: None }
    }

    /// Requests another topic than the default one of the server.
    pub(crate) fn topic(topic: &str) -> Self {
        Self { path: format!("/topics/{topic}"), last_event_id: None }
    }

    /// Starts at the first record instead of the live end.
    pub(crate) fn since_the_beginning(self) -> Self {
        self.since(0)
    }

    /// Starts at this record.
    pub(crate) fn since(self, offset: u64) -> Self {
        Self { last_event_id: Some(id(offset)), ..self }
    }

    pub(crate) fn text(&self) -> String {
        let mut text =
            format!("GET {} HTTP/1.1\r\nhost: {NAME}\r\naccept: text/event-stream\r\n", self.path);
        if let Some(id) = &self.last_event_id {
            text.push_str(&format!("last-event-id: {id}\r\n"));
        }
        text + "\r\n"
    }
}

/// The event id for an offset of partition 0: a version, and the number of pairs, the partitions and the offsets
/// as zigzag varints.
fn id(offset: u64) -> String {
    let mut binary = vec![1, 2, 0];
    push_zigzag(&mut binary, offset);
    BASE64_URL_SAFE.encode(binary)
}

/// The sign that a client is at its start, so that it receives all events produced later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// The head of the response has arrived.
    Head,
    /// An id has arrived. tailwater sends one when the start of a live stream is known.
    Id,
}

/// How clients connect.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dial {
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// HTTP/2, with one stream on each connection.
    pub(crate) is_h2: bool,
}

#[derive(Debug)]
pub(crate) struct Fleet {
    address: SocketAddr,
    dial: Dial,
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    ready_when: Ready,
    ready: usize,
    target: Target,
    /// The number of clients that have all expected events, without the stalled ones.
    complete: usize,
    stalled: Range<usize>,
    event_bytes: u64,
    latencies: Option<Histogram<u64>>,
    longest_pause: Duration,
}

/// The events that each client has to receive.
#[derive(Clone, Copy, Debug)]
enum Target {
    Count(u64),
    /// The event of this number, or a later one.
    Number(u64),
}

impl Target {
    fn is_reached(self, client: &Client) -> bool {
        match self {
            Self::Count(count) => client.tally.count >= count,
            Self::Number(number) => client.newest.is_some_and(|newest| newest >= number),
        }
    }
}

#[derive(Debug)]
struct Client {
    request: Request,
    connection: Connection,
    response: Protocol,
    ready: bool,
    tally: Tally,
    newest: Option<u64>,
    /// The server may close its connection. Then it resumes after its last event.
    resumes: bool,
}

#[derive(Debug)]
enum Protocol {
    H1(Response),
    H2(Frames),
}

impl Protocol {
    fn has_head(&self) -> bool {
        match self {
            Self::H1(response) => response.has_head(),
            Self::H2(frames) => frames.has_head(),
        }
    }

    fn feed(&mut self, bytes: &[u8], event: impl FnMut(&[u8])) -> Result<()> {
        match self {
            Self::H1(response) => response.feed(bytes, event),
            Self::H2(frames) => frames.feed(bytes, event),
        }
    }

    /// The bytes that the server has to receive now.
    fn take_reply(&mut self) -> Vec<u8> {
        match self {
            Self::H1(_) => Vec::new(),
            Self::H2(frames) => frames.take_reply(),
        }
    }
}

impl Fleet {
    /// Opens the connections. Returns when all clients are at their start.
    pub(crate) fn open(
        address: SocketAddr,
        dial: Dial,
        requests: Vec<Request>,
        ready_when: Ready,
    ) -> Result<Self> {
        process::permits_files(requests.len())?;
        let mut fleet = Self {
            address,
            dial,
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            clients: Vec::with_capacity(requests.len()),
            buffer: vec![0; READ_BYTES],
            ready_when,
            ready: 0,
            target: Target::Count(u64::MAX),
            complete: 0,
            stalled: 0..0,
            event_bytes: 0,
            latencies: None,
            longest_pause: Duration::ZERO,
        };
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            for request in requests.by_ref().take(WAVE) {
                let (connection, response) = fleet.connect(&request, fleet.clients.len())?;
                fleet.clients.push(Client {
                    request,
                    connection,
                    response,
                    ready: false,
                    tally: Tally::default(),
                    newest: None,
                    resumes: false,
                });
            }
            let opened = fleet.clients.len();
            fleet.read_until(
                |fleet| fleet.ready == opened,
                |fleet| format!("{} of {opened} clients are at their start", fleet.ready),
            )?;
        }
        Ok(fleet)
    }

    fn connect(&self, request: &Request, index: usize) -> Result<(Connection, Protocol)> {
        let Dial { tls, is_h2 } = &self.dial;
        let (begin, response) = match is_h2 {
            false => (request.text().into_bytes(), Protocol::H1(Response::default())),
            true => (frames::request(request, tls.is_some()), Protocol::H2(Frames::default())),
        };
        let source = source(index)?;
        let mut connection = Connection::open(self.address, source, tls.as_ref(), &begin)?;
        connection.register(self.poll.registry(), Token(index))?;
        Ok((connection, response))
    }

    /// Connects a client again, and resumes after its last complete event.
    fn resume(&mut self, index: usize) -> Result<()> {
        let Some(client) = self.clients.get(index) else { return Ok(()) };
        let (connection, response) = self.connect(&client.request, index)?;
        if let Some(client) = self.clients.get_mut(index) {
            client.connection = connection;
            client.response = response;
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// The bytes of events that were read so far, with their empty lines.
    pub(crate) fn event_bytes(&self) -> u64 {
        self.event_bytes
    }

    /// Records latencies from now on.
    pub(crate) fn record_latencies(&mut self) -> Result<()> {
        self.latencies = Some(Histogram::new_with_bounds(1_000, 600_000_000_000, 3)?);
        self.longest_pause = Duration::ZERO;
        Ok(())
    }

    /// Lets these clients store the ids of their events and resume when their connection is closed. For clients
    /// that will be stalled.
    pub(crate) fn may_be_cut(&mut self, clients: Range<usize>) {
        for client in self.clients.get_mut(clients).into_iter().flatten() {
            client.resumes = true;
        }
    }

    /// Lets these clients stop reading.
    pub(crate) fn stall(&mut self, clients: Range<usize>) -> Result<()> {
        for client in self.clients.get_mut(clients.clone()).into_iter().flatten() {
            client.connection.deregister(self.poll.registry())?;
        }
        self.stalled = clients;
        Ok(())
    }

    /// Lets the stalled clients read again.
    pub(crate) fn go_on(&mut self) -> Result<()> {
        let stalled = mem::take(&mut self.stalled);
        let clients = self.clients.get_mut(stalled.clone()).into_iter().flatten();
        for (index, client) in stalled.zip(clients) {
            client.connection.register(self.poll.registry(), Token(index))?;
        }
        Ok(())
    }

    /// The longest time without an event for any client that expected one, since latencies are recorded.
    pub(crate) fn longest_pause(&self) -> Duration {
        self.longest_pause
    }

    /// The number of events of all clients.
    pub(crate) fn deliveries(&self) -> u64 {
        self.clients.iter().map(|client| client.tally.count).sum()
    }

    /// Ends the recording. The latencies are in nanoseconds.
    pub(crate) fn take_latencies(&mut self) -> Option<Histogram<u64>> {
        self.latencies.take()
    }

    /// Reads until each client has this many events in all.
    pub(crate) fn read_events(&mut self, events: u64) -> Result<()> {
        self.read_to(Target::Count(events))
    }

    /// Reads until each client has the event of this number, or a later one.
    pub(crate) fn read_to_number(&mut self, number: u64) -> Result<()> {
        self.read_to(Target::Number(number))
    }

    fn read_to(&mut self, target: Target) -> Result<()> {
        self.target = target;
        let active = |index: &usize| !self.stalled.contains(index);
        let reading = self.clients.iter().enumerate().filter(|(index, _)| active(index));
        self.complete = reading.filter(|(_, client)| target.is_reached(client)).count();
        self.read_until(
            |fleet| fleet.complete == fleet.len() - fleet.stalled.len(),
            |fleet| {
                let fewest =
                    fleet.clients.iter().map(|client| client.tally.count).min().unwrap_or_default();
                format!(
                    "{} of {} clients reached {target:?}, one has {fewest} events",
                    fleet.complete,
                    fleet.len()
                )
            },
        )
    }

    /// Reads everything that arrives in this time.
    pub(crate) fn read_for(&mut self, time: Duration) -> Result<()> {
        let begin = Instant::now();
        while let Some(left) = time.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
            self.turn(left)?;
        }
        Ok(())
    }

    /// Checks that each client has received each event of these numbers exactly once, and no other event.
    pub(crate) fn verify_each(&self, numbers: Range<u64>) -> Result<()> {
        let all = Tally::of(numbers);
        self.verify(|_| all)
    }

    /// Checks that each client has received exactly the expected events.
    pub(crate) fn verify(&self, expected: impl Fn(usize) -> Tally) -> Result<()> {
        let clients = self.clients.iter().enumerate();
        let wrong = clients.map(|(index, client)| (client.tally, expected(index)));
        let wrong: Vec<_> = wrong.filter(|(tally, expected)| tally != expected).collect();
        match wrong.first() {
            None => Ok(()),
            Some((tally, expected)) => Err(format!(
                "{} of {} clients have not got each of their events once (the first of them: {} events, not these {})",
                wrong.len(),
                self.len(),
                tally.count,
                expected.count
            )
            .into()),
        }
    }

    fn read_until(
        &mut self,
        done: impl Fn(&Self) -> bool,
        state: impl Fn(&Self) -> String,
    ) -> Result<()> {
        let progress = |fleet: &Self| (fleet.ready, fleet.event_bytes);
        let mut before = progress(self);
        let mut moved = Instant::now();
        while !done(self) {
            self.turn(Duration::from_secs(1))?;
            if progress(self) != before {
                before = progress(self);
                self.longest_pause = self.longest_pause.max(moved.elapsed());
                moved = Instant::now();
            } else if moved.elapsed() > PATIENCE {
                return Err(format!("nothing came for {PATIENCE:?}: {}", state(self)).into());
            }
        }
        Ok(())
    }

    fn turn(&mut self, timeout: Duration) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let mut cut = Vec::new();
        for event in &self.events {
            let Token(index) = event.token();
            let Some(client) = self.clients.get_mut(index) else { continue };
            loop {
                let count = match client.connection.read(&mut self.buffer) {
                    Ok(0) if client.resumes => {
                        cut.push(index);
                        break;
                    }
                    Ok(0) => {
                        return Err(format!(
                            "client {index}: the stream ended after {} events",
                            client.tally.count
                        )
                        .into());
                    }
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error)
                        if client.resumes && error.kind() == io::ErrorKind::ConnectionReset =>
                    {
                        cut.push(index);
                        break;
                    }
                    Err(error) => return Err(format!("client {index}: {error}").into()),
                };
                let now = now_nanos();
                let before = self.target.is_reached(client);
                let mut id = false;
                let mut gap = false;
                let bytes = self.buffer.get(..count).unwrap_or_default();
                client
                    .response
                    .feed(bytes, |event| match Stamp::of_event(event) {
                        Some(stamp) => {
                            client.tally.add(stamp.number);
                            client.newest = client.newest.max(Some(stamp.number));
                            if client.resumes {
                                client.request.last_event_id = last_id(event);
                            }
                            self.event_bytes += event.len() as u64 + 2;
                            if let Some(latencies) = &mut self.latencies {
                                latencies.saturating_record(now.saturating_sub(stamp.nanos));
                            }
                        }
                        None => {
                            id |= last_id(event).is_some();
                            gap |=
                                event.split(|byte| *byte == b'\n').any(|line| line == b"event:gap");
                        }
                    })
                    .map_err(|error| format!("client {index}: {error}"))?;
                if gap {
                    return Err(format!("client {index}: the server reports missing events").into());
                }
                let reply = client.response.take_reply();
                if !reply.is_empty() {
                    client
                        .connection
                        .write(&reply)
                        .map_err(|error| format!("client {index}: {error}"))?;
                }
                let ready = match self.ready_when {
                    Ready::Head => client.response.has_head(),
                    Ready::Id => id,
                };
                if ready && !client.ready {
                    client.ready = true;
                    self.ready += 1;
                }
                if !before && self.target.is_reached(client) {
                    self.complete += 1;
                }
                // A short read has emptied the connection. Later bytes cause a new event of the poll. If the end had
                // already arrived, it is part of this event.
                if count < self.buffer.len() && !event.is_read_closed() {
                    break;
                }
            }
        }
        for index in cut {
            self.resume(index)?;
        }
        Ok(())
    }
}

/// The address that a client connects from. The first clients leave it to the kernel.
fn source(client: usize) -> Result<Option<Ipv4Addr>> {
    match client / PER_SOURCE {
        0 => Ok(None),
        more => Ok(Some(Ipv4Addr::new(127, 0, 0, u8::try_from(1 + more)?))),
    }
}

fn last_id(event: &[u8]) -> Option<String> {
    let id = event.rsplit(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"id:"))?;
    Some(String::from_utf8_lossy(id).trim_start().to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;

    /// Answers a request with these events, and returns the request.
    fn serve(stream: &mut TcpStream, numbers: Range<u64>) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            request.extend(byte);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("the head");
        send(stream, numbers);
        String::from_utf8(request).expect("a request is text")
    }

    fn send(stream: &mut TcpStream, numbers: Range<u64>) {
        for number in numbers {
            let value = Stamp { nanos: now_nanos(), number }.write();
            stream
                .write_all(format!("id:{number}\ndata:{value}\n\n").as_bytes())
                .expect("an event");
        }
    }

    #[test]
    fn ids_are_those_of_the_servers() {
        assert_eq!([id(0), id(1)], ["AQIAAA==", "AQIAAg=="]);
        assert_eq!(id(1_000_000), "AQIAgIl6");
    }

    #[test]
    fn who_finds_its_last_events_and_the_end_together_resumes() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        let (go, waits) = std::sync::mpsc::channel();
        let (is_closed, closed) = std::sync::mpsc::channel();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            serve(&mut stream, 0..1);
            waits.recv().expect("the client stalls");
            send(&mut stream, 1..3);
            drop(stream);
            is_closed.send(()).expect("the client waits");
            let (mut stream, _) = listener.accept().expect("it comes again");
            let request = serve(&mut stream, 3..5);
            (request, stream)
        });
        let mut fleet = Fleet::open(address, Dial::default(), vec![Request::all()], Ready::Head)
            .expect("a fleet");
        fleet.may_be_cut(0..1);
        fleet.read_events(1).expect("the first event");
        fleet.stall(0..1).expect("it stalls");
        go.send(()).expect("the server waits");
        closed.recv().expect("the server has closed");
        fleet.go_on().expect("it goes on");
        fleet.read_events(5).expect("the others");
        fleet.verify_each(0..5).expect("each once");
        let (request, _stream) = server.join().expect("the server");
        assert!(request.contains("last-event-id: 2\r\n"), "{request}");
    }
}
