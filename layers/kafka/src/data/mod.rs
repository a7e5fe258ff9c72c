//! Plain types and pure functions.

pub(crate) mod convert;
pub(crate) mod counters;
pub(crate) mod events;
pub(crate) mod filter;
pub(crate) mod gap;
pub(crate) mod histogram;
pub(crate) mod positions;
pub(crate) mod record;
pub(crate) mod start;
