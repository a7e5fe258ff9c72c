//! What the process serves, for those who report or change it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tailwater_http::{ConnectionLimit, Shutdown};

use crate::blocks::Blocks;
use crate::stack::{Cluster, Stack};
use crate::streams::Streams;

/// What a [`Stack`] serves, for health checks, metrics and administration.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    /// The clusters, with the names of their bindings.
    pub(crate) clusters: Vec<(String, Cluster)>,
    /// The connections of the `tcp` bindings, with their names.
    pub(crate) connections: Vec<(String, ConnectionLimit)>,
    /// The open event streams.
    pub(crate) streams: Streams,
    /// The subjects that an operator has blocked.
    pub(crate) blocks: Blocks,
    /// The shutdown of the process.
    pub(crate) shutdown: Shutdown,
    /// The maximum number of connections for health checks.
    pub(crate) max_health_connections: usize,
    /// The maximum number of connections for administration.
    pub(crate) max_admin_connections: usize,
    /// Whether an operator has taken the process out of service, which `/ready` reports.
    pub(crate) taken_out: Arc<AtomicBool>,
}

impl Stack {
    pub(crate) fn handle(&self) -> Handle {
        let clusters = self.clusters.iter().map(|(name, cluster)| (name.clone(), cluster.clone()));
        let mut clusters: Vec<_> = clusters.collect();
        clusters.sort_by(|(a, _), (b, _)| a.cmp(b));
        let connections = self
            .listening
            .iter()
            .map(|listening| (listening.binding.clone(), listening.connections.clone()));
        Handle {
            clusters,
            connections: connections.collect(),
            streams: self.streams.clone(),
            blocks: self.blocks.clone(),
            shutdown: self.shutdown.clone(),
            max_health_connections: self.max_health_connections,
            max_admin_connections: self.max_admin_connections,
            taken_out: Arc::clone(&self.taken_out),
        }
    }
}
