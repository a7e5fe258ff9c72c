//! `examples/todo`: commands over HTTP become tasks of a topic.

#[path = "../../examples/todo/tasks.rs"]
#[allow(dead_code, reason = "its tests are run here")]
mod tasks;

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::Notify;

use crate::support::{
    FreePort, Get, Kafka, LOOK, Process, Record, SOON, Server, config, field, kafka_alone, run,
    soon, spawn,
};

const COMMANDS: &str = "task-commands";

/// The example as a process.
struct Todo {
    process: Process,
    address: SocketAddr,
}

impl Todo {
    /// Starts it before topics that are empty.
    async fn start(kafka: &Kafka, arguments: &[&str]) -> Self {
        empty(kafka).await;
        Self::start_again(kafka, 0, arguments).await
    }

    async fn start_again(kafka: &Kafka, port: u16, arguments: &[&str]) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_tailwater")).with_file_name("examples/todo");
        assert!(program.exists(), "needs `cargo build --example todo`");
        let mut command = Command::new(program);
        command.arg(format!("127.0.0.1:{port}")).args(["--kafka", kafka.servers()]);
        let process = spawn({
            command.args(arguments);
            command
        });
        let address = |line: &str| line.strip_prefix("http://").map(str::to_owned);
        let address = process.stderr.find(address).await;
        let address = address.trim_end().trim_end_matches('/').parse().expect("an address");
        Self { process, address }
    }

    async fn send(&self, request: Send<'_>) -> Answer {
        request.to(self.address).await.expect("an answer")
    }

    /// Waits until the service has read the task with this etag: its consumer is another than the stream's.
    async fn knows(&self, request: Send<'_>, etag: &str) {
        let etag = Some(format!("\"{etag}\""));
        let knows = async {
            while self.send(request).await.etag != etag {
                tokio::time::sleep(LOOK).await;
            }
        };
        soon("the service knows the task", knows).await;
    }

    fn stream(&self) -> Get {
        Get::new(self.address, "/tasks?liveEvent=true")
    }
}

