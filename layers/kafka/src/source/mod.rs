//! The tower layer in front of a cluster, which turns requests into queries.

pub(crate) mod layer;
pub(crate) mod mapping;
pub(crate) mod service;
