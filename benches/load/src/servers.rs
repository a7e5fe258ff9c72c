//! The measured servers. Each is a child process.

pub(crate) mod axum;
pub(crate) mod raw;
pub(crate) mod raw_tls;

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use socket2::{Domain, Socket, Type};

use crate::Result;
use crate::kafka::{Pace, Topic};
use crate::observed::{Observed, Repeated};
use crate::process;
use crate::scenarios::Bench;
use crate::tls;
use crate::value::Values;

/// The file of the running program, even if a build has replaced it since.
pub(crate) const MYSELF: &str = "/proc/self/exe";
/// The minimum memory of tailwater's logs, which is its default. If a log has to hold more events, it gets 1 KiB for
/// each.
const LOG_MIB: u64 = 256;
const CONFIGURATION: &str = include_str!("servers/zilla.yaml");
const AVRO_CONFIGURATION: &str = include_str!("servers/zilla-avro.yaml");
const TLS_CONFIGURATION: &str = include_str!("servers/zilla-tls.yaml");

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Tailwater,
    Axum,
    Raw,
    RawTls,
    /// A consumer without clients.
    Consumer,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Tailwater, Self::Axum, Self::Raw, Self::RawTls, Self::Consumer];
    /// The servers of scenarios without TLS.
    pub(crate) const PLAIN: [Self; 3] = [Self::Tailwater, Self::Axum, Self::Raw];
    /// The servers of scenarios with TLS.
    pub(crate) const TLS: [Self; 3] = [Self::Tailwater, Self::Axum, Self::RawTls];

    /// Whether it makes events itself on request, without Kafka.
    pub(crate) fn makes_its_events(self) -> bool {
        matches!(self, Self::Raw | Self::RawTls)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tailwater => "tailwater",
            Self::Axum => "axum",
            Self::Raw => "raw",
            Self::RawTls => "raw-tls",
            Self::Consumer => "consumer",
        })
    }
}

/// The transport of the clients: HTTP/1.1 or HTTP/2, over TLS or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
    PlainH2,
    TlsH2,
}

impl Transport {
    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::TlsH2)
    }

    pub(crate) fn is_h2(self) -> bool {
        matches!(self, Self::PlainH2 | Self::TlsH2)
    }
}

/// How a server is started. All but the transport is for tailwater only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    transport: Transport,
    threads: Option<usize>,
    is_observed: bool,
    yields: bool,
}

impl From<Transport> for Setup {
    fn from(transport: Transport) -> Self {
        Self { transport, threads: None, is_observed: false, yields: false }
    }
}

impl Setup {
    /// Sets the number of threads.
    pub(crate) fn threads(self, threads: usize) -> Self {
        Self { threads: Some(threads), ..self }
    }

    /// Opens the ports for health checks and for administration, and records and pushes all metrics.
    pub(crate) fn observed(self) -> Self {
        Self { is_observed: true, ..self }
    }

    /// Gives the server a lower priority than clients, producer and Kafka, as if these had cores of their own: a
    /// client that falls behind has a full socket, and a copy to it takes twice as long.
    pub(crate) fn yielding(self) -> Self {
        Self { yields: true, ..self }
    }

    pub(crate) fn transport(self) -> Transport {
        self.transport
    }
}

/// A running server. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    kind: Kind,
    pub(crate) address: SocketAddr,
    /// The ports of a server that is observed.
    pub(crate) observed: Option<Observed>,
    scrapes: Option<Repeated>,
    /// The time from just before its program was executed to its first connection.
    pub(crate) listening_after: Duration,
    pub(crate) executed: Instant,
}

