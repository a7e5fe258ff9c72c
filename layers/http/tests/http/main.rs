//! Over real sockets, and where time matters over a duplex under a paused clock.

mod accept;
mod deadlines;
mod event_streams;
mod hostile;
mod limits;
mod logs;
mod panics;
mod shutdown;
mod spillover;
mod support;
