use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tailwater_sse::{Rejection, Subscription};
use tower_service::Service;

use crate::Error;
use crate::cluster::Query;
use crate::source::layer::KafkaSourceLayer;

/// Service of [`KafkaSourceLayer`](crate::KafkaSourceLayer).
#[derive(Clone)]
pub struct KafkaSource<S> {
    inner: S,
    layer: KafkaSourceLayer,
}

impl<S: fmt::Debug> fmt::Debug for KafkaSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSource")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish_non_exhaustive()
    }
}

impl<S> KafkaSource<S> {
    pub(crate) fn new(inner: S, layer: KafkaSourceLayer) -> Self {
        Self { inner, layer }
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
        let KafkaSourceLayer { mapping, variables, converters } = &self.layer;
        match mapping.query(&subscription, &**variables) {
            Ok(query) => {
                let converter = converters.as_ref().and_then(|lookup| lookup(&subscription));
                let query = converter.into_iter().fold(query, Query::converter);
                ResponseFuture { inner: Some(self.inner.call(query)), refused: None }
            }
            Err(error) => ResponseFuture { inner: None, refused: Some(error) },
        }
    }
}

pin_project! {
    /// Future of [`KafkaSource`]: that of the inner service, or a rejection.
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
    use bytes::Bytes;
    use http::{Extensions, Request, StatusCode};
    use tailwater_kafka_types::{Template, Variable};
    use tower::{ServiceExt as _, service_fn};
    use tower_layer::Layer as _;

    use super::*;
    use crate::source::mapping::{FilterTemplate, Mapping};

    /// A request without a claim must not get the records that have an empty one.
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
}
