use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use http::{StatusCode, Uri};
use tokio::sync::Semaphore;

use crate::catalog::registry::cache::Cache;
use crate::catalog::registry::health::Health;
use crate::catalog::registry::protocol::{Coordinates, Protocol, RawSchema, RawVersion};
use crate::catalog::registry::requests::{Requests, is_about_the_schema};
use crate::catalog::registry::{FetchError, RegistryUrl};
use crate::catalog::{SchemaId, SchemaText};
use crate::limits::{MAX_COMPILED_BYTES, MAX_SCHEMA_BYTES};

/// How many schemas are fetched at once from a registry, and then compiled. The texts of each are in memory three times:
/// as the answer, without its escapes, and as the schema.
pub(crate) const MAX_FETCHES: usize = 4;
pub(crate) const MAX_FETCHING_BYTES: usize = MAX_FETCHES * 3 * MAX_SCHEMA_BYTES;

/// How many schemas of all registries are compiled at once: many must not take all processors, and one that takes long
/// must not hold up all others. Each takes up to twice of what it takes in the end.
pub(crate) const MAX_COMPILING: usize = 2;
pub(crate) const MAX_COMPILING_BYTES: usize = MAX_COMPILING * 2 * MAX_COMPILED_BYTES;
pub(crate) static COMPILING: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(MAX_COMPILING)));

/// What the look-ups of a registry and its requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) url: RegistryUrl,
    pub(crate) protocol: Protocol,
    pub(crate) requests: Requests,
    pub(crate) health: Health,
    pub(crate) cache: Mutex<Cache>,
    /// An id that the registry has answered, be it that it has no such schema.
    pub(crate) answered: OnceLock<SchemaId>,
    /// Of the schemas that are fetched and then compiled.
    pub(crate) fetching: Semaphore,
    /// Of the schemas that are being compiled, of this registry and others.
    pub(crate) compiling: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn cache(&self) -> MutexGuard<'_, Cache> {
        // A poisoned lock is harmless: each change of the tables is complete in itself.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a schema into the cache. Returns the schema of this id, which may have been there.
    pub(crate) fn put_schema(&self, schema: Arc<SchemaText>) -> Arc<SchemaText> {
        // Those that have to leave are dropped when the lock is free.
        let (schema, _evicted) = self.cache().put_schema(schema);
        schema
    }

    /// A schema with what its references are called.
    pub(crate) async fn schema(&self, id: SchemaId) -> Result<RawSchema, FetchError> {
        let found = self.raw_schema(id).await;
        if let Ok(_) | Err(FetchError::NoSchema { .. }) = found {
            self.answered.get_or_init(|| id);
        }
        let mut schema = match (id, found) {
            (_, Ok(schema)) => schema,
            // Early versions have no GUIDs. They answer what is asked for by an id.
            (SchemaId::Guid(_), Err(FetchError::NoApi { status })) => {
                return Err(no_schema(status));
            }
            (_, Err(error)) => return Err(self.judged(error).await),
        };
        if let Some(path) = self.protocol.references_path(id) {
            match self.requests.get(self.uri(Some(path))?).await {
                Ok(answer) => schema.references = self.protocol.parse_references(&answer)?,
                Err(error) if is_without_references(&error) => {}
                Err(error) => return Err(self.judged(error).await),
            }
        }
        Ok(schema)
    }

    async fn raw_schema(&self, id: SchemaId) -> Result<RawSchema, FetchError> {
        let answer = self.requests.get(self.uri(self.protocol.schema_path(id))?).await?;
        self.protocol.parse_schema(&answer)
    }

    /// An error that may be the answer of a proxy before a registry that is away. If the registry answers something
    /// else now, the answer was its own, and there is no schema: what a record asks for must not be asked for without
    /// an end.
    async fn judged(&self, error: FetchError) -> FetchError {
        let verdict = match &error {
            FetchError::NoApi { status } => no_schema(*status),
            FetchError::Status { status, .. } if is_about_the_schema(*status) => no_schema(*status),
            FetchError::Foreign => FetchError::Format("schema"),
            _ => return error,
        };
        if self.is_there().await { verdict } else { error }
    }

    /// Whether the registry answers what each has an answer to, or what it has answered before.
    async fn is_there(&self) -> bool {
        if let Ok(uri) = self.uri(Some(self.protocol.probe_path().to_owned()))
            && let Ok(answer) = self.requests.get(uri).await
            && self.protocol.is_probe(&answer)
        {
            return true;
        }
        let Some(id) = self.answered.get() else { return false };
        matches!(self.raw_schema(*id).await, Ok(_) | Err(FetchError::NoSchema { .. }))
    }

    /// The id of a version of a subject.
    pub(crate) async fn version(&self, version: &Coordinates) -> Result<RawVersion, FetchError> {
        self.raw_version(self.protocol.version_path(version, self.url.path())).await
    }

    /// The same for a version that a schema refers to: it may have been deleted since.
    pub(crate) async fn referenced_version(
        &self,
        version: &Coordinates,
    ) -> Result<RawVersion, FetchError> {
        let found = self.version(version).await;
        let Err(error) = found else { return found };
        let error = self.judged(error).await;
        let deleted = self.protocol.deleted_version_path(version);
        if deleted.is_none() || !matches!(error, FetchError::NoSchema { .. }) {
            return Err(error);
        }
        let found = self.raw_version(deleted).await;
        let Err(error) = found else { return found };
        Err(self.judged(error).await)
    }

    async fn raw_version(&self, path: Option<String>) -> Result<RawVersion, FetchError> {
        let answer = self.requests.get(self.uri(path)?).await?;
        self.protocol.parse_version(&answer)
    }

    fn uri(&self, path: Option<String>) -> Result<Uri, FetchError> {
        path.and_then(|path| self.url.below(&path)).ok_or(FetchError::NoRequest)
    }
}

fn no_schema(status: StatusCode) -> FetchError {
    FetchError::NoSchema { status, code: status.as_u16().into() }
}

/// Whether the registry, which has just had the schema, does not know of references: early versions have none.
fn is_without_references(error: &FetchError) -> bool {
    match error {
        FetchError::NoSchema { status, .. }
        | FetchError::NoApi { status }
        | FetchError::Status { status, .. } => {
            matches!(*status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
        }
        _ => false,
    }
}
