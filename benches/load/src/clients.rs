//! Thousands of frugal clients on one thread: they count events and look at the stamps in them.

mod connection;
pub(crate) mod h2;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};
use rustls::ClientConfig;

use crate::Result;
use crate::clients::connection::Connection;
use crate::clients::stream::EventStream;
use crate::kafka::now_nanos;
use crate::process;
use crate::tls::NAME;
use crate::value::{Stamp, Tally};

/// No listener's backlog overflows by this many connections at once.
const WAVE: usize = 100;
const READ_BYTES: usize = 256 * 1024;
/// Without a byte for anybody in all this time a run has failed.
const PATIENCE: Duration = Duration::from_secs(30);
const PATH: &str = "/events";

/// When a client is at its start, so that nothing produced later escapes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// The head of the response is there.
    Head,
    /// An id is there: tailwater sends one when the start of a live stream is known.
    Id,
}

#[derive(Debug)]
pub(crate) struct Fleet {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    ready_when: Ready,
    ready: usize,
    target: u64,
    complete: usize,
    event_bytes: u64,
    latencies: Option<Histogram<u64>>,
}

#[derive(Debug)]
struct Client {
    connection: Connection,
    stream: EventStream,
    ready: bool,
    tally: Tally,
}

impl Fleet {
    /// Returns when all of them are at their start.
    pub(crate) fn open(
        address: SocketAddr,
        tls: Option<Arc<ClientConfig>>,
        count: usize,
        ready_when: Ready,
    ) -> Result<Self> {
        process::permits_files(count)?;
        let mut fleet = Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            clients: Vec::with_capacity(count),
            buffer: vec![0; READ_BYTES],
            ready_when,
            ready: 0,
            target: u64::MAX,
            complete: 0,
            event_bytes: 0,
            latencies: None,
        };
        let request =
            format!("GET {PATH} HTTP/1.1\r\nhost: {NAME}\r\naccept: text/event-stream\r\n\r\n");
        while fleet.clients.len() < count {
            for _ in 0..WAVE.min(count - fleet.clients.len()) {
                fleet.connect(address, tls.as_ref(), request.as_bytes())?;
            }
            let opened = fleet.clients.len();
            fleet.read_until(
                |fleet| fleet.ready == opened,
                |fleet| format!("{} of {opened} clients are at their start", fleet.ready),
            )?;
        }
        Ok(fleet)
    }

    fn connect(
        &mut self,
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        request: &[u8],
    ) -> Result<()> {
        let mut connection = Connection::open(address, tls, request)?;
        connection.register(self.poll.registry(), Token(self.clients.len()))?;
        self.clients.push(Client {
            connection,
            stream: EventStream::default(),
            ready: false,
            tally: Tally::default(),
        });
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Read so far, of the events that were made for this, with their empty lines.
    pub(crate) fn event_bytes(&self) -> u64 {
        self.event_bytes
    }

    /// From now on.
    pub(crate) fn record_latencies(&mut self) -> Result<()> {
        self.latencies = Some(Histogram::new_with_bounds(1_000, 600_000_000_000, 3)?);
        Ok(())
    }

    /// In nanoseconds.
    pub(crate) fn take_latencies(&mut self) -> Option<Histogram<u64>> {
        self.latencies.take()
    }

    /// Reads until each client has this many events in all.
    pub(crate) fn read_events(&mut self, events: u64) -> Result<()> {
        self.target = events;
        self.complete = self.clients.iter().filter(|client| client.tally.count >= events).count();
        self.read_until(
            |fleet| fleet.complete == fleet.len(),
            |fleet| {
                let fewest =
                    fleet.clients.iter().map(|client| client.tally.count).min().unwrap_or_default();
                format!(
                    "{} of {} clients have all of {events} events, one has {fewest}",
                    fleet.complete,
                    fleet.len()
                )
            },
        )
    }

    /// Reads whatever comes for so long.
    pub(crate) fn read_for(&mut self, time: Duration) -> Result<()> {
        let begin = Instant::now();
        while let Some(left) = time.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
            self.turn(left)?;
        }
        Ok(())
    }

    /// That each client has got each of the first `events` events exactly once.
    pub(crate) fn verify(&self, events: u64) -> Result<()> {
        let complete = Tally::complete(events);
        let wrong: Vec<_> = self.clients.iter().filter(|client| client.tally != complete).collect();
        match wrong.first() {
            None => Ok(()),
            Some(first) => Err(format!(
                "{} of {} clients have not got each of {events} events once (the first of them: {} events)",
                wrong.len(),
                self.len(),
                first.tally.count
            )
            .into()),
        }
    }

    fn read_until(
        &mut self,
        done: impl Fn(&Self) -> bool,
        state: impl Fn(&Self) -> String,
    ) -> Result<()> {
        let mut moved = Instant::now();
        while !done(self) {
            if self.turn(Duration::from_secs(1))? {
                moved = Instant::now();
            } else if moved.elapsed() > PATIENCE {
                return Err(format!("nothing came for {PATIENCE:?}: {}", state(self)).into());
            }
        }
        Ok(())
    }

    /// Whether anything came.
    fn turn(&mut self, timeout: Duration) -> Result<bool> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let mut came = false;
        for event in &self.events {
            let Token(index) = event.token();
            let Some(client) = self.clients.get_mut(index) else { continue };
            loop {
                let count = match client.connection.read(&mut self.buffer) {
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
                    Err(error) => return Err(format!("client {index}: {error}").into()),
                };
                came = true;
                let now = now_nanos();
                let before = client.tally.count;
                let mut id = false;
                let bytes = self.buffer.get(..count).unwrap_or_default();
                client
                    .stream
                    .feed(bytes, |event| match Stamp::of_event(event) {
                        Some(stamp) => {
                            client.tally.add(stamp.number);
                            self.event_bytes += event.len() as u64 + 2;
                            if let Some(latencies) = &mut self.latencies {
                                latencies.saturating_record(now.saturating_sub(stamp.nanos));
                            }
                        }
                        None => {
                            id |= event
                                .split(|byte| *byte == b'\n')
                                .any(|line| line.starts_with(b"id:"))
                        }
                    })
                    .map_err(|error| format!("client {index}: {error}"))?;
                let ready = match self.ready_when {
                    Ready::Head => client.stream.has_head(),
                    Ready::Id => id,
                };
                if ready && !client.ready {
                    client.ready = true;
                    self.ready += 1;
                }
                if before < self.target && client.tally.count >= self.target {
                    self.complete += 1;
                }
                // A short read has emptied the connection; what comes later is a new event of the poll.
                if count < self.buffer.len() {
                    break;
                }
            }
        }
        Ok(came)
    }
}