/// Takes away what a test before this one left. The example creates the topics of a real Kafka.
async fn empty(kafka: &Kafka) {
    for topic in ["tasks", COMMANDS] {
        kafka.create_anew(topic, 1).await;
        if kafka.is_real() {
            kafka.delete(topic).await;
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Send<'a> {
    method: &'a str,
    path: &'a str,
    key: Option<&'a str>,
    if_match: Option<&'a str>,
    token: Option<&'a str>,
    body: &'a str,
}

impl<'a> Send<'a> {
    fn post(key: &'a str, body: &'a str) -> Self {
        Self { method: "POST", path: "/tasks", key: Some(key), body, ..Self::default() }
    }

    fn put(path: &'a str, key: &'a str, if_match: &'a str, body: &'a str) -> Self {
        let method = "PUT";
        Self { method, path, key: Some(key), if_match: Some(if_match), body, ..Self::default() }
    }

    fn delete(path: &'a str, key: &'a str, if_match: &'a str) -> Self {
        Self { method: "DELETE", ..Self::put(path, key, if_match, "") }
    }

    fn get(path: &'a str) -> Self {
        Self { method: "GET", path, ..Self::default() }
    }

    fn bearer(self, token: &'a str) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The answer, if the server is there.
    async fn to(self, address: SocketAddr) -> Option<Answer> {
        let mut request = Request::builder().method(self.method).uri(self.path).header("host", "x");
        if let Some(key) = self.key {
            request = request.header("idempotency-key", key);
        }
        if let Some(etag) = self.if_match {
            request = request.header("if-match", format!("\"{etag}\""));
        }
        if let Some(token) = self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(self.body.as_bytes())));
        let exchange = async {
            let socket = TcpStream::connect(address).await.ok()?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.ok()?;
            tokio::spawn(connection);
            let response = sender.send_request(request.expect("a request")).await.ok()?;
            let (parts, body) = response.into_parts();
            let text = |name| Some(parts.headers.get(name)?.to_str().ok()?.to_owned());
            let (location, etag) = (text("location"), text("etag"));
            let body = body.collect().await.ok()?.to_bytes();
            let body = String::from_utf8(body.into()).expect("a text");
            Some(Answer { status: parts.status.as_u16(), location, etag, body })
        };
        tokio::time::timeout(SOON, exchange).await.ok()?
    }

    /// Repeats it, as a client does, until it is accepted.
    async fn until_accepted(self, address: SocketAddr) {
        let accepted = async {
            loop {
                match self.to(address).await.map(|answer| answer.status) {
                    Some(202) => return,
                    None | Some(503 | 412 | 404) => tokio::time::sleep(LOOK).await,
                    Some(status) => panic!("{status} to {} {}", self.method, self.path),
                }
            }
        };
        tokio::time::timeout(3 * SOON, accepted).await.expect("it is accepted in time");
    }
}

struct Answer {
    status: u16,
    location: Option<String>,
    etag: Option<String>,
    body: String,
}

/// An idempotency key.
fn key(number: usize) -> String {
    format!("key-of-a-command-{number}")
}

/// The data of a record, without the time.
fn data(block: &str) -> Value {
    let mut data: Value = serde_json::from_str(field(block, "data").expect("data")).expect("JSON");
    data.as_object_mut().expect("an object").remove("created").expect("a time");
    data
}

/// The etag in the id.
fn etag(block: &str) -> &str {
    let id = field(block, "id").expect("an id");
    id.rsplit_once('/').expect("an etag").1.trim_end_matches("\"]")
}

#[tokio::test]
async fn commands_become_tasks_on_the_stream() {
    let kafka = kafka_alone().await;
    let todo = Todo::start(&kafka, &[]).await;
    let mut stream = todo.stream().open().await;
    assert_eq!(field(&stream.next().await, "event"), Some("live"));

    let (first, second, third) = (key(1), key(2), key(3));
    let create = Send::post(&first, r#"{"title":" milk "}"#);
    let path = format!("/tasks/{first}");
    for _ in 0..2 {
        let answer = todo.send(create).await;
        assert_eq!((answer.status, answer.location.as_deref()), (202, Some(&*path)));
        assert_eq!(answer.etag, Some(format!("\"{first}\"")));
    }
    let block = stream.next().await;
    assert_eq!((data(&block), etag(&block)), (json!({"title":"milk","completed":false}), &*first));

    todo.knows(Send::get(&path), &first).await;
    let done = r#"{"title":"milk","completed":true}"#;
    for (request, status, why) in [
        (Send::post(&first, r#"{"title":"other"}"#), 422, "the key is another command's"),
        (Send { key: None, ..create }, 400, "no key"),
        (Send::post("short", r#"{"title":"a"}"#), 400, "a key that is too short"),
        (Send::post(&third, r#"{"title":" "}"#), 400, "no title"),
        (Send::post(&third, "{"), 400, "no JSON"),
        (Send { if_match: None, ..Send::put(&path, &second, "", done) }, 428, "no etag"),
        (Send { if_match: None, ..Send::delete(&path, &second, "") }, 428, "no etag"),
        (Send::put(&path, &second, "*", done), 400, "any etag"),
        (Send::put(&path, &second, "other", done), 412, "another etag"),
        (Send::delete(&path, &second, "other"), 412, "another etag"),
        (Send::put("/tasks/other", &second, &first, done), 404, "no such task"),
    ] {
        let answer = todo.send(request).await;
        assert_eq!(answer.status, status, "{why}: {}", answer.body);
        let current = (status == 412).then(|| format!("\"{first}\""));
        assert_eq!(answer.etag, current, "{why}");
    }
    for title in [" ".repeat(5000), "a".repeat(1001)] {
        let body = json!({ "title": title }).to_string();
        assert_eq!(todo.send(Send::post(&third, &body)).await.status, 400);
    }

    assert_eq!(todo.send(Send::put(&path, &second, &first, done)).await.status, 202);
    let block = stream.next().await;
    assert_eq!((data(&block), etag(&block)), (json!({"title":"milk","completed":true}), &*second));
    todo.knows(Send::get(&path), &second).await;
    assert_eq!(todo.send(Send::delete(&path, &third, &second)).await.status, 202);
    let block = stream.next().await;
    assert_eq!((field(&block, "event"), etag(&block)), (Some("delete"), &*third));
    // What is repeated has no second effect, though the task is gone.
    assert_eq!(todo.send(create).await.status, 202);
    assert_eq!(todo.send(Send::put(&path, &second, &first, done)).await.status, 202);
    let fourth = key(4);
    assert_eq!(todo.send(Send::post(&fourth, r#"{"title":"tea"}"#)).await.status, 202);
    assert_eq!(data(&stream.next().await)["title"], "tea");
    let commands = records(&kafka, COMMANDS);
    assert_eq!(commands.len(), 4, "each command once: {commands:?}");

    let path = format!("/tasks/{fourth}");
    todo.knows(Send::get(&path), &fourth).await;
    let answer = todo.send(Send::get(&path)).await;
    assert_eq!((answer.status, answer.etag), (200, Some(format!("\"{fourth}\""))));
    let mut fresh = todo.stream().open().await;
    let mut titles = Vec::new();
    loop {
        let block = fresh.next().await;
        match field(&block, "event") {
            Some("live") => break,
            Some(_) => titles.clear(),
            None => titles.push(data(&block)["title"].clone()),
        }
    }
    assert_eq!(titles, ["tea"]);
}

/// A record: the value, and the headers `etag` and `command`.
#[derive(Debug)]
struct Result {
    value: Option<Vec<u8>>,
    etag: Option<String>,
    command: Option<i64>,
}

/// All records of a topic that no transaction has aborted.
fn records(kafka: &Kafka, topic: &str) -> Vec<Result> {
    let consumer: BaseConsumer = config(kafka.servers())
        .set("group.id", "e2e-todo")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).expect("an offset");
    consumer.assign(&partitions).expect("it is assigned");
    let mut records = Vec::new();
    loop {
        match consumer.poll(SOON).expect("it answers") {
            Err(KafkaError::PartitionEOF(_)) => return records,
            // It connects again.
            Err(KafkaError::MessageConsumption(_)) => {}
            Err(error) => panic!("{error}"),
            Ok(record) => {
                let header = |name| {
                    let mut all = record.headers().into_iter().flat_map(|headers| headers.iter());
                    let value = all.find(|header| header.key == name)?.value?;
                    String::from_utf8(value.into()).ok()
                };
                records.push(Result {
                    value: record.payload().map(Into::into),
                    etag: header("etag"),
                    command: header("command").and_then(|offset| offset.parse().ok()),
                });
            }
        }
    }
}

/// How many commands come behind the last one that has a result.
fn unprocessed(kafka: &Kafka) -> i64 {
    let done = records(kafka, "tasks").iter().filter_map(|result| result.command).max();
    let commands = i64::try_from(records(kafka, COMMANDS).len()).expect("few");
    commands - done.map_or(0, |offset| offset + 1)
}

/// Sends requests at once, each until it is accepted. `first` is notified when one is.
async fn burst(address: SocketAddr, requests: Vec<[String; 5]>, first: Arc<Notify>) {
    let mut all = Vec::new();
    for [method, path, key, if_match, body] in requests {
        let first = Arc::clone(&first);
        all.push(tokio::spawn(async move {
            let if_match = (!if_match.is_empty()).then_some(&*if_match);
            let key = Some(&*key);
            let request =
                Send { method: &method, path: &path, key, if_match, token: None, body: &body };
            request.until_accepted(address).await;
            first.notify_one();
        }));
    }
    for request in all {
        request.await.expect("it is accepted");
    }
}

/// Processor or Kafka are killed when the first of many commands is accepted: some wait for the processor then, and
/// others are on their way. All have their result, and each has it once.
#[tokio::test]
async fn each_command_has_one_result_when_processor_and_kafka_are_killed() {
    const TASKS: usize = 60;
    let kafka = kafka_alone().await;
    empty(&kafka).await;
    let free = FreePort::new();
    let port = free.number();
    let mut todo = Todo::start_again(&kafka, port, &[]).await;
    let path = |number| format!("/tasks/{}", key(number));
    let body = |number, completed| json!({ "title": format!("{number}"), "completed": completed });
    let create = |number| {
        let body = body(number, false).to_string();
        ["POST".to_owned(), "/tasks".to_owned(), key(number), String::new(), body]
    };
    let change = |number| {
        let body = body(number, true).to_string();
        ["PUT".to_owned(), path(number), key(1000 + number), key(number), body]
    };
    let delete = |number| {
        ["DELETE".to_owned(), path(number), key(2000 + number), key(1000 + number), String::new()]
    };

    let first = Arc::new(Notify::new());
    let mut number_of_tasks = 0;
    // Until a kill has hit commands between the answer and the result.
    loop {
        let numbers = number_of_tasks..number_of_tasks + TASKS;
        number_of_tasks = numbers.end;
        let all = burst(todo.address, numbers.map(create).collect(), Arc::clone(&first));
        let all = tokio::spawn(all);
        soon("a command is accepted", first.notified()).await;
        todo.process.signal(Signal::KILL);
        todo.process.ended().await;
        let waiting = unprocessed(&kafka);
        todo = Todo::start_again(&kafka, port, &[]).await;
        all.await.expect("all are accepted");
        if waiting > 0 {
            break;
        }
    }

    let first = Arc::new(Notify::new());
    let changes = (0..number_of_tasks).map(change).collect();
    let all = tokio::spawn(burst(todo.address, changes, Arc::clone(&first)));
    soon("a command is accepted", first.notified()).await;
    kafka.kill();
    all.await.expect("all are accepted");

    let first = Arc::new(Notify::new());
    let deletions = (0..number_of_tasks).step_by(2).map(delete).collect();
    let all = tokio::spawn(burst(todo.address, deletions, Arc::clone(&first)));
    soon("a command is accepted", first.notified()).await;
    todo.process.signal(Signal::KILL);
    kafka.kill();
    todo.process.ended().await;
    let todo = Todo::start_again(&kafka, port, &[]).await;
    all.await.expect("all are accepted");

    let expected = number_of_tasks * 5 / 2;
    let processed = async {
        while records(&kafka, "tasks").len() < expected {
            tokio::time::sleep(LOOK).await;
        }
    };
    let processed = tokio::time::timeout(SOON, processed).await;
    assert!(processed.is_ok(), "{} are left:\n{}", unprocessed(&kafka), todo.process.stderr.text());
    let mut results: HashMap<String, Vec<Option<Value>>> = HashMap::new();
    for Result { value, etag, .. } in records(&kafka, "tasks") {
        let value = value.map(|value| serde_json::from_slice(&value).expect("JSON"));
        results.entry(etag.expect("an etag")).or_default().push(value);
    }
    for number in 0..number_of_tasks {
        let mut keys = vec![(key(number), Some(false)), (key(1000 + number), Some(true))];
        keys.extend((number % 2 == 0).then(|| (key(2000 + number), None)));
        for (key, completed) in keys {
            let result = results.remove(&key).unwrap_or_default();
            assert_eq!(result.len(), 1, "{key}: {result:?}");
            let result = result[0].as_ref().map(|task| task["completed"] == true);
            assert_eq!(result, completed, "{key}");
        }
    }
    assert_eq!(results, HashMap::new(), "a result without a command");
}

#[tokio::test]
async fn users_have_tasks_of_their_own() {
    let kafka = kafka_alone().await;
    let todo = Todo::start(&kafka, &["--guarded"]).await;
    let token = async |user: &str| {
        let path = format!("/token/{user}");
        todo.send(Send { method: "POST", path: &path, ..Send::default() }).await.body
    };
    let (ada, bob) = (token("ada").await, token("bob").await);
    let mut of_ada = todo.stream().bearer(&ada).open().await;
    let mut of_bob = todo.stream().bearer(&bob).open().await;
    for stream in [&mut of_ada, &mut of_bob] {
        assert_eq!(field(&stream.next().await, "event"), Some("live"));
    }
    let (first, second, third) = (key(1), key(2), key(3));
    let body = r#"{"title":"of Ada"}"#;
    assert_eq!(todo.send(Send::post(&first, body)).await.status, 401);
    assert_eq!(todo.stream().send().await.status, 401);
    assert_eq!(todo.send(Send::post(&first, body).bearer(&ada)).await.status, 202);
    assert_eq!(data(&of_ada.next().await)["title"], "of Ada");

    let path = format!("/tasks/{first}");
    todo.knows(Send::get(&path).bearer(&ada), &first).await;
    for request in [
        Send::put(&path, &second, &first, r#"{"title":"of Bob"}"#),
        Send::delete(&path, &second, &first),
        Send::get(&path),
    ] {
        assert_eq!(todo.send(request.bearer(&bob)).await.status, 404);
    }
    // The same key is another command, and another task, which cannot take that one's place.
    assert_eq!(todo.send(Send::post(&first, body).bearer(&bob)).await.status, 202);
    let of_bobs = Send::post(&second, r#"{"title":"of Bob"}"#).bearer(&bob);
    assert_eq!(todo.send(of_bobs).await.status, 202);
    assert_eq!(data(&of_bob.next().await)["title"], "of Bob");
    assert_eq!(todo.send(Send::delete(&path, &third, &first).bearer(&ada)).await.status, 202);
    assert_eq!(field(&of_ada.next().await, "event"), Some("delete"));
}

#[tokio::test]
async fn tasks_have_a_number_that_is_not_exceeded() {
    let kafka = kafka_alone().await;
    if kafka.is_real() {
        // It is the service that counts, and this test would hold up all others.
        return;
    }
    kafka.create_anew("tasks", 1).await;
    kafka.create_anew(COMMANDS, 1).await;
    let ids: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
    let value = r#"{"title":"a","completed":false,"created":1}"#;
    let headers = [("etag", Some(&b"0"[..])), ("owner", Some(&b""[..]))];
    let records = ids.iter().map(|id| Record::value(value).key(id).headers(&headers));
    kafka.produce_with(&[("linger.ms", "5")], "tasks", records);
    let todo = Todo::start_again(&kafka, 0, &[]).await;
    let (first, second) = (key(1), key(2));
    let create = Send::post(&first, r#"{"title":"one more"}"#);
    assert_eq!(todo.send(create).await.status, 507);
    assert_eq!(todo.send(Send::delete("/tasks/7", &second, "0")).await.status, 202);
    soon("a task can be created", create.until_there_is_room(todo.address)).await;
}

impl Send<'_> {
    async fn until_there_is_room(self, address: SocketAddr) {
        while self.to(address).await.expect("an answer").status == 507 {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The variant in two processes: the example has the commands, the program streams the tasks.
#[tokio::test]
async fn the_program_streams_the_tasks_of_the_example() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/todo/zilla.yaml");
    let kafka = kafka_alone().await;
    let file_name = file.to_str().expect("a path");
    let environment = [("KAFKA_BOOTSTRAP_SERVER", kafka.servers())];
    let mut check = run(&["check", "-c", file_name], &environment);
    let said = check.stderr.all().await;
    assert!(check.ended().await.success(), "{said}");
    assert_eq!(said, "");

    let todo = Todo::start(&kafka, &["--streams", "http://localhost:7114/tasks"]).await;
    let config = todo.send(Send::get("/config.json")).await.body;
    let config: Value = serde_json::from_str(&config).expect("JSON");
    assert_eq!(config, json!({"streams": "http://localhost:7114/tasks", "guarded": false}));
    assert_eq!(todo.stream().send().await.status, 405);

    let text = fs::read_to_string(&file).expect("the file");
    let text = text.replace("port: 7114", "port: 0");
    let text = text.replace("${{env.KAFKA_BOOTSTRAP_SERVER}}", kafka.servers());
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::of_text(folder, &text, &[]).await;
    let path = "/tasks?liveEvent=true";
    let mut stream = server.get(path).header("origin", "http://localhost:8080").open().await;
    assert_eq!(field(&stream.next().await, "event"), Some("live"));
    let first = key(1);
    assert_eq!(todo.send(Send::post(&first, r#"{"title":"milk"}"#)).await.status, 202);
    let block = stream.next().await;
    assert_eq!((data(&block), etag(&block)), (json!({"title":"milk","completed":false}), &*first));
}

/// A processor that was away for long is not the processor any more when it is back.
#[tokio::test]
async fn another_processor_takes_over_from_one_that_stalls() {
    let kafka = kafka_alone().await;
    let stalled = Todo::start(&kafka, &[]).await;
    let first = key(1);
    assert_eq!(stalled.send(Send::post(&first, r#"{"title":"a"}"#)).await.status, 202);
    let mut stream = stalled.stream().open().await;
    let live = async { while field(&stream.next().await, "event") != Some("live") {} };
    live.await;
    stalled.process.signal(Signal::STOP);
    let other = Todo::start_again(&kafka, 0, &[]).await;
    let mut numbers = 2..;
    let mut previous = first.clone();
    for process in [None, Some(&stalled.process), None] {
        if let Some(process) = process {
            process.signal(Signal::CONT);
        }
        for _ in 0..3 {
            let key = key(numbers.next().expect("a number"));
            let path = format!("/tasks/{first}");
            let body = json!({ "title": key }).to_string();
            Send::put(&path, &key, &previous, &body).until_accepted(other.address).await;
            previous = key;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let current = async {
        while records(&kafka, "tasks").last().and_then(|result| result.etag.as_ref())
            != Some(&previous)
        {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("the last command has its result", current).await;
    let etags: Vec<_> =
        records(&kafka, "tasks").into_iter().filter_map(|result| result.etag).collect();
    assert_eq!(etags, (1..11).map(key).collect::<Vec<_>>(), "each once, in order");
}

#[tokio::test]
async fn a_repeated_request_is_one_command_on_two_instances_and_after_a_restart() {
    let kafka = kafka_alone().await;
    let mut instances = [Todo::start(&kafka, &[]).await, Todo::start_again(&kafka, 0, &[]).await];
    let keys: Vec<String> = (0..20).map(key).collect();
    let create = |key| Send::post(key, r#"{"title":"milk"}"#);
    for key in &keys {
        let [one, other] = &instances;
        let both = futures_util::join!(one.send(create(key)), other.send(create(key)));
        assert_eq!((both.0.status, both.1.status), (202, 202), "{key}");
    }
    // The last one is gone again.
    let path = format!("/tasks/{}", keys[19]);
    let deletion = key(20);
    let delete = Send::delete(&path, &deletion, &keys[19]);
    delete.until_accepted(instances[0].address).await;
    let results = || -> Vec<Option<String>> {
        records(&kafka, "tasks").into_iter().map(|result| result.etag).collect()
    };
    let expected: Vec<_> = (0..=20).map(key).map(Some).collect();
    let processed = async {
        while results().len() < expected.len() {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("all is processed", processed).await;

    for instance in &mut instances {
        instance.process.signal(Signal::KILL);
        instance.process.ended().await;
    }
    let again = Todo::start_again(&kafka, 0, &[]).await;
    let commands = records(&kafka, COMMANDS).len();
    for key in &keys {
        assert_eq!(again.send(create(key)).await.status, 202, "{key}");
    }
    assert_eq!(records(&kafka, COMMANDS).len(), commands, "the service knows them all");
    // The processor does, too: it is asked without the service.
    for record in records(&kafka, COMMANDS) {
        let value = record.value.expect("a command");
        let id = &keys[19];
        kafka.produce(COMMANDS, Record::value(&value).key(id));
    }
    let last = key(21);
    assert_eq!(again.send(create(&last)).await.status, 202);
    let expected: Vec<_> = (0..=21).map(key).map(Some).collect();
    let processed = async {
        while results().last() != expected.last() {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("the last command has its result", processed).await;
    assert_eq!(results(), expected, "each once");
}
