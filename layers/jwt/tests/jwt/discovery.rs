//! Finds the key set of an issuer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, Uri};
use serde_json::{Value, json};
use tailwater_jwt::{Error, Fetch, FetchFuture, Guard, Keys, MAX_KEY_SET_BYTES, Rejection};

use crate::remote::{Lines, token};
use crate::support::{Signer, ed, guard_of};

const ISSUER: &str = "https://auth.example.com/realms/x";
const KEYS: &str = "https://auth.example.com/realms/x/.well-known/jwks.json";
const CONFIGURATION: &str = "https://auth.example.com/realms/x/.well-known/openid-configuration";

/// Responses by URL. Other URLs are answered 404. A response with status 599 is an error of the transport, one
/// with 598 never comes.
#[derive(Clone, Default)]
struct Web {
    answers: Arc<HashMap<String, Response<Bytes>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Web {
    fn new<'a>(answers: impl IntoIterator<Item = (&'a str, Response<Bytes>)>) -> Self {
        let answers = answers.into_iter().map(|(url, answer)| (url.to_owned(), answer));
        Self { answers: Arc::new(answers.collect()), ..Self::default() }
    }

    fn guard(&self, issuer: &str) -> Guard {
        let keys = Keys::issuer_with(issuer, self.clone()).expect("a URL");
        guard_of(keys)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

impl Fetch for Web {
    fn fetch(&self, uri: &Uri) -> FetchFuture {
        self.asked.lock().expect("no panic").push(uri.to_string());
        let answer = self.answers.get(&uri.to_string()).cloned();
        Box::pin(async move {
            match answer.unwrap_or_else(|| status(404)) {
                answer if answer.status().as_u16() == 599 => Err("length limit exceeded".into()),
                answer if answer.status().as_u16() == 598 => std::future::pending().await,
                answer => Ok(answer),
            }
        })
    }
}

fn status(code: u16) -> Response<Bytes> {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}

fn redirect(code: u16, location: &str) -> Response<Bytes> {
    let mut response = status(code);
    response.headers_mut().insert("location", location.parse().expect("a value"));
    response
}

fn json_of(value: &Value) -> Response<Bytes> {
    Response::new(value.to_string().into())
}

fn keys(signer: &Signer) -> Response<Bytes> {
    json_of(&json!({ "keys": [signer.public] }))
}

fn configuration(issuer: &str, keys: &str) -> Response<Bytes> {
    json_of(&json!({ "issuer": issuer, "jwks_uri": keys, "scopes_supported": ["openid"] }))
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_at_the_well_known_place_are_asked_for_only_there() {
    let signer = ed("ed");
    let web = Web::new([
        (KEYS, keys(&signer)),
        (CONFIGURATION, configuration(ISSUER, "https://auth.example.com/others")),
        ("https://auth.example.com/others", keys(&ed("other"))),
    ]);
    assert!(web.guard(ISSUER).verify(&token(&signer)).await.is_ok());
    assert_eq!(web.asked(), [KEYS]);
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_elsewhere_are_found_by_the_configuration_of_the_issuer() {
    let signer = ed("ed");
    let elsewhere = "https://keys.example.org/certs?realm=x";
    let page = Response::new(Bytes::from_static(b"<html>Sign in</html>"));
    let rows = [
        ("not found", status(404)),
        ("forbidden", status(403)),
        ("an error", status(500)),
        ("a page", page),
        ("another object", json_of(&json!({ "error": "not found" }))),
        ("something large", Response::new(vec![b' '; MAX_KEY_SET_BYTES + 1].into())),
        ("an empty set", json_of(&json!({ "keys": [] }))),
        ("no answer, or one without an end", status(599)),
        ("a redirect to a page of another host", redirect(302, "https://login.example.com/")),
    ];
    for (name, first) in rows {
        for issuer in [ISSUER, "https://auth.example.com/realms/x/"] {
            let web = Web::new([
                (KEYS, first.clone()),
                (CONFIGURATION, configuration(issuer, elsewhere)),
                (elsewhere, keys(&signer)),
            ]);
            assert!(web.guard(issuer).verify(&token(&signer)).await.is_ok(), "{name}");
            assert_eq!(web.asked(), [KEYS, CONFIGURATION, elsewhere], "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_for_the_keys_is_asked_for_its_configuration() {
    let signer = ed("ed");
    let elsewhere = "https://keys.example.org/certs";
    let web = Web::new([
        (KEYS, status(598)),
        (CONFIGURATION, configuration(ISSUER, elsewhere)),
        (elsewhere, keys(&signer)),
    ]);
    let guard = web.guard(ISSUER);
    assert_eq!(guard.verify(&token(&signer)).await.err(), Some(Rejection::KeysUnavailable));
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(guard.verify(&token(&signer)).await.is_ok());
    assert_eq!(web.asked(), [KEYS, CONFIGURATION, elsewhere]);
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_does_not_hold_for_the_issuer_is_not_taken_and_the_log_says_why() {
    let signer = ed("ed");
    let elsewhere = "https://keys.example.org/certs";
    let huge = format!("{}{}", " ".repeat(MAX_KEY_SET_BYTES), json!({ "issuer": ISSUER }));
    let rows = [
        (
            configuration("https://evil.example", elsewhere),
            "another issuer: `https://evil.example`",
        ),
        (
            configuration("https://auth.example.com/realms/x/", elsewhere),
            "another issuer: `https://auth.example.com/realms/x/`",
        ),
        (configuration("\u{1b}[2J\n", elsewhere), r"another issuer: `\u{1b}[2J\n`"),
        (configuration(ISSUER, "http://keys.example.org/certs"), "`jwks_uri` is `http://keys"),
        (configuration(ISSUER, "/certs"), "`jwks_uri` is `/certs`"),
        (configuration(ISSUER, "file:///etc/passwd"), "`jwks_uri` is `file:///etc/passwd`"),
        (configuration(ISSUER, "a\nb"), r"`jwks_uri` is `a\nb`"),
        (configuration(ISSUER, "https://me:secret@a\nb"), r"`jwks_uri` is `a\nb`"),
        (configuration(ISSUER, "http://me:secret@a/b?secret"), "`jwks_uri` is `http://a/b`"),
        (json_of(&json!({ "issuer": ISSUER })), "no `issuer` and `jwks_uri`"),
        (json_of(&json!({ "issuer": ISSUER, "jwks_uri": 7 })), "no `issuer` and `jwks_uri`"),
        (json_of(&json!([])), "no `issuer` and `jwks_uri`"),
        (Response::new(huge.into()), "more than 262144 bytes"),
        (status(404), "openid-configuration: answer has the status 404 Not Found"),
        (
            redirect(302, "https://me:secret@evil.example/x?token=secret"),
            "redirects to `https://evil.example/x`",
        ),
    ];
    for (answer, reason) in rows {
        let lines = Lines::default();
        let _guard = lines.subscribe();
        let web = Web::new([(CONFIGURATION, answer), (elsewhere, keys(&signer))]);
        let result = web.guard(ISSUER).verify(&token(&signer)).await;
        assert_eq!(result.err(), Some(Rejection::KeysUnavailable), "{reason}");
        assert_eq!(web.asked(), [KEYS, CONFIGURATION], "{reason}");
        let log = lines.text();
        let expected = ["WARN", "jwks.json: answer has the status 404", "into `keys`", reason];
        for text in expected {
            assert!(log.contains(text), "{text}: {log}");
        }
        assert!(!log.contains("secret") && !log.contains('\u{1b}'), "{log}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_place_that_the_configuration_names_is_the_one_that_is_complained_of() {
    let elsewhere = "https://keys.example.org/certs";
    for (answer, reason) in [
        (status(500), "https://keys.example.org/certs: answer has the status 500"),
        (json_of(&json!({ "keys": [] })), "no key that is usable"),
        (status(599), "no answer: length limit exceeded"),
    ] {
        let lines = Lines::default();
        let _guard = lines.subscribe();
        let web =
            Web::new([(CONFIGURATION, configuration(ISSUER, elsewhere)), (elsewhere, answer)]);
        assert!(web.guard(ISSUER).verify("a.b.c").await.is_err());
        let log = lines.text();
        assert!(log.contains(reason) && log.contains(elsewhere), "{log}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_without_tls_may_have_its_keys_without_tls() {
    let signer = ed("ed");
    for elsewhere in ["http://keys.example.org/certs", "https://keys.example.org/certs"] {
        let web = Web::new([
            (
                "http://auth.example.com/.well-known/openid-configuration",
                configuration("http://auth.example.com", elsewhere),
            ),
            (elsewhere, keys(&signer)),
        ]);
        let guard = web.guard("http://auth.example.com");
        assert!(guard.verify(&token(&signer)).await.is_ok(), "{elsewhere}");
    }
}

#[tokio::test(start_paused = true)]
async fn redirects_within_the_host_are_followed_three_at_the_most() {
    let signer = ed("ed");
    let first = "https://auth.example.com/keys";
    // The redirects contain the default port of https.
    let place = |at: usize| format!("https://AUTH.example.com:443/{at}");
    for hops in 1..=4 {
        for code in [301, 302, 303, 307, 308] {
            let urls: Vec<_> = (0..=hops).map(place).collect();
            let mut answers: Vec<_> =
                (1..hops).map(|at| (&*urls[at], redirect(code, &urls[at + 1]))).collect();
            answers.extend([(first, redirect(code, &urls[1])), (&*urls[hops], keys(&signer))]);
            let web = Web::new(answers);
            let keys = Keys::url_with(Uri::from_static(first), web.clone()).unwrap();
            let guard = guard_of(keys);
            let result = guard.verify(&token(&signer)).await;
            assert_eq!(result.is_ok(), hops <= 3, "{hops} of {code}: {:?}", web.asked());
            assert_eq!(web.asked().len(), 1 + hops.min(3), "{hops} of {code}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_elsewhere_is_not_followed_and_the_log_says_where_it_leads() {
    let first = "https://auth.example.com/keys";
    for (location, shown) in [
        ("https://evil.example/keys?token=secret", "`https://evil.example/keys`"),
        ("http://auth.example.com/keys", "`http://auth.example.com/keys`"),
        ("https://auth.example.com:8443/keys", "`https://auth.example.com:8443/keys`"),
        ("//evil.example/keys", "`https://evil.example/keys`"),
    ] {
        let lines = Lines::default();
        let _guard = lines.subscribe();
        let web = Web::new([(first, redirect(302, location))]);
        let keys = Keys::url_with(Uri::from_static(first), web.clone()).unwrap();
        let guard = guard_of(keys);
        assert_eq!(guard.verify("a.b.c").await.err(), Some(Rejection::KeysUnavailable));
        assert_eq!(web.asked(), [first], "{location}");
        let log = lines.text();
        assert!(log.contains(shown) && !log.contains("secret"), "{log}");
    }
}

#[test]
fn an_issuer_that_is_no_url_has_no_keys() {
    for issuer in ["", "tailwater", "ftp://auth", "https://", "urn:issuer"] {
        let error = Keys::issuer_with(issuer, Web::default()).unwrap_err();
        assert!(matches!(error, Error::Url(_)), "{issuer}: {error}");
    }
    let keys = Keys::issuer_with(ISSUER, Web::default()).unwrap();
    assert_eq!(format!("{keys:?}"), format!("Keys({KEYS})"));
}
