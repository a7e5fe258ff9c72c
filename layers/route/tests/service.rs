//! The layer and the router as tower services: guards, readiness, nesting.

use http::{Request, Response, StatusCode, header};
use tailwater_route::{
    Access, Condition, Matched, Pattern, Rejection, Requirement, RouteLayer, Router, Routes, Unmet,
};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_test::mock;

type Mock = mock::Mock<Request<()>, Response<&'static str>>;

fn path(pattern: &str) -> Condition {
    Condition::any().path(Pattern::new(pattern).expect(pattern)).expect(pattern)
}

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).expect("a valid request")
}

fn only(pattern: &str) -> RouteLayer<()> {
    RouteLayer::new(Routes::new().route([path(pattern)], ()))
}

#[tokio::test]
async fn inner_service_is_asked_whether_it_is_ready_and_its_answer_is_final() {
    let (mut service, mut handle) = mock::spawn_layer(only("/{x}"));
    handle.allow(0);
    assert_pending!(service.poll_ready());
    handle.allow(1);
    assert!(service.is_woken());
    assert_ready_ok!(service.poll_ready());

    let mut response = task::spawn(service.call(get("/7")));
    let (request, reply) = handle.next_request().await.expect("the request");
    assert_eq!(
        request.extensions().get::<Matched>().and_then(|m| m.parameter("x")),
        Some(&b"7"[..])
    );
    assert_pending!(response.poll());
    let mut answer = Response::new("inner");
    *answer.status_mut() = StatusCode::NOT_FOUND;
    reply.send_response(answer);
    assert!(response.is_woken());
    let answer = assert_ready_ok!(response.poll());
    assert_eq!((answer.status(), *answer.body()), (StatusCode::NOT_FOUND, "inner"));
    assert!(answer.extensions().get::<Rejection>().is_none());
}

#[tokio::test]
async fn error_of_the_inner_service_stays() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Request<()>, Response<&'static str>, _>(only("/a"));
    assert_ready_ok!(service.poll_ready());
    let mut response = task::spawn(service.call(get("/a")));
    handle.next_request().await.expect("the request").1.send_error("broken");
    assert_eq!(assert_ready_err!(response.poll()).to_string(), "broken");
    handle.send_error("closed");
    assert_eq!(assert_ready_err!(service.poll_ready()).to_string(), "closed");
}

#[tokio::test]
async fn rejected_request_never_reaches_the_inner_service() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Request<()>, Response<&'static str>, _>(only("/a"));
    assert_ready_ok!(service.poll_ready());
    let mut response = task::spawn(service.call(get("/b")));
    let answer = assert_ready_ok!(response.poll());
    assert_eq!((answer.status(), *answer.body()), (StatusCode::NOT_FOUND, ""));
    assert!(!answer.headers().contains_key(header::WWW_AUTHENTICATE));
    assert_pending!(handle.poll_request());
}

#[tokio::test]
async fn dropped_response_drops_the_inner_one_and_a_clone_lives_on() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Request<()>, Response<&'static str>, _>(only("/a"));
    let mut clone = service.get_ref().clone();
    assert_ready_ok!(service.poll_ready());
    drop(service.call(get("/a")));
    drop(service);
    let (_, reply) = handle.next_request().await.expect("the request");
    reply.send_response(Response::new("to nobody"));
    let ready = clone.ready().await.expect("ready");
    let mut response = task::spawn(ready.call(get("/a")));
    assert_pending!(response.poll());
    handle.next_request().await.expect("the request").1.send_response(Response::new("clone"));
    assert_eq!(*assert_ready_ok!(response.poll()).body(), "clone");
}

/// The extension that the guard function reads.
#[derive(Clone)]
struct Roles(&'static [&'static str]);

