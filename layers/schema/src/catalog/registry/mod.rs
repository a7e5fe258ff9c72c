//! Schema registries over HTTP: Confluent's, Karapace, Apicurio.
//!
//! A [`Registry`] is a [`Catalog`]. A look-up never waits: a schema is fetched and compiled in the background, and the
//! look-up answers [`Lookup::Pending`] until there is a result.
//!
//! | what a registry does | what a look-up says |
//! |---|---|
//! | answers with a schema | known, for as long as the cache has room |
//! | says that it has no such schema, or answers with what is no schema | missing, after three attempts within 5 s; it is asked again after 60 s |
//! | is away, or answers 401, 403, 408, 429, 5xx | pending, until it answers: attempts come after 1 s to 10 s |
//! | answers as a proxy may: 4xx without an error code of its own, a web page, or no JSON | pending, too; an id and a reference are missing if it answers something else at this time |
//! | fails to refresh the `latest` version of a subject | known, as before |
//!
//! An outage is logged once at its beginning and once at its end.
//!
//! # Limits
//! | what | limit |
//! |---|---|
//! | schemas in the cache | [`Registry::MAX_CACHED_SCHEMAS`] and [`Registry::MAX_CACHED_BYTES`] |
//! | an answer, a schema with all its references | [`MAX_SCHEMA_BYTES`](crate::MAX_SCHEMA_BYTES) |
//! | references of a schema, direct and indirect | [`MAX_REFERENCES`](crate::MAX_REFERENCES), nested at most [`MAX_DEPTH`](crate::MAX_DEPTH) deep |
//! | the head of an answer, and then each part of it | [`RegistryOptions::timeout`], 5 s; with redirects and the whole answer twelve times as long |
//! | schemas that are fetched at once | 4: [`Registry::MAX_FETCHING_BYTES`] |
//! | schemas of all registries that are compiled at once | 2: [`Registry::MAX_COMPILING_BYTES`] |
//! | schemas that are asked for | 1024; further ones wait for room |
//! | redirects | five, to the same scheme, host and port |
//!
//! Credentials are sent to the registry's own scheme, host and port only. No log and no error shows them.

mod cache;
mod error;
mod escape;
mod health;
mod job;
mod options;
mod protocol;
mod redirect;
mod requests;
mod resolve;
mod shared;
mod url;

#[cfg(test)]
mod tests;

use std::fmt;
use std::future;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use http::{HeaderValue, header};
use rustls::ClientConfig;
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::{Semaphore, oneshot};

pub use error::{FetchError, RegistryError};
pub use options::RegistryOptions;
pub use protocol::{Apicurio, Confluent, Protocol};
pub use url::RegistryUrl;

use self::cache::{Cache, Found, Pending, Purpose, Start};
use self::health::Health;
use self::job::{Compile, Job, Request};
use self::requests::{HttpTransport, Requests, Transport};
use self::resolve::Resolved;
use self::shared::{COMPILING, Shared};
use crate::catalog::{Catalog, Framing, Lookup, SchemaKind, SchemaRef, SchemaText, Waiter};

const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// A schema registry.
///
/// A clone is a handle of the same registry, with the same cache. When the last is dropped, the requests end.
///
/// ```
/// use tailwater_schema::catalog::registry::{Confluent, Registry, RegistryOptions};
/// use tailwater_schema::catalog::{Catalog, Lookup, SchemaKind, SchemaRef};
///
/// // Nothing listens at port 9.
/// let options = RegistryOptions::new("http://127.0.0.1:9".parse()?, Confluent::new());
/// let registry = Registry::new(options)?;
/// let found = registry.look_up(&SchemaRef::subject("orders-value", "latest"), SchemaKind::Avro);
/// assert!(matches!(found, Lookup::Pending(_)));
/// # Ok::<(), tailwater_schema::catalog::registry::RegistryError>(())
/// ```
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
    http: Arc<HttpTransport>,
    jobs: UnboundedSender<Job>,
}

/// A schema that [`Registry::fetch`] has fetched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fetched {
    /// The schema, with all that it refers to.
    pub schema: Arc<SchemaText>,
    /// What the registry calls the version, if it was asked for a version of a subject: `3` for `latest`, for example.
    pub version: Option<String>,
}

/// The state of a registry at a moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistryStatus {
    /// The error of the latest request that the registry did not answer as it should. `None` if there is no outage.
    pub error: Option<FetchError>,
    /// For how long the outage lasts.
    pub outage: Option<Duration>,
    /// The number of schemas in the cache.
    pub schemas: usize,
    /// The memory of the schemas in the cache, by an estimate. One that others refer to counts for each of them.
    pub bytes: usize,
    /// The number of schemas that are being asked for.
    pub pending: usize,
}

impl Registry {
    /// The maximum number of schemas in the cache. Others leave it in the order of their last use.
    pub const MAX_CACHED_SCHEMAS: usize = cache::MAX_CACHED_SCHEMAS;

    /// The maximum memory of all schemas in the cache, texts and compiled forms, by an estimate: 128 MiB. One that others
    /// refer to counts for each of them. One schema has at most half of it.
    pub const MAX_CACHED_BYTES: usize = cache::MAX_CACHED_BYTES;

    /// The maximum memory of the answers that are read and the schemas that wait to be compiled: 192 MiB.
    pub const MAX_FETCHING_BYTES: usize = shared::MAX_FETCHING_BYTES;

    /// The maximum memory of the schemas that are being compiled, of all registries together, by an estimate: 256 MiB.
    pub const MAX_COMPILING_BYTES: usize = shared::MAX_COMPILING_BYTES;

