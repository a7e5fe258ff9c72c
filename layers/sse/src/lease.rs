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

    /// Whether another frame may be sent now. Asked before every frame.
    fn permits(&self) -> bool;
}