/// The response to a client with these roles, from routes with these targets and required roles.
async fn guarded(
    routes: &[(usize, &[&str])],
    otherwise: Option<usize>,
    roles: Option<Roles>,
) -> Response<String> {
    let mut table = Routes::new().guard(|extensions, all| {
        let Some(Roles(roles)) = extensions.get() else { return Access::Unauthenticated };
        assert!(all.iter().all(|requirement| requirement.guard() == "jwt"));
        let mut demanded = all.iter().flat_map(Requirement::roles);
        if demanded.all(|role| roles.contains(&role.as_str())) {
            Access::Granted
        } else {
            Access::Forbidden
        }
    });
    for (target, demanded) in routes {
        let requirement =
            (!demanded.is_empty()).then(|| Requirement::new("jwt", demanded.iter().copied()));
        table = table.guarded_route([path("/a")], requirement, *target);
    }
    if let Some(target) = otherwise {
        table = table.fallback(target);
    }
    let layer = RouteLayer::new(table);
    let inner = service_fn(async |request: Request<()>| {
        let target = request.extensions().get::<usize>().expect("the layer put it there");
        Ok::<_, std::convert::Infallible>(Response::new(target.to_string()))
    });
    let mut request = get("/a");
    if let Some(roles) = roles {
        request.extensions_mut().insert(roles);
    }
    layer.layer(inner).oneshot(request).await.expect("infallible")
}

#[tokio::test]
async fn guarded_route_that_is_closed_does_not_match() {
    let routes: &[(usize, &[&str])] = &[(1, &["admin"]), (2, &["read", "list"]), (3, &["read"])];
    for (roles, otherwise, status, body) in [
        (Some(Roles(&["admin"])), None, 200, "1"),
        (Some(Roles(&["read", "list"])), None, 200, "2"),
        (Some(Roles(&["read"])), None, 200, "3"),
        (Some(Roles(&["list"])), None, 403, ""),
        (None, None, 401, ""),
        (None, Some(9), 200, "9"), // GRAMMAR: else the binding's own exit
    ] {
        let response = guarded(routes, otherwise, roles).await;
        assert_eq!((response.status().as_u16(), response.body().as_str()), (status, body));
        let challenge = response.headers().get(header::WWW_AUTHENTICATE);
        assert_eq!(challenge.is_some_and(|value| value == "Bearer"), status == 401);
        let rejected = response.extensions().get::<Rejection>().map(|rejected| rejected.status());
        assert_eq!(rejected, (status != 200).then_some(response.status()));
    }
    assert_eq!(guarded(&[(1, &["admin"]), (2, &[])], None, None).await.body(), "2");
}

#[tokio::test]
async fn unauthenticated_outweighs_forbidden_in_any_order() {
    for order in [["a", "b"], ["b", "a"]] {
        let routes = order.into_iter().fold(Routes::new(), |routes, guard| {
            routes.guarded_route([Condition::any()], [Requirement::new(guard, [""; 0])], ())
        });
        let layer = RouteLayer::new(routes.guard(|_, requirements| {
            if requirements.iter().any(|requirement| requirement.guard() == "a") {
                Access::Forbidden
            } else {
                Access::Unauthenticated
            }
        }));
        let (mut service, _handle) =
            mock::spawn_layer::<Request<()>, Response<&'static str>, _>(layer);
        assert_ready_ok!(service.poll_ready());
        let answer = assert_ready_ok!(task::spawn(service.call(get("/"))).poll());
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_forbidden_request_tells_what_the_first_such_route_requires() {
    let routes = ["a", "b"].into_iter().fold(Routes::new(), |routes, role| {
        routes.guarded_route([Condition::any()], [Requirement::new("jwt", [role])], ())
    });
    let layer = RouteLayer::new(routes.guard(|_, _| Access::Forbidden));
    let inner =
        service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(())));
    let response = layer.layer(inner).oneshot(get("/")).await.expect("infallible");
    let unmet = response.extensions().get::<Unmet>().expect("the reason");
    assert_eq!(unmet.requirements(), [Requirement::new("jwt", ["a"])]);
}

#[tokio::test]
async fn guard_that_cannot_tell_outweighs_the_others() {
    for (verdicts, status) in [
        (&[Access::Forbidden, Access::Unavailable][..], 503),
        (&[Access::Unavailable, Access::Unauthenticated], 503),
        (&[Access::Unavailable, Access::Granted], 200),
    ] {
        let routes = ["0", "1"].into_iter().fold(Routes::new(), |routes, name| {
            routes.guarded_route([Condition::any()], [Requirement::new(name, [""; 0])], ())
        });
        let verdicts = verdicts.to_vec();
        let layer = RouteLayer::new(routes.guard(move |_, requirements| {
            let place: usize = requirements[0].guard().parse().expect("a number");
            verdicts[place]
        }));
        let inner =
            service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(())));
        let response = layer.layer(inner).oneshot(get("/")).await.expect("infallible");
        assert_eq!(response.status(), status);
        assert!(!response.headers().contains_key(header::WWW_AUTHENTICATE));
    }
}

