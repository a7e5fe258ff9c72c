//! The commands.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::support::{Get, field, kafka, run, server, server_of};

/// A file in a folder of its own.
fn file(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, text).expect("it is written");
    let path = path.to_str().expect("UTF-8").to_owned();
    (folder, path)
}

#[tokio::test]
async fn start_of_a_mistaken_file_tells_each_place_and_starts_nothing() {
    // The port is taken: who tried to listen would say so.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = taken.local_addr().expect("an address").port();
    let good = server_of("localhost:9092").config().replace("port: 0", &format!("port: {port}"));
    for (right, wrong, expected) in [
        ("exit: http_in", "exit: http_out", &["zilla.yaml:4:", "`http_out`"][..]),
        ("type: sse,", "type: ssse,", &["zilla.yaml:10:", "`ssse`"]),
        ("kind: proxy", "kind: proxi", &["zilla.yaml:13:", "`proxi`"]),
        ("/all/{topic}", "/all/{topic", &["zilla.yaml:15:"]),
        ("${params.key}", "${params.kay}", &["zilla.yaml:18:", "kay"]),
        ("retry: 2000", "retri: 2000", &["zilla.yaml:10:", "`retri`", "`retry`"]),
        ("localhost:9092", "${{env.E2E_NOT_SET}}", &["zilla.yaml:36:", "E2E_NOT_SET"]),
        ("exit: tcp_out", "exit: mapping", &["zilla.yaml:36:"]),
        ("name: e2e", "name: [e2e", &["zilla.yaml:"]),
    ] {
        let text = good.replacen(right, wrong, 1);
        assert_ne!(text, good, "{right}");
        let (_folder, path) = file("zilla.yaml", &text);
        for command in ["start", "check"] {
            let mut process = run(&[command, "-c", &path], &[]);
            assert_eq!(process.ended().await.code(), Some(2), "{command} {wrong}");
            let said = process.stderr.all().await;
            for expected in expected {
                assert!(said.contains(expected), "{command} {wrong}: {expected} is not in {said}");
            }
            let place = said.split("zilla.yaml:").nth(1).expect("a place");
            let numbers: Vec<&str> = place.split(':').take(2).collect();
            assert!(numbers.iter().all(|number| number.trim().parse::<u32>().is_ok()), "{said}");
            assert!(!said.contains("listen"), "{said}");
            assert_eq!(process.stdout.all().await, "");
        }
    }
}

#[tokio::test]
async fn what_serves_nothing_is_told_by_start_as_by_check() {
    let listener = "{ type: tcp, kind: server, options: { host: 127.0.0.1, port: 0 }, routes: [] }";
    for (text, expected) in [
        (
            "name: a\nbindings: {}\n".to_owned(),
            "no listener: there is no binding of type tcp and kind server",
        ),
        (
            format!("name: a\nbindings:\n  in: {listener}\n"),
            "in has no routes: its connections are closed",
        ),
    ] {
        let (_folder, path) = file("zilla.yaml", &text);
        let mut check = run(&["check", "-c", &path], &[]);
        assert_eq!(check.ended().await.code(), Some(0));
        let said = check.stdout.all().await;
        assert!(said.contains(&format!("\n{expected}\n")), "{said}");
        let mut start = run(&["start", "-c", &path, "--log-format", "json"], &[]);
        start.stderr.says(expected).await;
        assert!(start.stderr.text().contains("\"WARN\""), "{}", start.stderr.text());
        // It runs, and ends when it is told to.
        start.signal(Signal::TERM);
        start.ended().await;
    }
}

#[tokio::test]
async fn start_tells_all_mistakes_at_once() {
    let text = server_of("x").config().replace("retry", "retri").replace("topic: \"", "topik: \"");
    let (_folder, path) = file("zilla.yaml", &text);
    let mut process = run(&["start", "-c", &path], &[]);
    assert_eq!(process.ended().await.code(), Some(2));
    let said = process.stderr.all().await;
    assert!(said.contains("`retri`") && said.matches("`topik`").count() == 7, "{said}");
}

#[tokio::test]
async fn a_file_that_is_not_there_and_one_that_a_guard_protects_start_nothing() {
    let mut process = run(&["start", "-c", "nowhere/zilla.yaml"], &[]);
    assert_eq!(process.ended().await.code(), Some(2));
    let said = process.stderr.all().await;
    assert!(said.contains("nowhere/zilla.yaml"), "{said}");

    // Served without its guard it would be open to everyone; no connection brings a token.
    let guarded = server_of("localhost:9092")
        .config()
        .replace("exit: http_in }", "routes: [{ guarded: { who: [] }, exit: http_in }] }")
        + "guards: { who: { type: jwt, options: { issuer: i, audience: a, keys: [] } } }\n";
    assert!(guarded.contains("guarded: { who"), "{guarded}");
    let (_folder, path) = file("zilla.yaml", &guarded);
    let mut process = run(&["start", "-c", &path], &[]);
    assert_eq!(process.ended().await.code(), Some(2));
    let said = process.stderr.all().await;
    assert!(said.contains("guard"), "{said}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = taken.local_addr().expect("an address");
    let text = server_of("localhost:9092").config();
    let (_folder, path) =
        file("zilla.yaml", &text.replace("port: 0", &format!("port: {}", address.port())));
    let mut process = run(&["start", "-c", &path], &[]);
    assert_eq!(process.ended().await.code(), Some(1));
    let said = process.stderr.all().await;
    assert!(said.contains(&format!("tcp_in can't listen on {address}")), "{said}");
}

#[tokio::test]
async fn check_says_what_the_examples_mean() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/examples");
    for (name, expected) in [
        ("fanout.yaml", &["7114", "/events/*", "${params.key}", "tag", "kafka.example:9092"][..]),
        ("intro.json", &["7114", "/events", "localhost:7114", "live", "kafka.example:9092"]),
    ] {
        let path = examples.join(name);
        let path = path.to_str().expect("UTF-8");
        let kafka = [("KAFKA_BOOTSTRAP_SERVER", "kafka.example:9092")];
        let mut process = run(&["check", "-c", path], &kafka);
        assert_eq!(process.ended().await.code(), Some(0), "{name}");
        let said = process.stdout.all().await;
        let limits = ["memory, at most:", "sum ", "65536 connections"];
        for expected in expected.iter().chain(&limits) {
            assert!(said.contains(expected), "{name}: {expected} is not in {said}");
        }
        assert_eq!(process.stderr.all().await, "", "{name}");
    }
}

