//! Handshakes and streams through the public API.

mod bounds;
mod certificates;
mod client;
mod exchange;
mod protocols;
mod streams;
mod support;
mod trust;
