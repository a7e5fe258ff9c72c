//! The other sections of a file: `vaults`, `guards`, `telemetry`.

pub(crate) mod catalogs;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod security;
pub(crate) mod telemetry;
