//! Queries of requests: the tower layer in front of a cluster.

pub(crate) mod layer;
pub(crate) mod service;
