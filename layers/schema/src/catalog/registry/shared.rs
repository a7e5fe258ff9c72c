use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{StatusCode, Uri};
use tokio::sync::Semaphore;

use crate::catalog::registry::cache::Cache;
use crate::catalog::registry::health::Health;
use crate::catalog::registry::protocol::{Coordinates, Protocol, RawSchema, RawVersion};
use crate::catalog::registry::requests::Requests;
use crate::catalog::registry::{FetchError, RegistryUrl};
use crate::catalog::{SchemaId, SchemaText};

/// What the look-ups of a registry and its requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) url: RegistryUrl,
    pub(crate) protocol: Protocol,
    pub(crate) requests: Requests,
    pub(crate) health: Health,
    pub(crate) cache: Mutex<Cache>,
    /// One schema at a time: many that come at once must not take all processors.
    pub(crate) compiling: Semaphore,
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
        let answer = match self.requests.get(self.uri(self.protocol.schema_path(id))?).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.without_guids(id, error).await),
        };
        let mut schema = self.protocol.parse_schema(&answer)?;
        drop(answer);
        if let Some(path) = self.protocol.references_path(id) {
            match self.requests.get(self.uri(Some(path))?).await {
                Ok(answer) => schema.references = self.protocol.parse_references(&answer)?,
                Err(error) if is_without_references(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(schema)
    }

    /// The error of a request for a schema, which is that there is no schema if the registry has no GUIDs: early
    /// versions and Karapace have none. They answer what is asked for by an id.
    async fn without_guids(&self, id: SchemaId, error: FetchError) -> FetchError {
        let status = match (id, &error) {
            (SchemaId::Guid(_), FetchError::NoApi { status }) => *status,
            // Karapace's answer may be that of a proxy. Then the registry does not answer this either.
            (
                SchemaId::Guid(_),
                FetchError::Status { status: status @ StatusCode::NOT_FOUND, .. },
            ) if self.is_there().await => *status,
            _ => return error,
        };
        FetchError::NoSchema { status, code: status.as_u16().into() }
    }

    /// Whether the registry answers a question that each has an answer to.
    async fn is_there(&self) -> bool {
        let Ok(uri) = self.uri(self.protocol.kinds_path()) else { return false };
        let answer = self.requests.get(uri).await;
        answer.is_ok_and(|answer| serde_json::from_slice::<Vec<String>>(&answer.body).is_ok())
    }

    /// The id of a version of a subject.
    pub(crate) async fn version(&self, version: &Coordinates) -> Result<RawVersion, FetchError> {
        let path = self.protocol.version_path(version, self.url.path());
        let answer = self.requests.get(self.uri(path)?).await?;
        self.protocol.parse_version(&answer)
    }

    /// The same for a version that a schema refers to: it may have been deleted since.
    pub(crate) async fn referenced_version(
        &self,
        version: &Coordinates,
    ) -> Result<RawVersion, FetchError> {
        let found = self.version(version).await;
        let Err(FetchError::NoSchema { .. }) = found else { return found };
        let Some(path) = self.protocol.deleted_version_path(version) else { return found };
        let answer = self.requests.get(self.uri(Some(path))?).await?;
        self.protocol.parse_version(&answer)
    }

    fn uri(&self, path: Option<String>) -> Result<Uri, FetchError> {
        path.and_then(|path| self.url.below(&path)).ok_or(FetchError::NoRequest)
    }
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
