//! How do requests reach different services, one of them for members only?
//!
//! `cargo run -p tailwater-route --example router`

#![expect(clippy::print_stdout, reason = "shows what is answered")]

use std::convert::Infallible;
use std::error::Error;

use http::{Request, Response};
use tailwater_route::{
    Access, Condition, Matched, Pattern, Rejection, Requirement, Router, Routes, ValuePattern,
};
use tower::util::BoxCloneService;
use tower::{ServiceExt, service_fn};

/// The client, as an outer layer would know it from a token.
#[derive(Clone)]
struct Member {
    roles: Vec<String>,
}

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
    let topics = Pattern::new("/events/{topic}")?;
    let streams = Requirement::new("members", ["stream"]);
    let pages = Condition::from(Pattern::multi_segment("/{file}")?)
        .header(":method", ValuePattern::new("GET")?)?;
    let routes = Routes::new()
        .guarded_route([topics], [streams], exit("topic", "topic"))
        .route([pages], exit("page", "file"))
        .guard(|extensions, requirements| {
            let Some(member) = extensions.get::<Member>() else { return Access::Unauthenticated };
            let mut demanded = requirements.iter().flat_map(Requirement::roles);
            if demanded.all(|role| member.roles.contains(role)) {
                Access::Granted
            } else {
                Access::Forbidden
            }
        });
    let service = Router::new(routes);

    let member = Member { roles: vec!["stream".to_owned()] };
    for (request, member) in [
        (Request::get("/events/trades"), Some(member)),
        (Request::get("/events/trades"), None),
        (Request::get("/js/app.js"), None),
        (Request::post("/events/trades"), None),
        (Request::post("/js/app.js"), None),
    ] {
        let mut request = request.body(())?;
        let line = format!("{} {}", request.method(), request.uri());
        if let Some(member) = member {
            request.extensions_mut().insert(member);
        }
        let response = service.clone().oneshot(request).await?;
        match response.extensions().get::<Rejection>() {
            Some(rejection) => println!("{line}: {}, {rejection}", response.status()),
            None => println!("{line}: {}, {}", response.status(), response.body()),
        }
    }
    Ok(())
}
