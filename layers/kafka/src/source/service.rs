use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Extensions;
use pin_project_lite::pin_project;
use tailwater_kafka_types::{Part, Template, Variable, Variables, check_topic_name};
use tailwater_sse::{Rejection, Subscription};
use tower_service::Service;

use crate::Error;
use crate::cluster::Query;
use crate::data::filter::Filter;
use crate::data::start::asks_for_live;
use crate::source::layer::Mapping;

/// Service of [`KafkaSourceLayer`](crate::KafkaSourceLayer).
#[derive(Clone)]
pub struct KafkaSource<S> {
    inner: S,
    mapping: Arc<Mapping>,
    variables: Arc<dyn Variables>,
}

impl<S: fmt::Debug> fmt::Debug for KafkaSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSource")
            .field("inner", &self.inner)
            .field("mapping", &self.mapping)
            .finish_non_exhaustive()
    }
}

impl<S> KafkaSource<S> {
    pub(crate) fn new(inner: S, mapping: Arc<Mapping>, variables: Arc<dyn Variables>) -> Self {
        Self { inner, mapping, variables }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service, without this one.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn query(&self, subscription: &Subscription) -> Result<Query, Error> {
        let extensions = &subscription.parts().extensions;
        let fill = |template: &Template| self.fill(template, extensions);
        let topic = fill(&self.mapping.topic)?;
        let topic = match std::str::from_utf8(&topic) {
            Ok(name) if may_ask_for(name, &self.mapping.topic) => name.to_owned(),
            _ => return Err(Error::TopicName(String::from_utf8_lossy(&topic).into_owned())),
        };
        let of_request = subscription.parts().uri.query().unwrap_or_default();
        let mut options = self.mapping.options;
        options.timestamps |= subscription.timestamps();
        options.live_event |= asks_for_live(of_request);
        let mut query =
            Query::new(topic).last_event_id(subscription.last_event_id().cloned()).options(options);
        if let Some(start) = self.mapping.start.start(of_request)? {
            query = query.start(start);
        }
        for template in &self.mapping.filters {
            let mut filter = Filter::any();
            if let Some(key) = &template.key {
                filter = filter.key(fill(key)?);
            }
            for (name, value) in &template.headers {
                filter = filter.header(name.clone(), fill(value)?);
            }
            query = query.filter(filter);
        }
        Ok(query)
    }

    fn fill(&self, template: &Template, extensions: &Extensions) -> Result<Bytes, Error> {
        template
            .fill(&*self.variables, extensions)
            .map_err(|variable: &Variable| Error::Unfilled(variable.to_string()))
    }
}

/// Whether a request may ask for the topic that it has made of the template. Kafka itself allows no
/// other names, and those that begin with `__` are its own: only a configuration spells that out.
fn may_ask_for(name: &str, template: &Template) -> bool {
    let begins = template.parts().first();
    let spelled_out = matches!(begins, Some(Part::Literal(text)) if text.starts_with("__"));
    template.as_literal().is_some()
        || check_topic_name(name).is_ok() && (spelled_out || !name.starts_with("__"))
}

impl<S> Service<Subscription> for KafkaSource<S>
where
    S: Service<Query>,
    S::Error: Into<Rejection>,
{
    type Response = S::Response;
    type Error = Rejection;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Rejection>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, subscription: Subscription) -> Self::Future {
        match self.query(&subscription) {
            Ok(query) => ResponseFuture { inner: Some(self.inner.call(query)), refused: None },
            Err(error) => ResponseFuture { inner: None, refused: Some(error) },
        }
    }
}

pin_project! {
    /// Future of [`KafkaSource`]: the inner service's, or a rejection.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: Option<F>,
        refused: Option<Error>,
    }
}

impl<F, T, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Rejection>,
{
    type Output = Result<T, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.inner.as_pin_mut() {
            Some(inner) => inner.poll(cx).map_err(Into::into),
            None => Poll::Ready(Err(this.refused.take().expect("polled after completion").into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};
    use tower::{ServiceExt as _, service_fn};
    use tower_layer::Layer as _;

    use super::*;
    use crate::source::layer::{FilterTemplate, KafkaSourceLayer};

    /// A request without a claim must not get what is meant for all who have none.
    #[tokio::test]
    async fn a_variable_that_is_not_filled_is_forbidden() {
        let text = "${guarded['g'].identity}";
        let of = |text: &str| text.parse::<Template>().unwrap();
        let mappings = [
            Mapping::new(of(text)),
            Mapping::new(of(&format!("orders-{text}"))),
            Mapping::new(of("orders")).filter(FilterTemplate::any().key(of(text))),
            Mapping::new(of("orders"))
                .filter(FilterTemplate::any().key(of("k")))
                .filter(FilterTemplate::any().header("owner", of(&format!("{text}/x")))),
            Mapping::new(of("orders"))
                .filter(FilterTemplate::any().key(of("${guarded['g'].attributes.realm}"))),
            Mapping::new(of("orders-${params.region}")),
        ];
        for mapping in mappings {
            for value in [None, Some(""), Some("me")] {
                let parameter = mapping
                    .topic
                    .variables()
                    .any(|variable| matches!(variable, Variable::Parameter(_)));
                let variables = move |_: &Variable, _: &Extensions| value.map(Bytes::from);
                let inner = service_fn(async |query: Query| Ok::<_, Rejection>(query));
                let source =
                    KafkaSourceLayer::new(mapping.clone()).variables(variables).layer(inner);
                let (parts, ()) = Request::new(()).into_parts();
                let answer = source.oneshot(Subscription::new(parts, None, false)).await;
                let status = answer.map_err(|rejection| rejection.status()).map(drop);
                let filled = value == Some("me") || (value == Some("") && parameter);
                let expected = if filled { Ok(()) } else { Err(StatusCode::FORBIDDEN) };
                assert_eq!(status, expected, "{value:?} in {mapping:?}");
            }
        }
    }

    #[test]
    fn a_path_may_only_ask_for_names_that_kafka_allows_and_does_not_own() {
        let (longest, long) = ("a".repeat(249), "a".repeat(250));
        for (name, legal) in [
            ("events", true),
            ("a.b_c-D9", true),
            (&*longest, true),
            (&*long, false),
            ("", false),
            (".", false),
            ("..", false),
            ("__consumer_offsets", false),
            ("_a", true),
            ("a b", false),
            ("ä", false),
            ("a/b", false),
            ("a\0", false),
        ] {
            let template = "${params.topic}".parse().unwrap();
            assert_eq!(may_ask_for(name, &template), legal, "{name:?}");
        }
    }

    #[test]
    fn only_a_configuration_spells_out_what_kafka_owns() {
        for (template, name, legal) in [
            ("__consumer_offsets", "__consumer_offsets", true),
            ("__app-${params.a}", "__app-1", true),
            ("__app-${params.a}", "__app-a/b", false),
            ("__${params.a}", "__", true),
            ("_${params.a}", "__consumer_offsets", false),
            ("_${params.a}", "_a", true),
            ("${params.a}__", "__consumer_offsets__", false),
            ("${params.a}${params.b}", "__consumer_offsets", false),
        ] {
            assert_eq!(may_ask_for(name, &template.parse().unwrap()), legal, "{template} {name}");
        }
    }
}
