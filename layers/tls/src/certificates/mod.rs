//! Certificates and keys: their files, their use, their verification.

pub(crate) mod identity;
mod pem;
pub(crate) mod roots;
pub(crate) mod store;
mod subject;
pub(crate) mod verify;
pub(crate) mod watch;
