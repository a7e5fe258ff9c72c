use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::catalog::registry::health::backoff;
use crate::catalog::registry::protocol::Coordinates;
use crate::catalog::{SchemaId, SchemaKind, SchemaRef, SchemaText};
use crate::limits::MAX_COMPILED_BYTES;

/// The maximum number of schemas in a cache.
pub(crate) const MAX_CACHED_SCHEMAS: usize = 10_000;
/// The maximum memory of all schemas in a cache. One with references counts with all of them.
pub(crate) const MAX_CACHED_BYTES: usize = 2 * MAX_COMPILED_BYTES;
/// How many schemas may be asked for at once.
pub(crate) const MAX_RUNNING: usize = 1024;
/// How long a registry is not asked again for what it does not have.
const MISSING_FOR: Duration = Duration::from_secs(60);
/// A subject's `latest` is not asked for more often.
const MIN_AGE: Duration = Duration::from_secs(1);
/// What is longer is as good as for ever, and might be longer than clocks can count.
const MAX_AGE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What is known of a registry's schemas.
#[derive(Debug)]
pub(crate) struct Cache {
    /// Each with the memory that it takes.
    schemas: LruCache<SchemaId, (Arc<SchemaText>, usize)>,
    bytes: usize,
    /// The versions of subjects that were looked up.
    subjects: LruCache<SchemaRef, Subject>,
    /// The versions of subjects that schemas refer to. They never change.
    references: LruCache<Coordinates, SchemaId>,
    missing: LruCache<SchemaRef, Missing>,
    /// What is being asked for, or compiled. The receiver of each is ready when that has ended.
    running: HashMap<SchemaRef, watch::Receiver<()>>,
    /// The number of requests that have ended.
    ended: watch::Sender<u64>,
    max_age: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Subject {
    id: SchemaId,
    /// When it is asked for again. `None` if it never changes.
    expires: Option<Instant>,
    /// How often a refresh has failed in a row.
    failures: u32,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    until: Instant,
}

/// What the cache says.
#[derive(Debug)]
pub(crate) enum Found {
    Known(Arc<SchemaText>),
    Missing,
    /// It is being asked for, or too much is: the receiver is ready when it is worth looking again.
    Running(Pending),
    /// It is to be asked for.
    Unknown(Start),
    /// It is known, but old, and to be asked for again.
    Stale(Arc<SchemaText>, Start),
}

/// A request to be started.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) request: NewRequest,
    pub(crate) pending: Pending,
}

#[derive(Debug)]
pub(crate) struct NewRequest {
    pub(crate) schema: SchemaRef,
    /// What values are to be read as with it.
    pub(crate) kind: SchemaKind,
    pub(crate) purpose: Purpose,
    /// What waits for the request is ready when this is dropped.
    pub(crate) done: watch::Sender<()>,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Nothing is known.
    First,
    /// The registry did not have it a minute ago.
    Recheck,
    /// It is known, but old.
    Refresh,
}

/// Is ready when it is worth looking again.
#[derive(Debug)]
pub(crate) enum Pending {
    Request(watch::Receiver<()>),
    Room(watch::Receiver<u64>),
}

impl Pending {
    pub(crate) async fn ready(self) {
        // An error says that the sender was dropped, which is the sign of the first kind.
        match self {
            Self::Request(mut done) => drop(done.changed().await),
            Self::Room(mut ended) => drop(ended.changed().await),
        }
    }
}

/// So many missing schemas are many.
const MANY_MISSING: usize = 8;

impl Cache {
    pub(crate) fn new(max_age: Duration) -> Self {
        let most = NonZeroUsize::new(MAX_CACHED_SCHEMAS).expect("the constant is not 0");
        Self {
            schemas: LruCache::sparse(most),
            bytes: 0,
            subjects: LruCache::sparse(most),
            references: LruCache::sparse(most),
            missing: LruCache::sparse(most),
            running: HashMap::new(),
            ended: watch::Sender::new(0),
            max_age: max_age.clamp(MIN_AGE, MAX_AGE),
        }
    }

