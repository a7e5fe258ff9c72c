use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use http::{Response, Uri};

/// The error of a [`Fetch`].
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Future of a [`Fetch`].
pub type FetchFuture = Pin<Box<dyn Future<Output = Result<Response<Bytes>, BoxError>> + Send>>;

/// The transport for key sets: it sends a GET request and returns the response.
///
/// The guard waits 10 s for a key set and tries again later after a failure. It accepts a response with
/// status 200 and at most [`MAX_KEY_SET_BYTES`] bytes. The guard itself follows at most three redirects, to
/// the same scheme, host and port, since the configuration trusts no other server. An implementation must
/// therefore follow no redirects. It should stop reading at the limit.
pub trait Fetch: Send + Sync + 'static {
    /// Sends a GET request to this URL. The response has its whole body.
    fn fetch(&self, uri: &Uri) -> FetchFuture;
}

/// The maximum length of the response with a key set: 256 KiB.
pub const MAX_KEY_SET_BYTES: usize = 256 << 10;

impl fmt::Debug for dyn Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch").finish_non_exhaustive()
    }
}
