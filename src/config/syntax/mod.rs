//! Parses YAML and JSON into a tree of nodes, and replaces environment variables in values.

pub(crate) mod env;
pub(crate) mod mask;
pub(crate) mod yaml;
