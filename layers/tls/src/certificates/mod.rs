//! Identities, roots, their stores, and the verification of peers.

pub(crate) mod identity;
mod pem;
pub(crate) mod roots;
pub(crate) mod store;
mod subject;
pub(crate) mod verify;
pub(crate) mod watch;
