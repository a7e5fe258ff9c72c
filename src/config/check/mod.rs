//! Checks of a file after all of it is decoded.

pub(crate) mod dangers;
pub(crate) mod exits;
pub(crate) mod models;
pub(crate) mod namespaces;
pub(crate) mod older;
pub(crate) mod requirements;
pub(crate) mod support;
