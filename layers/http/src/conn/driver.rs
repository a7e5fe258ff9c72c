//! Runs a connection of hyper with its timeouts.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::Config;
use crate::conn::stage::Next;
use crate::conn::state::ConnState;
use crate::deadline::after_or_never;
use crate::error::Error;
use crate::shutdown::Started;

/// The common interface of the connections of both versions.
pub(crate) trait Graceful {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Next, Error>>;
    fn graceful_shutdown(self: Pin<&mut Self>);
}

/// The event that a connection waits for. It determines the meaning of the timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first request. The timeout is an error.
    First,
    /// Nothing, since a request is open. No timer runs.
    Busy,
    /// The next request, after this many. The timeout starts a graceful close.
    Idle(usize),
    /// The peer's close. The timeout drops the connection, unless the peer still takes bytes.
    Closing,
    /// The end of the streams. The timeout drops them.
    Draining,
}

pin_project! {
    /// A connection with its timeouts.
    pub(crate) struct Driver<C> {
        #[pin]
        connection: C,
        #[pin]
        started: Started,
        // Boxed, since most connections stream and have no timer.
        timer: Option<Pin<Box<Sleep>>>,
        phase: Phase,
        state: Arc<ConnState>,
        config: Arc<Config>,
    }
}

impl<C: Graceful> Driver<C> {
    /// A connection whose first request must arrive before `timer` fires.
    pub(crate) fn new(
        connection: C,
        started: Started,
        timer: Pin<Box<Sleep>>,
        state: Arc<ConnState>,
        config: Arc<Config>,
    ) -> Self {
        Self { connection, started, timer: Some(timer), phase: Phase::First, state, config }
    }
}

impl<C: Graceful> Future for Driver<C> {
    type Output = Result<Next, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Next, Error>> {
        let mut this = self.project();
        if *this.phase != Phase::Draining
            && let Poll::Ready(end) = this.started.poll(cx)
        {
            this.connection.as_mut().graceful_shutdown();
            let waits_for_first = mem::replace(this.phase, Phase::Draining) == Phase::First;
            match this.timer {
                Some(timer) if waits_for_first && timer.deadline() < end => {}
                Some(timer) => timer.as_mut().reset(end),
                None => *this.timer = Some(Box::pin(sleep_until(end))),
            }
        }
        loop {
            if let Poll::Ready(ended) = this.connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            this.state.wake_when_free(cx.waker());
            let busy = this.state.is_busy();
            let requests = this.state.requests();
            match *this.phase {
                Phase::First if requests == 0 => {
                    ready!(poll_timer(this.timer, cx));
                    return Poll::Ready(Err(Error::FirstRequestTimeout(
                        this.config.first_request_timeout,
                    )));
                }
                Phase::First | Phase::Busy | Phase::Idle(_) if busy => {
                    *this.phase = Phase::Busy;
                    *this.timer = None;
                    return Poll::Pending;
                }
                Phase::Idle(before) if before == requests => {
                    ready!(poll_timer(this.timer, cx));
                    this.connection.as_mut().graceful_shutdown();
                    *this.phase = Phase::Closing;
                    this.state.take_wrote();
                    set(this.timer, after_or_never(this.config.idle_timeout));
                }
                Phase::First | Phase::Busy | Phase::Idle(_) => {
                    *this.phase = Phase::Idle(requests);
                    set(this.timer, after_or_never(this.config.idle_timeout));
                }
                Phase::Closing => {
                    ready!(poll_timer(this.timer, cx));
                    if !busy && !this.state.take_wrote() {
                        return Poll::Ready(Ok(Next::End));
                    }
                    set(this.timer, after_or_never(this.config.idle_timeout));
                }
                Phase::Draining => {
                    ready!(poll_timer(this.timer, cx));
                    return Poll::Ready(if busy {
                        Err(Error::DrainTimeout)
                    } else {
                        Ok(Next::End)
                    });
                }
            }
        }
    }
}

fn poll_timer(timer: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Poll<()> {
    match timer {
        Some(timer) => timer.as_mut().poll(cx),
        None => Poll::Pending,
    }
}

fn set(timer: &mut Option<Pin<Box<Sleep>>>, deadline: Instant) {
    match timer {
        Some(timer) => timer.as_mut().reset(deadline),
        None => *timer = Some(Box::pin(sleep_until(deadline))),
    }
}
