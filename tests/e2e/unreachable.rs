//! Why Kafka is not reached, as the log and `/ready` tell it.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::{
    Authority, Get, Server, kafka_alone, real_kafka, sasl_servers, server, server_of,
};

const TLS: &str = r#"
  tls_out: { type: tls, kind: client, vault: known, options: { trust: [authority] }, exit: tcp_out }
vaults: { known: { type: filesystem, options: { trust: { store: authority.pem, type: pem } } } }
"#;

/// Listens, and does this with each connection.
async fn listen<F>(with: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> String
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(with(connection));
        }
    });
    address
}

/// A server that answers the first bytes by these.
async fn answers(bytes: &'static [u8]) -> String {
    listen(async move |mut connection| {
        let _ = connection.read(&mut [0; 1000]).await?;
        connection.write_all(bytes).await?;
        connection.shutdown().await
    })
    .await
}

/// A server that speaks TLS, and ends what comes by it.
async fn speaks_tls(authority: &Authority, name: &str) -> String {
    let identity = authority.issue(&[name]);
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| {
            let config = config.with_no_client_auth();
            config.with_single_cert(vec![identity.certificate.clone()], identity.key())
        });
    let acceptor = TlsAcceptor::from(Arc::new(config.expect("a configuration")));
    listen(move |connection| {
        let acceptor = acceptor.clone();
        async move {
            let _ = acceptor.accept(connection).await?.read(&mut [0; 1000]).await?;
            Ok(())
        }
    })
    .await
}

/// Starts a server for this Kafka, by TLS if it is to trust somebody.
async fn start(kafka: &str, sasl: &str, trusts: Option<&Authority>) -> Server {
    let builder = server_of(kafka);
    let mut config = if sasl.is_empty() { builder } else { builder.sasl(sasl) }.config();
    let folder = tempfile::tempdir().expect("a folder");
    if let Some(authority) = trusts {
        let pem = folder.path().join("authority.pem");
        std::fs::write(pem, authority.pem()).expect("it is written");
        config = config.replace("exit: tcp_out }", "exit: tls_out }");
        config = config.replace("telemetry:", &format!("{TLS}telemetry:"));
    }
    Server::of_text(folder, &config, &["--health", "127.0.0.1:0"]).await
}

/// What the log says at this level.
fn lines(server: &Server, level: &str) -> Vec<Value> {
    let text = server.stderr().text();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["level"] == level).collect()
}

/// The answer of `/ready` for its cluster.
async fn told(server: &Server) -> Value {
    let address = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let is_serving = line.get("message")?.as_str()? == "serving /ready and /live";
        is_serving
            .then(|| line["address"].as_str().expect("an address").parse().expect("an address"))
    };
    let at = server.stderr().find(address).await;
    let text = Get::new(at, "/ready").send().await.text().await;
    serde_json::from_str::<Value>(&text).expect("JSON")["clusters"][0].take()
}

/// That one line of the log, and `/ready`, tell this cause of it.
async fn is_away(server: &Server, kafka: &str, cause: &str) {
    server.stderr().says("Kafka is away").await;
    let mut warnings = lines(server, "WARN");
    // The machine may have few open files, which is warned of, too.
    warnings.retain(|line| {
        line["target"].as_str().is_some_and(|target| target.starts_with("tailwater_kafka"))
    });
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let line = &warnings[0];
    assert_eq!(line["message"], "Kafka is away", "{cause}");
    assert_eq!(line["cluster"], "cache_client/cache_server/kafka_out");
    assert_eq!(line["servers"], kafka);
    let error = line["error"].as_str().expect("a cause");
    assert!(error.contains(cause) && error.contains(kafka), "{cause}: {error}");
    // A machine under load is late.
    assert!(line["seconds"].as_f64().is_some_and(|seconds| seconds < 3.0), "{line}");
    let told = told(server).await;
    assert_eq!(told["kafka"], "never reached");
    assert_eq!(told["servers"], serde_json::json!([kafka]));
    assert!(told["last_error"].as_str().is_some_and(|error| error.contains(cause)), "{told}");
}

