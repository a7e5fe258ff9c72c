//! The standard output and the standard error, and those who read them or don't.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Get, Kafka, LOOK, Record, Server, Version, health_address, kafka, raw, server, soon,
};

const REQUESTS: usize = 4000;

/// A server that writes a lot to both.
async fn talkative(kafka: &Kafka) -> Server {
    let arguments = ["--health", "127.0.0.1:0", "--drain", "0", "--log-level", "trace"];
    server(kafka).arguments(&arguments).run().await
}

/// Answers to so many requests, each of which is a line of the access log; and to as many pings, of each
/// of which h2 has several things to say at the level `trace`.
async fn many_requests(server: &Server) {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let ping = b"\0\0\x08\x06\0\0\0\0\0........";
    let pings = [&preface[..], &ping.repeat(REQUESTS)].concat();
    raw(server.address(), &pings, |read| read.len() > REQUESTS * ping.len()).await;
    let path = "x".repeat(600);
    let request = format!("GET /nothing/{path} HTTP/1.1\r\nhost: x\r\n\r\n");
    for _ in 0..4 {
        let requests = request.repeat(REQUESTS / 4 - 1)
            + &request.replace("host", "connection: close\r\nhost");
        let read = raw(server.address(), requests.as_bytes(), |_| false).await;
        let answers = read.windows(12).filter(|window| window == b"HTTP/1.1 404").count();
        assert_eq!(answers, REQUESTS / 4);
    }
}

fn messages(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn dropped(line: &str) -> Option<u64> {
    let line: Value = serde_json::from_str(line).ok()?;
    line["message"]
        .as_str()?
        .ends_with(" lines were not written")
        .then(|| line["lines"].as_u64())?
}

/// What is written was written on the threads that serve: after 160 lines that a pager had not read all
/// streams, all requests and `/live` stood still.
#[tokio::test]
async fn readers_that_pause_hold_up_nobody_and_are_told_what_they_missed() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let mut server = talkative(&kafka).await;
    let live = health_address(&server).await;
    let mut streams = Vec::new();
    for version in Version::BOTH {
        streams.push(server.get(&format!("/all/{topic}")).over(version).open().await);
    }
    server.stdout().pause();
    server.stderr().pause();
    many_requests(&server).await;
    for round in 1..=3 {
        kafka.produce(&topic, Record::value("on"));
        for stream in &mut streams {
            let next = stream.next().await;
            assert!(next.starts_with("data:on\n"), "{round}: {next}");
        }
        assert_eq!(Get::new(live, "/live").send().await.status, 200);
    }

    server.stdout().go_on();
    server.stderr().go_on();
    server.stdout().find(dropped).await;
    server.stderr().find(dropped).await;
    server.stderr().says("lines of the standard output were not written").await;
    // What was lost before the pipe was full is reported apart from what was lost after it.
    let written_and_lost = || {
        let text = server.stdout().text();
        let lost: u64 = text.lines().filter_map(dropped).sum();
        let access = messages(&text);
        let written = access.iter().filter(|line| line["event"].is_string()).count();
        written as u64 + lost
    };
    let reported = async {
        while written_and_lost() < REQUESTS as u64 + 2 {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("all that was lost is reported", reported).await;
    // It goes on, and nothing is missing but what was counted.
    assert_eq!(server.get("/after").send().await.status, 404);
    server.stdout().says("/after").await;
    assert_eq!(written_and_lost(), REQUESTS as u64 + 2 + 1);
    server.process().signal(Signal::TERM);
    assert_eq!(server.process().ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_end_does_not_wait_for_readers_that_pause() {
    let kafka = kafka().await;
    let mut server = talkative(&kafka).await;
    server.stdout().pause();
    server.stderr().pause();
    many_requests(&server).await;
    server.process().signal(Signal::TERM);
    assert_eq!(server.process().ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_last_lines_are_written_before_the_end() {
    let kafka = kafka().await;
    let mut server = server(&kafka).arguments(&["--drain", "0"]).run().await;
    let requests = "GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200);
    let answered =
        |read: &[u8]| read.windows(12).filter(|window| window == b"HTTP/1.1 404").count() == 200;
    raw(server.address(), requests.as_bytes(), answered).await;
    server.process().signal(Signal::TERM);
    assert_eq!(server.process().ended().await.code(), Some(0));
    let access = messages(&server.stdout().all().await);
    assert_eq!(access.iter().filter(|access| access["event"] == "ended").count(), 200);
    assert!(server.stderr().all().await.contains("received a signal to stop"));
}

#[tokio::test]
async fn readers_that_are_gone_end_nothing() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let mut server = talkative(&kafka).await;
    let mut stream = server.get(&format!("/all/{topic}")).open().await;
    server.stdout().close();
    server.stderr().close();
    many_requests(&server).await;
    kafka.produce(&topic, Record::value("on"));
    assert!(stream.next().await.starts_with("data:on\n"));
    server.process().signal(Signal::TERM);
    assert_eq!(server.process().ended().await.code(), Some(0));
}
