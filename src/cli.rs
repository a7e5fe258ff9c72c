//! The command line.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use tailwater::admin::{self, AdminOptions, Token, TokenRequired};
use tailwater::config::{self, Report};
use tailwater::server::{self, ServerOptions};
use tailwater::telemetry::{self, LogFormat, Outputs, error_line};
use tracing::warn;

#[cfg(feature = "kafka")]
mod demo;

const EXIT_SUCCESS: i32 = 0;
const EXIT_FAILURE: i32 = 1;
/// Exit status where the command line or the configuration is invalid.
const EXIT_USAGE: i32 = 2;

/// Streams Kafka topics to browsers as Server-Sent Events.
#[derive(Debug, Parser)]
#[command(name = "tailwater", version, max_term_width = 100, arg_required_else_help = true)]
#[cfg_attr(
    feature = "kafka",
    command(after_help = "\
Examples:
  tailwater demo                          run a Kafka, a page and a stream in one process
  tailwater demo --print-config           print the configuration of the demo
  tailwater check -c zilla.yaml           explain the file, or list its mistakes
  tailwater start -c zilla.yaml           serve the file")
)]
#[cfg_attr(
    not(feature = "kafka"),
    command(after_help = "\
This program was built without Kafka: it starts no configuration that leads to a topic.

Examples:
  tailwater check -c zilla.yaml           explain the file, or list its mistakes
  tailwater start -c zilla.yaml           serve the file")
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a configuration file
    ///
    /// Listens on the ports of the file and serves until SIGINT or SIGTERM. Streams then end after an
    /// event, spread over the time of --drain. A second signal, more than a second later, ends them at
    /// once. If the file has a mistake, nothing is started and the exit status is 2.
    #[command(after_help = "\
Examples:
  tailwater start                         serve the file zilla.yaml of this folder
  tailwater start -c /etc/tailwater.json --log-format json
  tailwater start --log-level info,tailwater_kafka=debug")]
    Start(Start),
    /// Explain a configuration file, or list its mistakes
    ///
    /// Starts nothing. Describes each listener, route by route, down to topic and filter, and names every
    /// key that has no effect yet. If the file has a mistake, the exit status is 2.
    #[command(after_help = "\
Examples:
  tailwater check                         explain the file zilla.yaml of this folder
  tailwater check -c /etc/tailwater.json
  tailwater check --connect               ask registries and brokers, too")]
    Check(Check),
    /// Show a topic in the browser, with nothing else installed
    ///
    /// Starts a Kafka in this process, writes quotes into a topic and serves a page that shows them.
    /// Prints what to open and what to type. Ctrl-C ends the demo and leaves nothing behind.
    #[command(after_help = "\
Examples:
  tailwater demo                          on http://localhost:7114/
  tailwater demo --port 8080              on another port
  tailwater demo --print-config > zilla.yaml")]
    #[cfg(feature = "kafka")]
    Demo(demo::Demo),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration, in Zilla's grammar, as YAML or JSON
    #[arg(short, long = "config", value_name = "FILE", default_value = "zilla.yaml")]
    config: PathBuf,
}

impl ConfigFile {
    /// The base of the relative paths in the file.
    fn folder(&self) -> &Path {
        self.config.parent().unwrap_or(Path::new(""))
    }
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Ask the registries and the Kafka clusters of the file, too
    ///
    /// Prints the schemas and the topics that they have of those that the file names. If something is
    /// missing, or does not answer within some seconds, the exit status is 1.
    #[arg(long)]
    connect: bool,
}

#[derive(Debug, Args)]
struct Log {
    /// The format of the log, which is written to standard error
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    log_format: Format,
    /// The lowest level to log: error, warn, info, debug or trace, also for parts of the program
    #[arg(long, env = "TAILWATER_LOG", value_name = "LEVELS", default_value = "info")]
    log_level: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Lines for people
    Text,
    /// A JSON object on each line
    Json,
}

#[derive(Debug, Args)]
struct Start {
    #[command(flatten)]
    file: ConfigFile,
    /// How long streams have to end after SIGINT or SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = value_parser!(u64).range(..=3600))]
    drain: u64,
    /// How many threads serve connections
    ///
    /// A connection stays on its thread. By default there is a thread for each core, and the last one gets
    /// connections once each of the others has 4096. With this option all threads get as many.
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZero<usize>>,
    /// The address of /ready, /live and /metrics, such as 127.0.0.1:9901. There is no authentication
    #[arg(long, value_name = "ADDRESS")]
    health: Option<SocketAddr>,
    /// The address for administration, such as 127.0.0.1:9902, or unix:PATH
    ///
    /// Serves the inspector, a page that shows the open streams, and an API. Anybody who reaches the
    /// address may use it, unless there is a token. An address that other machines reach needs
    /// --admin-token-file.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<admin::Address>,
    /// The file with the token for administration
    ///
    /// Requests need it as `authorization: Bearer TOKEN`.
    #[arg(long, value_name = "FILE", requires = "admin")]
    admin_token_file: Option<PathBuf>,
    #[command(flatten)]
    log: Log,
}

/// Runs the program, and returns the exit status.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> i32 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match cli.command {
        Command::Start(options) => start(&options),
        Command::Check(options) => check(&options),
        #[cfg(feature = "kafka")]
        Command::Demo(options) => demo::run(&options),
    }
}

