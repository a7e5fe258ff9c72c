use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::ClientConfig;
use tokio::runtime::Handle;

use crate::catalog::registry::{Protocol, RegistryUrl};

const DEFAULT_MAX_AGE: Duration = Duration::from_secs(300);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// The options of a [`Registry`](crate::catalog::registry::Registry).
///
/// ```
/// use std::time::Duration;
/// use tailwater_schema::catalog::registry::{Apicurio, Confluent, RegistryOptions};
///
/// let url = "http://localhost:8081".parse()?;
/// let options = RegistryOptions::new(url, Confluent::new()).max_age(Duration::from_secs(60));
/// # drop(options);
///
/// let url = "http://localhost:8080/apis/registry/v3".parse()?;
/// let options = RegistryOptions::new(url, Apicurio::new().group("sensors"));
/// # drop(options);
/// # Ok::<(), tailwater_schema::catalog::registry::RegistryError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct RegistryOptions {
    pub(crate) url: RegistryUrl,
    pub(crate) protocol: Protocol,
    pub(crate) max_age: Duration,
    pub(crate) timeout: Duration,
    pub(crate) headers: HeaderMap,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) runtime: Option<Handle>,
}

impl RegistryOptions {
    /// The registry at this URL, with the defaults.
    pub fn new(url: RegistryUrl, protocol: impl Into<Protocol>) -> Self {
        Self {
            url,
            protocol: protocol.into(),
            max_age: DEFAULT_MAX_AGE,
            timeout: DEFAULT_TIMEOUT,
            headers: HeaderMap::new(),
            tls: None,
            runtime: None,
        }
    }

    /// How long the `latest` version of a subject is in use before the registry is asked for it again. Default:
    /// 300 s. Less than a second, 0 included, is one second, and more than a year is one year. A schema by its id, and
    /// a numbered version of a subject, never change.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// How long the head of an answer may take, and then each further part of it. A request with its redirects and the
    /// whole answer may take twelve times as long. Default: 5 s. With 0 no request has an answer, and each look-up stays
    /// pending.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// A header of each request: credentials, for example. It replaces an earlier one of the same name, and
    /// `authorization` replaces the user of the URL. No log and no error shows its value. Default: none.
    pub fn header(mut self, name: HeaderName, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.headers.insert(name, value);
        self
    }

    /// Certificates and keys for `https`. Its ALPN protocols are not used: requests are HTTP/1.1. Default: the root
    /// certificates of the system, which are read before the first request, and no certificate of the client.
    pub fn tls(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// The runtime of the requests. It needs its IO and time drivers. Default: a thread of the registry's own.
    pub fn runtime(mut self, handle: Handle) -> Self {
        self.runtime = Some(handle);
        self
    }
}

impl fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryOptions")
            .field("url", &self.url)
            .field("protocol", &self.protocol)
            .field("max_age", &self.max_age)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
