use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::Result;
use crate::scenarios::{self, Scenario};
use crate::servers::Kind;

/// Measures tailwater beside a plain axum server and raw sockets; prints Markdown.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true, after_help = scenarios::help())]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) hidden: Option<Hidden>,

    /// Scenarios by name, or `table` for all of them
    #[arg(value_name = "SCENARIO", default_value = "table")]
    scenarios: Vec<String>,

    /// The Kafka to use, as HOST:PORT
    #[arg(long, env = "TAILWATER_TEST_KAFKA", hide_env_values = true)]
    pub(crate) kafka: Option<String>,

    /// The tailwater program [default: the file beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) tailwater: Option<PathBuf>,

    /// The servers to measure
    #[arg(long, value_delimiter = ',', default_values_t = Kind::ALL)]
    pub(crate) servers: Vec<Kind>,

    /// The number of rounds. Each measures every server, and the median is reported [default: 5]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) runs: Option<u16>,

    /// The number of clients [default: that of the scenario]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) clients: Option<u32>,

    /// The number of events [default: that of the scenario]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) events: Option<u64>,

    /// The file for the plot of `growth`, as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,

    /// Run with small numbers and one round, on librdkafka's mock cluster if no Kafka is named
    #[arg(long, visible_alias = "smoke")]
    pub(crate) quick: bool,
}

impl Cli {
    pub(crate) fn scenarios(&self) -> Result<Vec<&'static Scenario>> {
        let mut chosen = Vec::new();
        for name in &self.scenarios {
            match scenarios::ALL.iter().find(|scenario| scenario.name == name) {
                Some(scenario) => chosen.push(*scenario),
                None if name == "table" => chosen.extend(scenarios::ALL),
                None => {
                    return Err(
                        format!("there is no scenario `{name}`\n{}", scenarios::help()).into()
                    );
                }
            }
        }
        Ok(chosen)
    }
}

/// The servers to compare with. This program starts itself as their process.
#[derive(Debug, Subcommand)]
pub(crate) enum Hidden {
    #[command(hide = true, name = "serve-axum")]
    Axum(AxumOptions),
    #[command(hide = true, name = "serve-raw")]
    Raw(RawOptions),
    #[command(hide = true, name = "serve-raw-tls")]
    RawTls(RawTlsOptions),
    #[command(hide = true, name = "consume")]
    Consume(ConsumeOptions),
}

#[derive(Debug, Args)]
pub(crate) struct AxumOptions {
    #[arg(long)]
    pub(crate) port: u16,
    #[arg(long)]
    pub(crate) kafka: String,
    #[arg(long)]
    pub(crate) topic: String,
    /// The number of events that the channel holds before it drops some
    #[arg(long)]
    pub(crate) capacity: usize,
    /// The file with key and certificate, as PEM, for TLS
    #[arg(long)]
    pub(crate) store: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ConsumeOptions {
    #[arg(long)]
    pub(crate) kafka: String,
    #[arg(long)]
    pub(crate) topic: String,
    /// Read from the end instead of the beginning
    #[arg(long)]
    pub(crate) live: bool,
    /// The number of records before the measured ones
    #[arg(long)]
    pub(crate) warm_up: u64,
    /// The number of measured records
    #[arg(long)]
    pub(crate) count: u64,
}

#[derive(Debug, Args)]
pub(crate) struct RawOptions {
    #[arg(long)]
    pub(crate) port: u16,
}

#[derive(Debug, Args)]
pub(crate) struct RawTlsOptions {
    #[arg(long)]
    pub(crate) port: u16,
    /// The file with key and certificate, as PEM
    #[arg(long)]
    pub(crate) store: PathBuf,
}
