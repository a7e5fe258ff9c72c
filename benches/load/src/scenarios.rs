//! The scenarios. Each is a file in this folder and a line in [`ALL`].

mod admin_list;
mod burst;
mod burst_avro;
mod burst_h2;
mod compacted;
mod crowd;
mod fairness;
pub(crate) mod growth;
mod history;
mod hostile;
mod idle;
mod idle_100k;
mod idle_h2;
mod idle_tls;
mod keyed;
mod metrics;
mod paced;
mod soak;
mod stalled;
mod stampede;
mod start;
mod threads;
mod tls_burst;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use crate::Result;
use crate::cli::Cli;
use crate::kafka::{Kafka, Pace, Topic};
use crate::report::{Goal, Round, Unit};
use crate::servers::Kind;
use crate::tls::Tls;
use crate::value::Values;

pub(crate) const ALL: &[&Scenario] = &[
    &burst::SCENARIO,
    &burst_avro::SCENARIO,
    &paced::PLAIN,
    &crowd::SCENARIO,
    &keyed::SCENARIO,
    &history::FROM_KAFKA,
    &history::FROM_LOG,
    &history::OF_AVRO,
    &stampede::SCENARIO,
    &fairness::SCENARIO,
    &compacted::SCENARIO,
    &stalled::SCENARIO,
    &soak::SCENARIO,
    &idle::SCENARIO,
    &start::SCENARIO,
    &tls_burst::SCENARIO,
    &burst_h2::SCENARIO,
    &paced::TLS,
    &paced::H2,
    &idle_tls::SCENARIO,
    &idle_h2::SCENARIO,
    &idle_100k::SCENARIO,
    &threads::PLAIN,
    &threads::TLS,
    &metrics::SCENARIO,
    &admin_list::SCENARIO,
    &hostile::SCENARIO,
    &growth::SCENARIO,
];

#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// One line for `--help`.
    pub(crate) about: &'static str,
    /// One sentence for the report, with the numbers of this run.
    pub(crate) describe: fn(&Bench) -> String,
    pub(crate) servers: &'static [Kind],
    pub(crate) columns: &'static [Column],
    pub(crate) goals: &'static [Goal],
    /// The maximum number of rounds, for scenarios that take minutes.
    pub(crate) rounds: u16,
    /// One value for each column.
    pub(crate) run: fn(&Bench, Kind) -> Result<Vec<f64>>,
}

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
}

impl Scenario {
    /// Runs all rounds, with each server in turn.
    pub(crate) fn measure(&self, bench: &Bench) -> Result<Vec<Round>> {
        let mut rounds = Vec::new();
        let last = self.rounds.min(bench.runs);
        for round in 1..=last {
            let mut results = Vec::new();
            for kind in self.servers.iter().filter(|kind| bench.servers.contains(kind)) {
                eprintln!("{} {round}/{last}: {kind}", self.name);
                let values = (self.run)(bench, *kind)
                    .map_err(|error| format!("{}, {kind}: {error}", self.name))?;
                results.push((*kind, values));
            }
            rounds.push(results);
        }
        Ok(rounds)
    }
}

/// The resources and options of all scenarios.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) kafka: Kafka,
    pub(crate) tailwater: PathBuf,
    pub(crate) servers: Vec<Kind>,
    pub(crate) runs: u16,
    pub(crate) quick: bool,
    pub(crate) tls: Tls,
    /// Contains the configurations and the key of the servers. It is removed at the end.
    pub(crate) directory: TempDir,
    clients: Option<usize>,
    events: Option<u64>,
    topics: AtomicU32,
    filled: Mutex<HashMap<Content, Topic>>,
}

/// What a filled topic has: its values, its number of records, and its number of keys if it is compacted.
type Content = (Values, u64, Option<u64>);

impl Bench {
    pub(crate) fn new(cli: &Cli) -> Result<Self> {
        let kafka = match &cli.kafka {
            Some(servers) => Kafka::real(servers),
            None if cli.quick => Kafka::mock()?,
            None => return Err("no Kafka is named: use --kafka or TAILWATER_TEST_KAFKA, or --quick for the mock cluster".into()),
        };
        let tailwater = match &cli.tailwater {
            Some(file) => file.clone(),
            None => std::env::current_exe()?.with_file_name("tailwater"),
        };
        if cli.servers.contains(&Kind::Tailwater) && !tailwater.is_file() {
            let file = tailwater.display();
            return Err(format!(
                "{file} does not exist: build it with `cargo build --release`, or name another file with --tailwater"
            )
            .into());
        }
        let directory = TempDir::with_prefix("tailwater-load-")?;
        Ok(Self {
            kafka,
            tailwater,
            servers: cli.servers.clone(),
            runs: cli.runs.unwrap_or(if cli.quick { 1 } else { 5 }),
            quick: cli.quick,
            tls: Tls::new(directory.path())?,
            directory,
            clients: cli.clients.map(|clients| clients as usize),
            events: cli.events,
            topics: AtomicU32::new(0),
            filled: Mutex::default(),
        })
    }

    pub(crate) fn clients(&self, full: usize, quick: usize) -> usize {
        self.clients.unwrap_or(if self.quick { quick } else { full })
    }

    pub(crate) fn events(&self, full: u64, quick: u64) -> u64 {
        self.events.unwrap_or(if self.quick { quick } else { full })
    }

    /// Creates an empty topic with one partition and a unique name.
    pub(crate) fn new_topic(&self, values: Values) -> Result<Topic> {
        self.create_topic(values, false)
    }

    fn create_topic(&self, values: Values, compacted: bool) -> Result<Topic> {
        let number = self.topics.fetch_add(1, Ordering::Relaxed);
        let name = format!("load-{}-{}-{number}", crate::kafka::now_nanos(), std::process::id());
        self.kafka.create_topic(&name, compacted)?;
        Ok(Topic { name, values })
    }

    /// A topic with this number of records, filled at the first call. With keys it is compacted.
    pub(crate) fn filled_topic(
        &self,
        values: Values,
        records: u64,
        keys: Option<u64>,
    ) -> Result<Topic> {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = filled.get(&(values, records, keys)) {
            return Ok(topic.clone());
        }
        eprintln!("filling a topic with {records} records");
        let topic = self.create_topic(values, keys.is_some())?;
        self.kafka.producer(&topic, keys)?.send(0, records, Pace::AsFastAsPossible)?;
        filled.insert((values, records, keys), topic.clone());
        Ok(topic)
    }
}

pub(crate) fn help() -> String {
    let mut help = "Scenarios:\n".to_owned();
    for scenario in ALL {
        let _ = writeln!(help, "  {:<12}{}", scenario.name, scenario.about);
    }
    help
}
