//! The memory limits of connections, and the memory of an idle one. The program sets these limits, and
//! `tailwater check` sums them up.

const KIB: usize = 1024;

/// The maximum number of connections of a `tcp` binding, unless it sets another one.
pub(crate) const CONNECTIONS: usize = 65_536;

/// The bytes of a response that wait for a client.
pub(crate) const UNREAD_BYTES: usize = 64 * KIB;

/// The send buffer of a connection.
pub(crate) const SEND_BUFFER_BYTES: usize = 128 * KIB;

/// The memory that the kernel takes for a send buffer. Linux doubles what `SO_SNDBUF` is set to (socket(7)).
pub(crate) const KERNEL_BYTES: usize = 2 * SEND_BUFFER_BYTES;

/// The memory of an idle event stream and its connection, as `benches/load` measures it. Each further stream
/// of an HTTP/2 connection takes half of that.
pub(crate) const IDLE_BYTES: usize = 4 * KIB;

/// The memory of an idle event stream over TLS.
pub(crate) const IDLE_TLS_BYTES: usize = 16 * KIB;

/// The memory of a verified token, as a multiple of the length of its text.
pub(crate) const TOKEN_FACTOR: usize = 4;
