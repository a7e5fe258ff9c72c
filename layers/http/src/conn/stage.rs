//! The stages that a connection goes through.

use std::pin::Pin;

use crate::error::Error;

/// A part of a connection's life. One by one in a box, so that a stream that is idle for hours does
/// not hold the room that the version detection, or the other version, would have needed.
pub(crate) type Stage = Pin<Box<dyn Future<Output = Result<Next, Error>> + Send>>;

/// What comes after a stage.
pub(crate) enum Next {
    Stage(Stage),
    End,
}
