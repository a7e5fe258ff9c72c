use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tailwater_sse::BoxError;

/// The error of a configuration that can't be served. The file itself is valid: its mistakes are reported when
/// it is parsed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// One of several namespaces can't be served.
    #[error("the namespace {name}")]
    Namespace {
        /// Its name.
        name: String,
        /// The reason.
        source: Box<Error>,
    },
    /// The host name of a listener can't be resolved.
    #[error("the host `{host}` of {binding} can't be resolved")]
    Resolve {
        /// The binding.
        binding: String,
        /// The name.
        host: String,
        /// The error of the resolver.
        source: io::Error,
    },
    /// An address can't be bound.
    #[error("{binding} can't listen on {address}")]
    Listen {
        /// The binding.
        binding: String,
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// librdkafka rejects the options of a cluster.
    #[cfg(feature = "kafka")]
    #[error("{binding} can't begin")]
    Kafka {
        /// The binding.
        binding: String,
        /// The error of librdkafka.
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
        /// The reason.
        source: BoxError,
    },
    /// The vault of a binding has no store of this kind.
    #[error(
        "the vault of {binding} has no store `{store}`, but {binding} needs certificates from it"
    )]
    NoStore {
        /// The binding that needs it.
        binding: String,
        /// `keys`, `trust` or `signers`.
        store: &'static str,
    },
    /// The `entries` of a store do not have an alias that a binding names.
    #[error(
        "{binding} names the alias `{alias}`, but the `entries` of its store do not contain it"
    )]
    NoEntry {
        /// The binding.
        binding: String,
        /// The alias.
        alias: String,
    },
    /// No protocol that a `tls` binding offers by ALPN is supported behind it.
    #[error("the `http` bindings behind {binding} support no protocol of its `alpn`")]
    Protocols {
        /// The binding.
        binding: String,
    },
    /// The certificates of a binding can't be used.
    #[error("{binding} can't use its certificates")]
    Tls {
        /// The binding.
        binding: String,
        /// The reason.
        source: tailwater_tls::Error,
    },
    /// A catalog can't be built: a file of it can't be read, or it is a registry whose thread can't start.
    #[error("the catalog {catalog}")]
    Catalog {
        /// The catalog.
        catalog: String,
        /// What is wrong.
        source: BoxError,
    },
    /// A guard can't be built.
    #[error("the guard {guard}")]
    Guard {
        /// The guard.
        guard: String,
        /// The reason.
        source: tailwater_jwt::Error,
    },
    /// Event streams of another server can't be proxied.
    #[error("{binding} can't proxy streams")]
    Upstream {
        /// The binding.
        binding: String,
        /// The reason.
        source: tailwater_client::Error,
    },
}
