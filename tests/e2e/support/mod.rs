//! A Kafka, the server as a process of its own, and clients.

mod acl;
mod batch;
mod certificates;
mod client;
mod guarded;
mod id;
mod kafka;
mod metrics;
mod proxy;
mod registry;
mod request;
mod server;
mod site;
mod tls;
mod tokens;

use std::time::Duration;

pub(crate) use acl::{GUEST, Operation};
pub(crate) use batch::{RawRecord, batch, produce, records, zeros, zstd};
pub(crate) use certificates::{Authority, PASSWORD, keys_store, trust_store};
pub(crate) use client::{Get, Http2, Stream, Version, field, raw};
pub(crate) use guarded::{CHALLENGE, ends_at, guarded};
pub(crate) use id::id;
pub(crate) use kafka::{
    Kafka, LOOK, Record, config, kafka, kafka_alone, real_kafka, real_registry, sasl_servers,
};
pub(crate) use metrics::{Scrape, judge};
pub(crate) use proxy::Proxy;
pub(crate) use registry::{FreePort, Registry};
pub(crate) use server::{
    Process, Server, admin_address, health_address, run, server, server_of, spawn,
};
pub(crate) use site::{Site, site};
pub(crate) use tls::Tls;
pub(crate) use tokens::{Token, ec_key, in_seconds, rsa_key};

/// Long enough for whatever has to happen on a loaded machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Waits for what has to happen; fails if it does not.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(SOON, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {SOON:?}: {what}"),
    }
}
