//! When a lease is due, with a paused clock.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tailwater_jwt::{ConnectionSessions, Credentials, Due, Guard, JwtLayer, Lease, Session, Token};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready_eq, task};

use crate::support::{NOW, Signer, bearer, claims, ed, guard, options, session};

const SECOND: Duration = Duration::from_secs(1);

fn layer(guard: Guard) -> JwtLayer {
    JwtLayer::new(guard, Credentials::bearer())
}

/// A session of a shared connection, so that a later request renews it.
async fn shared(layer: &JwtLayer, connection: &ConnectionSessions, token: &str) -> Session {
    let mut request = bearer(token);
    *request.version_mut() = http::Version::HTTP_2;
    request.extensions_mut().insert(connection.clone());
    session(layer, request).await
}

struct Stream {
    signer: Signer,
    layer: JwtLayer,
    connection: ConnectionSessions,
    lease: Lease,
    start: Instant,
}

impl Stream {
    /// A stream whose token expires after so many seconds. Its guard challenges it 10 s before.
    async fn new(seconds: u64) -> Self {
        Self::with(seconds, |_| true).await
    }

    async fn with(seconds: u64, needs: impl Fn(&Token) -> bool + Send + Sync + 'static) -> Self {
        let signer = ed("ed");
        let layer = layer(Guard::new(options(&signer).challenge(10 * SECOND)));
        let connection = ConnectionSessions::default();
        let token = signer.token(&claims("ada", seconds));
        let lease = shared(&layer, &connection, &token).await.lease(needs);
        Self { signer, layer, connection, lease, start: Instant::now() }
    }

    async fn renew(&self, subject: &str, seconds: u64) {
        let token = self.signer.token(&claims(subject, seconds));
        shared(&self.layer, &self.connection, &token).await;
    }

