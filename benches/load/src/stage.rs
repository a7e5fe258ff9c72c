//! The setup of the scenarios with events: a topic, a server, its clients, and a producer.

use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Result;
use crate::clients::{Dial, Fleet, Ready, Request};
use crate::kafka::{Pace, Producer, Topic};
use crate::scenarios::Bench;
use crate::servers::{Kind, Server, Setup, Transport};
use crate::value::{Tally, Values};

/// The events that are delivered before the measurement, to warm connections, buffers and the consumer.
const WARM_UP: u64 = 50;
/// The time in which a duplicate event would arrive.
const LATE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) fleet: Fleet,
    /// The producer. `None` if a raw server makes its own events.
    producer: Option<Producer>,
    keys: Option<Keys>,
    sent: u64,
}

/// The keys that records have in turn. Each client reads one of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    pub(crate) count: u64,
    pub(crate) clients: usize,
}

impl Keys {
    /// The key of a client. The keys of clients are spread over all keys, so that their events do not come all at
    /// once.
    fn of(self, client: usize) -> u64 {
        client as u64 * (self.count / self.clients as u64)
    }
}

/// The cost of a delivery.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) deliveries: u64,
    /// The bytes of the events, with their empty lines.
    pub(crate) bytes: u64,
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    /// The latencies in nanoseconds, from the creation of an event to its reading.
    pub(crate) latencies: Histogram<u64>,
}

impl Delivered {
    pub(crate) fn per_cpu_second(&self) -> f64 {
        self.deliveries as f64 / self.cpu.as_secs_f64()
    }

    pub(crate) fn bytes_per_cpu_second(&self) -> f64 {
        self.bytes as f64 / self.cpu.as_secs_f64()
    }

    /// The latency at this quantile.
    pub(crate) fn milliseconds(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e6
    }
}

impl Stage {
    /// Starts a server with a topic of its own, and clients that are at their start and warm. `events` is the maximum
    /// number of events of the scenario.
    pub(crate) fn live(
        bench: &Bench,
        kind: Kind,
        setup: impl Into<Setup>,
        values: Values,
        clients: usize,
        events: u64,
    ) -> Result<Self> {
        let topic = bench.new_topic(values)?;
        let setup = setup.into();
        let server = Server::start(bench, kind, setup, &topic, events + WARM_UP)?;
        let mut stage = Self::open(bench, kind, server, &topic, setup.transport(), clients)?;
        stage.send_and_read(WARM_UP, Pace::PerSecond(100))?;
        Ok(stage)
    }

    /// Opens clients of this server, which are at their start and not warm.
    pub(crate) fn open(
        bench: &Bench,
        kind: Kind,
        server: Server,
        topic: &Topic,
        transport: Transport,
        clients: usize,
    ) -> Result<Self> {
        let requests = vec![Request::all(); clients];
        let dial = bench.tls.dial(transport);
        let fleet = Fleet::open(server.address, dial, requests, ready(kind))?;
        let producer = match kind.makes_its_events() {
            true => None,
            false => Some(bench.kafka.producer(topic, None)?),
        };
        Ok(Self { server, fleet, producer, keys: None, sent: 0 })
    }

    /// As [`live`](Self::live), with a key for each client. Each client has received one event.
    pub(crate) fn keyed(
        bench: &Bench,
        kind: Kind,
        server: Server,
        topic: &Topic,
        keys: Keys,
        rate: u32,
    ) -> Result<Self> {
        let requests = (0..keys.clients).map(|client| Request::key(keys.of(client))).collect();
        let fleet = Fleet::open(server.address, Dial::default(), requests, ready(kind))?;
        let producer = match kind.makes_its_events() {
            true => None,
            false => Some(bench.kafka.producer(topic, Some(keys.count))?),
        };
        let mut stage = Self { server, fleet, producer, keys: Some(keys), sent: 0 };
        stage.send_and_read(keys.count, Pace::PerSecond(rate))?;
        Ok(stage)
    }

    /// Sends events and waits until all clients have read them. It is an error if an event is missing or arrives
    /// twice.
    pub(crate) fn deliver(&mut self, events: u64, pace: Pace) -> Result<Delivered> {
        self.fleet.record_latencies()?;
        let bytes = self.fleet.event_bytes();
        let deliveries = self.fleet.deliveries();
        let cpu = self.server.cpu_time()?;
        let begin = Instant::now();
        self.send_and_read(events, pace)?;
        let cpu = self.server.cpu_time()?.saturating_sub(cpu);
        let wall = begin.elapsed();
        let latencies = self.fleet.take_latencies().ok_or("nothing was recorded")?;
        self.fleet.read_for(LATE)?;
        self.verify()?;
        Ok(Delivered {
            deliveries: self.fleet.deliveries() - deliveries,
            bytes: self.fleet.event_bytes() - bytes,
            cpu,
            wall,
            latencies,
        })
    }

    /// Reads until each client has all events that were sent so far.
    pub(crate) fn read_all(&mut self) -> Result<()> {
        self.fleet.read_events(self.sent)?;
        self.fleet.read_for(LATE)?;
        self.verify()
    }

    /// Checks that each client has received each of its events exactly once.
    fn verify(&self) -> Result<()> {
        match self.keys {
            None => self.fleet.verify_each(0..self.sent),
            Some(keys) => self.fleet.verify(|client| {
                Tally::of((keys.of(client)..self.sent).step_by(keys.count as usize))
            }),
        }
    }

    /// Sends events, and reads until each client has its share. With keys, each key has the same number of events.
    pub(crate) fn send_and_read(&mut self, events: u64, pace: Pace) -> Result<()> {
        let first = self.sent;
        self.sent += events;
        let each = self.sent / self.keys.map_or(1, |keys| keys.count);
        let Some(producer) = &self.producer else {
            self.server.make_events(first, events, pace, self.keys.map(|keys| keys.count))?;
            return self.fleet.read_events(each);
        };
        thread::scope(|scope| {
            let sending = scope.spawn(|| producer.send(first, events, pace));
            let read = self.fleet.read_events(each);
            sending.join().map_err(|_| "the producer panicked")??;
            read
        })
    }
}

pub(crate) fn ready(kind: Kind) -> Ready {
    match kind {
        Kind::Tailwater => Ready::Id,
        Kind::Axum | Kind::Raw | Kind::RawTls | Kind::Consumer => Ready::Head,
    }
}
