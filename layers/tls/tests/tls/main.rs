//! Handshakes and streams through the public API.

mod bounds;
mod certificates;
mod client;
mod protocols;
mod rotation;
mod streams;
mod support;
mod trust;
