//! Through the public API only. Time is Tokio's, paused where it matters.

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
