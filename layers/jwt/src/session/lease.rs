use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use tokio::time::{Instant, Sleep, sleep};

use crate::Token;
use crate::session::SessionState;
use crate::session::registry::SessionId;
use crate::token::NEVER;

/// How long a stream may live, made by [`Session::lease`](crate::Session::lease).
///
/// Dropping it gives it back. Its expiry is a time of the guard's clock, which is looked at once a
/// minute at least, since it may be set while the stream runs.
pub struct Lease {
    session: Arc<SessionState>,
    state: Arc<LeaseState>,
    key: usize,
    /// The expiry that a challenge was sent for: one for each.
    challenged_expiry: i64,
    /// No challenge before this.
    next_challenge: i64,
    /// When the timer is to go off, and what for.
    timer: Option<Pin<Box<Sleep>>>,
    timer_target: i64,
}

/// Between two challenges, where tokens live no longer than the window of the challenge.
const MIN_CHALLENGE_INTERVAL: i64 = 1000;
/// The longest sleep of a lease that has an end.
const MAX_SLEEP: i64 = 60_000;

/// What is due for a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Due {
    /// Ask the client for a fresh token, and go on.
    Challenge(Challenge),
    /// The lease has expired: end the stream.
    End,
}

/// How a client is to answer a challenge.
///
/// `Debug` does not show the name of the session, which is for its client only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    session: Option<SessionId>,
}

impl Challenge {
    /// What pages hand to `fetch` as its options, after they have added the token.
    #[must_use]
    pub fn json(&self) -> String {
        let session = match self.session {
            Some(id) => format!(r#","x-challenge-session":"{id}""#),
            None => String::new(),
        };
        format!(
            r#"{{"method":"POST","headers":{{"content-type":"application/x-challenge-response"{session}}}}}"#
        )
    }
}

impl Lease {
    pub(crate) fn new(session: Arc<SessionState>, state: Arc<LeaseState>, key: usize) -> Self {
        Self {
            session,
            state,
            key,
            challenged_expiry: NEVER,
            next_challenge: i64::MIN,
            timer: None,
            timer_target: NEVER,
        }
    }

    /// Ready when something is due: one challenge for each expiry, the guard's window before it (at
    /// once, if the window has begun, but at most one a second); the end at the expiry, and ever
    /// after. Wakes on renewal too. Needs Tokio's time, unless the lease never expires.
    pub fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        // First, so that a renewal that comes while this looks is not missed.
        self.state.waker.register(cx.waker());
        loop {
            let now = self.session.guard.now();
            let expiry = self.state.expiry();
            if now >= expiry {
                return Poll::Ready(Due::End);
            }
            if expiry == NEVER {
                return Poll::Pending;
            }
            let mut next = expiry;
            if let Some(window) = self.session.guard.challenge_window()
                && self.challenged_expiry != expiry
            {
                let at = expiry.saturating_sub(window).max(self.next_challenge);
                if now >= at {
                    self.challenged_expiry = expiry;
                    self.next_challenge = now.saturating_add(MIN_CHALLENGE_INTERVAL);
                    return Poll::Ready(Due::Challenge(Challenge { session: self.session.id() }));
                }
                next = next.min(at);
            }
            ready!(self.poll_timer(cx, next, now));
        }
    }

    /// Whether another byte may be sent now.
    #[must_use]
    pub fn permits(&self) -> bool {
        self.session.guard.now() < self.state.expiry()
    }

    #[cfg(test)]
    pub(crate) fn expiry(&self) -> i64 {
        self.state.expiry()
    }

    /// Ready when it may be that late, by the guard's clock.
    fn poll_timer(&mut self, cx: &mut Context<'_>, next: i64, now: i64) -> Poll<()> {
        let wait =
            || Duration::from_millis(next.saturating_sub(now).clamp(1, MAX_SLEEP).unsigned_abs());
        let timer = self.timer.get_or_insert_with(|| {
            self.timer_target = next;
            Box::pin(sleep(wait()))
        });
        if self.timer_target != next || timer.is_elapsed() {
            self.timer_target = next;
            timer.as_mut().reset(Instant::now() + wait());
        }
        timer.as_mut().poll(cx)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.session.end(self.key);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("permits", &self.permits()).finish_non_exhaustive()
    }
}

/// The part of a lease that its session reaches.
pub(crate) struct LeaseState {
    /// Milliseconds since 1970; only ever moves forward.
    expiry: AtomicI64,
    waker: AtomicWaker,
    still_allowed: Box<dyn Fn(&Token) -> bool + Send + Sync>,
}

impl LeaseState {
    pub(crate) fn new(
        expiry: i64,
        still_allowed: impl Fn(&Token) -> bool + Send + Sync + 'static,
    ) -> Self {
        let still_allowed = Box::new(still_allowed);
        Self { expiry: AtomicI64::new(expiry), waker: AtomicWaker::new(), still_allowed }
    }

    fn expiry(&self) -> i64 {
        self.expiry.load(Ordering::Acquire)
    }

    /// Whom to wake, if the token moves this lease. One that is over stays so, even if its stream
    /// was stalled and has not seen it.
    pub(crate) fn renew(&self, token: &Token, now: i64) -> Option<Waker> {
        let expiry = self.expiry();
        let moves = now < expiry && expiry < token.until && (self.still_allowed)(token);
        // Renewals of a session come one by one: nobody has moved it meanwhile.
        moves.then(|| self.expiry.store(token.until, Ordering::Release))?;
        self.waker.take()
    }
}
