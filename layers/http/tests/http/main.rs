//! Tests over real sockets, and over a pipe in memory with a paused clock where time matters.

mod accept;
mod deadlines;
mod event_streams;
mod hostile;
mod http2_writes;
mod limits;
mod logs;
mod panics;
mod rejections;
mod shutdown;
mod stalls;
mod support;
mod workers;