    /// What is due next, and how many seconds after the start.
    async fn due(&mut self) -> (&'static str, u64) {
        let due = poll_fn(|cx| self.lease.poll_due(cx)).await;
        let due = match due {
            Due::Challenge(_) => "challenge",
            Due::End => "end",
            _ => "another",
        };
        (due, self.start.elapsed().as_secs())
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_challenged_once_and_ends_at_its_expiry() {
    let mut stream = Stream::new(60).await;
    assert!(stream.lease.permits());
    assert_eq!(stream.due().await, ("challenge", 50));
    assert!(stream.lease.permits());
    assert_eq!(stream.due().await, ("end", 60));
    assert!(!stream.lease.permits());
    assert_eq!(stream.due().await, ("end", 60), "and ever after");
}

#[tokio::test(start_paused = true)]
async fn without_a_window_there_is_no_challenge() {
    let signer = ed("ed");
    for window in [None, Some(Duration::ZERO)] {
        let start = Instant::now();
        let options = options(&signer);
        let options = match window {
            Some(window) => options.challenge(window),
            None => options,
        };
        let token = signer.token(&claims("ada", 600));
        let session = session(&layer(Guard::new(options)), bearer(&token)).await;
        let mut lease = session.lease(|_| true);
        assert_eq!(poll_fn(|cx| lease.poll_due(cx)).await, Due::End);
        assert_eq!(start.elapsed().as_secs(), 600);
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_that_has_begun_challenges_at_once() {
    let mut stream = Stream::new(5).await;
    assert_eq!(stream.due().await, ("challenge", 0));
    assert_eq!(stream.due().await, ("end", 5));
}

#[tokio::test(start_paused = true)]
async fn each_expiry_has_a_challenge_of_its_own() {
    let mut stream = Stream::new(60).await;
    assert_eq!(stream.due().await, ("challenge", 50));
    stream.renew("ada", 120).await;
    assert_eq!(stream.due().await, ("challenge", 110));
    stream.renew("ada", 180).await;
    stream.renew("ada", 240).await;
    assert_eq!(stream.due().await, ("challenge", 230));
    assert_eq!(stream.due().await, ("end", 240));
}

/// A stalled stream is not polled at its expiry, and still has its lease when the token arrives.
#[tokio::test(start_paused = true)]
async fn a_token_that_comes_after_the_expiry_brings_nothing_back() {
    let mut stream = Stream::new(60).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    stream.renew("ada", 300).await;
    assert!(!stream.lease.permits());
    assert_eq!(stream.due().await, ("end", 60));
}

#[tokio::test(start_paused = true)]
async fn tokens_that_live_shorter_than_the_window_are_asked_for_once_a_second() {
    let mut stream = Stream::new(5).await;
    assert_eq!(stream.due().await, ("challenge", 0));
    for second in 1..5 {
        stream.renew("ada", 5 + second).await;
        assert_eq!(stream.due().await, ("challenge", second));
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_wakes_and_moves_a_stream_forward_only() {
    let mut stream = Stream::new(60).await;
    let connection =
        (stream.signer.token(&claims("ada", 120)), stream.layer.clone(), stream.connection.clone());
    let earlier = stream.signer.token(&claims("ada", 30));
    let mut due = task::spawn(poll_fn(|cx| stream.lease.poll_due(cx)));
    assert_pending!(due.poll());
    shared(&connection.1, &connection.2, &earlier).await;
    assert!(!due.is_woken(), "it expires earlier than what there is");
    shared(&connection.1, &connection.2, &connection.0).await;
    assert!(due.is_woken());
    assert_pending!(due.poll());
    advance(109 * SECOND).await;
    assert_pending!(due.poll());
    advance(SECOND).await;
    assert!(due.is_woken());
    assert!(matches!(due.poll(), std::task::Poll::Ready(Due::Challenge(_))));
    drop(due);
    assert_eq!(stream.due().await, ("end", 120));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_lacks_what_the_stream_needs_does_not_hide_one_that_has_it() {
    let mut stream = Stream::with(60, |token| token.has_roles(&["write"])).await;
    let token = |scope: &str, seconds: u64| {
        let claims =
            json!({ "iss": "https://auth", "sub": "ada", "scope": scope, "exp": NOW + seconds });
        stream.signer.token(&claims)
    };
    let less = token("read", 300);
    let more = token("read write", 120);
    for token in [&less, &more, &less] {
        shared(&stream.layer, &stream.connection, token).await;
    }
    assert_eq!(stream.due().await, ("challenge", 110));
    assert_eq!(stream.due().await, ("end", 120));
}

#[tokio::test(start_paused = true)]
async fn the_token_of_somebody_else_renews_nothing() {
    let mut stream = Stream::new(60).await;
    stream.renew("eve", 600).await;
    let other = json!({ "iss": "https://other", "sub": "ada", "exp": NOW + 600 });
    shared(&stream.layer, &stream.connection, &stream.signer.token(&other)).await;
    let nobody = json!({ "iss": "https://auth", "exp": NOW + 600 });
    shared(&stream.layer, &stream.connection, &stream.signer.token(&nobody)).await;
    assert_eq!(stream.due().await, ("challenge", 50));
    assert_eq!(stream.due().await, ("end", 60));
}

#[tokio::test(start_paused = true)]
async fn tokens_without_a_subject_are_those_of_nobody() {
    let signer = ed("ed");
    let layer = layer(guard(&signer));
    let connection = ConnectionSessions::default();
    let token = |seconds| signer.token(&json!({ "exp": NOW + seconds }));
    let mut lease = shared(&layer, &connection, &token(60)).await.lease(|_| true);
    shared(&layer, &connection, &token(600)).await;
    let start = Instant::now();
    assert_eq!(poll_fn(|cx| lease.poll_due(cx)).await, Due::End);
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_never_expires_needs_no_timer() {
    let signer = ed("ed");
    let guard = Guard::new(options(&signer).without_expiry(true).challenge(10 * SECOND));
    let token = signer.token(&json!({ "sub": "ada" }));
    let mut lease = session(&layer(guard), bearer(&token)).await.lease(|_| true);
    let mut due = task::spawn(poll_fn(|cx| lease.poll_due(cx)));
    assert_pending!(due.poll());
    advance(Duration::from_secs(1_000_000)).await;
    assert!(!due.is_woken());
    drop(due);
    assert!(lease.permits());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_is_noticed_within_a_minute() {
    let signer = ed("ed");
    let set = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&set);
    let options = options(&signer).clock(move || {
        let seconds = NOW.saturating_add_signed(clock.load(Ordering::Relaxed));
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    });
    let token = signer.token(&claims("ada", 3600));
    let mut lease = session(&layer(Guard::new(options)), bearer(&token)).await.lease(|_| true);
    let mut due = task::spawn(poll_fn(|cx| lease.poll_due(cx)));
    assert_pending!(due.poll());
    // Tokio's clock advances, the guard's does not.
    advance(2 * 3600 * SECOND).await;
    assert!(due.is_woken());
    assert_pending!(due.poll());
    set.store(3600, Ordering::Relaxed);
    advance(60 * SECOND).await;
    assert!(due.is_woken());
    assert_ready_eq!(due.poll(), Due::End);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_polled_by_another_task_wakes_that_one() {
    let mut stream = Stream::new(60).await;
    let renewed =
        (stream.layer.clone(), stream.connection.clone(), stream.signer.token(&claims("ada", 120)));
    {
        let mut first = task::spawn(poll_fn(|cx| stream.lease.poll_due(cx)));
        assert_pending!(first.poll());
    }
    let mut second = task::spawn(poll_fn(|cx| stream.lease.poll_due(cx)));
    assert_pending!(second.poll());
    shared(&renewed.0, &renewed.1, &renewed.2).await;
    assert!(second.is_woken());
}