    /// `is_down` says whether the registry has not answered the last request as it should.
    pub(crate) fn look_up(&mut self, schema: &SchemaRef, kind: SchemaKind, is_down: bool) -> Found {
        match schema {
            SchemaRef::Id(id) => {
                if let Some(known) = self.schema(*id) {
                    return Found::Known(known);
                }
            }
            SchemaRef::Subject { .. } => {
                if let Some(&Subject { id, expires, failures }) = self.subjects.get(schema) {
                    let is_old = expires.is_some_and(|expires| expires <= Instant::now());
                    let known = self.schema(id);
                    match known {
                        Some(known) if !is_old => return Found::Known(known),
                        // The record that finds it old waits for one request, unless the registry is known to
                        // be away. If that fails, the old one is in use until another has succeeded.
                        Some(known) if is_down || failures > 0 => {
                            return match self.begin(schema, kind, Purpose::Refresh) {
                                Ok(start) => Found::Stale(known, start),
                                Err(_) => Found::Known(known),
                            };
                        }
                        Some(_) => return self.begin_or_wait(schema, kind, Purpose::Refresh),
                        None if !is_old => return self.look_up(&SchemaRef::Id(id), kind, is_down),
                        None => {}
                    }
                }
            }
        }
        let purpose = match self.missing.get(schema) {
            Some(missing) if Instant::now() < missing.until => return Found::Missing,
            Some(_) => Purpose::Recheck,
            None => Purpose::First,
        };
        self.begin_or_wait(schema, kind, purpose)
    }

    fn begin_or_wait(&mut self, schema: &SchemaRef, kind: SchemaKind, purpose: Purpose) -> Found {
        match self.begin(schema, kind, purpose) {
            Ok(start) => Found::Unknown(start),
            Err(pending) => Found::Running(pending),
        }
    }

    /// Begins something about a schema, unless it has begun already.
    pub(crate) fn begin(
        &mut self,
        schema: &SchemaRef,
        kind: SchemaKind,
        purpose: Purpose,
    ) -> Result<Start, Pending> {
        if let Some(done) = self.running.get(schema) {
            return Err(Pending::Request(done.clone()));
        }
        if self.running.len() >= MAX_RUNNING {
            return Err(Pending::Room(self.ended.subscribe()));
        }
        let (done, pending) = watch::channel(());
        self.running.insert(schema.clone(), pending.clone());
        let request = NewRequest { schema: schema.clone(), kind, purpose, done };
        Ok(Start { request, pending: Pending::Request(pending) })
    }

    /// A request has ended, with whatever result.
    pub(crate) fn end(&mut self, schema: &SchemaRef) {
        self.running.remove(schema);
        self.ended.send_modify(|ended| *ended += 1);
    }

    pub(crate) fn schema(&mut self, id: SchemaId) -> Option<Arc<SchemaText>> {
        self.schemas.get(&id).map(|(schema, _)| Arc::clone(schema))
    }

    /// Returns the schema of this id, which may have been there, and those that had to leave. To drop them takes time,
    /// which look-ups must not wait for.
    pub(crate) fn put_schema(
        &mut self,
        schema: Arc<SchemaText>,
    ) -> (Arc<SchemaText>, Vec<Arc<SchemaText>>) {
        self.missing.pop(&SchemaRef::Id(schema.id()));
        if let Some(known) = self.schema(schema.id()) {
            return (known, vec![schema]);
        }
        let bytes = size(&schema);
        self.bytes += bytes;
        let evicted = self.schemas.push(schema.id(), (Arc::clone(&schema), bytes));
        let mut left = Vec::new();
        if let Some((_, (schema, bytes))) = evicted {
            self.bytes -= bytes;
            left.push(schema);
        }
        self.make_room(&mut left);
        (schema, left)
    }

