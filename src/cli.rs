//! The command line.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tailwater::config::{self, Report};

/// What a process ends with where its command line or its configuration is wrong.
const MISTAKEN: u8 = 2;

/// Streams Kafka topics to browsers as Server-Sent Events.
#[derive(Debug, Parser)]
#[command(name = "tailwater", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what a configuration file means, or what is wrong with it, and start nothing
    ///
    /// Tells each listener, route by route, down to topic and filter, and names every key that has
    /// no effect yet. Ends with status 2 where there are mistakes in the file.
    #[command(after_help = "\
Examples:
  tailwater check                        the file zilla.yaml of this folder
  tailwater check -c /etc/tailwater.json")]
    Check(ConfigFile),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration, in Zilla's grammar, as YAML or JSON
    #[arg(short, long = "config", value_name = "FILE", default_value = "zilla.yaml")]
    config: PathBuf,
}

/// Runs the program; what the process ends with.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match cli.command {
        Command::Check(file) => check(&file),
    }
}

fn check(file: &ConfigFile) -> ExitCode {
    match load(file) {
        Ok(parsed) => {
            let text = config::describe(&parsed);
            match io::stdout().lock().write_all(text.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                // Whoever reads has read enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
                Err(error) => fail(&error),
            }
        }
        Err(status) => status,
    }
}

/// Reads the configuration; what is wrong with it goes to the standard error.
fn load(file: &ConfigFile) -> Result<config::Parsed, ExitCode> {
    match config::load(&file.config) {
        Ok(parsed) => Ok(parsed),
        Err(config::Error::Mistakes(report)) => {
            show(&report);
            Err(ExitCode::from(MISTAKEN))
        }
        Err(error) => {
            fail(&error);
            Err(ExitCode::from(MISTAKEN))
        }
    }
}

/// Shows what is to be said about a file: with excerpts on a terminal, else a line for each.
fn show(report: &Report) {
    let mut stderr = io::stderr().lock();
    let text = if stderr.is_terminal() {
        let color = std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
        report.graphical(color)
    } else {
        report.to_string()
    };
    // Nobody is left to be told that nobody can be told.
    let _ = stderr.write_all(text.as_bytes());
}

/// Prints an error and what caused it.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    let mut text = format!("tailwater: {error}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    let _ = writeln!(io::stderr().lock(), "{text}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn check_reads_zilla_yaml_unless_told_otherwise() {
        for (args, expected) in [
            (&["tailwater", "check"][..], "zilla.yaml"),
            (&["tailwater", "check", "-c", "a.json"], "a.json"),
            (&["tailwater", "check", "--config=b.yaml"], "b.yaml"),
        ] {
            let Command::Check(file) = Cli::try_parse_from(args).unwrap().command;
            assert_eq!(file.config, PathBuf::from(expected), "{args:?}");
        }
    }
}
