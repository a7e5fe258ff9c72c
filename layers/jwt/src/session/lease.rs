use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use tokio::time::{Instant, Sleep, sleep};

use crate::Token;
use crate::session::State;
use crate::session::names::Name;
use crate::token::NEVER;

/// How long a stream may live, made by [`Session::lease`](crate::Session::lease).
///
/// Dropping it gives it back. Its expiry is a time of the guard's clock, which is looked at once a
/// minute at least, since it may be set while the stream runs.
pub struct Lease {
    session: Arc<State>,
    term: Arc<Term>,
    key: usize,
    /// The expiry that a challenge was sent for: one for each.
    challenged: i64,
    /// No challenge before this.
    rest: i64,
    /// When the timer is to go off, and what for.
    timer: Option<Pin<Box<Sleep>>>,
    target: i64,
}

/// Between two challenges, where tokens live no longer than the window of the challenge.
const REST: i64 = 1000;
/// The longest sleep of a lease that has an end.
const LOOK: i64 = 60_000;

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
    session: Option<Name>,
}

impl Challenge {
    /// What pages hand to `fetch` as its options, after they have added the token.
    #[must_use]
    pub fn json(&self) -> String {
        let session = match self.session {
            Some(name) => format!(r#","x-challenge-session":"{name}""#),
            None => String::new(),
        };
        format!(
            r#"{{"method":"POST","headers":{{"content-type":"application/x-challenge-response"{session}}}}}"#
        )
    }
}

impl Lease {
    pub(crate) fn new(session: Arc<State>, term: Arc<Term>, key: usize) -> Self {
        Self { session, term, key, challenged: NEVER, rest: i64::MIN, timer: None, target: NEVER }
    }

    /// Ready when something is due: one challenge for each expiry, the guard's window before it (at
    /// once, if the window has begun, but at most one a second); the end at the expiry, and ever
    /// after. Wakes on renewal too. Needs Tokio's time, unless the lease never expires.
    pub fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        // First, so that a renewal that comes while this looks is not missed.
        self.term.waker.register(cx.waker());
        loop {
            let now = self.session.guard.now();
            let expiry = self.term.expiry();
            if now >= expiry {
                return Poll::Ready(Due::End);
            }
            if expiry == NEVER {
                return Poll::Pending;
            }
            let mut next = expiry;
            if let Some(window) = self.session.guard.challenge_window()
                && self.challenged != expiry
            {
                let at = expiry.saturating_sub(window).max(self.rest);
                if now >= at {
                    self.challenged = expiry;
                    self.rest = now.saturating_add(REST);
                    return Poll::Ready(Due::Challenge(Challenge { session: self.session.name() }));
                }
                next = next.min(at);
            }
            ready!(self.poll_timer(cx, next, now));
        }
    }

    /// Whether another byte may be sent now.
    #[must_use]
    pub fn permits(&self) -> bool {
        self.session.guard.now() < self.term.expiry()
    }

    #[cfg(test)]
    pub(crate) fn expiry(&self) -> i64 {
        self.term.expiry()
    }

    /// Ready when it may be that late, by the guard's clock.
    fn poll_timer(&mut self, cx: &mut Context<'_>, next: i64, now: i64) -> Poll<()> {
        let wait = || Duration::from_millis(next.saturating_sub(now).clamp(1, LOOK).unsigned_abs());
        let timer = self.timer.get_or_insert_with(|| {
            self.target = next;
            Box::pin(sleep(wait()))
        });
        if self.target != next || timer.is_elapsed() {
            self.target = next;
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
pub(crate) struct Term {
    /// Milliseconds since 1970; only ever moves forward.
    expiry: AtomicI64,
    waker: AtomicWaker,
    needs: Box<dyn Fn(&Token) -> bool + Send + Sync>,
}

impl Term {
    pub(crate) fn new(expiry: i64, needs: impl Fn(&Token) -> bool + Send + Sync + 'static) -> Self {
        let needs = Box::new(needs);
        Self { expiry: AtomicI64::new(expiry), waker: AtomicWaker::new(), needs }
    }

    fn expiry(&self) -> i64 {
        self.expiry.load(Ordering::Acquire)
    }

    /// Whom to wake, if the token moves this lease. One that is over stays so, even if its stream
    /// was stalled and has not seen it.
    pub(crate) fn renew(&self, token: &Token, now: i64) -> Option<Waker> {
        let expiry = self.expiry();
        let moves = now < expiry && expiry < token.until && (self.needs)(token);
        // Renewals of a session come one by one: nobody has moved it meanwhile.
        moves.then(|| self.expiry.store(token.until, Ordering::Release))?;
        self.waker.take()
    }
}
