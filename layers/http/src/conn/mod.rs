//! One connection: from its first bytes to its end.

pub(crate) mod detect_version;
pub(crate) mod driver;
pub(crate) mod event_stream;
pub(crate) mod request;
pub(crate) mod state;
pub(crate) mod versions;
