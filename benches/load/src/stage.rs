//! What the scenarios with events share: a topic, a server, its clients, and something that makes
//! the events.

use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Result;
use crate::clients::{Fleet, Ready};
use crate::kafka::{Pace, Producer};
use crate::scenarios::Bench;
use crate::servers::{Kind, Server, Transport};

/// Delivered before anything is measured: connections, buffers and the way from Kafka are warm.
const WARM_UP: u64 = 50;
/// An event that comes twice comes soon.
const LATE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) fleet: Fleet,
    /// `None`: a raw server makes its own.
    producer: Option<Producer>,
    sent: u64,
}

/// What a delivery took.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) deliveries: u64,
    /// Of the events, with their empty lines.
    pub(crate) bytes: u64,
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    /// In nanoseconds, from the making of an event to its reading.
    pub(crate) latencies: Histogram<u64>,
}

impl Delivered {
    pub(crate) fn per_cpu_second(&self) -> f64 {
        self.deliveries as f64 / self.cpu.as_secs_f64()
    }
}

impl Stage {
    /// A server of a topic of its own, with its clients at their start and warm. `events` will be
    /// asked for at most.
    pub(crate) fn live(
        bench: &Bench,
        kind: Kind,
        transport: Transport,
        clients: usize,
        events: u64,
    ) -> Result<Self> {
        let topic = bench.new_topic()?;
        let server = Server::start(bench, kind, transport, &topic, events + WARM_UP)?;
        let fleet = Fleet::open(server.address, bench.tls.client(transport), clients, ready(kind))?;
        let producer =
            if kind.makes_its_events() { None } else { Some(bench.kafka.producer(&topic)?) };
        let mut stage = Self { server, fleet, producer, sent: 0 };
        stage.send_and_read(WARM_UP, Pace::PerSecond(100))?;
        Ok(stage)
    }

    /// Makes so many events and has all clients read them; an error if one is missing or came twice.
    pub(crate) fn deliver(&mut self, events: u64, pace: Pace) -> Result<Delivered> {
        self.fleet.record_latencies()?;
        let (bytes, cpu, begin) =
            (self.fleet.event_bytes(), self.server.cpu_time()?, Instant::now());
        self.send_and_read(events, pace)?;
        let (cpu, wall) = (self.server.cpu_time()?.saturating_sub(cpu), begin.elapsed());
        let latencies = self.fleet.take_latencies().ok_or("nothing was recorded")?;
        self.fleet.read_for(LATE)?;
        self.fleet.verify(self.sent)?;
        Ok(Delivered {
            deliveries: events * self.fleet.len() as u64,
            bytes: self.fleet.event_bytes() - bytes,
            cpu,
            wall,
            latencies,
        })
    }

    fn send_and_read(&mut self, events: u64, pace: Pace) -> Result<()> {
        let first = self.sent;
        self.sent += events;
        let Some(producer) = &self.producer else {
            self.server.make_events(first, events, pace)?;
            return self.fleet.read_events(self.sent);
        };
        thread::scope(|scope| {
            let sending = scope.spawn(|| producer.send(first, events, pace));
            let read = self.fleet.read_events(self.sent);
            sending.join().map_err(|_| "the producer panicked")??;
            read
        })
    }
}

pub(crate) fn ready(kind: Kind) -> Ready {
    match kind {
        Kind::Tailwater => Ready::Id,
        Kind::Axum | Kind::Raw | Kind::RawTls => Ready::Head,
    }
}