fn start(options: &Start) -> i32 {
    let parsed = match load(&options.file) {
        Ok(parsed) => parsed,
        Err(status) => return status,
    };
    let format = match options.log.log_format {
        Format::Text => LogFormat::Text,
        Format::Json => LogFormat::Json,
    };
    let access = parsed.logs_access();
    let outputs = match telemetry::init(format, &options.log.log_level, access) {
        Ok(outputs) => outputs,
        Err(error) => {
            fail(&error);
            return EXIT_USAGE;
        }
    };
    for warning in parsed.report.diagnostics() {
        let place = parsed.report.place(warning.span);
        warn!(%place, help = warning.help.as_deref(), "{}", warning.message);
    }
    for why in parsed.idle() {
        warn!("{why}");
    }
    // Relative paths of the file are relative to where it is.
    let folder = options.file.folder();
    let admin = match admin(options, &outputs) {
        Ok(admin) => admin,
        Err(text) => {
            outputs.print_error(&text);
            return EXIT_USAGE;
        }
    };
    let server = ServerOptions::new()
        .drain(Duration::from_secs(options.drain))
        .health(options.health)
        .admin(admin)
        .config_hash(parsed.hash);
    let server = options.threads.into_iter().fold(server, ServerOptions::threads);
    match server::run(parsed.namespaces, folder, server, |_| ()) {
        Ok(()) => EXIT_SUCCESS,
        Err(error) => {
            outputs.print_error(&message(&error));
            EXIT_FAILURE
        }
    }
}

/// The port for administration, or the message about its mistake.
fn admin(options: &Start, outputs: &Outputs) -> Result<Option<AdminOptions>, String> {
    let Some(address) = options.admin.clone() else { return Ok(None) };
    let token = match &options.admin_token_file {
        None => None,
        Some(file) => Some(Token::read(file).map_err(|error| {
            let file = file.display();
            format!("tailwater: --admin-token-file {file}: {}\n", error_line(&error))
        })?),
    };
    let admin = AdminOptions::new(address, token, outputs.levels());
    let needed = |error: TokenRequired| {
        message(&error) + &hint("`--admin-token-file FILE` names the file of a token")
    };
    admin.map(Some).map_err(needed)
}

fn check(options: &Check) -> i32 {
    let parsed = match load(&options.file) {
        Ok(parsed) => parsed,
        Err(status) => return status,
    };
    let text = config::describe(&parsed) + &server::describe_open_files(&parsed.namespaces);
    if !options.connect {
        return print(&text);
    }
    match server::connect(&parsed.namespaces, options.file.folder()) {
        Ok(answers) => {
            let status = print(&(text + &answers.text));
            if answers.complete { status } else { EXIT_FAILURE }
        }
        Err(error) => {
            print(&text);
            fail(&error)
        }
    }
}

/// Writes a text to the standard output.
fn print(text: &str) -> i32 {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => EXIT_SUCCESS,
        // The reader of the pipe has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => EXIT_SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Reads the configuration. Its mistakes are written to standard error.
fn load(file: &ConfigFile) -> Result<config::Parsed, i32> {
    match config::load(&file.config) {
        Ok(parsed) => Ok(parsed),
        Err(config::Error::Invalid(report)) => {
            show(&report);
            Err(EXIT_USAGE)
        }
        Err(error) => {
            let hint = match cfg!(feature = "kafka") {
                true => hint("`-c FILE` names another file; `tailwater demo` needs none"),
                false => hint("`-c FILE` names another file"),
            };
            print_error(&(message(&error) + &hint));
            Err(EXIT_USAGE)
        }
    }
}

/// Shows the diagnostics of a file: with excerpts on a terminal, otherwise a line for each.
fn show(report: &Report) {
    let mut stderr = io::stderr().lock();
    let text = if stderr.is_terminal() {
        let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        report.graphical(color)
    } else {
        report.to_string()
    };
    // There is no other output to report an error of this one.
    let _ = stderr.write_all(text.as_bytes());
}

/// Prints an error and its causes.
fn fail(error: &dyn std::error::Error) -> i32 {
    print_error(&message(error));
    EXIT_FAILURE
}

fn print_error(text: &str) {
    // There is no other output to report an error of this one.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// An error and its causes, in one line.
fn message(error: &dyn std::error::Error) -> String {
    format!("tailwater: {}\n", error_line(error))
}

/// What to do about the error before, in one line.
fn hint(text: &str) -> String {
    format!("  help: {text}\n")
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
    fn start_waits_ten_seconds_for_streams_unless_told_otherwise() {
        for (args, expected) in [
            (&["tailwater", "start"][..], Some(10)),
            (&["tailwater", "start", "--drain", "0"], Some(0)),
            (&["tailwater", "start", "--drain", "-1"], None),
            (&["tailwater", "start", "--drain", "9999"], None),
        ] {
            let drain = Cli::try_parse_from(args).ok().and_then(|cli| match cli.command {
                Command::Start(options) => Some(options.drain),
                Command::Check(_) => None,
                #[cfg(feature = "kafka")]
                Command::Demo(_) => None,
            });
            assert_eq!(drain, expected, "{args:?}");
        }
    }

    #[test]
    fn check_reads_zilla_yaml_unless_told_otherwise() {
        for (args, expected) in [
            (&["tailwater", "check"][..], "zilla.yaml"),
            (&["tailwater", "check", "-c", "a.json"], "a.json"),
            (&["tailwater", "check", "--config=b.yaml"], "b.yaml"),
        ] {
            let Command::Check(check) = Cli::try_parse_from(args).unwrap().command else {
                panic!("{args:?} is a check");
            };
            assert_eq!(check.file.config, PathBuf::from(expected), "{args:?}");
        }
    }
}
