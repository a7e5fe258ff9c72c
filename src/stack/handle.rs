//! What the process serves, for those who report or change it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tailwater_client::UpstreamLayer;
use tailwater_http::{ConnectionLimit, Shutdown};
use tailwater_jwt::Guard;
use tailwater_tls::ServerConfig;

use crate::blocks::Blocks;
use crate::metrics::meter::Meters;
use crate::metrics::requests::Requests;
use crate::otlp::{Exporter, ExporterHandle};
use crate::stack::{Cluster, Stack};
use crate::streams::Streams;

/// What a [`Stack`] serves, for health checks, metrics and administration.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    /// The hash of the configuration in force. The stack itself does not know it.
    pub(crate) config_hash: String,
    /// How many threads serve connections. The stack itself does not know it.
    pub(crate) threads: usize,
    /// How many connections all ports take together.
    pub(crate) max_connections: usize,
    /// The clusters, with the names of their bindings.
    pub(crate) clusters: Vec<(String, Cluster)>,
    /// The connections of the `tcp` bindings, with their names.
    pub(crate) connections: Vec<(String, ConnectionLimit)>,
    /// The open event streams.
    pub(crate) streams: Streams,
    /// The subjects that an operator has blocked.
    pub(crate) blocks: Blocks,
    /// The `tls` servers, with their names.
    pub(crate) tls: Vec<(String, ServerConfig)>,
    /// The guards, with their names.
    pub(crate) guards: Vec<(String, Guard)>,
    /// What requests streams of other servers, with the names of the `sse` clients.
    pub(crate) upstreams: Vec<(String, UpstreamLayer)>,
    /// The exporters of type `otlp`.
    pub(crate) exporters: Vec<ExporterHandle>,
    /// How long requests took, for OTLP.
    pub(crate) requests: Arc<Requests>,
    /// The metrics of Zilla.
    pub(crate) meters: Arc<Meters>,
    /// The shutdown of the process.
    pub(crate) shutdown: Shutdown,
    /// The maximum number of connections for health checks.
    pub(crate) max_health_connections: usize,
    /// The maximum number of connections for administration.
    pub(crate) max_admin_connections: usize,
    /// Whether an operator has taken the process out of service, which `/ready` reports.
    pub(crate) taken_out: Arc<AtomicBool>,
}

/// What the bindings of all namespaces count, with their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted {
    pub(super) tls: Vec<(String, ServerConfig)>,
    pub(super) guards: Vec<(String, Guard)>,
    pub(super) upstreams: Vec<(String, UpstreamLayer)>,
}

impl Counted {
    pub(super) fn append(&mut self, other: Self) {
        self.tls.extend(other.tls);
        self.guards.extend(other.guards);
        self.upstreams.extend(other.upstreams);
    }
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
            config_hash: String::new(),
            threads: 0,
            max_connections: self.max_connections,
            clusters,
            connections: connections.collect(),
            streams: self.streams.clone(),
            blocks: self.blocks.clone(),
            tls: self.counted.tls.clone(),
            guards: self.counted.guards.clone(),
            upstreams: self.counted.upstreams.clone(),
            exporters: self.exporters.iter().map(Exporter::handle).collect(),
            requests: Arc::clone(&self.requests),
            meters: Arc::clone(&self.meters),
            shutdown: self.shutdown.clone(),
            max_health_connections: self.max_health_connections,
            max_admin_connections: self.max_admin_connections,
            taken_out: Arc::clone(&self.taken_out),
        }
    }
}
