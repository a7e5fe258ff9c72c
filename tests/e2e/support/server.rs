//! `tailwater` as a process.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::support::client::{Get, Http2};
use crate::support::{Kafka, Tls, soon};

const CONFIG: &str = r#"
name: e2e
bindings:
  tcp_in: { type: tcp, kind: server, options: { host: 127.0.0.1, port: 0 }, exit: http_in }
  http_in:
    type: http
    kind: server
    options: { access-control: ACCESS }
    exit: sse_in
  sse_in: { type: sse, kind: server, options: { retry: RETRY }, exit: mapping }
  mapping:
    type: sse-kafka
    kind: proxy
    routes:
      - { when: [{ path: "/all/{topic}" }], exit: cache_client, with: { topic: "${params.topic}" } }
      - when: [{ path: "/keys/{topic}/{key}" }]
        exit: cache_client
        with: { topic: "${params.topic}", filters: [{ key: "${params.key}" }] }
      - when: [{ path: "/tags/{topic}/{tag}" }]
        exit: cache_client
        with: { topic: "${params.topic}", filters: [{ headers: { tag: "${params.tag}" } }] }
      - when: [{ path: "/keyed/{topic}" }]
        exit: cache_client
        with: { topic: "${params.topic}", event: { id: '["${base64(key)}","${etag}"]' } }
      - when: [{ path: "/quiet/{topic}" }]
        exit: cache_client
        with: { topic: "${params.topic}", positions: false }
      - when: [{ path: "/start/{topic}" }]
        exit: cache_client
        with: { topic: "${params.topic}", start: [from, since] }
      - when: [{ path: "/live/{topic}" }]
        exit: cache_client
        with: { topic: "${params.topic}", live: true }
  cache_client: { type: kafka, kind: cache_client, exit: cache_server }
  cache_server: { type: kafka, kind: cache_server, options: { bootstrap: BOOTSTRAP, topics: LIVE }, exit: kafka_out }
  kafka_out: { type: kafka, kind: client, options: KAFKA, exit: tcp_out }
  tcp_out: { type: tcp, kind: client }
telemetry: { exporters: { logs: { type: stdout } } }
"#;

/// A route of a server whose topics or events have models.
const INVALID: &str = r#"      - when: [{ path: "/invalid/{topic}" }]
        exit: cache_client
        with: { topic: "${params.topic}", invalid: gap }
"#;

/// A server with streams of any topic: `/all/TOPIC`, `/keys/TOPIC/KEY`, `/tags/TOPIC/TAG` by the header
/// `tag`, `/keyed/TOPIC` with keys in the ids, `/quiet/TOPIC` without blocks that tell a place,
/// `/start/TOPIC` that begins where it is asked to, `/live/TOPIC` that tells when it is live, and
/// `/invalid/TOPIC` with gaps in place of records that do not fit.
pub(crate) fn server(kafka: &Kafka) -> Builder {
    server_of(kafka.servers())
}

/// As [`server`], for a Kafka that need not be there.
pub(crate) fn server_of(kafka: &str) -> Builder {
    Builder {
        servers: kafka.to_owned(),
        sasl: String::new(),
        topics: Vec::new(),
        catalogs: Vec::new(),
        events: Vec::new(),
        bootstrap: Vec::new(),
        access: "{ policy: same-origin }".to_owned(),
        retry: 2000,
        arguments: Vec::new(),
    }
}

pub(crate) struct Builder {
    servers: String,
    sasl: String,
    topics: Vec<String>,
    catalogs: Vec<String>,
    events: Vec<String>,
    bootstrap: Vec<String>,
    access: String,
    retry: u32,
    arguments: Vec<String>,
}

impl Builder {
    /// Streams of this topic begin with what comes.
    pub(crate) fn live(self, topic: &str) -> Self {
        self.topic(topic, "defaultOffset: live")
    }

    /// Further keys of this topic: its models.
    pub(crate) fn topic(mut self, topic: &str, options: &str) -> Self {
        self.topics.push(format!("{{ name: \"{topic}\", {options} }}"));
        self
    }

    /// A catalog: its name, type and options.
    pub(crate) fn catalog(mut self, catalog: &str) -> Self {
        self.catalogs.push(catalog.to_owned());
        self
    }

    /// An `inline` catalog with one subject.
    pub(crate) fn inline(self, name: &str, subject: &str, schema: &str) -> Self {
        let schema = schema.replace('\'', "''").replace('\n', "\n\n");
        self.catalog(&format!(
            "{name}: {{ type: inline, options: {{ subjects: {{ {subject}: {{ schema: '{schema}' }} }} }} }}"
        ))
    }

    /// A model of the events of a path.
    pub(crate) fn events(mut self, path: &str, content: &str) -> Self {
        self.events.push(format!("{{ path: \"{path}\", content: {content} }}"));
        self
    }

