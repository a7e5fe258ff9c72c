//! Kafka over TLS, on a real Kafka only.

use std::env;
use std::fs;
use std::net::SocketAddr;

use rcgen::generate_simple_self_signed;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{LOOK, Record, Server, Version, real_kafka, run};

const CONFIG: &str = r#"
name: kafka-tls
vaults: { known: { type: filesystem, options: { trust: %TRUST% } } }
bindings:
  tcp_in: { type: tcp, kind: server, options: { host: 127.0.0.1, port: 0 }, exit: http_in }
  http_in: { type: http, kind: server, exit: sse_in }
  sse_in: { type: sse, kind: server, exit: mapping }
  mapping:
    type: sse-kafka
    kind: proxy
    routes:
      - { when: [{ path: "/{topic}" }], exit: cache_client, with: { topic: "${params.topic}" } }
  cache_client: { type: kafka, kind: cache_client, exit: cache_server }
  cache_server: { type: kafka, kind: cache_server, exit: kafka_out }
  kafka_out: { type: kafka, kind: client, options: { servers: ["%SERVER%"]%SASL% }, exit: tls_out }
  tls_out: { type: tls, kind: client, vault: known, options: %TLS%, exit: tcp_out }
  tcp_out: { type: tcp, kind: client }
"#;

const VERIFY: &str = "certificate verify failed";
const SCRAM: &str =
    ", sasl: { mechanism: scram-sha-256, username: tailwater, password: tailwater-secret }";

fn of_kafka(name: &str) -> String {
    env::var(format!("TAILWATER_TEST_KAFKA_{name}")).expect("kafka.sh run sets it")
}

/// The store that keytool has made, with the authority of the broker.
fn trust() -> String {
    let store = of_kafka("TRUST");
    format!(r#"{{ store: "{store}", type: pkcs12, password: tailwater-secret }}"#)
}

/// A configuration, and beside it an authority that has signed nothing.
fn configure(trust: &str, server: &str, sasl: &str, tls: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let made = generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let pem = made.expect("a certificate").cert.pem();
    fs::write(folder.path().join("other.pem"), pem).expect("it is written");
    let config = CONFIG
        .replace("%TRUST%", trust)
        .replace("%SERVER%", server)
        .replace("%SASL%", sasl)
        .replace("%TLS%", tls);
    (folder, config)
}

async fn start(trust: &str, server: &str, sasl: &str, tls: &str) -> Server {
    let (folder, config) = configure(trust, server, sasl, tls);
    Server::of_text(folder, &config, &[]).await
}

#[tokio::test]
async fn records_arrive_over_tls_with_and_without_a_password() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(1).await;
    kafka.produce(&topic, Record::value("before"));
    let p12 = trust();
    let pem = format!(r#"{{ store: "{}", type: pem }}"#, of_kafka("CA"));
    let localhost = of_kafka("SSL").replace("127.0.0.1", "localhost");
    let mut running = Vec::new();
    let mut open = Vec::new();
    for (trust, address, sasl, tls) in [
        (&p12, of_kafka("SSL"), "", "{ trust: [ca] }"),
        (&p12, of_kafka("SASL_SSL"), SCRAM, "{ trust: [ca] }"),
        (&pem, localhost, "", "{ trust: [ca], trustcacerts: true }"),
    ] {
        let server = start(trust, &address, sasl, tls).await;
        for version in Version::BOTH {
            let mut stream = server.get(&format!("/{topic}")).over(version).open().await;
            assert_eq!(stream.next().await, "data:before\nid:AQIAAg==\n", "{trust} {sasl} {tls}");
            open.push(stream);
        }
        running.push(server);
    }
    kafka.produce(&topic, Record::value("meanwhile"));
    for mut stream in open {
        assert_eq!(stream.next().await, "data:meanwhile\nid:AQIABA==\n");
    }
}

/// The handlers of `exit` free memory of OpenSSL, which the threads of librdkafka use while they connect.
#[tokio::test]
async fn a_stop_while_connections_begin_ends_with_status_0() {
    if real_kafka().await.is_none() {
        return;
    }
    let (p12, ssl) = (trust(), of_kafka("SSL"));
    for round in 0..30 {
        let mut server = start(&p12, &ssl, "", "{ trust: [ca] }").await;
        server.process().signal(Signal::TERM);
        let status = server.process().ended().await;
        assert_eq!(status.code(), Some(0), "round {round}: {status}");
    }
}

/// Forwards connections to the broker from an address that its certificate does not name.
async fn relay() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.2:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut to = TcpStream::connect(of_kafka("SSL")).await.expect("the broker");
                tokio::io::copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    address
}

#[tokio::test]
async fn a_broker_that_is_not_trusted_is_told_in_the_log_and_streams_wait() {
    let Some(kafka) = real_kafka().await else { return };
    let topic = kafka.topic(1).await;
    kafka.produce(&topic, Record::value("a"));
    let p12 = trust();
    let other = "{ store: other.pem, type: pem }";
    let ssl = of_kafka("SSL");
    let relayed = relay().await.to_string();
    let mut waiting = Vec::new();
    for (trust, address, sasl, tls, logged) in [
        // Another authority, that of the system, both.
        (other, &ssl, "", "{ trust: [other] }", VERIFY),
        (other, &of_kafka("SASL_SSL"), SCRAM, "{ trust: [other] }", VERIFY),
        (&p12, &ssl, "", "{}", VERIFY),
        (&p12, &ssl, "", "{ trustcacerts: true }", VERIFY),
        (other, &ssl, "", "{ trust: [other], trustcacerts: true }", VERIFY),
        // The right authority, and a certificate for another name.
        (&p12, &relayed, "", "{ trust: [ca] }", VERIFY),
        // No TLS where it is asked for.
        (&p12, &kafka.servers().to_owned(), "", "{ trust: [ca] }", "it does not speak TLS"),
    ] {
        let server = start(trust, address, sasl, tls).await;
        let mut stream = server.get(&format!("/{topic}")).open().await;
        assert_eq!(stream.comment().await, "");
        waiting.push((server, stream, logged));
    }
    for (server, _, logged) in &waiting {
        server.stderr().says(logged).await;
        assert!(!server.stderr().text().contains("tailwater-secret"));
    }
    // Nothing came, and none has ended.
    for (_server, mut stream, _) in waiting {
        tokio::time::timeout(LOOK, stream.next()).await.expect_err("a record");
    }
}

#[tokio::test]
async fn to_trust_nobody_is_a_mistake() {
    let other = "{ store: other.pem, type: pem }";
    let (folder, config) = configure(other, "127.0.0.1:9", "", "{ trustcacerts: false }");
    let file = folder.path().join("zilla.yaml");
    fs::write(&file, config).expect("the configuration is written");
    let mut process = run(&["start", "-c", file.to_str().expect("a path in UTF-8")], &[]);
    let status = process.ended().await;
    let log = process.stderr.all().await;
    let expected = "kafka_out can't begin: tls to kafka needs an authority to trust";
    assert!(status.code() == Some(1) && log.contains(expected), "{log}");
}
