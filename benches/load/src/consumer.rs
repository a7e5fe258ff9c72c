//! A consumer of a topic without clients, as a child process. It measures the cost of reading. Its configuration is
//! that of tailwater's consumers.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::Result;
use crate::cli::ConsumeOptions;
use crate::kafka::now_nanos;
use crate::process;
use crate::scenarios::Bench;
use crate::servers::MYSELF;
use crate::value::Stamp;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The running process. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Consumer {
    child: Child,
    output: BufReader<ChildStdout>,
}

/// The times of the measured records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Consumed {
    pub(crate) wall: Duration,
    /// The latency from the creation of a record to its reading.
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Consumer {
    /// Reads from the beginning of the topic, at once.
    pub(crate) fn of_history(bench: &Bench, topic: &str, count: u64) -> Result<Self> {
        Self::start(bench, topic, &["--warm-up", "0", "--count", &count.to_string()])
    }

    /// Reads from the end. Returns when the position of the end is known.
    pub(crate) fn live(bench: &Bench, topic: &str, warm_up: u64, count: u64) -> Result<Self> {
        let warm_up = warm_up.to_string();
        let count = count.to_string();
        Self::start(bench, topic, &["--live", "--warm-up", &warm_up, "--count", &count])
    }

    fn start(bench: &Bench, topic: &str, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(MYSELF)
            .args(["consume", "--kafka", bench.kafka.servers(), "--topic", topic])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the consumer has no standard output")?;
        let mut consumer = Self { child, output: BufReader::new(output) };
        consumer.line("ready")?;
        Ok(consumer)
    }

    /// Waits until the records before the measured ones are read.
    pub(crate) fn wait_until_warm(&mut self) -> Result<()> {
        self.line("warm").map(drop)
    }

    /// Waits until all records are read.
    pub(crate) fn wait(&mut self) -> Result<Consumed> {
        let line = self.line("read")?;
        let numbers = line.split_ascii_whitespace().map(|number| number.parse().ok());
        let [wall, p50, p99] = numbers
            .map(|nanos| nanos.map(Duration::from_nanos))
            .collect::<Option<Vec<_>>>()
            .and_then(|times| times.try_into().ok())
            .ok_or_else(|| format!("the consumer said: {line}"))?;
        Ok(Consumed { wall, p50, p99 })
    }

    /// The rest of the next line, which begins with `word`.
    fn line(&mut self, word: &str) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        match line.strip_prefix(word) {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => Err(format!("the consumer ended, or said: {line}").into()),
        }
    }

    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        process::cpu_time(self.child.id())
    }

    pub(crate) fn received_bytes(&self) -> Result<f64> {
        process::received_bytes(self.child.id(), None)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // An error means that the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The main function of the child process.
pub(crate) fn consume(options: &ConsumeOptions) -> Result<()> {
    crate::servers::end_with_parent();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &options.kafka)
        .set("group.id", "tailwater-load")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("fetch.wait.max.ms", "50")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.max.messages.kbytes", if options.live { "32768" } else { "16384" })
        .create()?;
    // The query also connects.
    let (low, high) = consumer.fetch_watermarks(&options.topic, 0, TIMEOUT)?;
    say("ready")?;

    let mut begin = Instant::now();
    let mut assignment = TopicPartitionList::new();
    let offset = Offset::Offset(if options.live { high } else { low });
    assignment.add_partition_offset(&options.topic, 0, offset)?;
    consumer.assign(&assignment)?;
    let mut latencies = Histogram::<u64>::new_with_bounds(1_000, 600_000_000_000, 3)?;
    let mut read = 0;
    while read < options.warm_up + options.count {
        let Some(message) = consumer.poll(Duration::from_secs(1)) else { continue };
        let stamp = message?.payload().and_then(Stamp::of_value).ok_or("a value without stamp")?;
        read += 1;
        if read > options.warm_up {
            latencies.saturating_record(now_nanos().saturating_sub(stamp.nanos));
        } else if read == options.warm_up {
            say("warm")?;
            begin = Instant::now();
        }
    }
    let p50 = latencies.value_at_quantile(0.5);
    let p99 = latencies.value_at_quantile(0.99);
    say(&format!("read {} {p50} {p99}", begin.elapsed().as_nanos()))?;
    // The parent now reads the CPU time and the received bytes, and ends this process.
    loop {
        consumer.poll(Duration::from_secs(1));
    }
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