impl Server {
    /// Starts the server and waits until it listens. `capacity` is the number of events that axum's channel or
    /// tailwater's log has to hold.
    pub(crate) fn start(
        bench: &Bench,
        kind: Kind,
        setup: impl Into<Setup>,
        topic: &Topic,
        capacity: u64,
    ) -> Result<Self> {
        let Setup { transport, threads, is_observed, yields } = setup.into();
        let mut observed = None;
        let address = free_address()?;
        let port = address.port().to_string();
        let kafka = bench.kafka.servers();
        let mut command = match kind {
            Kind::Tailwater => {
                let file = bench.directory.path().join(format!("{port}.yaml"));
                let configuration = match (transport.is_tls(), topic.values) {
                    (false, Values::Padded | Values::Json) => CONFIGURATION,
                    (false, Values::Avro) => AVRO_CONFIGURATION,
                    (true, _) => TLS_CONFIGURATION,
                };
                let mut configuration = configuration
                    .replace("PORT", &port)
                    .replace("TOPIC", &topic.name)
                    .replace("SERVERS", kafka)
                    .replace("MEMORY", &format!("{}MiB", (capacity / 1024).max(LOG_MIB)));
                let mut command = match yields {
                    true => {
                        // It executes the program in its own process.
                        let mut command = Command::new("nice");
                        command.args(["-n", "10"]).arg(&bench.tailwater);
                        command
                    }
                    false => Command::new(&bench.tailwater),
                };
                command.arg("start").arg("-c").arg(&file);
                if let Some(threads) = threads {
                    command.arg("--threads").arg(threads.to_string());
                }
                if is_observed {
                    let observed = observed.insert(Observed::new()?);
                    configuration = observed.complete(&configuration);
                    command.args(observed.arguments());
                }
                fs::write(&file, configuration)?;
                command
            }
            Kind::Axum => {
                let mut command = Command::new(MYSELF);
                let capacity = capacity.max(1).to_string();
                command.args([
                    "serve-axum",
                    "--port",
                    &port,
                    "--kafka",
                    kafka,
                    "--topic",
                    &topic.name,
                    "--capacity",
                    &capacity,
                ]);
                if transport.is_tls() {
                    command.arg("--store").arg(bench.directory.path().join(tls::STORE));
                }
                command
            }
            Kind::Raw => {
                let mut command = Command::new(MYSELF);
                command.args(["serve-raw", "--port", &port]);
                command
            }
            Kind::RawTls => {
                let mut command = Command::new(MYSELF);
                command.args(["serve-raw-tls", "--port", &port, "--store"]);
                command.arg(bench.directory.path().join(tls::STORE));
                command
            }
            Kind::Consumer => return Err("a consumer serves no clients".into()),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::null()).env("TAILWATER_LOG", "warn");
        let executed = Instant::now();
        let child = command.spawn().map_err(|error| {
            format!("{} cannot be started: {error}", command.get_program().display())
        })?;
        let listening_after = Duration::ZERO;
        let mut server =
            Self { child, kind, address, observed, scrapes: None, listening_after, executed };
        server.wait_until_it_listens(address)?;
        server.listening_after = executed.elapsed();
        if let Some(Observed { health, admin, .. }) = server.observed {
            server.wait_until_it_listens(health)?;
            server.wait_until_it_listens(admin)?;
        }
        server.scrapes = server.observed.as_ref().map(Observed::scrape);
        Ok(server)
    }

    fn wait_until_it_listens(&mut self, address: SocketAddr) -> Result<()> {
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{} ended at once: {status}", self.kind).into());
            }
            if self.executed.elapsed() > Duration::from_secs(30) {
                return Err(format!("{} does not listen on {address}", self.kind).into());
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        self.scrapes.as_ref().map_or(Ok(()), Repeated::check)?;
        process::cpu_time(self.child.id())
    }

    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        self.scrapes.as_ref().map_or(Ok(()), Repeated::check)?;
        process::resident_bytes(self.child.id())
    }

    /// The greatest resident memory so far.
    pub(crate) fn peak_bytes(&self) -> Result<u64> {
        process::peak_bytes(self.child.id())
    }

    /// The bytes received from Kafka, on the connections that the server opened itself.
    pub(crate) fn received_bytes(&self) -> Result<f64> {
        process::received_bytes(self.child.id(), Some(self.address.port()))
    }

    /// Limits the address space of the server. It ends if it needs more.
    pub(crate) fn limit_address_space(&self, bytes: u64) -> Result<()> {
        process::limit_address_space(self.child.id(), bytes)
    }

    /// Lets a raw server make events. With keys, an event is only for the clients of its key.
    pub(crate) fn make_events(
        &mut self,
        first: u64,
        count: u64,
        pace: Pace,
        keys: Option<u64>,
    ) -> Result<()> {
        let rate = match pace {
            Pace::AsFastAsPossible => 0,
            Pace::PerSecond(rate) => rate,
        };
        let stdin = self.child.stdin.as_mut().ok_or("the server has no standard input")?;
        writeln!(stdin, "{first} {count} {rate} {}", keys.unwrap_or(0))?;
        Ok(stdin.flush()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.scrapes = None;
        // An error means that the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A listener for the raw servers, with the send buffer that tailwater sets. By default the kernel buffers up to
/// 4 MiB for each client, and the copies to memory outside of the cache would determine the server's time.
fn listen(port: u16) -> Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_send_buffer_size(128 * 1024)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Ends this process when its parent has ended, which closes the standard input.
pub(crate) fn end_with_parent() {
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
}
