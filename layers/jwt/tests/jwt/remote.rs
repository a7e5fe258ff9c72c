//! Key sets that are fetched from a script of responses.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, Uri};
use serde_json::json;
use tailwater_jwt::{Fetch, FetchFuture, Guard, Keys, MAX_KEY_SET_BYTES, Rejection};
use tokio::time::{Instant, advance, sleep};
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber, set_default};

use crate::support::{Signer, claims, ec, ed, guard_of, rsa};

const SECOND: Duration = Duration::from_secs(1);

/// One response to a fetch.
pub(crate) enum Answer {
    Fail,
    /// No response.
    Hang,
    After(Duration, Response<Bytes>),
}

impl Answer {
    pub(crate) fn keys(signers: &[&Signer]) -> Self {
        let keys: Vec<_> = signers.iter().map(|signer| &signer.public).collect();
        Self::body(json!({ "keys": keys }).to_string())
    }

    pub(crate) fn body(body: impl Into<Bytes>) -> Self {
        Self::After(Duration::ZERO, Response::new(body.into()))
    }

    pub(crate) fn after(mut self, delay: Duration) -> Self {
        if let Self::After(known, _) = &mut self {
            *known = delay;
        }
        self
    }

    fn change(mut self, change: impl FnOnce(&mut Response<Bytes>)) -> Self {
        if let Self::After(_, response) = &mut self {
            change(response);
        }
        self
    }

    fn fresh(self, seconds: u64) -> Self {
        let value = format!("public, Max-Age={seconds}").parse().expect("a value");
        self.change(|response| _ = response.headers_mut().insert("cache-control", value))
    }
}

/// Returns the responses one by one, and fails when none is left.
#[derive(Clone, Default)]
pub(crate) struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<AtomicUsize>,
}

