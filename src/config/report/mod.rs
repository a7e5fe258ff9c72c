//! What is reported: mistakes and warnings, and the text of `tailwater check`.

pub(crate) mod describe;
pub(crate) mod diagnostic;
pub(crate) mod in_force;
