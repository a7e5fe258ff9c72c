use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use http::{Response, Uri};

/// What a [`Fetch`] fails with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Future of a [`Fetch`].
pub type FetchFuture = Pin<Box<dyn Future<Output = Result<Response<Bytes>, BoxError>> + Send>>;

/// How a key set is fetched: a GET, and nothing more.
///
/// The guard gives it 10 s, asks again later when it fails, and takes no other answer than a 200 of
/// at most [`MAX_KEY_SET_BYTES`] bytes. It follows at most three redirects itself, to the same scheme, host
/// and port: elsewhere is not what the configuration trusts. So an implementation must follow none; it
/// should stop reading at the limit.
pub trait Fetch: Send + Sync + 'static {
    /// The answer to a GET of this URL, with its whole body.
    fn fetch(&self, uri: &Uri) -> FetchFuture;
}

/// How many bytes the answer with a key set may have: 256 KiB.
pub const MAX_KEY_SET_BYTES: usize = 256 << 10;

impl fmt::Debug for dyn Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch").finish_non_exhaustive()
    }
}
