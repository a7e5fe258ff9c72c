//! What connections may take, and what an idle one takes: the program sets these limits, and
//! `tailwater check` sums them up.

const KIB: usize = 1024;

/// Where a `tcp` binding does not say how many connections there may be.
pub(crate) const CONNECTIONS: usize = 65_536;

/// Of a response that its client does not read.
pub(crate) const UNREAD_BYTES: usize = 64 * KIB;

/// The send buffer of a connection.
pub(crate) const SEND_BUFFER_BYTES: usize = 128 * KIB;

/// What a send buffer takes of the kernel. Linux doubles what `SO_SNDBUF` is set to (socket(7)).
pub(crate) const KERNEL_BYTES: usize = 2 * SEND_BUFFER_BYTES;

/// An idle event stream, connection included, as `benches/load` measures it; the further ones of an
/// HTTP/2 connection take half of that.
pub(crate) const IDLE_BYTES: usize = 7 * KIB / 2;

/// The same over TLS.
pub(crate) const IDLE_TLS_BYTES: usize = 15 * KIB;

/// What is made of a verified token, by the length of its text.
pub(crate) const TOKEN_FACTOR: usize = 4;