    pub(crate) fn bootstrap(mut self, topic: &str) -> Self {
        self.bootstrap.push(topic.to_owned());
        self
    }

    pub(crate) fn access_control(mut self, options: &str) -> Self {
        self.access = options.to_owned();
        self
    }

    pub(crate) fn retry(mut self, milliseconds: u32) -> Self {
        self.retry = milliseconds;
        self
    }

    /// How to authenticate to Kafka: keys beside `servers`.
    pub(crate) fn sasl(mut self, options: &str) -> Self {
        self.sasl = format!(", {options}");
        self
    }

    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    pub(crate) fn config(&self) -> String {
        let mut config = CONFIG.to_owned();
        if !self.catalogs.is_empty() {
            config += &format!("catalogs: {{ {} }}\n", self.catalogs.join(", "));
        }
        if !self.events.is_empty() {
            let events = format!("RETRY, requests: [{}]", self.events.join(", "));
            config = config.replace("RETRY", &events);
        }
        if !self.topics.is_empty() || !self.events.is_empty() {
            config = config.replace("  cache_client: {", &format!("{INVALID}  cache_client: {{"));
        }
        config
            .replace("ACCESS", &self.access)
            .replace("RETRY", &self.retry.to_string())
            .replace("BOOTSTRAP", &format!("[{}]", self.bootstrap.join(", ")))
            .replace("LIVE", &format!("[{}]", self.topics.join(", ")))
            .replace("KAFKA", &format!("{{ servers: [\"{}\"]{} }}", self.servers, self.sasl))
    }

    /// Starts it, and waits until it listens.
    pub(crate) async fn run(self) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        Server::of_text(folder, &self.config(), &arguments).await
    }
}

/// A server that listens.
pub(crate) struct Server {
    process: Process,
    address: SocketAddr,
    tls: Option<Tls>,
    folder: Option<TempDir>,
}

impl Server {
    /// Starts a configuration file as it is, its log in JSON.
    pub(crate) async fn start(file: &Path, environment: &[(&str, &str)]) -> Self {
        let file = file.to_str().expect("a path in UTF-8");
        let process = run(&["start", "-c", file, "--log-format", "json"], environment);
        Self::of(process, None).await
    }

    /// Starts a configuration beside the files of a folder.
    pub(crate) async fn of_text(folder: TempDir, config: &str, arguments: &[&str]) -> Self {
        let file = folder.path().join("zilla.yaml");
        fs::write(&file, config).expect("the configuration is written");
        let file = file.to_str().expect("a path in UTF-8");
        let mut all = vec!["start", "-c", file, "--log-format", "json"];
        all.extend(arguments);
        Self::of(run(&all, &[]), Some(folder)).await
    }

    /// Starts a configuration in a process that may have so many open files.
    pub(crate) async fn with_open_files(config: &str, arguments: &[&str], files: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("zilla.yaml");
        fs::write(&file, config).expect("the configuration is written");
        // The sockets and pipes of librdkafka in this process are inherited, and would count.
        let mut command = Command::new("bash");
        command.args([
            "-c",
            &format!(
                "for file in /proc/self/fd/*; do
                     file=${{file##*/}}
                     if ((file > 2)); then eval \"exec $file>&-\"; fi
                 done
                 ulimit -n {files} && exec \"$0\" \"$@\""
            ),
        ]);
        command.arg(env!("CARGO_BIN_EXE_tailwater")).arg("start").arg("-c").arg(&file);
        command.args(["--log-format", "json"]).args(arguments).env_remove("TAILWATER_LOG");
        Self::of(spawn(command), Some(folder)).await
    }

    async fn of(process: Process, folder: Option<TempDir>) -> Self {
        let listens = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let listening = line.get("message")?.as_str()? == "listening";
            listening.then(|| line["address"].as_str().expect("an address").to_owned())
        };
        let address = process.stderr.find(listens).await;
        let mut address: SocketAddr = address.parse().expect("an address");
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        Self { process, address, tls: None, folder }
    }

    /// From now on by TLS.
    pub(crate) fn encrypted(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it is spoken to.
    pub(crate) fn tls(&self) -> Option<Tls> {
        self.tls.clone()
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.as_ref().expect("it has a folder of its own").path()
    }

    /// The standard output: the access log.
    pub(crate) fn stdout(&self) -> &Log {
        &self.process.stdout
    }

    /// The standard error: the log.
    pub(crate) fn stderr(&self) -> &Log {
        &self.process.stderr
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A request on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Get {
        Get::new(self.address, path).tls(self.tls.clone())
    }

    /// An HTTP/2 connection for several streams.
    pub(crate) async fn http2(&self) -> Http2 {
        Http2::connect(self.address, self.tls.clone()).await
    }
}

/// The address where a server answers `/ready` and `/live`.
pub(crate) async fn health_address(server: &Server) -> SocketAddr {
    let address = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_serving = line.get("message")?.as_str()? == "serving /ready and /live";
        is_serving
            .then(|| line["address"].as_str().expect("an address").parse().expect("an address"))
    };
    server.stderr().find(address).await
}

/// The address where a server is administered.
pub(crate) async fn admin_address(server: &Server) -> SocketAddr {
    let address = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_serving = line.get("message")?.as_str()? == "serving the administration";
        is_serving
            .then(|| line["address"].as_str().expect("an address").parse().expect("an address"))
    };
    server.stderr().find(address).await
}

/// A child process of ours, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) stdout: Log,
    pub(crate) stderr: Log,
}

