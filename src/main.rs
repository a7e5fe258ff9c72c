//! The tailwater server.

use std::process::ExitCode;

mod cli;

// Also for librdkafka, which makes messages on one thread that another frees, and for what is read and
// rendered in pieces of a MiB, which glibc returns to the kernel each time.
#[cfg(all(feature = "jemalloc", target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
