//! From text to a tree of nodes: YAML and JSON, and the environment variables in values.

pub(crate) mod env;
pub(crate) mod mask;
pub(crate) mod yaml;
