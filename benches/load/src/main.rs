//! The load generator. It measures tailwater, a plain axum server and raw sockets in one run on one machine.
//! `benches/README.md` describes the measurements.

#![expect(
    clippy::disallowed_types,
    reason = "this measures the machine's time; tokio's clock has no part in it"
)]

mod cli;
mod clients;
mod consumer;
mod kafka;
mod machine;
mod observed;
mod plot;
mod process;
mod report;
mod scenarios;
mod servers;
mod stage;
mod tls;
mod value;

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Hidden};
use crate::scenarios::Bench;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tailwater-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.hidden {
        Some(Hidden::Axum(options)) => return servers::axum::serve(&options),
        Some(Hidden::Raw(options)) => return servers::raw::serve(&options),
        Some(Hidden::RawTls(options)) => return servers::raw_tls::serve(&options),
        Some(Hidden::Consume(options)) => return consumer::consume(&options),
        None => {}
    }
    process::raise_file_limit()?;
    let scenarios = cli.scenarios()?;
    let bench = Bench::new(&cli)?;
    let mut out = io::stdout().lock();
    write!(out, "{}", machine::facts(&bench))?;
    for scenario in scenarios {
        out.flush()?;
        let rounds = scenario.measure(&bench)?;
        write!(out, "{}", report::scenario(scenario, &bench, &rounds))?;
        if let (Some(file), "growth") = (&cli.plot, scenario.name) {
            fs::write(file, plot::svg(&rounds))?;
        }
    }
    Ok(())
}
