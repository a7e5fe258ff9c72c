//! Topics that requests name and Kafka does not have.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{Get, Http2, LOOK, Record, field, health_address, kafka, server, soon};

/// How many of these there may be.
const PLACES: usize = 1000;
const CONNECTIONS: usize = 8;

#[tokio::test]
async fn invented_names_take_no_place_from_topics_that_there_are() {
    let kafka = kafka().await;
    let named = kafka.topic(1).await;
    let other = kafka.topic(1).await;
    for topic in [&named, &other] {
        kafka.produce(topic, Record::value("1"));
    }
    let server = server(&kafka).bootstrap(&named).run().await;
    let since = Instant::now();
    let mut waiting: Vec<Http2> = Vec::new();
    let mut streams = Vec::new();
    for connection in 0..CONNECTIONS {
        let http2 = server.http2().await;
        for number in 0..=PLACES / CONNECTIONS {
            let path = format!("/all/invented-{connection}-{number}");
            streams.push(http2.get(&path).send().await);
        }
        waiting.push(http2);
    }
    let refused = streams.iter().filter(|answer| answer.status == 429).count();
    assert!(streams.iter().all(|answer| answer.status == 200 || answer.status == 429));
    assert!(refused <= CONNECTIONS, "{refused}");
    for topic in [&named, &other] {
        let mut stream = server.get(&format!("/all/{topic}")).open().await;
        assert_eq!(field(&stream.next().await, "data"), Some("1"));
    }
    server.stderr().says("topic does not exist").await;
    // Ten lines each ten seconds.
    let lines = server.stderr().text().matches("topic does not exist").count();
    let most = 10 * (2 + since.elapsed().as_secs() / 10);
    assert!(lines as u64 <= most, "{lines} lines, {most} at most");
}

#[tokio::test]
async fn a_topic_of_the_file_that_is_missing_is_told_without_a_client() {
    let kafka = kafka().await;
    let topic = kafka.name();
    let server = server(&kafka).live(&topic).arguments(&["--health", "127.0.0.1:0"]).run().await;
    let line = server.stderr().find(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["message"] == "topic does not exist").then_some(line)
    });
    let line = line.await;
    assert_eq!((&line["level"], &line["topic"]), (&json!("WARN"), &json!(topic)));
    let at = health_address(&server).await;
    let topics = async || {
        let answer = Get::new(at, "/ready").send().await;
        assert_eq!(answer.status, 200);
        let body: Value = serde_json::from_str(&answer.text().await).expect("JSON");
        body["clusters"][0]["topics"].clone()
    };
    let told = topics().await;
    assert_eq!((&told[0]["name"], &told[0]["missing"]), (&json!(topic), &json!(true)), "{told}");
    kafka.create(&topic, 1, &[]).await;
    let there = async {
        while topics().await != json!([]) {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("it is there", there).await;
}
