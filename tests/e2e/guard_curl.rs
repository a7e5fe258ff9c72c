//! curl as a client, which is not ours and has a TLS of its own.

use std::io::{self, Write as _};
use std::time::SystemTime;

use tokio::process::Command;

use crate::support::{Record, Server, Token, field, guarded, in_seconds, kafka, soon, spawn};

/// Whether there is a curl that can do this; without one a test has nothing to do.
async fn has_curl(with: &str) -> bool {
    let said = Command::new("curl").arg("--version").output().await;
    let has = said.is_ok_and(|said| {
        String::from_utf8_lossy(&said.stdout).split_whitespace().any(|word| word == with)
    });
    if !has {
        // Past the capture of the test harness.
        let _ = writeln!(io::stderr(), "\nskipped: there is no curl with {with}");
    }
    has
}

fn curl(server: &Server, arguments: &[&str], path: &str, token: &str) -> Command {
    let port = server.address().port();
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--no-buffer", "--cacert"])
        .arg(server.folder().join("ca.pem"))
        .args(["--resolve", &format!("localhost:{port}:127.0.0.1")])
        .args(["--header", &format!("authorization: Bearer {token}")])
        .args(arguments)
        .arg(format!("https://localhost:{port}{path}"));
    command
}

#[tokio::test]
async fn curl_reads_a_guarded_stream_over_http2_to_its_clean_end() {
    if !has_curl("HTTP2").await {
        return;
    }
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    kafka.produce(&topic, Record::value("a"));
    let server = guarded(&kafka).run().await;
    let expiry = in_seconds(4);
    let token = Token::of("alice").until(expiry).sign();
    let path = format!("/any/{topic}");
    let mut stream = spawn(curl(&server, &["--http2", "--include"], &path, &token));
    stream.stdout.says("data:a").await;
    let said = stream.stdout.text();
    assert!(said.starts_with("HTTP/2 200"), "{said}");
    assert!(said.contains("content-type: text/event-stream\r\n"), "{said}");
    // 92 if the stream were reset, 18 if it were cut.
    let status = stream.ended().await;
    assert_eq!(status.code(), Some(0), "{}", stream.stderr.all().await);
    assert!(SystemTime::now() >= expiry);
    let said = stream.stdout.all().await;
    assert!(said.contains("event:challenge\n") && said.ends_with("\n\n"), "{said}");

    let mut refused = spawn(curl(&server, &["--http2", "--include"], &path, "nonsense"));
    assert_eq!(refused.ended().await.code(), Some(0));
    let said = refused.stdout.all().await;
    assert!(said.starts_with("HTTP/2 401"), "{said}");
    assert!(said.to_lowercase().contains("www-authenticate: bearer\r\n"), "{said}");
}

#[tokio::test]
async fn curl_answers_a_challenge_over_http11() {
    if !has_curl("https").await {
        return;
    }
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).run().await;
    let expiry = in_seconds(4);
    let token = Token::of("alice").until(expiry).sign();
    let path = format!("/any/{topic}");
    let mut stream = spawn(curl(&server, &["--http1.1", "--include"], &path, &token));
    let challenge = |line: &str| {
        Some(serde_json::from_str::<serde_json::Value>(line.strip_prefix("data:")?).expect("JSON"))
    };
    let challenge = stream.stdout.find(challenge).await;
    let mut headers = Vec::new();
    for (name, value) in challenge["headers"].as_object().expect("headers") {
        headers.push(format!("{name}: {}", value.as_str().expect("a text")));
    }
    let mut arguments = vec!["--http1.1", "--include"];
    arguments.extend(["--request", challenge["method"].as_str().expect("a method")]);
    for header in &headers {
        arguments.extend(["--header", header]);
    }
    let fresh = Token::of("alice").sign();
    let mut answer = spawn(curl(&server, &arguments, &path, &fresh));
    assert_eq!(answer.ended().await.code(), Some(0), "{}", answer.stderr.all().await);
    let said = answer.stdout.all().await;
    assert!(said.starts_with("HTTP/1.1 204"), "{said}");

    // One that is not renewed tells when the time was over.
    let mut left = server.get(&path).bearer(&token).open().await;
    let (_, clean, _) = soon("the expiry", left.end()).await;
    assert!(clean && SystemTime::now() >= expiry);
    kafka.produce(&topic, Record::value("after"));
    stream.stdout.says("data:after").await;
    assert!(stream.is_running());
    assert!(field(&stream.stdout.text(), "id").is_some());
}
