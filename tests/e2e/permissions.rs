//! What Kafka's access control refuses: on a real Kafka only.

use serde_json::{Value, json};

use crate::support::{
    GUEST, Get, LOOK, Operation, Record, Server, Stream, field, health_address, real_kafka,
    sasl_servers, server_of, soon,
};

/// Until `/ready` tells this of a topic, and is 200.
async fn until_told(server: &Server, topic: &str, expected: &[&str]) -> Value {
    let at = health_address(server).await;
    let told = async {
        loop {
            let answer = Get::new(at, "/ready").send().await;
            let status = answer.status;
            let body: Value = serde_json::from_str(&answer.text().await).expect("JSON");
            let topics = body["clusters"][0]["topics"].as_array().expect("a list");
            let of = topics.iter().find(|candidate| candidate["name"] == topic);
            let is = |key: &&str| of.is_some_and(|of| of[key] == json!(true));
            let keys: Vec<&str> = ["missing", "forbidden"].into_iter().filter(is).collect();
            if body["clusters"][0]["kafka"] == "reached" {
                assert_eq!(status, 200, "{body}");
                if keys == expected {
                    return body;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    soon(&format!("{topic} is told as {expected:?}"), told).await
}

/// `/ready` says nothing of a topic.
async fn assert_not_told(server: &Server, topic: &str) {
    let body = Get::new(health_address(server).await, "/ready").send().await.text().await;
    assert!(!body.contains(topic), "{body}");
}

/// Until a request is answered with events rather than refused.
async fn until_open(server: &Server, path: &str) -> Stream {
    let opened = async {
        loop {
            let answer = server.get(path).send().await;
            if answer.status == 200 {
                return answer.stream();
            }
            assert_eq!(answer.status, 403);
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("it is permitted", opened).await
}

async fn until_refused(server: &Server, path: &str) {
    let refused = async {
        while server.get(path).send().await.status != 403 {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("it is refused", refused).await;
}

/// What the client of a stream is told last.
async fn assert_ends(stream: &mut Stream, topic: &str) {
    let expected = format!("topic {topic} does not exist or is not permitted");
    let mut comment = stream.comment().await;
    while comment.is_empty() {
        comment = stream.comment().await;
    }
    assert_eq!(comment, expected);
    let (_, clean, rest) = stream.end().await;
    assert!(clean && rest.is_empty(), "{rest:?}");
}

/// The log's warning of a topic.
async fn warning(server: &Server, message: &str, topic: &str) -> Value {
    let warns = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["message"] == message && line["topic"] == topic).then_some(line)
    };
    server.stderr().find(warns).await
}

#[tokio::test]
async fn what_the_file_names_is_told_without_a_client_whether_it_is_hidden_unreadable_or_missing() {
    let Some(kafka) = real_kafka().await else { return };
    let hidden = kafka.topic(1).await;
    let described = kafka.topic(1).await;
    let readable = kafka.topic(1).await;
    let missing = kafka.name();
    kafka.allow(&described, Operation::Describe);
    kafka.allow(&readable, Operation::Read);
    kafka.allow(&missing, Operation::Read);
    let all = [&hidden, &described, &readable, &missing];
    let builder =
        all.iter().fold(server_of(&sasl_servers()).sasl(GUEST), |all, value| all.live(value));
    let server = builder.arguments(&["--health", "127.0.0.1:0"]).run().await;
    for topic in [&hidden, &described] {
        let line = warning(&server, "topic is not permitted", topic).await;
        assert_eq!((&line["level"], &line["code"]), (&json!("WARN"), &json!(29)), "{line}");
        assert_eq!(line["error"], "TOPIC_AUTHORIZATION_FAILED");
        assert_eq!(line["cluster"], "cache_client/cache_server/kafka_out");
        let body = until_told(&server, topic, &["forbidden"]).await;
        let why = body["why"].to_string();
        assert!(why.contains(&format!("topic {topic} is not permitted")), "{why}");
        let answer = server.get(&format!("/all/{topic}")).send().await;
        assert_eq!((answer.status.as_u16(), answer.text().await), (403, String::new()));
    }
    let line = warning(&server, "topic does not exist", &missing).await;
    assert_eq!(line["cluster"], "cache_client/cache_server/kafka_out");
    let body = until_told(&server, &missing, &["missing"]).await;
    assert!(body["why"].to_string().contains(&format!("topic {missing} does not exist")), "{body}");
    until_told(&server, &readable, &[]).await;
    let text = server.stderr().text();
    assert!(!text.lines().any(|line| line.contains("WARN") && line.contains(&readable)), "{text}");

    // All of it ends by itself.
    kafka.allow(&hidden, Operation::Read);
    kafka.allow(&described, Operation::Read);
    kafka.create(&missing, 1, &[]).await;
    for topic in all {
        let mut stream = until_open(&server, &format!("/all/{topic}")).await;
        assert_eq!(field(&stream.next().await, "id"), Some("AQIAAA=="));
        kafka.produce(topic, Record::value("1"));
        assert_eq!(field(&stream.next().await, "data"), Some("1"));
        until_told(&server, topic, &[]).await;
    }
}

#[tokio::test]
async fn what_a_path_names_is_refused_and_takes_nothing_from_others() {
    let Some(kafka) = real_kafka().await else { return };
    let hidden = kafka.topic(1).await;
    let described = kafka.topic(3).await;
    let open = kafka.topic(1).await;
    for (topic, operation) in [(&described, Operation::Describe), (&open, Operation::Read)] {
        kafka.produce(topic, Record::value("1"));
        kafka.allow(topic, operation);
    }
    let server = server_of(&sasl_servers()).sasl(GUEST);
    let server = server.arguments(&["--health", "127.0.0.1:0"]).run().await;
    let path = |topic: &str| format!("/all/{topic}");
    let mut stream = server.get(&path(&open)).open().await;
    assert_eq!(field(&stream.next().await, "data"), Some("1"));
    // Kafka says so of one, and of the other only when it is read.
    assert_eq!(server.get(&path(&hidden)).send().await.status, 403);
    assert_ends(&mut server.get(&path(&described)).open().await, &described).await;
    assert_eq!(server.get(&path(&described)).send().await.status, 403);
    warning(&server, "topic is not permitted", &hidden).await;
    warning(&server, "topic is not permitted", &described).await;
    // Clients may name what they like.
    for topic in [&hidden, &described] {
        assert_not_told(&server, topic).await;
    }
    kafka.produce(&open, Record::value("2"));
    assert_eq!(field(&stream.next().await, "data"), Some("2"));

    kafka.allow(&described, Operation::Read);
    let mut resumed = until_open(&server, &path(&described)).await;
    assert_eq!(field(&resumed.next().await, "data"), Some("1"));
}

#[tokio::test]
async fn a_permission_that_is_withdrawn_ends_the_topics_streams_and_no_others() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(2).await;
    let other = kafka.topic(1).await;
    let server = server_of(&sasl_servers()).sasl(GUEST);
    let server = server.arguments(&["--health", "127.0.0.1:0"]).run().await;
    let path = format!("/all/{topic}");
    for described in [false, true] {
        kafka.allow(&topic, Operation::Read);
        kafka.allow(&other, Operation::Read);
        if described {
            kafka.allow(&topic, Operation::Describe);
        }
        kafka.produce(&topic, Record::value("1"));
        kafka.produce(&other, Record::value("1"));
        let mut stream = until_open(&server, &path).await;
        let mut bystander = until_open(&server, &format!("/all/{other}")).await;
        for stream in [&mut stream, &mut bystander] {
            assert_eq!(field(&stream.next().await, "data"), Some("1"));
        }
        kafka.withdraw(&topic, Operation::Read);
        assert_ends(&mut stream, &topic).await;
        until_refused(&server, &path).await;
        kafka.produce(&other, Record::value("2"));
        soon("the other goes on", async {
            while field(&bystander.next().await, "data") != Some("2") {}
        })
        .await;
        assert_not_told(&server, &topic).await;
    }
}
