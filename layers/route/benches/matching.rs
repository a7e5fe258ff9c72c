//! A request takes as long with ten thousand literal routes as with one.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{Request, Response};
use tailwater_route::{Pattern, RouteLayer, Routes};
use tower::{Layer, Service};

struct Answer;

impl Service<Request<()>> for Answer {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        black_box(request);
        ready(Ok(Response::new(())))
    }
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).expect("a valid pattern")
}

fn matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matching");
    group.throughput(Throughput::Elements(1));
    for routes in [1, 100, 10_000_usize] {
        let literals = (1..=routes).fold(Routes::new(), |table, n| {
            table.route([pattern(&format!("/orders/{n}/items"))], ())
        });
        let all = literals.route([pattern("/events/{topic}")], ());
        let mut service = RouteLayer::new(all).layer(Answer);
        for (name, path) in [
            ("literal", format!("/orders/{routes}/items")),
            ("parameter", "/events/trades".to_owned()),
            ("none", "/orders/0/items".to_owned()),
        ] {
            group.bench_function(BenchmarkId::new(name, routes), |bencher| {
                bencher.iter_batched(
                    || Request::get(&path).body(()).expect("a valid request"),
                    |request| service.call(request),
                    criterion::BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, matching);
criterion_main!(benches);