impl Script {
    pub(crate) fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let script = Self::default();
        script.then(answers);
        script
    }

    fn then(&self, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().expect("no panic").extend(answers);
    }

    pub(crate) fn guard(&self) -> Guard {
        self.guard_at(Uri::from_static("https://auth.example.com/keys"))
    }

    fn guard_at(&self, uri: Uri) -> Guard {
        guard_of(Keys::url_with(uri, self.clone()).expect("a URL"))
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Fetch for Script {
    fn fetch(&self, _: &Uri) -> FetchFuture {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.answers.lock().expect("no panic").pop_front();
        Box::pin(async move {
            match answer {
                None | Some(Answer::Fail) => Err("unreachable".into()),
                Some(Answer::Hang) => std::future::pending().await,
                Some(Answer::After(delay, response)) => {
                    sleep(delay).await;
                    Ok(response)
                }
            }
        })
    }
}

/// Claims that do not expire within a test.
pub(crate) fn token(signer: &Signer) -> String {
    signer.token(&claims("ada", 1_000_000))
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_once_for_the_requests_that_come_first() {
    let signer = ed("ed");
    let script = Script::new([Answer::keys(&[&signer]).after(SECOND)]);
    let guard = script.guard();
    let token = token(&signer);
    let (first, second) = tokio::join!(guard.verify(&token), guard.verify(&token));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_may_be_fetched_before_any_request() {
    let signer = ed("ed");
    let script = Script::new([Answer::keys(&[&signer]).after(SECOND)]);
    let guard = script.guard();
    guard.prefetch();
    guard.prefetch();
    sleep(2 * SECOND).await;
    let start = Instant::now();
    assert!(guard.verify(&token(&signer)).await.is_ok());
    assert_eq!((start.elapsed(), script.asked()), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn at_most_1024_wait_for_keys_and_others_are_answered_at_once() {
    let old = ed("old");
    let new = ed("new");
    let script = Script::new([Answer::keys(&[&old]), Answer::keys(&[&old, &new]).after(SECOND)]);
    let guard = script.guard();
    assert!(guard.verify(&token(&old)).await.is_ok());
    advance(10 * SECOND).await;

    let token = token(&new);
    let wait = || tokio_test::task::spawn(guard.verify(&token));
    let mut waiting: Vec<_> = (0..1024).map(|_| wait()).collect();
    for one in &mut waiting {
        tokio_test::assert_pending!(one.poll());
    }
    let late = tokio_test::assert_ready!(wait().poll());
    assert_eq!(late.err(), Some(Rejection::UnknownKey));
    // A request that is dropped makes room for another.
    waiting.pop();
    waiting.push(wait());
    tokio_test::assert_pending!(waiting.last_mut().unwrap().poll());
    assert!(tokio_test::assert_ready!(wait().poll()).is_err());

    let start = Instant::now();
    for one in waiting {
        assert!(one.await.is_ok());
    }
    assert_eq!((start.elapsed(), script.asked()), (SECOND, 2));

    // All requests have been dropped.
    advance(10 * SECOND).await;
    script.then([Answer::Hang]);
    let start = Instant::now();
    let stranger = self::token(&ed("stranger"));
    assert_eq!(guard.verify(&stranger).await.err(), Some(Rejection::UnknownKey));
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[test]
fn outside_of_a_runtime_there_are_no_keys_and_nothing_waits() {
    let signer = ed("ed");
    let guard = Script::new([Answer::keys(&[&signer])]).guard();
    guard.prefetch();
    let token = token(&signer);
    let mut result = tokio_test::task::spawn(guard.verify(&token));
    let result = tokio_test::assert_ready!(result.poll());
    assert_eq!(result.err(), Some(Rejection::KeysUnavailable));
}

#[tokio::test(start_paused = true)]
async fn keys_that_cannot_be_fetched_at_first_are_asked_for_again_without_a_request() {
    let signer = ed("ed");
    let script = Script::new([Answer::Fail, Answer::Fail, Answer::Fail, Answer::keys(&[&signer])]);
    let guard = script.guard();
    assert_eq!(guard.verify(&token(&signer)).await.err(), Some(Rejection::KeysUnavailable));
    // At most 1 s, 2 s and 4 s, and at least half of that.
    sleep(7 * SECOND + Duration::from_millis(10)).await;
    assert!(guard.verify(&token(&signer)).await.is_ok());
    assert_eq!(script.asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_run_of_failures_is_asked_about_less_and_less_often() {
    let script = Script::new([]);
    let guard = script.guard();
    guard.prefetch();
    sleep(3600 * SECOND).await;
    // Some nine fetches until the pause is 5 minutes, then one every 2.5 to 5 minutes.
    assert!((18..=35).contains(&script.asked()), "{}", script.asked());
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_keys_for_5_seconds_and_a_fetch_takes_10() {
    let signer = ed("ed");
    let script = Script::new([Answer::Hang, Answer::keys(&[&signer])]);
    let guard = script.guard();
    let start = Instant::now();
    assert_eq!(guard.verify(&token(&signer)).await.err(), Some(Rejection::KeysUnavailable));
    assert_eq!(start.elapsed().as_secs(), 5);
    sleep(5 * SECOND + SECOND + Duration::from_millis(10)).await;
    assert_eq!(script.asked(), 2);
    assert!(guard.verify(&token(&signer)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_kid_fetches_the_keys_anew_but_not_more_often_than_every_10_seconds() {
    let old = ed("old");
    let new = ed("new");
    let stranger = ed("stranger");
    let script = Script::new([Answer::keys(&[&old])]);
    let guard = script.guard();
    assert!(guard.verify(&token(&old)).await.is_ok());
    for _ in 0..100 {
        assert_eq!(guard.verify(&token(&stranger)).await.err(), Some(Rejection::UnknownKey));
    }
    assert_eq!(script.asked(), 1, "it has just been fetched");

    advance(10 * SECOND).await;
    script.then([Answer::keys(&[&old, &new]).after(SECOND)]);
    let start = Instant::now();
    let one = token(&new);
    let two = token(&new);
    let stranger = token(&stranger);
    let results = tokio::join!(guard.verify(&one), guard.verify(&two), guard.verify(&stranger));
    assert!(results.0.is_ok() && results.1.is_ok());
    assert_eq!(results.2.err(), Some(Rejection::UnknownKey));
    assert_eq!((start.elapsed(), script.asked()), (SECOND, 2));

    script.then([Answer::keys(&[&old, &new]), Answer::keys(&[&old, &new])]);
    for _ in 0..20 {
        advance(SECOND).await;
        assert!(guard.verify(&stranger).await.is_err());
    }
    assert_eq!(script.asked(), 4, "one for each 10 s");
}

#[tokio::test(start_paused = true)]
async fn tokens_without_a_kid_fetch_the_keys_anew_as_seldom_and_are_no_reason_for_503() {
    let mut old = ed("old");
    let mut new = ed("new");
    for signer in [&mut old, &mut new] {
        signer.public.as_object_mut().unwrap().remove("kid");
    }
    let token = |signer: &Signer, subject: &str| {
        signer.raw(r#"{"alg":"EdDSA"}"#, claims(subject, 1_000_000).to_string())
    };
    let script = Script::new([Answer::keys(&[&old])]);
    let guard = script.guard();
    assert!(guard.verify(&token(&old, "ada")).await.is_ok());
    for subject in 0..100 {
        let forged = token(&new, &subject.to_string());
        assert_eq!(guard.verify(&forged).await.err(), Some(Rejection::UnknownKey));
    }
    assert_eq!(script.asked(), 1, "it has just been fetched");

    advance(10 * SECOND).await;
    script.then([Answer::keys(&[&new])]);
    assert!(guard.verify(&token(&new, "ada")).await.is_ok());
    assert_eq!(guard.verify(&token(&old, "ada")).await.err(), Some(Rejection::UnknownKey));
    assert_eq!(script.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn odd_keys_of_a_set_are_left_out_and_the_others_are_good() {
    let rsa = rsa("RS256");
    let ec = ec("ES256");
    let ed = ed("ed");
    let with = |signer: &Signer, more: serde_json::Value| {
        let mut public = signer.public.clone();
        public.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        public.to_string()
    };
    let foreign = json!({
        "use": "sig", "key_ops": "verify", "x5c": 7, "x5t": null, "ext": true, "issuer": [{}],
        "cloud_instance_name": "microsoftonline.com", "kid": "rsa",
    });
    let odd = [
        "null".to_owned(),
        "5".to_owned(),
        "\"text\"".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"kid":"nothing"}"#.to_owned(),
        r#"{"kty":7,"kid":"seven"}"#.to_owned(),
        r#"{"kty":"RSA","kid":8,"n":"x","e":"y"}"#.to_owned(),
        r#"{"kty":"AKP","kid":"q","alg":"ML-DSA-44","pub":"AAAA"}"#.to_owned(),
        r#"{"kty":"OKP","crv":"Ed448","kid":"x","x":"AAAA"}"#.to_owned(),
        r#"{"kty":"EC","crv":"secp256k1","kid":"s","x":"AA","y":"AA","alg":"ES256K"}"#.to_owned(),
        r#"{"kty":"EC","crv":"P-256","kid":"point","x":"AA"}"#.to_owned(),
        with(&ec, json!({ "key_ops": 7 })),
        with(&ec, json!({ "use": "enc", "kid": "enc" })),
        with(&rsa, json!({ "kid": "alg", "alg": ["RS256"] })),
        // Other members, with numbers that do not fit into a value.
        r#"{"kty":"oct","a":1e999,"b":"\ud800"}"#.to_owned(),
        r#"{"kty":"RSA","kty":"EC"}"#.to_owned(),
    ];
    let good =
        [with(&rsa, foreign), with(&ec, json!({})), with(&ec, json!({})), with(&ed, json!({}))];
    let keys: Vec<_> = odd.iter().chain(&good).chain(&odd).map(|key| &**key).collect();
    let set =
        format!("{{\"keys\":[{}],\"more\":1e999,\"issuer\":\"Z\u{fffd}rich\"}}", keys.join(","));
    // A byte order mark, and a byte that is not UTF-8.
    let mut body = b"\xef\xbb\xbf".to_vec();
    for (index, part) in set.split('\u{fffd}').enumerate() {
        body.extend_from_slice(if index == 0 { b"" } else { b"\xfc" });
        body.extend_from_slice(part.as_bytes());
    }
    let script = Script::new([Answer::body(body)]);
    let guard = script.guard();
    for signer in [&rsa, &ec, &ed] {
        let result = guard.verify(&token(signer)).await;
        assert!(result.is_ok(), "{}: {result:?}", signer.algorithm);
    }
    for kid in ["enc", "alg"] {
        let token = rsa.raw(json!({ "alg": "RS256", "kid": kid }).to_string(), "{}");
        assert_eq!(guard.verify(&token).await.err(), Some(Rejection::UnknownKey), "{kid}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_key_set_leaves_the_last_good_one() {
    let signer = ed("ed");
    let other = ed("other");
    let status = |code| {
        Answer::keys(&[&other]).change(|response| {
            *response.status_mut() = http::StatusCode::from_u16(code).expect("a status");
            response
                .headers_mut()
                .insert("location", "https://evil/keys".parse().expect("a value"));
        })
    };
    let many = (0..101).map(|_| json!(other.public)).collect::<Vec<_>>();
    let padding = " ".repeat(MAX_KEY_SET_BYTES);
    let huge = format!("{}{padding}", json!({ "keys": [other.public] }));
    let rows = [
        ("redirect", status(302)),
        ("error", status(500)),
        ("not modified", status(304)),
        ("no content", status(204)),
        ("huge", Answer::body(huge)),
        ("garbage", Answer::body(&b"<html>\xff"[..])),
        ("empty", Answer::body("")),
        ("a list", Answer::body(json!([other.public]).to_string())),
        ("no keys", Answer::body("{}")),
        ("keys are no list", Answer::body(json!({ "keys": other.public }).to_string())),
        ("no key", Answer::body(r#"{"keys":[]}"#)),
        (
            "no usable key",
            Answer::body(r#"{"keys":[{"kty":"oct","kid":"other","k":"AAAA"},{"kid":1},7]}"#),
        ),
        ("101 keys", Answer::body(json!({ "keys": many }).to_string())),
        ("keys twice", Answer::body(format!(r#"{{"keys":[],"keys":[{}]}}"#, other.public))),
        ("failure", Answer::Fail),
        ("slow", Answer::keys(&[&other]).after(11 * SECOND)),
    ];
    for (name, answer) in rows {
        let script = Script::new([Answer::keys(&[&signer]), answer]);
        let guard = script.guard();
        assert!(guard.verify(&token(&signer)).await.is_ok(), "{name}");
        advance(10 * SECOND).await;
        let result = guard.verify(&token(&other)).await;
        assert_eq!(result.err(), Some(Rejection::UnknownKey), "{name}");
        sleep(6 * SECOND).await;
        assert!(script.asked() >= 2, "{name}");
        assert_eq!(guard.verify(&token(&other)).await.err(), Some(Rejection::UnknownKey), "{name}");
        assert!(guard.verify(&token(&signer)).await.is_ok(), "{name}: the last good set stays");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_of_no_use_are_skipped_and_100_are_accepted() {
    let signer = rsa("RS256");
    let mut small = signer.public.clone();
    small["n"] = json!("AQAB");
    small["kid"] = json!("small");
    let mut enc = signer.public.clone();
    enc["use"] = json!("enc");
    enc["kid"] = json!("enc");
    let mut keys = vec![json!("key"), small, enc, signer.public.clone()];
    keys.resize(100, json!({ "kty": "new" }));
    let script = Script::new([Answer::body(json!({ "keys": keys, "more": 1 }).to_string())]);
    let guard = script.guard();
    assert!(guard.verify(&token(&signer)).await.is_ok());
    let named = |kid: &str| signer.raw(json!({ "alg": "RS256", "kid": kid }).to_string(), "{}");
    for kid in ["small", "enc"] {
        assert_eq!(guard.verify(&named(kid)).await.err(), Some(Rejection::UnknownKey), "{kid}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_anew_when_they_are_no_longer_fresh() {
    let signer = ed("ed");
    let directive = |text: &'static str| {
        Answer::keys(&[&signer]).change(|response| {
            let value = http::HeaderValue::from_bytes(text.as_bytes()).expect("a value");
            response.headers_mut().insert("cache-control", value);
        })
    };
    let rows = [
        ("600 s", Answer::keys(&[&signer]).fresh(600), 600),
        ("nothing is said", Answer::keys(&[&signer]), 3600),
        ("nonsense", directive("max-age=soon"), 3600),
        ("at least", Answer::keys(&[&signer]).fresh(0), 60),
        ("not to be kept", directive("no-store, max-age=600"), 60),
        ("at most", Answer::keys(&[&signer]).fresh(4_000_000_000), 24 * 3600),
        ("quoted", directive("max-age=\"600\""), 600),
        ("beside other bytes", directive("x=ü, max-age=600"), 600),
    ];
    for (name, answer, seconds) in rows {
        let script = Script::new([answer, Answer::keys(&[&signer]).fresh(4_000_000_000)]);
        let guard = script.guard();
        assert!(guard.verify(&token(&signer)).await.is_ok());
        // In the last tenth of the freshness.
        sleep(Duration::from_secs(seconds * 9 / 10 - 1)).await;
        assert_eq!(script.asked(), 1, "{name}");
        sleep(Duration::from_secs(seconds / 10 + 2)).await;
        assert_eq!(script.asked(), 2, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_keys_drops_what_was_verified() {
    let old = ed("old");
    let new = ed("new");
    let script = Script::new([
        Answer::keys(&[&old]).fresh(60),
        Answer::keys(&[&old]).fresh(60),
        Answer::keys(&[&new]),
    ]);
    let guard = script.guard();
    let token = token(&old);
    let first = guard.verify(&token).await.unwrap();
    sleep(61 * SECOND).await;
    assert_eq!(script.asked(), 2);
    let second = guard.verify(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second), "the same keys are no change");
    sleep(61 * SECOND).await;
    assert_eq!(script.asked(), 3);
    assert_eq!(guard.verify(&token).await.err(), Some(Rejection::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_keys_leaves_running_streams_their_time() {
    use tailwater_jwt::{Credentials, JwtLayer};
    let old = ed("old");
    let new = ed("new");
    let script = Script::new([Answer::keys(&[&old]).fresh(60), Answer::keys(&[&new])]);
    let layer = JwtLayer::new(script.guard(), Credentials::bearer());
    let request = crate::support::bearer(&old.token(&claims("ada", 90)));
    let lease = crate::support::session(&layer, request).await.lease(|_| true);
    sleep(61 * SECOND).await;
    assert_eq!(script.asked(), 2);
    assert!(lease.permits());
    sleep(29 * SECOND).await;
    assert!(!lease.permits());
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_guard() {
    let signer = ed("ed");
    for answer in [Answer::keys(&[&signer]), Answer::Hang] {
        let script = Script::new([answer]);
        let guard = script.guard();
        guard.prefetch();
        sleep(SECOND).await;
        assert!(Arc::strong_count(&script.asked) > 1);
        drop(guard);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&script.asked), 1);
    }
}

/// Panics at the first fetch.
#[derive(Clone)]
struct Panics(Script);

impl Fetch for Panics {
    fn fetch(&self, uri: &Uri) -> FetchFuture {
        let answer = self.0.fetch(uri);
        assert!(self.0.asked() > 1, "the first one");
        answer
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_panics_is_begun_anew_by_the_next_request() {
    let signer = ed("ed");
    let script = Script::new([Answer::Fail, Answer::keys(&[&signer])]);
    let uri = Uri::from_static("https://auth.example.com/keys");
    let guard = guard_of(Keys::url_with(uri, Panics(script)).unwrap());
    assert_eq!(guard.verify(&token(&signer)).await.err(), Some(Rejection::KeysUnavailable));
    assert!(guard.verify(&token(&signer)).await.is_ok());
}

/// Collects the log.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn subscribe(&self) -> (DefaultGuard, Dispatch) {
        // tracing caches whether a line of code is enabled. With a single subscriber, a line that another
        // test's thread reaches first would be disabled for all threads.
        let another = Dispatch::new(NoSubscriber::new());
        let lines = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || lines.clone())
            .finish();
        (set_default(subscriber), another)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text")
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn neither_user_nor_query_of_the_url_is_logged() {
    let lines = Lines::default();
    let _guard = lines.subscribe();
    let signer = ed("ed");
    let mut unusable = signer.public.clone();
    unusable["x"] = json!("AQAB");
    let mut encryption = signer.public.clone();
    encryption["use"] = json!("enc");
    let keys = json!({ "keys": [unusable, encryption, signer.public] });
    let script = Script::new([Answer::Fail, Answer::body(keys.to_string())]);
    let uri = Uri::from_static("https://name:secret@auth.example.com:8443/keys?token=secret");
    let keys = Keys::url_with(uri.clone(), script.clone()).unwrap();
    assert_eq!(format!("{keys:?}"), "Keys(https://auth.example.com:8443/keys)");
    let guard = script.guard_at(uri);
    guard.prefetch();
    sleep(2 * SECOND).await;
    assert!(guard.verify(&token(&signer)).await.is_ok());
    let log = lines.text();
    assert_eq!(log.matches("url=https://auth.example.com:8443/keys").count(), 4, "{log}");
    assert!(!log.contains("secret") && !log.contains('@'), "{log}");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_keys_is_logged_escaped_and_once_as_long_as_it_is_the_same() {
    let lines = Lines::default();
    let _guard = lines.subscribe();
    let signer = ed("ed");
    let evil = "\u{1b}[31m\nERROR forged \u{202e}";
    let odd = |kid: &str| {
        let mut public = signer.public.clone();
        public
            .as_object_mut()
            .unwrap()
            .extend([("kid".to_owned(), json!(kid)), ("kty".to_owned(), json!(evil.repeat(100)))]);
        public
    };
    let set = |odd: &[serde_json::Value]| {
        let keys = odd.iter().chain([&signer.public]).collect::<Vec<_>>();
        Answer::body(json!({ "keys": keys }).to_string()).fresh(60)
    };
    let one = [odd(evil), json!(evil), json!({ "kty": "RSA", "n": [evil] })];
    let many: Vec<_> = (0..99).map(|_| json!(evil)).collect();
    let script = Script::new([set(&one), set(&one), set(&many), set(&many)]);
    let guard = script.guard();
    guard.prefetch();
    for (fetches, lines_of_keys) in [(1, 3), (2, 3), (3, 13), (4, 13)] {
        sleep(Duration::from_millis(100)).await;
        assert_eq!(script.asked(), fetches);
        let log = lines.text();
        assert_eq!(log.matches(" key is not usable").count(), lines_of_keys, "{log}");
        sleep(60 * SECOND).await;
    }
    let log = lines.text();
    assert_eq!(log.matches("more keys are not usable more=89").count(), 1, "{log}");
    assert!(log.contains(r"\u{1b}[31m\nERROR forged \u{202e}"), "{log}");
    assert!(!log.contains('\u{1b}') && !log.contains('\u{202e}'), "{log}");
    for line in log.lines() {
        assert!(line.starts_with("20") && line.len() < 1500, "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_logged_when_it_is_another_than_the_last() {
    let lines = Lines::default();
    let _guard = lines.subscribe();
    let signer = ed("ed");
    let not_found =
        || Answer::body("").change(|answer| *answer.status_mut() = http::StatusCode::NOT_FOUND);
    let script = Script::new([Answer::Fail, Answer::Fail, not_found(), not_found()]);
    let guard = script.guard();
    guard.prefetch();
    // At most 1, 2, 4 and 8 s.
    sleep(16 * SECOND).await;
    script.then([Answer::keys(&[&signer])]);
    sleep(40 * SECOND).await;
    assert!(guard.verify(&token(&signer)).await.is_ok());
    let log = lines.text();
    assert_eq!(log.matches("could not be fetched").count(), 3, "{log}");
    assert_eq!(log.matches("error=no answer: unreachable").count(), 2, "{log}");
    assert_eq!(log.matches("error=answer has the status 404 Not Found").count(), 1, "{log}");
    assert_eq!(log.matches("key set fetched again").count(), 1, "{log}");
}
