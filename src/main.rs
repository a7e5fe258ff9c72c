//! The tailwater server.

mod cli;

// librdkafka allocates messages on one thread and frees them on another. Buffers of a MiB hold what is read
// and encoded; glibc would return each of them to the kernel at once.
#[cfg(all(feature = "jemalloc", target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let status = cli::run(std::env::args_os());
    // `_exit`: the threads of librdkafka use OpenSSL up to here, and a handler of `exit` would free its memory.
    signal_hook::low_level::exit(status);
}