#[tokio::test]
async fn guarded_route_without_a_guard_function_is_closed() {
    let jwt = Requirement::new("jwt", [""; 0]);
    let layer = RouteLayer::new(Routes::new().guarded_route([Condition::any()], [jwt], ()));
    let (mut service, _handle) = mock::spawn_layer::<Request<()>, Response<&'static str>, _>(layer);
    assert_ready_ok!(service.poll_ready());
    let answer = assert_ready_ok!(task::spawn(service.call(get("/"))).poll());
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(answer.extensions().get(), Some(&Rejection::Forbidden));
}

#[tokio::test]
async fn nested_layer_replaces_the_target_and_keeps_the_parameters() {
    let at = |target: i32, pattern| RouteLayer::new(Routes::new().route([path(pattern)], target));
    let inner = service_fn(async |request: Request<()>| {
        let matched = request.extensions().get::<Matched>().expect("the layer put it there");
        Ok::<_, std::convert::Infallible>(Response::new(format!(
            "{:?}",
            (
                request.extensions().get::<i32>().expect("the layer put it there"),
                matched
                    .parameters()
                    .map(|(name, value)| (name, String::from_utf8_lossy(value)))
                    .collect::<Vec<_>>(),
                matched.parameter("x").map(String::from_utf8_lossy),
                matched.parameter("none"),
            )
        )))
    });
    let service = at(1, "/{x}/{y}").layer(at(2, "*").layer(at(3, "/a/{x}").layer(inner)));
    let response = service.oneshot(get("/a/b")).await.expect("infallible");
    assert_eq!(response.body(), r#"(3, [("x", "b"), ("x", "a"), ("y", "b")], Some("b"), None)"#,);
}

#[tokio::test]
async fn guards_of_all_layers_are_known_to_the_innermost() {
    let at = |roles: &[&str]| {
        let demanded = roles.iter().map(|role| Requirement::new("jwt", [*role]));
        let routes = Routes::new().guarded_route([path("/a")], demanded, ());
        RouteLayer::new(routes.guard(|_, _| Access::Granted))
    };
    let inner = service_fn(async |request: Request<()>| {
        let matched = request.extensions().get::<Matched>().expect("the layer put it there");
        let roles = matched.requirements().flat_map(Requirement::roles).map(String::as_str);
        Ok::<_, std::convert::Infallible>(Response::new(roles.collect::<Vec<_>>().join(" ")))
    });
    let service = at(&["outer"]).layer(at(&[]).layer(at(&["one", "two"]).layer(inner)));
    let response = service.oneshot(get("/a")).await.expect("infallible");
    assert_eq!(response.body(), "one two outer");
}

#[tokio::test]
async fn router_waits_for_the_chosen_service_only() {
    let (busy, mut busy_handle): (Mock, _) = mock::pair();
    let (idle, mut idle_handle): (Mock, _) = mock::pair();
    busy_handle.allow(0);
    let routes = Routes::new().route([path("/busy")], busy).route([path("/idle")], idle);
    let mut service = mock::Spawn::new(Router::new(routes));

    assert_ready_ok!(service.poll_ready::<Request<()>>());
    let mut waiting = task::spawn(service.call(get("/busy")));
    assert_pending!(waiting.poll());
    assert_pending!(busy_handle.poll_request());

    assert_ready_ok!(service.poll_ready::<Request<()>>());
    let mut answered = task::spawn(service.call(get("/idle")));
    assert_pending!(answered.poll());
    idle_handle.next_request().await.expect("the request").1.send_response(Response::new("idle"));
    assert_eq!(*assert_ready_ok!(answered.poll()).body(), "idle");

    assert_ready_ok!(service.poll_ready::<Request<()>>());
    assert_eq!(assert_ready_ok!(task::spawn(service.call(get("/"))).poll()).status(), 404);

    busy_handle.allow(1);
    assert!(waiting.is_woken());
    assert_pending!(waiting.poll());
    busy_handle.next_request().await.expect("the request").1.send_response(Response::new("busy"));
    assert_eq!(*assert_ready_ok!(waiting.poll()).body(), "busy");

    busy_handle.send_error("closed");
    assert_ready_ok!(service.poll_ready::<Request<()>>());
    assert_ready_err!(task::spawn(service.call(get("/busy"))).poll());
    assert_pending!(idle_handle.poll_request());
}