    /// A registry with these options. It sends no request yet.
    ///
    /// # Errors
    /// [`RegistryError::Runtime`] if it has no runtime and cannot start its thread.
    pub fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        let http = Arc::new(HttpTransport::new(options.url.is_https(), options.tls.clone()));
        let transport: Arc<dyn Transport> = Arc::clone(&http) as _;
        Self::with_transport(options, http, transport, Arc::clone(&COMPILING))
    }

    fn with_transport(
        options: RegistryOptions,
        http: Arc<HttpTransport>,
        transport: Arc<dyn Transport>,
        compiling: Arc<Semaphore>,
    ) -> Result<Self, RegistryError> {
        let RegistryOptions { url, protocol, max_age, timeout, mut headers, tls: _, runtime } =
            options;
        let url = url.or_path(protocol.default_path());
        let accept = HeaderValue::from_static(protocol.accept());
        headers.entry(header::ACCEPT).or_insert(accept);
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
        if let Some(credentials) = url.credentials() {
            headers.entry(header::AUTHORIZATION).or_insert(credentials.clone());
        }
        let shared = Arc::new(Shared {
            health: Health::new(url.to_string()),
            requests: Requests::new(transport, headers, timeout),
            cache: Mutex::new(Cache::new(max_age)),
            answered: OnceLock::new(),
            fetching: Semaphore::new(shared::MAX_FETCHES),
            compiling,
            url,
            protocol,
        });
        Ok(Self { shared, http, jobs: start(runtime)? })
    }

    /// Makes one attempt to fetch a schema, whatever the cache says of a subject, and says why there is none. It does
    /// not need to run in the registry's runtime. A schema by its id that is in the cache is not fetched again.
    ///
    /// # Errors
    /// [`FetchError`], each variant.
    pub async fn fetch(&self, schema: &SchemaRef) -> Result<Fetched, FetchError> {
        let (result, fetched) = oneshot::channel();
        let job = Job::Fetch(Arc::clone(&self.shared), schema.clone(), result);
        self.jobs.send(job).map_err(|_| FetchError::Stopped)?;
        let Resolved { schema, version } = fetched.await.map_err(|_| FetchError::Stopped)??;
        Ok(Fetched { schema, version })
    }

    /// Replaces the certificates and keys for new connections.
    pub fn set_tls(&self, config: &ClientConfig) {
        self.http.set_tls(config);
    }

    /// The registry's URL, with the path of the API, and without a user.
    #[must_use]
    pub fn url(&self) -> &RegistryUrl {
        &self.shared.url
    }

    /// The state now.
    #[must_use]
    pub fn status(&self) -> RegistryStatus {
        let (error, outage) = self.shared.health.outage().unzip();
        let cache = self.shared.cache();
        RegistryStatus {
            error,
            outage,
            schemas: cache.len(),
            bytes: cache.bytes(),
            pending: cache.running(),
        }
    }

    /// A schema that the cache has, once it is compiled: look-ups are made by the threads of the records.
    fn compiled(&self, schema: Arc<SchemaText>, kind: SchemaKind) -> Lookup {
        if schema.is_ready(kind) {
            return Lookup::Known(schema);
        }
        let begun = self.shared.cache().begin(&SchemaRef::Id(schema.id()), kind, Purpose::First);
        Lookup::Pending(match begun {
            Ok(Start { request, pending }) => {
                let compile = Compile::new(Arc::clone(&self.shared), request, schema);
                self.start(Job::Compile(compile), pending)
            }
            Err(pending) => Waiter::new(pending.ready()),
        })
    }

    fn request(&self, start: Start) -> Waiter {
        let Start { request, pending } = start;
        let request = Request::new(Arc::clone(&self.shared), request);
        self.start(Job::Request(request), pending)
    }

    /// Starts a job. Returns what is ready when it has ended.
    fn start(&self, job: Job, pending: Pending) -> Waiter {
        match self.jobs.send(job) {
            Ok(()) => Waiter::new(pending.ready()),
            // The runtime has ended, and nothing will come.
            Err(_) => Waiter::new(future::pending()),
        }
    }
}

impl Catalog for Registry {
    fn look_up(&self, schema: &SchemaRef, kind: SchemaKind) -> Lookup {
        // Not in the `match`: the lock must be free when a request is started.
        let is_down = self.shared.health.is_down();
        let found = self.shared.cache().look_up(schema, kind, is_down);
        match found {
            Found::Known(schema) => self.compiled(schema, kind),
            Found::Missing => Lookup::Missing,
            Found::Running(pending) => Lookup::Pending(Waiter::new(pending.ready())),
            Found::Unknown(start) => Lookup::Pending(self.request(start)),
            Found::Stale(schema, start) => {
                drop(self.request(start));
                self.compiled(schema, kind)
            }
        }
    }

    fn framing(&self) -> Framing {
        self.shared.protocol.framing()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("url", &self.shared.url)
            .field("protocol", &self.shared.protocol)
            .finish_non_exhaustive()
    }
}

/// Starts the task of a registry. It ends when the last sender is dropped.
fn start(runtime: Option<Handle>) -> Result<UnboundedSender<Job>, RegistryError> {
    // Bounded by the number of schemas that may be asked for at once.
    let (sender, jobs) = mpsc::unbounded_channel();
    if let Some(runtime) = runtime {
        runtime.spawn(job::run(jobs));
        return Ok(sender);
    }
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(RegistryError::Runtime)?;
    let thread = thread::Builder::new().name("schema-registry".to_owned());
    let spawned = thread.spawn(move || runtime.block_on(job::run(jobs)));
    spawned.map(|_| sender).map_err(RegistryError::Runtime)
}
