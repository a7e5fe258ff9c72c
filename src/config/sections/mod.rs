//! The sections of a file beside `bindings`.

pub(crate) mod security;
pub(crate) mod telemetry;
