//! Schema registries over HTTP.
