//! Describes the machine, the versions and the options of a table.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::thread;

use crate::scenarios::Bench;

const LOCK: &str = include_str!("../Cargo.lock");

pub(crate) fn facts(bench: &Bench) -> String {
    let cpu =
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|total| total.strip_suffix(" kB")?.parse::<u64>().ok())
        .map_or_else(|| "?".to_owned(), |kib| format!("{:.1} GiB", kib as f64 / 1024.0 / 1024.0));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let commit = output("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "?".to_owned());
    let changed = output("git", &["status", "--porcelain", "--untracked-files=no"]).is_some();
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();

    let mut out = "| | |\n|---|---|\n".to_owned();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "| {name} | {} |", value.trim());
    };
    row("date", &output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).unwrap_or_default());
    row("commit", &format!("{commit}{}", if changed { ", with changes" } else { "" }));
    row(
        "machine",
        &format!("{cpu}, {cores} cores, {memory}; server, clients, producer and Kafka share it"),
    );
    row("kernel", &format!("{} {kernel}", std::env::consts::OS));
    row("compiler", &output("rustc", &["--version"]).unwrap_or_default());
    row(
        "build",
        if cfg!(debug_assertions) { "**debug: the numbers mean nothing**" } else { "release" },
    );
    let versions: Vec<_> = ["axum", "hyper", "h2", "rustls", "tokio"]
        .map(|name| format!("{name} {}", locked(name).unwrap_or("?")))
        .into();
    row("versions", &format!("{}, librdkafka {librdkafka}", versions.join(", ")));
    row("Kafka", if bench.kafka.is_mock() { "librdkafka's mock cluster" } else { "a real one" });
    if bench.quick {
        row("size", "**--quick: the numbers mean nothing**");
    }
    row("rounds", &format!("{}; median (least to most), ratios within each round", bench.runs));
    out
}

/// The value of the first line `name : value` of a file in /proc.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// The output of a program. `None` if it can't be run, fails, or prints nothing.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// The version of a package that this workspace is built with.
fn locked(name: &str) -> Option<&'static str> {
    let (_, rest) = LOCK.split_once(&format!("\nname = \"{name}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_lock_file() {
        assert!(locked("axum").is_some_and(|version| version.starts_with("0.")));
        assert_eq!(locked("no-such-package"), None);
    }
}
