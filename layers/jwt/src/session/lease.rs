use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use atomic_waker::AtomicWaker;
use tokio::time::{Instant, Sleep, sleep};

use crate::Token;
use crate::session::SessionState;
use crate::session::registry::SessionId;
use crate::token::NEVER;

/// The permission of a stream to run, from [`Session::lease`](crate::Session::lease).
///
/// It has an expiry by the guard's clock. The lease reads that clock at least once a minute, since the clock
/// may be set while the stream runs. Dropping a lease removes it from its session.
pub struct Lease {
    session: Arc<SessionState>,
    state: Arc<LeaseState>,
    key: usize,
    /// The expiry of the last challenge: there is one challenge for each expiry.
    challenged_expiry: i64,
    /// The earliest time of the next challenge.
    next_challenge: i64,
    timer: Option<Pin<Box<Sleep>>>,
    /// The time of the guard's clock that the timer waits for.
    timer_target: i64,
}

/// Milliseconds between two challenges of a lease whose tokens live no longer than the challenge window.
const MIN_CHALLENGE_INTERVAL: i64 = 1000;
/// Milliseconds after which a lease reads the guard's clock again.
const MAX_SLEEP: i64 = 60_000;

/// The action that a lease requires of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Due {
    /// Ask the client for a fresh token and continue.
    Challenge(Challenge),
    /// End the stream: the lease has expired.
    End,
}

/// A request to the client for a fresh token.
///
/// Its `Debug` output does not contain the id of the session, which is a secret of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    session: Option<SessionId>,
}

impl Challenge {
    /// The options for `fetch` in a page, which adds its token to them.
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

    /// Ready when something is due.
    ///
    /// - A challenge is due once for each expiry: the guard's [challenge
    ///   window](crate::GuardOptions::challenge) before it, or at once if the window has begun. There is at
    ///   most one challenge in a second.
    /// - The end is due from the expiry on, at each call.
    ///
    /// A renewal wakes the task, too.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with its timer enabled, unless the lease never expires.
    pub fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        // Before the expiry is read, so that no renewal is missed.
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
                    self.session.guard.counters().challenges.fetch_add(1, Ordering::Relaxed);
                    return Poll::Ready(Due::Challenge(Challenge { session: self.session.id() }));
                }
                next = next.min(at);
            }
            ready!(self.poll_timer(cx, next, now));
        }
    }

    /// Whether the stream may still send.
    #[must_use]
    pub fn permits(&self) -> bool {
        self.session.guard.now() < self.state.expiry()
    }

    /// When the lease expires. `None` if it never does.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        let expiry = Some(self.state.expiry()).filter(|expiry| *expiry != NEVER)?;
        UNIX_EPOCH.checked_add(Duration::from_millis(expiry.try_into().ok()?))
    }

    /// Whether the last token that was offered to extend the lease does not allow its stream.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.state.is_revoked.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn expiry(&self) -> i64 {
        self.state.expiry()
    }

    /// Ready when the guard's clock may have reached `next`.
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
        self.session.remove_lease(self.key);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("permits", &self.permits()).finish_non_exhaustive()
    }
}

/// The part of a lease that its session can reach.
pub(crate) struct LeaseState {
    /// Milliseconds since 1970. It only increases.
    expiry: AtomicI64,
    is_revoked: AtomicBool,
    waker: AtomicWaker,
    still_allowed: Box<dyn Fn(&Token) -> bool + Send + Sync>,
}

impl LeaseState {
    pub(crate) fn new(
        expiry: i64,
        still_allowed: impl Fn(&Token) -> bool + Send + Sync + 'static,
    ) -> Self {
        let still_allowed = Box::new(still_allowed);
        let expiry = AtomicI64::new(expiry);
        let is_revoked = AtomicBool::new(false);
        Self { expiry, is_revoked, waker: AtomicWaker::new(), still_allowed }
    }

    fn expiry(&self) -> i64 {
        self.expiry.load(Ordering::Acquire)
    }

    /// Extends the lease if the token may, and returns the waker of its stream, if it has one. An expired lease stays
    /// expired, even if its stalled stream has not noticed yet.
    pub(crate) fn renew(&self, token: &Token, now: i64) -> Option<Option<Waker>> {
        let expiry = self.expiry();
        if now >= expiry || expiry >= token.valid_until {
            return None;
        }
        let is_allowed = (self.still_allowed)(token);
        self.is_revoked.store(!is_allowed, Ordering::Relaxed);
        // The session is locked: no other renewal has changed the expiry in the meantime.
        is_allowed.then(|| {
            self.expiry.store(token.valid_until, Ordering::Release);
            self.waker.take()
        })
    }
}
