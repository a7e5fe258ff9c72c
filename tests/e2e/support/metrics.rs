//! Metrics as a scrape sees them.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::{env, io};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::server::{Process, spawn};
use crate::support::{Get, LOOK, soon};

/// Whether there is this program of Prometheus. `TAILWATER_TEST_PROMETHEUS` demands it.
async fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().await;
    if let Err(error) = &found {
        assert!(env::var_os("TAILWATER_TEST_PROMETHEUS").is_none(), "{program}: {error}");
        // Past the capture of the test harness.
        let _ = writeln!(io::stderr(), "\nskipped what needs {program} (Debian: prometheus)");
    }
    found.is_ok()
}

/// `tests/observability` with these arguments, where there is the program of Prometheus that it needs.
pub(crate) async fn judge(
    program: &str,
    arguments: impl IntoIterator<Item = &str>,
) -> Option<Process> {
    if !has(program).await {
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/observability/observability.sh");
    let mut command = Command::new(script);
    command.args(arguments);
    Some(spawn(command))
}

/// The text of a scrape.
pub(crate) struct Scrape(pub(crate) String);

impl Scrape {
    pub(crate) async fn of(address: SocketAddr) -> Self {
        let answer = Get::new(address, "/metrics").send().await;
        assert_eq!(answer.status, 200);
        Self(answer.text().await)
    }

    /// Scrapes until a series has this value.
    pub(crate) async fn until(address: SocketAddr, series: &str, value: f64) -> Self {
        let scraped = async {
            loop {
                let scrape = Self::of(address).await;
                if scrape.value(series) == Some(value) {
                    return scrape;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        soon(&format!("{series} {value}"), scraped).await
    }

    /// The value of a series, by its name and all of its labels as they stand there.
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        self.0.lines().find_map(|line| {
            let value = line.strip_prefix(series)?.strip_prefix(' ')?;
            Some(value.parse().expect("a number"))
        })
    }

    /// Whether Prometheus reads the text, and its linter has nothing to say but of these names.
    ///
    /// Without `promtool` nothing is checked.
    pub(crate) async fn is_read_by_promtool(&self, but: &[&str]) {
        let mut command = Command::new("promtool");
        command.args(["check", "metrics"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if !has("promtool").await {
            return;
        }
        let mut child = command.spawn().expect("promtool runs");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(self.0.as_bytes()).await.expect("promtool reads");
        drop(stdin);
        let output = child.wait_with_output().await.expect("promtool ends");
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        // Status 3 is that the linter told something.
        assert!(matches!(output.status.code(), Some(0 | 3)), "{told}\n{}", self.0);
        let known = |line: &&str| !but.iter().any(|name| line.starts_with(name));
        let told: Vec<&str> = told.lines().filter(known).collect();
        assert!(told.is_empty(), "{told:#?}");
    }
}