    /// A schema has been compiled, and takes more than before. Returns those that had to leave.
    pub(crate) fn weigh(&mut self, schema: &Arc<SchemaText>) -> Vec<Arc<SchemaText>> {
        let mut left = Vec::new();
        if let Some((known, bytes)) = self.schemas.get_mut(&schema.id())
            && Arc::ptr_eq(known, schema)
        {
            self.bytes -= *bytes;
            *bytes = size(schema);
            self.bytes += *bytes;
            self.make_room(&mut left);
        }
        left
    }

    /// The one that was used last stays, whatever its size: values wait for it.
    fn make_room(&mut self, left: &mut Vec<Arc<SchemaText>>) {
        while self.bytes > MAX_CACHED_BYTES
            && self.schemas.len() > 1
            && let Some((_, (oldest, bytes))) = self.schemas.pop_lru()
        {
            self.bytes -= bytes;
            left.push(oldest);
        }
    }

    pub(crate) fn put_subject(&mut self, schema: &SchemaRef, id: SchemaId, is_latest: bool) {
        self.missing.pop(schema);
        let expires = is_latest.then(|| Instant::now() + self.max_age);
        self.subjects.put(schema.clone(), Subject { id, expires, failures: 0 });
    }

    /// A refresh has failed. Returns the id that stays in use.
    pub(crate) fn keep_subject(&mut self, schema: &SchemaRef) -> Option<SchemaId> {
        let subject = self.subjects.get_mut(schema)?;
        let pause = backoff(subject.failures, self.max_age);
        subject.expires = Some(Instant::now() + pause);
        subject.failures = subject.failures.saturating_add(1);
        Some(subject.id)
    }

    pub(crate) fn reference(&mut self, to: &Coordinates) -> Option<SchemaId> {
        self.references.get(to).copied()
    }

    pub(crate) fn put_reference(&mut self, to: &Coordinates, id: SchemaId) {
        if !to.is_latest() {
            self.references.put(to.clone(), id);
        }
    }

    /// Returns whether it was not known to be missing before.
    pub(crate) fn put_missing(&mut self, schema: &SchemaRef) -> bool {
        let until = Instant::now() + MISSING_FOR;
        self.missing.put(schema.clone(), Missing { until }).is_none()
    }

    /// Whether many schemas were missing within the last minute. Records of such a topic begin like framed ones and
    /// are not, and each would wait for further attempts.
    pub(crate) fn many_are_missing(&self) -> bool {
        let now = Instant::now();
        let last = self.missing.iter().take(MANY_MISSING);
        last.filter(|(_, missing)| now < missing.until).count() == MANY_MISSING
    }

    pub(crate) fn len(&self) -> usize {
        self.schemas.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }
}

/// What each schema takes beside its text and its compiled form.
const SCHEMA_BYTES: usize = 512;

/// The memory of a schema with all that it refers to.
fn size(schema: &Arc<SchemaText>) -> usize {
    let mut graph = Graph::default();
    graph.add(schema);
    graph.memory
}

/// The schemas that a schema refers to, each once.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// How many references lead from each schema to the farthest one below it.
    heights: HashMap<SchemaId, usize>,
    /// The bytes of their texts and names.
    pub(crate) bytes: usize,
    /// The same with what is compiled.
    memory: usize,
}

impl Graph {
    /// Adds a schema with all that it refers to, and returns its height.
    pub(crate) fn add(&mut self, schema: &Arc<SchemaText>) -> usize {
        if let Some(&height) = self.heights.get(&schema.id()) {
            return height;
        }
        self.bytes += schema.text().len();
        self.memory += SCHEMA_BYTES + schema.bytes();
        let mut height = 0;
        for reference in schema.references() {
            self.bytes += reference.name().len();
            self.memory += reference.name().len();
            height = height.max(self.add(reference.schema()) + 1);
        }
        self.heights.insert(schema.id(), height);
        height
    }

    pub(crate) fn len(&self) -> usize {
        self.heights.len()
    }
}
