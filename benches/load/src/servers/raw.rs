//! The bound of the kernel: one thread with non-blocking sockets writes bytes that were encoded in advance, without
//! Kafka. A write has one event if the events have a rate, and 64 events in a burst.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::mem;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::Result;
use crate::cli::RawOptions;
use crate::kafka::{self, Pace, now_nanos};
use crate::value::Stamp;

const LISTENER: Token = Token(usize::MAX);
const ORDERS: Token = Token(usize::MAX - 1);
const EVENTS_PER_WRITE: u64 = 64;
pub(super) const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";

/// An order from the standard input: the first number, the number of events, their rate per second (0: as fast as
/// possible), and the number of keys that they have in turn (0: each event is for all clients).
#[derive(Debug)]
pub(super) struct Order {
    pub(super) first: u64,
    pub(super) count: u64,
    pub(super) pace: Pace,
    keys: Option<u64>,
}

impl Order {
    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u64>().ok());
        let first = numbers.next()??;
        let count = numbers.next()??;
        let rate = numbers.next()??;
        let keys = numbers.next()?.filter(|keys| *keys > 0);
        let pace = match rate {
            0 => Pace::AsFastAsPossible,
            rate => Pace::PerSecond(u32::try_from(rate).ok()?),
        };
        Some(Self { first, count, pace, keys })
    }
}

pub(crate) fn serve(options: &RawOptions) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::from_std(super::listen(options.port)?);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let waker = Waker::new(poll.registry(), ORDERS)?;
    let (sender, orders) = channel();
    thread::spawn(move || read_orders(&sender, &waker));
    Raw {
        listener,
        orders,
        clients: Vec::new(),
        of_keys: HashMap::new(),
        writes: Vec::new(),
        runnable: VecDeque::new(),
        pending: None,
    }
    .run(&mut poll)
}

/// Serves until the parent has ended.
pub(super) fn orders() -> impl Iterator<Item = Order> {
    io::stdin().lines().map_while(|line| Order::parse(&line.ok()?))
}

fn read_orders(sender: &Sender<Order>, waker: &Waker) {
    for order in orders() {
        if sender.send(order).is_err() || waker.wake().is_err() {
            break;
        }
    }
    std::process::exit(0);
}

#[derive(Debug)]
struct Raw {
    listener: TcpListener,
    orders: Receiver<Order>,
    clients: Vec<Client>,
    /// The client of each key.
    of_keys: HashMap<u64, usize>,
    /// The bytes of each write. All writes of the run are kept, so that a slow client loses nothing.
    writes: Vec<Vec<u8>>,
    /// The clients whose socket takes more bytes, each once.
    runnable: VecDeque<usize>,
    pending: Option<Paced>,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    /// `None` until the head is written.
    next: Option<usize>,
    written: usize,
    queued: bool,
    /// The bytes, of events of its key, that its socket did not take.
    own: Vec<u8>,
}

#[derive(Debug)]
struct Paced {
    order: Order,
    begin: Instant,
    made: u64,
}

