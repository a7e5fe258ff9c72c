use std::sync::Arc;

use http::{HeaderName, Uri};

use crate::options::Options;

/// The options of an [`UpstreamLayer`](crate::UpstreamLayer).
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) base: Uri,
    pub(crate) options: Arc<Options>,
    pub(crate) stripped: Vec<String>,
    pub(crate) forwarded: Vec<HeaderName>,
}
