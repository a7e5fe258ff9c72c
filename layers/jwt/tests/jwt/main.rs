//! Tests through the public API. The clock is Tokio's, and paused where a test depends on time.

mod discovery;
mod forged;
#[cfg(feature = "fetch")]
mod http_fetch;
mod keys;
mod leases;
mod remote;
mod service;
mod sessions;
mod support;
