//! `tailwater demo`: an embedded Kafka, a producer of quotes, a page, and the configuration of the server.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io, thread};

use tailwater_kafka::embedded::{EmbeddedKafka, Message, Producer};
use tracing::error;

use crate::config::{self, Report};
use crate::server::{self, ServerOptions};
use crate::stack::Stack;

const CONFIG: &str = include_str!("zilla.yaml");
const PAGE: &str = include_str!("index.html");

/// The symbols, their first prices, and the venue that quotes them.
const SYMBOLS: [(&str, f64, &str); 5] = [
    ("EURUSD", 1.0873, "frankfurt"),
    ("GBPUSD", 1.2745, "london"),
    ("USDJPY", 151.62, "tokyo"),
    ("USDCHF", 0.8841, "zurich"),
    ("AUDUSD", 0.6534, "sydney"),
];

/// The time between two quotes.
const TICK: Duration = Duration::from_millis(250);

/// Each quote with a multiple of this number is a tombstone.
const WITHDRAWN: u64 = 24;

/// The error of a demo that does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The page can't be written to a temporary folder.
    #[error("the page can't be written")]
    Page(#[from] io::Error),
    /// The embedded Kafka does not start.
    #[error("the embedded kafka can't start")]
    Kafka(#[from] tailwater_kafka::Error),
    /// The configuration has mistakes.
    #[error("{0}")]
    Config(Report),
    /// The server does not start.
    #[error(transparent)]
    Server(#[from] server::Error),
}

/// A configuration to start from: a server on `port`, a Kafka at `localhost:9092`, and pages in the folder `www`.
#[must_use]
pub fn config(port: u16) -> String {
    let mut text = CONFIG.to_owned();
    for (name, value) in variables(port, "localhost:9092", "www/") {
        text = text.replace(&format!("${{{{env.{name}}}}}"), &value);
    }
    text
}

fn variables(port: u16, kafka: &str, pages: &str) -> [(&'static str, String); 4] {
    [
        ("TAILWATER_DEMO_HOST", "127.0.0.1".to_owned()),
        ("TAILWATER_DEMO_PORT", port.to_string()),
        ("TAILWATER_DEMO_PAGES", pages.to_owned()),
        ("KAFKA_BOOTSTRAP_SERVER", kafka.to_owned()),
    ]
}

/// Runs the demo until SIGINT or SIGTERM, which end it at once. When the server listens, it calls `print` with a
/// text that names the page and the commands to try.
///
/// # Errors
/// Kafka or the server can't start, or the page can't be written to a temporary folder.
pub fn run(port: u16, print: impl FnOnce(&str)) -> Result<(), Error> {
    let kafka = EmbeddedKafka::start()?;
    kafka.create_topic("quotes", 2)?;
    let pages = tempfile::tempdir()?;
    fs::write(pages.path().join("index.html"), PAGE)?;

    let variables = variables(port, &kafka.servers(), &pages.path().display().to_string());
    let variable = |name: &str| {
        variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.clone())
    };
    let parsed = config::parse("demo.yaml", CONFIG.as_bytes(), &variable).map_err(Error::Config)?;

    let producer = kafka.producer();
    thread::Builder::new().name("ticker".to_owned()).spawn(move || tick(&producer))?;
    let listening = |stack: &Stack| {
        if let Some(address) = stack.addresses().first() {
            print(&usage(*address));
        }
    };
    let options = ServerOptions::new().drain(Duration::ZERO);
    let served = server::run(parsed.namespaces, Path::new("."), options, listening);
    // The process ends now. If the broker ended before it, librdkafka would log lost connections.
    std::mem::forget(kafka);
    Ok(served?)
}

fn usage(address: SocketAddr) -> String {
    let port = address.port();
    format!(
        "\
A Kafka with a topic of quotes runs in this process. See them arrive:

  http://localhost:{port}/

or listen in another terminal:

  curl -N http://localhost:{port}/events            # all quotes
  curl -N http://localhost:{port}/events/EURUSD     # the quotes with this key
  curl -N http://localhost:{port}/venues/tokyo      # the quotes with this header
  curl -N -H 'last-event-id: ID' http://localhost:{port}/events    # the quotes after an id

`tailwater demo --print-config` prints the configuration, to start from. Ctrl-C ends the demo.
"
    )
}

/// Produces quotes until the process ends.
fn tick(kafka: &Producer) {
    let mut prices = SYMBOLS.map(|(_, price, _)| price);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for count in 1.. {
        // Marsaglia's xorshift is random enough for quotes.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let index = (random % SYMBOLS.len() as u64) as usize;
        let (symbol, first, venue) = SYMBOLS[index];
        let headers = [("venue", Some(venue.as_bytes()))];
        let message = Message::new("quotes").key(symbol.as_bytes()).headers(&headers);
        let produced = if count % WITHDRAWN == 0 {
            kafka.produce(&message)
        } else {
            // No step is 0, so that each quote differs from the one before.
            let step = [-10, -6, -3, -1, 1, 3, 6, 10][(random >> 32) as usize % 8];
            let moved = prices[index] + first * f64::from(step) * 1e-5;
            prices[index] = moved.clamp(first / 2.0, first * 2.0);
            let decimals = if first < 10.0 { 5 } else { 3 };
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let value = format!(
                r#"{{"symbol":"{symbol}","price":{:.decimals$},"time":{time}}}"#,
                prices[index]
            );
            kafka.produce(&message.value(value.as_bytes()))
        };
        if let Err(error) = produced {
            error!(%error, "the quote is lost");
        }
        thread::sleep(TICK);
    }
}
