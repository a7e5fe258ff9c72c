//! TLS of a client.

pub(crate) mod config;
pub(crate) mod layer;
pub(crate) mod options;
pub(crate) mod service;
