use std::future::poll_fn;
use std::time::SystemTime;

use serde_json::json;

use super::*;
use crate::token::{ClaimPaths, NEVER};
use crate::{ConnectionSessions, Due, GuardOptions, Keys};

fn guard() -> Guard {
    let options = GuardOptions::new("who", Keys::list([]).unwrap());
    let options = options.clock(|| SystemTime::UNIX_EPOCH).challenge(std::time::Duration::MAX);
    Guard::new(options)
}

fn token(subject: &str, until: i64) -> Arc<Token> {
    let claims = json!({ "sub": subject }).as_object().unwrap().clone();
    let paths =
        ClaimPaths { roles: String::new(), identity: String::new(), attributes: Vec::new() };
    Arc::new(Token::new(claims, &paths, 0, until))
}

async fn challenged(lease: &mut Lease) -> bool {
    matches!(poll_fn(|cx| lease.poll_due(cx)).await, Due::Challenge(_))
}

#[tokio::test]
async fn a_session_has_an_id_from_its_first_challenge_until_it_is_dropped() {
    let guard = guard();
    let session = Session::alone(&guard, token("ada", 1000));
    let mut leases = [session.lease(|_| true), session.lease(|_| true)];
    assert_eq!(guard.sessions().len(), 0);
    for lease in &mut leases {
        assert!(challenged(lease).await);
        assert_eq!(guard.sessions().len(), 1);
    }
    drop(session);
    let [one, other] = leases;
    drop(one);
    assert_eq!(guard.sessions().len(), 1);
    drop(other);
    assert_eq!(guard.sessions().len(), 0);
}

#[tokio::test]
async fn a_session_of_a_connection_has_no_id() {
    let guard = guard();
    let session = ConnectionSessions::default().join(&guard, token("ada", 1000));
    assert!(challenged(&mut session.lease(|_| true)).await);
    assert_eq!(guard.sessions().len(), 0);
}

#[test]
fn a_lease_leaves_nothing_behind() {
    let session = Session::alone(&guard(), token("ada", 1000));
    for _ in 0..10_000 {
        drop(session.lease(|_| true));
    }
    let kept = session.lease(|_| true);
    assert_eq!(session.state.leases().len(), 1);
    assert!(session.state.leases().capacity() < 16);
    drop(kept);
    assert!(session.state.leases().is_empty());
}

#[test]
fn a_connection_keeps_no_session_that_nobody_holds() {
    let guard = guard();
    let connection = ConnectionSessions::default();
    let kept = connection.join(&guard, token("kept", 1000));
    for number in 0..10_000 {
        drop(connection.join(&guard, token(&number.to_string(), 1000)));
    }
    assert_eq!(connection.live().len(), 1);
    drop(kept);
    assert!(connection.live().is_empty());
}

#[test]
fn renewals_from_many_threads_leave_the_latest() {
    let guard = guard();
    let connection = ConnectionSessions::default();
    let session = connection.join(&guard, token("ada", 1));
    let lease = session.lease(|token| token.valid_until % 2 == 0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let guard = &guard;
            let connection = &connection;
            scope.spawn(move || {
                for step in 1..=500 {
                    connection.renew(guard, &token("ada", step * 4 + thread));
                }
            });
        }
    });
    assert_eq!(lease.expiry(), 2002);
    connection.renew(&guard, &token("ada", NEVER));
    assert_eq!(lease.expiry(), 2002, "it is odd");
}

#[test]
fn a_lease_tells_whether_its_last_token_allowed_the_stream() {
    let guard = guard();
    let connection = ConnectionSessions::default();
    let session = connection.join(&guard, token("ada", 1001));
    let lease = session.lease(|token| token.valid_until % 2 == 1);
    assert!(!lease.is_revoked());
    // A token that would not extend it says nothing.
    for (valid_until, is_revoked) in [(2000, true), (2001, false), (1500, false), (3000, true)] {
        connection.renew(&guard, &token("ada", valid_until));
        assert_eq!(lease.is_revoked(), is_revoked, "{valid_until}");
    }
    let expires = std::time::UNIX_EPOCH + std::time::Duration::from_millis(2001);
    assert_eq!(lease.expires(), Some(expires));
}

#[test]
fn a_lease_is_small() {
    // Tens of thousands of them: with its part in the session some 200 bytes.
    assert!(size_of::<Lease>() <= 64, "{}", size_of::<Lease>());
    assert!(size_of::<LeaseState>() <= 64, "{}", size_of::<LeaseState>());
}
