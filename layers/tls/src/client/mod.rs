//! The side of the client.

pub(crate) mod config;
pub(crate) mod connect;