#[tokio::test]
async fn start_listens_at_once() {
    let kafka = kafka().await;
    let mut took = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let server = server(&kafka).run().await;
        took.push(begun.elapsed());
        drop(server);
    }
    // A debug build beside other tests; benches/load measures the release build.
    let best = took.iter().min().expect("some");
    assert!(*best < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn demo_shows_a_page_and_a_stream_and_ends_at_once() {
    let mut demo = run(&["demo", "--port", "0"], &[]);
    let address = |line: &str| {
        let port = line.trim().strip_prefix("http://localhost:")?;
        port.strip_suffix('/')?.parse::<u16>().ok()
    };
    let port = demo.stdout.find(address).await;
    demo.stdout.says(&format!("curl -N http://localhost:{port}/events")).await;
    let get = |path: &str| Get::new(([127, 0, 0, 1], port).into(), path);

    let page = get("/").send().await;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    assert!(page.text().await.contains("EventSource"));

    let mut stream = get("/events").open().await;
    let first = stream.next().await;
    let id = field(&first, "id").expect("an id").to_owned();
    let events = stream.take(3).await;
    for event in &events {
        let data = field(event, "data").expect("data");
        assert!(
            field(event, "event") == Some("delete") || data.starts_with("{\"symbol\":"),
            "{event}"
        );
    }
    let mut resumed = get("/events").last_event_id(id).open().await;
    let mut again = resumed.take(3).await;
    let mut once = events;
    // The partitions may come in another order.
    again.sort_unstable_by_key(|event| field(event, "data").map(str::to_owned));
    once.sort_unstable_by_key(|event| field(event, "data").map(str::to_owned));
    let data = |events: &[String]| -> Vec<Option<String>> {
        events.iter().map(|event| field(event, "data").map(str::to_owned)).collect()
    };
    assert_eq!(data(&again), data(&once));

    let mut one = get("/events/EURUSD").open().await;
    assert!(one.next().await.starts_with("id:"));
    assert!(one.next().await.contains("EURUSD"));

    demo.signal(Signal::INT);
    assert_eq!(demo.ended().await.code(), Some(0));
}

#[tokio::test]
async fn demos_configuration_is_one_to_start_from() {
    let mut demo = run(&["demo", "--print-config", "--port", "7999"], &[]);
    assert_eq!(demo.ended().await.code(), Some(0));
    let (_folder, path) = file("zilla.yaml", &demo.stdout.all().await);
    let mut check = run(&["check", "-c", &path], &[]);
    assert_eq!(check.ended().await.code(), Some(0));
    let said = check.stdout.all().await;
    assert!(said.contains("7999") && said.contains("quotes"), "{said}");

    // What it needs beside itself is told, and once.
    let mut demo = run(&["demo", "--print-config", "--port", "0"], &[]);
    assert_eq!(demo.ended().await.code(), Some(0));
    let text = demo.stdout.all().await;
    assert!(text.contains("# The folder of the pages, which must be there;"), "{text}");
    let (_folder, path) = file("zilla.yaml", &text);
    let start = run(&["start", "-c", &path], &[]);
    start.stderr.says("listening").await;
    let log = start.stderr.text();
    assert_eq!(log.matches("the folder can't be read").count(), 1, "{log}");
}

#[tokio::test]
async fn help_reads_well_and_mistaken_arguments_are_status_2() {
    for arguments in [&["--help"][..], &["start", "--help"], &["check", "--help"], &["demo", "-h"]]
    {
        let mut process = run(arguments, &[]);
        assert_eq!(process.ended().await.code(), Some(0), "{arguments:?}");
        assert!(process.stdout.all().await.contains("Usage: tailwater"), "{arguments:?}");
    }
    for arguments in [&[][..], &["serve"], &["start", "--drain", "soon"], &["demo", "--port", "-1"]]
    {
        let mut process = run(arguments, &[]);
        assert_eq!(process.ended().await.code(), Some(2), "{arguments:?}");
        let said = process.stderr.all().await;
        assert!(said.contains("Usage: ") || said.contains("--help"), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn levels_of_the_log_that_are_not_understood_start_nothing() {
    let (_folder, path) = file("zilla.yaml", &server_of("localhost:9092").config());
    // A word alone would be the name of a part of the program, and turn off all others.
    for levels in ["loud", "info,tailwater", "tailwater=loud", ""] {
        let mut process = run(&["start", "-c", &path, "--log-level", levels], &[]);
        assert_eq!(process.ended().await.code(), Some(2), "{levels}");
        let said = process.stderr.all().await;
        assert!(said.contains(&format!("`{levels}`")), "{said}");
        assert!(said.contains("error, warn, info, debug or trace"), "{said}");
    }
}
