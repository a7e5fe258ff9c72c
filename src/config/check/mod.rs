//! What is checked when all of a file is decoded.

pub(crate) mod dangers;
pub(crate) mod exits;
pub(crate) mod namespaces;
pub(crate) mod older;
pub(crate) mod requirements;
pub(crate) mod support;
