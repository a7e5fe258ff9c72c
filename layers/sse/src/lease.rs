use std::task::{Context, Poll};

use crate::Encoded;

/// What a lease asks of its stream when something is due.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Due {
    /// Send this (an `event:challenge`) and go on.
    Challenge(Encoded),
    /// End the stream cleanly, now.
    End,
}

/// How long a stream may live. Implemented by whoever composes, over a guard's session.
pub trait Lease: Send {
    /// Ready when something is due; wakes when the lease is renewed, too.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due>;

    /// Whether anything more may be sent now; if not, the stream ends. Asked before whatever is written:
    /// events, comments, positions, the closing `retry` field. Not before a challenge, which the lease
    /// itself has just asked for, nor before the first write, which is the same for everybody.
    fn permits(&self) -> bool;
}
