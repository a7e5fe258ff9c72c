//! `tailwater demo`.

use std::io;

use clap::Args;
use tailwater::demo;
use tailwater::telemetry::{self, LogFormat};

use crate::cli::{EXIT_FAILURE, EXIT_SUCCESS, fail, hint, message, print};

/// The log levels of the demo. The limit of open files does not matter there.
const DEMO_LEVELS: &str = "warn,tailwater::open_files=error";

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// The port of the page; 0 is any free port
    #[arg(long, value_name = "PORT", default_value_t = 7114)]
    port: u16,
    /// Print the configuration of the demo for a Kafka at localhost:9092, and start nothing
    #[arg(long)]
    print_config: bool,
}

/// Runs the command, and returns the exit status.
pub(super) fn run(options: &Demo) -> i32 {
    if options.print_config {
        return print(&demo::config(options.port));
    }
    let outputs = match telemetry::init(LogFormat::Text, DEMO_LEVELS, false) {
        Ok(outputs) => outputs,
        Err(error) => return fail(&error),
    };
    match demo::run(options.port, |text| outputs.print(text)) {
        Ok(()) => EXIT_SUCCESS,
        Err(error) => {
            let mut text = message(&error);
            if is_in_use(&error) {
                text.push_str(&hint("`--port 0` takes a free one"));
            }
            outputs.print_error(&text);
            EXIT_FAILURE
        }
    }
}

/// Whether another process listens there already.
fn is_in_use(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
        || error.source().is_some_and(is_in_use)
}
