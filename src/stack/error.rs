use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tailwater_sse::BoxError;

/// Why a configuration can't be run. Mistakes of the file itself were found before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// One of several namespaces can't be run.
    #[error("the namespace {name}")]
    Namespace {
        /// Its name.
        name: String,
        /// Why.
        source: Box<Error>,
    },
    /// A host name of a listener means nothing.
    #[error("the host `{host}` of {binding} can't be resolved")]
    Resolve {
        /// The binding.
        binding: String,
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// An address can't be listened on.
    #[error("{binding} can't listen on {address}")]
    Listen {
        /// The binding.
        binding: String,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// librdkafka does not take the options of a cluster.
    #[cfg(feature = "kafka")]
    #[error("{binding} can't begin")]
    Kafka {
        /// The binding.
        binding: String,
        /// What it said.
        source: tailwater_kafka::Error,
    },
    /// A listener leads to topics, and this program cannot connect to Kafka.
    #[error(
        "{binding} needs a connection to Kafka: this program was built without the feature `kafka`"
    )]
    WithoutKafka {
        /// The `sse-kafka` binding.
        binding: String,
    },
    /// The store of a vault can't be read.
    #[error("the store {} of {binding} can't be read", file.display())]
    Store {
        /// The binding that needs it.
        binding: String,
        /// The file.
        file: PathBuf,
        /// Why.
        source: BoxError,
    },
    /// The vault of a binding has no store of this kind.
    #[error("the vault of {binding} has no store `{store}`, where its certificates would be")]
    NoStore {
        /// The binding that needs it.
        binding: String,
        /// `keys`, `trust` or `signers`.
        store: &'static str,
    },
    /// The `entries` of a store do not have an alias that a binding names.
    #[error("{binding} names the alias `{alias}`, which is none of the `entries` of its store")]
    NoEntry {
        /// The binding.
        binding: String,
        /// The alias.
        alias: String,
    },
    /// Nothing that a `tls` binding offers by ALPN is spoken within.
    #[error("no protocol in the `alpn` of {binding} is spoken by the `http` bindings behind it")]
    Protocols {
        /// The binding.
        binding: String,
    },
    /// Certificates are not what a binding needs.
    #[error("{binding} can't encrypt")]
    Tls {
        /// The binding.
        binding: String,
        /// What is wrong.
        source: tailwater_tls::Error,
    },
    /// A guard can't be asked.
    #[error("the guard {guard}")]
    Guard {
        /// The guard.
        guard: String,
        /// What is wrong.
        source: tailwater_jwt::Error,
    },
    /// Event streams of another server can't be passed on.
    #[error("{binding} can't pass streams on")]
    Upstream {
        /// The binding.
        binding: String,
        /// What is wrong.
        source: tailwater_client::Error,
    },
}
