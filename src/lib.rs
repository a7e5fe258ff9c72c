//! Streams Kafka topics to browsers as Server-Sent Events.

pub mod config;
pub mod telemetry;
