//! Keys as issuers publish them, and where they are found. The log is JSON, which escapes once more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Kafka, Server, Token, ec_key, guarded, kafka, rsa_key};

/// A server of key sets: answers by path, each a status and headers, and a body.
#[derive(Clone)]
struct Issuer {
    url: String,
    answers: Arc<Mutex<HashMap<String, (String, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Issuer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let issuer = Self { url, answers: Arc::default(), asked: Arc::default() };
        let served = issuer.clone();
        tokio::spawn(async move {
            while let Ok((mut io, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && io.read_buf(&mut head).await.unwrap_or(0) > 0
                {
                }
                let head = String::from_utf8_lossy(&head);
                let path = head.split(' ').nth(1).unwrap_or_default();
                // The client may have left.
                let _ = io.write_all(served.answer(path).as_bytes()).await;
                let _ = io.shutdown().await;
            }
        });
        issuer
    }

    fn answer(&self, path: &str) -> String {
        self.asked.lock().expect("no panic").push(path.to_owned());
        let answers = self.answers.lock().expect("no panic");
        let none = ("404 Not Found".to_owned(), "{}".to_owned());
        let (head, body) = answers.get(path).unwrap_or(&none);
        format!(
            "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn says(&self, path: &str, head: &str, body: &Value) -> &Self {
        let answer = (head.to_owned(), body.to_string());
        self.answers.lock().expect("no panic").insert(path.to_owned(), answer);
        self
    }

    fn asked(&self, path: &str) -> usize {
        self.asked.lock().expect("no panic").iter().filter(|asked| *asked == path).count()
    }
}

fn with(key: &Value, more: Value) -> Value {
    let mut key = key.clone();
    let members = key.as_object_mut().expect("an object");
    members.extend(more.as_object().expect("an object").clone());
    members.retain(|_, value| !value.is_null());
    key
}

async fn status(server: &Server, token: &str) -> u16 {
    server.get("/any/none").bearer(token).send().await.status.as_u16()
}

/// A token of the issuer that the server asks for keys.
fn token(issuer: &str) -> Token {
    Token::of("alice").claim("iss", issuer)
}

async fn of_list(kafka: &Kafka, keys: &Value) -> Server {
    guarded(kafka).keys(&keys.to_string()).run().await
}

#[tokio::test]
async fn a_list_of_keys_may_be_a_copy_of_a_published_set() {
    let kafka = kafka().await;
    let rsa = &rsa_key().public;
    let ec = &ec_key().public;
    let list = json!([
        with(rsa, json!({ "kid": "enc", "use": "enc", "alg": "RSA-OAEP" })),
        { "kty": "RSA", "kid": "small", "n": "AQAB", "e": "AQAB" },
        { "kty": "OKP", "crv": "Ed448", "kid": "other", "x": "AAAA" },
        with(rsa, json!({
            "use": "sig", "x5t": "a", "x5c": ["MIIC"], "issuer": "https://login.example.com/v2.0",
            "cloud_instance_name": "example.com",
        })),
        with(ec, json!({ "kid": null, "alg": null })),
    ]);
    let server = of_list(&kafka, &list).await;
    let alice = Token::of("alice");
    let nameless = alice.sign_under(json!({ "alg": "ES256" }), ec_key());
    for token in [alice.sign(), nameless] {
        assert_eq!(status(&server, &token).await, 200);
    }
    let encryption = alice.sign_under(json!({ "alg": "RS256", "kid": "enc" }), rsa_key());
    assert_eq!(status(&server, &encryption).await, 401);
    for said in [
        "guards.who.options.keys[0]: key `enc` is not usable and is ignored: its `use` is `enc`",
        "guards.who.options.keys[1]: key `small` is not usable and is ignored: it has 17 bits",
        "guards.who.options.keys[2]: key `other` is not usable and is ignored",
        "guards.who.options.keys[3]: unknown key `issuer`: it is ignored",
    ] {
        server.stderr().says(said).await;
    }
}

#[tokio::test]
async fn keys_without_a_kid_are_tried_and_forged_tokens_are_401_without_a_storm() {
    let kafka = kafka().await;
    let issuer = Issuer::start().await;
    let keys = [rsa_key(), ec_key()].map(|key| with(&key.public, json!({ "kid": null })));
    issuer.says("/keys", "200 OK", &json!({ "keys": keys }));
    let server = guarded(&kafka).keys(&format!("{}/keys", issuer.url)).run().await;
    let alice = Token::of("alice");
    for token in [
        alice.sign(),
        alice.sign_by(ec_key()),
        alice.sign_under(json!({ "alg": "RS256" }), rsa_key()),
        alice.sign_under(json!({ "alg": "ES256", "kid": null }), ec_key()),
    ] {
        assert_eq!(status(&server, &token).await, 200);
    }
    let before = issuer.asked("/keys");
    for _ in 0..20 {
        assert_eq!(status(&server, &alice.forge_nameless()).await, 401);
        assert_eq!(status(&server, &alice.forge()).await, 401);
    }
    assert!(issuer.asked("/keys") <= before + 2, "every 10 s at the most");
}

#[tokio::test]
async fn odd_keys_of_a_set_leave_the_others_and_no_escape_of_theirs_is_in_the_log() {
    let kafka = kafka().await;
    let issuer = Issuer::start().await;
    let evil = "\u{1b}[31mx\r\nERROR forged \u{202e}";
    let rsa = &rsa_key().public;
    issuer.says(
        "/keys",
        "200 OK",
        &json!({ "keys": [
            null, 5, "text", {}, { "kty": 7 }, { "kty": evil, "kid": evil },
            with(rsa, json!({ "kid": evil, "alg": evil.repeat(100) })),
            with(rsa, json!({ "kid": [evil] })),
            with(rsa, json!({ "x5c": 7, "key_ops": "verify", "issuer": [evil] })),
            with(rsa, json!({ "alg": "PS256" })),
        ] }),
    );
    let server = guarded(&kafka).keys(&format!("{}/keys", issuer.url)).run().await;
    assert_eq!(status(&server, &Token::of("alice").sign()).await, 200);
    server.stderr().says(r"its `kty` is `\\u{1b}[31mx\\r\\nERROR forged \\u{202e}`").await;
    let log = server.stderr().text();
    assert!(!log.contains(['\u{1b}', '\u{202e}', '\r']) && !log.contains("\nERROR"), "{log}");
    assert!(log.lines().all(|line| line.len() < 2000), "{log}");
}

#[tokio::test]
async fn the_keys_of_an_issuer_are_found_by_its_configuration_and_redirects_within_its_host() {
    let kafka = kafka().await;
    let server = Issuer::start().await;
    let issuer = format!("{}/realms/x", server.url);
    let configuration = json!({ "issuer": issuer, "jwks_uri": format!("{}/certs", server.url) });
    server
        .says("/realms/x/.well-known/openid-configuration", "200 OK", &configuration)
        .says("/certs", "307 Temporary Redirect\r\nlocation: certs/v1", &json!({}))
        .says("/certs/v1", "200 OK", &json!({ "keys": [rsa_key().public] }));
    let guarded = guarded(&kafka).keys_of(&issuer).run().await;
    assert_eq!(status(&guarded, &token(&issuer).sign()).await, 200);
    assert_eq!(status(&guarded, &token(&issuer).forge()).await, 401);
    guarded.stderr().says("/certs").await;
}

#[tokio::test]
async fn keys_that_are_nowhere_are_503_and_the_log_says_what_to_write() {
    let kafka = kafka().await;
    let server = Issuer::start().await;
    let configuration = json!({ "issuer": "https://\u{1b}other", "jwks_uri": server.url });
    server.says("/.well-known/openid-configuration", "200 OK", &configuration);
    server.says(
        "/keys",
        "302 Found\r\nlocation: https://me:secret@evil.example/\u{9b}?secret",
        &json!({}),
    );
    let nowhere = guarded(&kafka).keys_of(&server.url).run().await;
    assert_eq!(status(&nowhere, &token(&server.url).sign()).await, 503);
    nowhere.stderr().says(r"is of another issuer: `https://\\u{1b}other`; write the URL").await;
    let elsewhere = guarded(&kafka).keys(&format!("{}/keys", server.url)).run().await;
    assert_eq!(status(&elsewhere, &Token::of("alice").sign()).await, 503);
    elsewhere.stderr().says(r"redirects to `https://evil.example/\\u{9b}`").await;
    let log = elsewhere.stderr().text();
    assert!(!log.contains("secret") && !log.contains('\u{9b}'), "{log}");
}

#[tokio::test]
async fn roles_are_found_where_the_name_of_a_client_has_a_dot() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = guarded(&kafka).roles("resource_access.my.client.roles").run().await;
    let path = format!("/read/{topic}");
    for (claim, status) in [
        (json!({ "my.client": { "roles": ["read"] } }), 200),
        (json!({ "my": { "client": { "roles": ["read"] } } }), 200),
        (json!({ "my": { "client.roles": ["read"] } }), 200),
        (json!({ "client": { "roles": ["read"] } }), 403),
    ] {
        let token = Token::of("alice").claim("resource_access", claim.clone()).sign();
        let answer = server.get(&path).bearer(&token).send().await;
        assert_eq!(answer.status, status, "{claim}");
    }
}
