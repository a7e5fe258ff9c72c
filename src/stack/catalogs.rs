//! `catalogs`, each built once for its namespace, and models with their catalogs.

use std::sync::Arc;

use ::http::HeaderValue;
use ::http::header::AUTHORIZATION;
use tailwater_schema::catalog::Catalog;
use tailwater_schema::catalog::registry::{
    Apicurio, Confluent, Protocol, Registry, RegistryOptions,
};
use tokio::runtime::Handle;

use super::{Error, StackBuilder};
use crate::config::bind::{self, Subject};
use crate::config::{self, CatalogKind};
use crate::models::Contents;

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
            Some((Arc::clone(catalog), schema))
        });
        bind::model(&self.model, schema)
    }
}

impl<'c> StackBuilder<'c> {
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

    /// The models of events of an `sse` binding, by their place.
    pub(super) fn contents(
        &mut self,
        requests: &[config::EventModel],
    ) -> Result<Option<usize>, Error> {
        let mut contents = Vec::with_capacity(requests.len());
        for request in requests {
            let model = self.model(&request.content)?.bind(Subject::Event);
            // A model without its schema is an error of the configuration.
            contents.extend(model.map(|model| (request.path.clone(), model)));
        }
        if contents.is_empty() {
            return Ok(None);
        }
        self.contents.push(Contents(contents.into()));
        Ok(Some(self.contents.len() - 1))
    }

    fn catalog(&mut self, catalog: &'c config::Catalog) -> Result<Arc<dyn Catalog>, Error> {
        if let Some(built) = self.catalogs.get(catalog.name.as_str()) {
            return Ok(Arc::clone(built));
        }
        let failed = |source: tailwater_sse::BoxError| Error::Catalog {
            catalog: catalog.name.clone(),
            source,
        };
        let mut unusable = None;
        let local = bind::local(catalog, self.folder, |_, error| {
            unusable.get_or_insert(error);
        });
        if let Some(error) = unusable {
            return Err(failed(error.into()));
        }
        let built = match local {
            Some(local) => local,
            None => Arc::new(self.registry(catalog, failed)?),
        };
        self.catalogs.insert(&catalog.name, Arc::clone(&built));
        Ok(built)
    }

    fn registry(
        &self,
        catalog: &config::Catalog,
        failed: impl Fn(tailwater_sse::BoxError) -> Error,
    ) -> Result<Registry, Error> {
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
        let tls = connection.tls.as_ref().map(|tls| self.catalog_tls(catalog, tls)).transpose()?;
        let options = tls.iter().fold(options, |options, tls| tls.options(options));
        let registry = Registry::new(options).map_err(|error| failed(error.into()))?;
        if let Some(tls) = tls {
            tls.rotate(registry.clone());
        }
        Ok(registry)
    }
}
