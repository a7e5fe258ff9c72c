//! Queries of requests: the tower layer in front of a cluster.

pub(crate) mod layer;
pub(crate) mod mapping;
pub(crate) mod service;