/// Starts the binary.
pub(crate) fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tailwater"));
    command.args(arguments).env_remove("TAILWATER_LOG").envs(environment.iter().copied());
    spawn(command)
}

/// Starts any program.
pub(crate) fn spawn(mut command: Command) -> Process {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the program runs");
    let stdout = Log::of(child.stdout.take().expect("piped"));
    let stderr = Log::of(child.stderr.take().expect("piped"));
    Process { child, stdout, stderr }
}

/// A test that fails shows what the process has logged.
impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of the process:\n{}", self.stderr.text());
        }
    }
}

impl Process {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).expect("the signal is sent");
    }

    /// Leaves it eight open files to spare at most, or many. Eight, for files that it has open above the first free
    /// number stay open, and their numbers must be of use when it closes them.
    pub(crate) fn open_files(&self, is_short: bool) {
        let folder = format!("/proc/{}/fd", self.id().as_raw_nonzero());
        let names =
            fs::read_dir(folder).expect("Linux tells").flatten().map(|entry| entry.file_name());
        let open: HashSet<u64> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
        let first_free = (0..4096).find(|value| !open.contains(value)).expect("one is free");
        let current = Some(if is_short { first_free + 8 } else { 4096 });
        let limit = Rlimit { current, maximum: Some(4096) };
        prlimit(Some(self.id()), Resource::Nofile, limit).expect("the limit is set");
    }

    fn id(&self) -> Pid {
        let id = self.child.id().expect("it runs");
        Pid::from_raw(id.try_into().expect("an id")).expect("an id")
    }

    /// The most memory that it ever had.
    pub(crate) fn most_resident_kib(&self) -> u64 {
        let id = self.id().as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("Linux tells");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).expect("a number")
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a status").is_none()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        soon("the process ends", self.child.wait()).await.expect("a status")
    }
}

/// What a process has written so far.
#[derive(Clone)]
pub(crate) struct Log {
    text: watch::Receiver<(String, bool)>,
    reading: Arc<watch::Sender<Reading>>,
}

/// Whether what a process writes is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Reads,
    Pauses,
    Ended,
}

impl Log {
    fn of(output: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (written, text) = watch::channel((String::new(), false));
        let (reading, mut read) = watch::channel(Reading::Reads);
        tokio::spawn(async move {
            let mut lines = BufReader::new(output);
            let mut line = Vec::new();
            loop {
                match read.wait_for(|read| *read != Reading::Pauses).await.map(|value| *value) {
                    Ok(Reading::Ended) => break,
                    _ if lines.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) => {}
                    _ => break,
                }
                written.send_modify(|(text, _)| text.push_str(&String::from_utf8_lossy(&line)));
                line.clear();
            }
            drop(lines);
            written.send_modify(|(_, ended)| *ended = true);
        });
        Self { text, reading: Arc::new(reading) }
    }

    /// Reads no further, after the line that comes next, as a pager does.
    pub(crate) fn pause(&self) {
        self.reading.send_replace(Reading::Pauses);
    }

    /// Reads on.
    pub(crate) fn go_on(&self) {
        self.reading.send_replace(Reading::Reads);
    }

    /// Closes it, after the line that comes next.
    pub(crate) fn close(&self) {
        self.reading.send_replace(Reading::Ended);
    }

    pub(crate) fn text(&self) -> String {
        self.text.borrow().0.clone()
    }

    /// All of it, once the process has closed it.
    pub(crate) async fn all(&self) -> String {
        let mut log = self.text.clone();
        let ended = log.wait_for(|(_, ended)| *ended);
        soon("the output ends", ended).await.expect("it is read").0.clone()
    }

    /// The first line for which there is an answer.
    pub(crate) async fn find<T>(&self, mut line: impl FnMut(&str) -> Option<T>) -> T {
        let mut log = self.text.clone();
        let mut found = None;
        let looked = log.wait_for(|(text, ended)| {
            // The last one may not be whole yet.
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            found = whole.lines().find_map(&mut line);
            found.is_some() || *ended
        });
        drop(soon("a line of the output", looked).await);
        found.unwrap_or_else(|| panic!("no such line: {}", self.text()))
    }

    /// Waits for a line that contains a text.
    pub(crate) async fn says(&self, text: &str) {
        self.find(|line| line.contains(text).then_some(())).await;
    }
}