#[tokio::test]
async fn who_does_not_speak_as_we_do_is_told_in_plain_words() {
    let authority = Authority::new("known");
    let other = Authority::new("other");
    let authority = &authority;
    let known = Some(authority);
    let closes = listen(async |mut connection| connection.shutdown().await).await;
    let silent = listen(async |connection| {
        let _connection = connection;
        std::future::pending().await
    })
    .await;
    let unknown = "a.host.invalid:9092".to_owned();
    let no_tls = "TLS handshake failed: it does not speak TLS";
    let no_trust = "TLS handshake failed: certificate verify failed";
    let rows = [
        ("127.0.0.1:1".to_owned(), None, "connection refused"),
        (unknown, None, "unknown name"),
        (closes.clone(), None, "closed the connection at once: does it speak TLS?"),
        (silent.clone(), None, "no answer"),
        (answers(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, None, "it speaks HTTP"),
        (answers(b"SSH-2.0-OpenSSH_9.2\r\n").await, None, "what answers is not a Kafka"),
        (answers(b"\x15\x03\x01\x00\x02\x02\x46\x00").await, None, "what answers speaks TLS"),
        (speaks_tls(authority, "127.0.0.1").await, None, "does it speak TLS?"),
        (closes, known, no_tls),
        (silent, known, "no answer"),
        (answers(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, known, no_tls),
        (speaks_tls(&other, "127.0.0.1").await, known, no_trust),
        (speaks_tls(authority, "elsewhere.example").await, known, no_trust),
        (speaks_tls(authority, "127.0.0.1").await, known, "is it a Kafka?"),
    ];
    for (kafka, trusts, cause) in &rows {
        let server = start(kafka, "", *trusts).await;
        is_away(&server, kafka, cause).await;
    }
}

#[tokio::test]
async fn a_password_that_is_wrong_lacking_or_not_wanted_is_told_as_such() {
    let Some(kafka) = real_kafka().await else { return };
    let plain = kafka.servers().to_owned();
    let sasl = sasl_servers();
    let of = |mechanism: &str, password: &str| {
        format!("sasl: {{ mechanism: {mechanism}, username: tailwater, password: {password} }}")
    };
    for (servers, options, cause) in [
        (&sasl, String::new(), "no SASL where it is wanted"),
        (&sasl, of("plain", "wrong"), "wrong password"),
        (&sasl, of("scram-sha-256", "wrong"), "wrong password"),
        (&sasl, of("scram-sha-1", "tailwater-secret"), "SASL mechanism is not supported"),
        (&plain, of("plain", "tailwater-secret"), "SASL where none is wanted"),
    ] {
        let server = start(servers, &options, None).await;
        is_away(&server, servers, cause).await;
        assert!(!server.stderr().text().contains("tailwater-secret"));
    }
}

#[tokio::test]
async fn a_kafka_that_goes_is_told_once_and_again_when_it_is_back() {
    let kafka = kafka_alone().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).bootstrap(&topic).run().await;
    server.stderr().says("topic is open").await;
    kafka.take_away();
    server.stderr().says("Kafka is away").await;
    kafka.bring_back();
    server.stderr().says("Kafka is reached again").await;
    let told = |level| {
        let lines = lines(&server, level).into_iter();
        lines.filter(|line| {
            line["message"].as_str().is_some_and(|message| message.starts_with("Kafka is"))
        })
    };
    let (away, again): (Vec<_>, Vec<_>) = (told("WARN").collect(), told("INFO").collect());
    assert_eq!((away.len(), again.len()), (1, 1), "{away:?} {again:?}");
    assert!(
        away[0]["error"].as_str().is_some_and(|value| value.contains(kafka.servers())),
        "{away:?}"
    );
    for line in away.iter().chain(&again) {
        assert_eq!(line["servers"], kafka.servers());
        assert!(line["seconds"].is_number(), "{line}");
    }
}
