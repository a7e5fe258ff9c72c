use std::task::{Context, Poll};
use std::time::SystemTime;

use crate::Encoded;

/// The action of a stream when its lease is due.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Due {
    /// Send this event, of type `challenge`, and go on.
    Challenge(Encoded),
    /// End the stream cleanly, now.
    End,
}

/// Decides how long a stream may live, for example as long as the session of its client.
pub trait Lease: Send {
    /// Ready when a challenge or the end is due. The task is also woken when the lease is renewed.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due>;

    /// Whether the stream may write more. If not, it ends. It is called before events, comments, ids and
    /// the closing `retry` field are written; not before the first write, which is the same for all
    /// clients, and not before a challenge.
    fn permits(&self) -> bool;

    /// When the lease ends unless it is renewed. Default: `None`, it is not known.
    fn expires(&self) -> Option<SystemTime> {
        None
    }

    /// Whether the lease has ended since its holder lost the permission, and not only since its time was over. Default:
    /// `false`.
    fn is_revoked(&self) -> bool {
        false
    }
}
