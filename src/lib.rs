//! Streams Kafka topics to browsers as Server-Sent Events.

mod access;
mod access_log;
pub mod config;
pub mod demo;
mod files;
pub mod server;
pub mod stack;
pub mod telemetry;