impl Raw {
    fn run(mut self, poll: &mut Poll) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let timeout =
                if self.runnable.is_empty() { self.until_next() } else { Some(Duration::ZERO) };
            match poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error.into());
                }
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(poll)?,
                    ORDERS => self.take_orders(),
                    Token(index) => {
                        if event.is_readable() {
                            self.read(index);
                        }
                        self.write_own(index, &[]);
                        self.queue(index);
                    }
                }
            }
            self.make_due();
            self.write_some();
        }
    }

    fn until_next(&self) -> Option<Duration> {
        let paced = self.pending.as_ref()?;
        Some(paced.order.pace.due(paced.made).saturating_sub(paced.begin.elapsed()))
    }

    fn accept(&mut self, poll: &Poll) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    stream.set_nodelay(true)?;
                    let token = Token(self.clients.len());
                    poll.registry().register(
                        &mut stream,
                        token,
                        Interest::READABLE | Interest::WRITABLE,
                    )?;
                    self.clients.push(Client {
                        stream,
                        request: Vec::new(),
                        next: None,
                        written: 0,
                        queued: false,
                        own: Vec::new(),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Starts a client at the next write, when its request is complete.
    fn read(&mut self, index: usize) {
        let end = self.writes.len();
        let Some(client) = self.clients.get_mut(index) else { return };
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = client.stream.read(&mut buffer) {
            client.request.extend(buffer.iter().take(count));
        }
        if client.next.is_none()
            && client.request.ends_with(b"\r\n\r\n")
            && matches!(client.stream.write(HEAD), Ok(count) if count == HEAD.len())
        {
            let request = mem::take(&mut client.request);
            match key_of(&request) {
                Some(key) => {
                    self.of_keys.insert(key, index);
                }
                None => client.next = Some(end),
            }
        }
    }

    fn take_orders(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            match order.pace {
                Pace::PerSecond(_) => {
                    self.pending = Some(Paced { order, begin: Instant::now(), made: 0 })
                }
                Pace::AsFastAsPossible => {
                    let end = order.first + order.count;
                    for first in (order.first..end).step_by(EVENTS_PER_WRITE as usize) {
                        self.push(first, EVENTS_PER_WRITE.min(end - first));
                    }
                }
            }
        }
    }

    fn make_due(&mut self) {
        let Some(mut paced) = self.pending.take() else { return };
        while paced.made < paced.order.count
            && paced.order.pace.due(paced.made) <= paced.begin.elapsed()
        {
            let number = paced.order.first + paced.made;
            match paced.order.keys {
                None => self.push(number, 1),
                Some(keys) => {
                    if let Some(&index) = self.of_keys.get(&(number % keys)) {
                        self.write_own(index, &chunk(number, 1));
                    }
                }
            }
            paced.made += 1;
        }
        if paced.made < paced.order.count {
            self.pending = Some(paced);
        }
    }

    fn push(&mut self, first: u64, count: u64) {
        self.writes.push(chunk(first, count));
        (0..self.clients.len()).for_each(|index| self.queue(index));
    }

    /// Writes the events that are for one client only.
    fn write_own(&mut self, index: usize, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(index) else { return };
        if client.own.is_empty() {
            let written = client.stream.write(bytes).unwrap_or(0);
            client.own.extend(bytes.iter().skip(written));
        } else {
            client.own.extend(bytes);
            let written = client.stream.write(&client.own).unwrap_or(0);
            client.own.drain(..written);
        }
    }

    fn queue(&mut self, index: usize) {
        let end = self.writes.len();
        let Some(client) = self.clients.get_mut(index) else { return };
        if !client.queued && client.next.is_some_and(|next| next < end) {
            client.queued = true;
            self.runnable.push_back(index);
        }
    }

    /// Performs one write for each client that has bytes to write. The bytes are the same for consecutive clients,
    /// and stay in the cache of the processor.
    fn write_some(&mut self) {
        for _ in 0..self.runnable.len() {
            let Some(index) = self.runnable.pop_front() else { return };
            let Some(client) = self.clients.get_mut(index) else { continue };
            client.queued = false;
            let Some(next) = client.next else { continue };
            let Some(rest) = self.writes.get(next).and_then(|write| write.get(client.written..))
            else {
                continue;
            };
            match client.stream.write(rest) {
                Ok(count) if count == rest.len() => {
                    client.next = Some(next + 1);
                    client.written = 0;
                }
                Ok(count) => client.written += count,
                // The poll reports when the socket takes more.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => {
                    client.next = None;
                    continue;
                }
            }
            self.queue(index);
        }
    }
}

/// The number of the requested key. `None` if the request is for all events.
fn key_of(request: &[u8]) -> Option<u64> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let path = std::str::from_utf8(line).ok()?.split(' ').nth(1)?;
    kafka::key_number(path.strip_prefix("/keys/")?)
}

/// Encodes an event with as many bytes as tailwater. The id of a topic with one partition has eight characters.
pub(super) fn chunk(first: u64, count: u64) -> Vec<u8> {
    let mut events = String::new();
    for number in first..first + count {
        let value = Stamp { nanos: now_nanos(), number }.write();
        let _ = write!(events, "data:{value}\nid:{number:08}\n\n");
    }
    format!("{:X}\r\n{events}\r\n", events.len()).into_bytes()
}
