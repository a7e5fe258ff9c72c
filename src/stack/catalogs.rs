//! `catalogs`, each built once for its namespace, and models with their catalogs.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use ::http::HeaderValue;
use ::http::header::AUTHORIZATION;
use tailwater_schema::catalog::Catalog;
use tailwater_schema::catalog::registry::{
    Apicurio, Confluent, Protocol, Registry, RegistryOptions,
};
use tailwater_sse::BoxError;
use tokio::runtime::Handle;

use crate::config::bind::{self, Subject};
use crate::config::{self, CatalogKind, Config, SchemaName};
use crate::models::Contents;
use crate::stack::tls::CatalogTls;
use crate::stack::{Error, StackBuilder};

/// A model whose catalog is found, but not yet the name of its topic.
#[derive(Clone, Debug)]
pub(super) struct UnboundModel {
    model: config::Model,
    catalog: Option<(CatalogKind, Arc<dyn Catalog>)>,
}

impl UnboundModel {
    /// The model for a subject.
    pub(super) fn bind(&self, subject: Subject<'_>) -> Option<tailwater_schema::Model> {
        let schema = self.catalog.as_ref().zip(self.model.schema());
        let schema = schema.and_then(|((kind, catalog), choice)| {
            let schema = bind::schema_ref(kind, &choice.schema, subject)?;
            let catalog = Arc::clone(catalog);
            match (&choice.schema, subject) {
                (SchemaName::Topic { .. }, Subject::Event) => {
                    Some((Arc::new(bind::ById(catalog)) as Arc<dyn Catalog>, schema))
                }
                _ => Some((catalog, schema)),
            }
        });
        let model = bind::model(&self.model, schema);
        if let (Some(model), Some((CatalogKind::Inline(_) | CatalogKind::Filesystem(_), _))) =
            (&model, &self.catalog)
        {
            // The schema is compiled here, and not at the first record, on the thread of the live ends. A schema that
            // is unusable is an error of the configuration.
            let _ = model.check();
        }
        model
    }
}

/// The catalogs of a namespace, each built at its first use.
pub(super) struct Catalogs<'c> {
    config: &'c Config,
    folder: &'c Path,
    built: HashMap<&'c str, Arc<dyn Catalog>>,
}

impl<'c> Catalogs<'c> {
    pub(super) fn new(config: &'c Config, folder: &'c Path) -> Self {
        Self { config, folder, built: HashMap::new() }
    }

    /// A model with its catalog.
    pub(super) fn model(&mut self, model: &config::Model) -> Result<UnboundModel, Error> {
        let config = self.config;
        let named = model.schema().and_then(|choice| {
            config.catalogs.iter().find(|catalog| catalog.name == choice.catalog)
        });
        let catalog = match named {
            Some(catalog) => Some((catalog.kind.clone(), self.catalog(catalog)?)),
            None => None,
        };
        Ok(UnboundModel { model: model.clone(), catalog })
    }

    fn catalog(&mut self, catalog: &'c config::Catalog) -> Result<Arc<dyn Catalog>, Error> {
        if let Some(built) = self.built.get(catalog.name.as_str()) {
            return Ok(Arc::clone(built));
        }
        let failed = |source| Error::Catalog { catalog: catalog.name.clone(), source };
        let mut unusable = None;
        let local = bind::local(catalog, self.folder, |_, error| {
            unusable.get_or_insert(error);
        });
        if let Some(error) = unusable {
            return Err(failed(error.into()));
        }
        let built = match local {
            Some(local) => local,
            None => Arc::new(self.registry(catalog)?),
        };
        self.built.insert(&catalog.name, Arc::clone(&built));
        Ok(built)
    }

