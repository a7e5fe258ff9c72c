use crate::{Credentials, Guard};

/// The options of a [`JwtLayer`](crate::JwtLayer). All of its services share them.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) guard: Guard,
    pub(crate) credentials: Credentials,
    pub(crate) optional: bool,
    pub(crate) keep_credentials: bool,
}
