//! The stages of a connection.

use std::pin::Pin;

use crate::error::Error;

/// A stage of a connection. Each stage has a box of its own, so that an idle stream does not keep the
/// memory that the detection of the version, or the other version, would need.
pub(crate) type Stage = Pin<Box<dyn Future<Output = Result<Next, Error>> + Send>>;

/// The successor of a stage.
pub(crate) enum Next {
    Stage(Stage),
    End,
}