    /// A client of a registry. It asks nothing yet.
    pub(super) fn registry(&self, catalog: &config::Catalog) -> Result<Registry, Error> {
        let failed = |source: BoxError| Error::Catalog { catalog: catalog.name.clone(), source };
        let (connection, protocol) = match &catalog.kind {
            CatalogKind::SchemaRegistry(registry) => {
                let confluent = Confluent::new();
                let context = registry.context.iter();
                let confluent = context.fold(confluent, Confluent::context);
                (&registry.connection, Protocol::from(confluent))
            }
            CatalogKind::Apicurio(registry) => {
                let apicurio = Apicurio::new().use_id(registry.use_id);
                let apicurio = apicurio.id_encoding(registry.id_encoding);
                let group = registry.group.iter();
                let apicurio = group.fold(apicurio, |apicurio, group| apicurio.group(&**group));
                (&registry.connection, Protocol::from(apicurio))
            }
            CatalogKind::Inline(_) | CatalogKind::Filesystem(_) => {
                return Err(failed("it is no registry".into()));
            }
        };
        let mut options = RegistryOptions::new(connection.url.clone(), protocol)
            .max_age(connection.max_age)
            .runtime(Handle::current());
        if let Some(authorization) = &connection.authorization {
            let value = HeaderValue::from_str(authorization.reveal());
            options = options.header(AUTHORIZATION, value.map_err(|error| failed(error.into()))?);
        }
        let tls = connection.tls.as_ref();
        let tls = tls.map(|tls| CatalogTls::new(self.config, self.folder, catalog, tls));
        let tls = tls.transpose()?;
        let options = tls.iter().fold(options, |options, tls| tls.options(options));
        let registry = Registry::new(options).map_err(|error| failed(error.into()))?;
        if let Some(tls) = tls {
            tls.rotate(registry.clone());
        }
        Ok(registry)
    }
}

impl StackBuilder<'_> {
    /// The models of events of an `sse` binding, by their place.
    pub(super) fn contents(
        &mut self,
        requests: &[config::EventModel],
    ) -> Result<Option<usize>, Error> {
        let mut contents = Vec::with_capacity(requests.len());
        for request in requests {
            let model = self.catalogs.model(&request.content)?.bind(Subject::Event);
            // A model without its schema is an error of the configuration.
            contents.extend(model.map(|model| (request.path.clone(), model)));
        }
        if contents.is_empty() {
            return Ok(None);
        }
        self.contents.push(Contents(contents.into()));
        Ok(Some(self.contents.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, read_to_string, write};

    use tailwater_schema::Part;

    use super::*;
    use crate::config::{Kind, load};

    /// The first value is read by the thread of the live ends, which must not compile a schema. Where one cannot be
    /// compiled, the log tells when it was tried.
    #[test]
    fn a_schema_of_a_file_is_compiled_when_its_model_is_bound() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("zilla.yaml");
        let text = "name: a
catalogs: { c: { type: filesystem, options: { subjects: { s: { path: s.avsc } } } } }
bindings:
  cs:
    type: kafka
    kind: cache_server
    options: { topics: [{ name: t, value: { model: avro, catalog: { c: [{ subject: s }] } } }] }
    exit: kc
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, exit: out }
  out: { type: tcp, kind: client }
";
        write(&file, text).unwrap();
        let schema = folder.path().join("s.avsc");
        write(&schema, "\"string\"").unwrap();
        let parsed = load(&file).unwrap();
        let config = &parsed.namespaces[0];
        let Kind::KafkaCacheServer(server) = &config.binding("cs").unwrap().kind else {
            panic!("cache_server")
        };
        let model = server.topics[0].value.as_ref().unwrap();
        write(&schema, "\"strin\"").unwrap();
        let mut catalogs = Catalogs::new(config, folder.path());
        let log = folder.path().join("log");
        let written = Arc::new(File::create(&log).unwrap());
        // tracing caches whether a line of code is enabled. With a single subscriber, a line that another
        // test's thread reaches first would be disabled for all threads.
        let _another = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
        let subscriber = tracing_subscriber::fmt().with_writer(written).finish();
        tracing::subscriber::with_default(subscriber, || {
            let model = catalogs.model(model).unwrap();
            assert_eq!(read_to_string(&log).unwrap(), "");
            assert!(model.bind(Subject::Record { topic: "t", part: Part::Value }).is_some());
        });
        let log = read_to_string(&log).unwrap();
        assert!(log.contains("schema cannot be used"), "{log}");
    }
}
