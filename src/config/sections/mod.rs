//! The other sections of a file: `vaults`, `guards`, `telemetry`.

pub(crate) mod security;
pub(crate) mod telemetry;
