//! Files as strangers have them: several documents, and those written before `servers`.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::{Get, Kafka, Record, Server, Version, kafka, run, server, server_of};

/// Where a binding listens.
async fn listening(server: &Server, binding: &str) -> SocketAddr {
    let found = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let found = line.get("message")?.as_str()? == "listening" && line["binding"] == binding;
        found.then(|| line["address"].as_str().expect("an address").parse().expect("an address"))
    };
    server.stderr().find(found).await
}

async fn first_event(address: SocketAddr, path: &str) -> String {
    let mut stream = Get::new(address, path).open().await;
    stream.next().await
}

async fn topic(kafka: &Kafka) -> String {
    let topic = kafka.topic(1).await;
    kafka.produce(&topic, Record::value("1"));
    topic
}

#[tokio::test]
async fn each_document_of_a_file_serves_its_ports() {
    let kafka = kafka().await;
    let topic = topic(&kafka).await;
    let one = server(&kafka).config();
    // Its log is that of the other.
    let two = one.replace("e2e", "second").replace(
        "telemetry: { exporters: { logs: { type: stdout } } }",
        "---\nname: third\n---\n# Nothing.",
    );
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("{one}---{two}");
    let server = Server::of_text(folder, &text, &["--health", "127.0.0.1:0"]).await;
    for (binding, route) in [("e2e:tcp_in", "all"), ("second:tcp_in", "live")] {
        let path = format!("/{route}/{topic}");
        let address = listening(&server, binding).await;
        assert_eq!(first_event(address, &path).await, "data:1\nid:AQIAAg==\n", "{binding}");
        server.stdout().says(&path).await;
    }

    let health = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let is_serving = line.get("message")?.as_str()? == "serving /ready and /live";
        is_serving
            .then(|| line["address"].as_str().expect("an address").parse().expect("an address"))
    };
    let health: SocketAddr = server.stderr().find(health).await;
    let answer = Get::new(health, "/ready").over(Version::Http1).send().await;
    let body: Value = serde_json::from_str(&answer.text().await).expect("JSON");
    let names = |key: &str| -> Vec<String> {
        let list = body[key].as_array().expect("a list").iter();
        list.map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
    };
    let way = "cache_client/cache_server/kafka_out";
    assert_eq!(names("clusters"), [format!("e2e:{way}"), format!("second:{way}")]);
    assert_eq!(names("listeners"), ["e2e:tcp_in", "second:tcp_in"]);
}

#[tokio::test]
async fn the_log_tells_clusters_of_the_same_name_apart() {
    let one = server_of("127.0.0.1:1").config();
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("{one}---{}", one.replace("e2e", "second"));
    let server = Server::of_text(folder, &text, &[]).await;
    for name in ["e2e", "second"] {
        server.stderr().says(&format!("\"{name}:cache_client/cache_server/kafka_out\"")).await;
    }
}

#[tokio::test]
async fn a_mistake_of_a_later_document_starts_nothing() {
    let kafka = kafka().await;
    let good = server(&kafka).config().replace("port: 0", "port: 7");
    let second = good.replace("e2e", "second");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("zilla.yaml");
    let path = file.to_str().expect("a path in UTF-8");
    for (second, expected) in [
        (good.clone(), "name: the document at line 2 is the namespace `e2e`"),
        (second.clone(), "`tcp_in` of the namespace `e2e` listens on port 7 of 127.0.0.1 already"),
        (second.replace("port: 7", "port: ${{env.E2E_NOT_SET}}"), "E2E_NOT_SET is not set"),
    ] {
        std::fs::write(&file, format!("{good}---{second}")).expect("it is written");
        for command in ["start", "check"] {
            let mut process = run(&[command, "-c", path], &[]);
            assert_eq!(process.ended().await.code(), Some(2), "{expected}");
            let said = process.stderr.all().await;
            assert!(said.contains(expected), "{said}");
            let mistakes: Vec<&str> =
                said.lines().filter(|line| line.contains(": error: ")).collect();
            let line =
                |text: &str| text.split("zilla.yaml:").nth(1)?.split(':').next()?.parse().ok();
            let line: usize = mistakes.first().and_then(|mistake| line(mistake)).expect("a line");
            assert!(line > good.lines().count(), "{said}");
            assert!(!said.contains("listening"), "{said}");
        }
    }
}

#[tokio::test]
async fn older_files_find_kafka_at_the_tcp_client() {
    let kafka = kafka().await;
    let topic = topic(&kafka).await;
    let servers = kafka.servers();
    let (host, port) =
        servers.split(',').next().and_then(|part| part.rsplit_once(':')).expect("one");
    let config = server(&kafka).config();
    let (before, after) = config.split_once("  kafka_out:").expect("a client");
    let telemetry = after.lines().last().expect("a line");
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "{before}  kafka_out: {{ type: kafka, kind: client, routes: [{{ exit: tcp_out }}] }}
  tcp_out:
    type: tcp
    kind: client
    options:
      host: {host}
      port: {port}
    routes:
      - when:
          - cidr: 0.0.0.0/0
{telemetry}
---
"
    );
    let server = Server::of_text(folder, &text, &[]).await;
    assert_eq!(
        first_event(server.address(), &format!("/all/{topic}")).await,
        "data:1\nid:AQIAAg==\n"
    );
}
