//! Streams Kafka topics to browsers as Server-Sent Events.
//!
//! This package is the `tailwater` program. It also re-exports the layers of the program, for servers
//! that you write: [`tls`], [`http`], [`jwt`], [`route`], [`sse`], [`kafka`], [`hub`], [`schema`], and [`client`] for
//! event streams of other servers. Each layer is also a package of its own, without the program's
//! dependencies.
//!
//! Only [`kafka`] needs librdkafka. The feature `kafka` is enabled by default. Without it this package
//! links no librdkafka. The program then checks every configuration, but starts only those in which no
//! listener leads to a topic.
//!
#![cfg_attr(feature = "kafka", doc = "```no_run")]
#![cfg_attr(not(feature = "kafka"), doc = "```ignore")]
//! use tailwater::http::{HttpLayer, ListenOptions, ServeOptions, Shutdown, serve};
//! use tailwater::kafka::{Cluster, ClusterOptions, KafkaSourceLayer};
//! use tailwater::sse::SseLayer;
//! use tower::ServiceBuilder;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let service = ServiceBuilder::new()
//!     .layer(HttpLayer::new())
//!     .layer(SseLayer::new())
//!     .layer(KafkaSourceLayer::topic("orders"))
//!     .service(Cluster::new(ClusterOptions::new(["localhost:9092"]))?);
//! let listener = ListenOptions::new().bind(([127, 0, 0, 1], 8080).into())?;
//! serve([listener], service, ServeOptions::new(), Shutdown::new()).await;
//! # Ok(())
//! # }
//! ```
//!
//! `examples/topic.rs` is a complete server of this kind. It has routes, takes a record key from the path,
//! and lets streams finish at a shutdown. `examples/axum.rs` streams the messages that are posted to an
//! axum router. `examples/members.rs` serves streams that end when the client's token expires.
//! `examples/todo` is an application: a page whose state is a compacted topic, and commands over HTTP.
//! [`session_lease`] joins the two layers that such a server needs, [`jwt`] and [`sse`].
//!
//! [`config`], [`stack`] and [`server`] are the program: they read a configuration file, build the layers
//! from it, and run the process.

mod access;
mod access_log;
pub mod admin;
mod blocks;
mod certificates;
pub mod config;
#[cfg(feature = "kafka")]
pub mod demo;
mod drain;
mod escape;
mod files;
mod health;
mod lease;
mod limits;
mod metrics;
mod models;
mod open_files;
mod otlp;
mod port;
pub mod server;
mod signals;
pub mod stack;
mod streams;
pub mod telemetry;
mod timestamp;

pub use drain::drain;
pub use lease::{lease, session_lease};
pub use tailwater_client as client;
pub use tailwater_http as http;
pub use tailwater_hub as hub;
pub use tailwater_jwt as jwt;
#[cfg(feature = "kafka")]
pub use tailwater_kafka as kafka;
pub use tailwater_route as route;
pub use tailwater_schema as schema;
pub use tailwater_sse as sse;
pub use tailwater_tls as tls;

#[cfg(all(doctest, feature = "kafka"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/tutorial/rust.md")]
struct Tutorial;
