//! The tailwater server.
fn main() {}
