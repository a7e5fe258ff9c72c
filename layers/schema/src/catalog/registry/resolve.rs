use std::pin::Pin;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::catalog::registry::FetchError;
use crate::catalog::registry::cache::Graph;
use crate::catalog::registry::escape::Escaped;
use crate::catalog::registry::protocol::{Coordinates, RawReference, RawSchema, RawVersion};
use crate::catalog::registry::shared::Shared;
use crate::catalog::{Reference, SchemaId, SchemaKind, SchemaRef, SchemaText};
use crate::{MAX_DEPTH, MAX_REFERENCES, MAX_SCHEMA_BYTES};

/// A schema from the registry, and what the registry calls its version.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) schema: Arc<SchemaText>,
    pub(crate) version: Option<String>,
}

/// Fetches a schema with all that it refers to, and compiles it as `kind`. Schemas that the cache has are not fetched,
/// and those that are fetched get into it, so that another attempt begins where this one has ended.
pub(crate) async fn resolve(
    shared: &Shared,
    schema: &SchemaRef,
    kind: Option<SchemaKind>,
) -> Result<Resolved, FetchError> {
    // Until the schema is compiled: what waits for that has its text in memory.
    let _permit = shared.fetching.acquire().await.expect("the semaphore is never closed");
    let mut resolver =
        Resolver { shared, kind, path: Vec::new(), graph: Graph::default(), open_bytes: 0 };
    match schema {
        SchemaRef::Id(id) => {
            let schema = resolver.schema(*id).await?;
            Ok(Resolved { schema, version: None })
        }
        SchemaRef::Subject { subject, version } => {
            let to = Coordinates {
                group: None,
                subject: (**subject).to_owned(),
                version: (**version).to_owned(),
            };
            let RawVersion { id, version } = shared.version(&to).await?;
            let found = resolver.schema(id).await?;
            shared.cache().put_subject(schema, id, to.is_latest());
            Ok(Resolved { schema: found, version })
        }
    }
}

struct Resolver<'a> {
    shared: &'a Shared,
    /// What the schema that was asked for is compiled as.
    kind: Option<SchemaKind>,
    /// The schemas that lead to the one that is being resolved.
    path: Vec<SchemaId>,
    /// The schemas that are resolved.
    graph: Graph,
    /// The bytes of the schemas in `path`.
    open_bytes: usize,
}

type SchemaFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Arc<SchemaText>, FetchError>> + Send + 'a>>;

impl Resolver<'_> {
    fn schema(&mut self, id: SchemaId) -> SchemaFuture<'_> {
        Box::pin(async move {
            if self.path.contains(&id) {
                return Err(FetchError::Cycle(id));
            }
            let known = self.shared.cache().schema(id);
            let schema = match known {
                Some(known) => known,
                None => self.fetched(id).await?,
            };
            let height = self.graph.add(&schema);
            self.check_limits(self.path.len() + height)?;
            Ok(schema)
        })
    }

    async fn fetched(&mut self, id: SchemaId) -> Result<Arc<SchemaText>, FetchError> {
        let RawSchema { text, kind, references: named } = self.shared.schema(id).await?;
        let names = named.iter().map(|reference| reference.name.len()).sum::<usize>();
        let bytes = text.len() + names;
        self.path.push(id);
        self.open_bytes += bytes;
        if named.len() > MAX_REFERENCES {
            return Err(FetchError::TooManyReferences);
        }
        self.check_limits(self.path.len() - 1)?;
        let mut references = Vec::with_capacity(named.len());
        for RawReference { name, to } in named {
            let schema = self.reference(&to).await;
            let schema = schema.map_err(|reason| FetchError::Reference {
                name: Escaped(&name).to_string(),
                reason: Box::new(reason),
            })?;
            references.push(Reference::new(name, schema));
        }
        self.path.pop();
        self.open_bytes -= bytes;
        let mut schema = SchemaText::new(id, text).with_references(references);
        if let Some(kind) = kind {
            schema = schema.with_kind(kind);
        }
        let schema = Arc::new(schema);
        if self.path.is_empty()
            && let Some(kind) = self.kind
        {
            compile(self.shared, &schema, kind).await;
        }
        Ok(self.shared.put_schema(schema))
    }

    async fn reference(&mut self, to: &Coordinates) -> Result<Arc<SchemaText>, FetchError> {
        let known = self.shared.cache().reference(to);
        let id = match known {
            Some(id) => id,
            None => {
                let id = self.shared.referenced_version(to).await?.id;
                self.shared.cache().put_reference(to, id);
                id
            }
        };
        self.schema(id).await
    }

    /// `depth` is how many references lead from the schema that was asked for to the farthest one known.
    fn check_limits(&self, depth: usize) -> Result<(), FetchError> {
        // The schema that was asked for is no reference.
        if self.graph.len() + self.path.len() > MAX_REFERENCES + 1 {
            return Err(FetchError::TooManyReferences);
        }
        if depth > MAX_DEPTH {
            return Err(FetchError::TooDeep);
        }
        if self.graph.bytes + self.open_bytes > MAX_SCHEMA_BYTES {
            return Err(FetchError::TooMuchText);
        }
        Ok(())
    }
}

/// Compiles a schema, so that no value waits for it. An error is the business of the values.
pub(crate) async fn compile(shared: &Shared, schema: &Arc<SchemaText>, kind: SchemaKind) {
    if schema.is_ready(kind) {
        return;
    }
    let compiling = Arc::clone(&shared.compiling);
    let permit = compiling.acquire_owned().await.expect("the semaphore is never closed");
    let schema = Arc::clone(schema);
    // It fails only when the runtime ends. The permit is its own: it goes on if nothing waits for it any more.
    let compiled = spawn_blocking(move || {
        let _permit = permit;
        schema.compile(kind).is_ok()
    });
    let _ = compiled.await;
}
