use crate::{Credentials, Guard};

/// The options of a [`JwtLayer`](crate::JwtLayer), which its services share.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) guard: Guard,
    pub(crate) credentials: Credentials,
    pub(crate) optional: bool,
    pub(crate) keep: bool,
}
