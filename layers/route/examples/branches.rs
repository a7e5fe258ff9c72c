//! How do requests reach different services, one of them for members only?
//!
//! `cargo run -p tailwater-route --example branches`

#![expect(clippy::print_stdout, reason = "shows what is answered")]

use std::{convert::Infallible, error::Error};

use http::{Request, Response};
use tailwater_route::{
    Condition, Guarded, Matched, Pattern, Refused, Route, RouteLayer, Routes, Text, Verdict,
};
use tower::{ServiceExt, service_fn, util::BoxCloneService};

/// What a layer further out found out about who asks; it would have checked a token.
#[derive(Clone)]
struct Member {
    roles: Vec<String>,
}

const TOPIC: usize = 0;
const PAGES: usize = 1;

type Exit = BoxCloneService<Request<()>, Response<String>, Infallible>;

fn exit(name: &'static str, parameter: &'static str) -> Exit {
    BoxCloneService::new(service_fn(move |request: Request<()>| async move {
        let matched = request.extensions().get::<Matched>();
        let value = matched.and_then(|matched| matched.parameter(parameter)).unwrap_or_default();
        Ok(Response::new(format!("{name} {}", String::from_utf8_lossy(value))))
    }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let topics = Condition::any().path(Pattern::new("/events/{topic}")?)?;
    let pages = Condition::any()
        .path(Pattern::spanning("/{file}")?)?
        .header(":method", Text::new("GET")?)?;
    let routes = Routes::new(
        vec![
            Route::new(TOPIC).when([topics]).guarded([Guarded::new("members", ["stream"])]),
            Route::new(PAGES).when([pages]),
        ],
        None,
    );

    let layer = RouteLayer::new(routes).guard(|extensions, guarded| {
        let Some(member) = extensions.get::<Member>() else { return Verdict::Unauthenticated };
        let mut demanded = guarded.iter().flat_map(Guarded::roles);
        if demanded.all(|role| member.roles.contains(role)) {
            Verdict::Open
        } else {
            Verdict::Forbidden
        }
    });
    let service = layer.branches([exit("topic", "topic"), exit("page", "file")])?;

    let member = Member { roles: vec!["stream".to_owned()] };
    for (request, member) in [
        (Request::get("/events/trades"), Some(member)),
        (Request::get("/events/trades"), None),
        (Request::get("/js/app.js"), None),
        (Request::post("/events/trades"), None),
        (Request::post("/js/app.js"), None),
    ] {
        let mut request = request.body(())?;
        let asked = format!("{} {}", request.method(), request.uri());
        if let Some(member) = member {
            request.extensions_mut().insert(member);
        }
        let response = service.clone().oneshot(request).await?;
        match response.extensions().get::<Refused>() {
            Some(refused) => println!("{asked}: {}, {refused}", response.status()),
            None => println!("{asked}: {}, {}", response.status(), response.body()),
        }
    }
    Ok(())
}
