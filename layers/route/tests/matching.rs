//! Which pattern matches which request. REF names the section about what Zilla does or should do.

use http::{Request, StatusCode};
use tailwater_route::{
    Condition, Error, Matched, Pattern, Rejection, RouteLayer, Routes, Scheme, ValuePattern,
};
use tower::{ServiceExt, service_fn};

/// The target of a request's route and what the route captured, or why the request is rejected.
type Answer = Result<(u8, Matched), Rejection>;

/// Sends a request through the layer: the extensions that the inner service gets, or the rejection.
fn ask(routes: Routes<u8>, request: Request<()>) -> Answer {
    let inner = service_fn(async |request: Request<()>| {
        let mut response = http::Response::new(());
        *response.extensions_mut() = request.extensions().clone();
        Ok::<_, std::convert::Infallible>(response)
    });
    let service = tower::Layer::layer(&RouteLayer::new(routes), inner);
    let response = tokio_test::block_on(service.oneshot(request)).expect("infallible");
    match response.extensions().get::<Matched>() {
        Some(matched) => {
            let target = response.extensions().get::<u8>().expect("a target");
            Ok((*target, matched.clone()))
        }
        None => {
            let rejected = *response.extensions().get::<Rejection>().expect("a reason");
            assert_eq!(response.status(), rejected.status());
            Err(rejected)
        }
    }
}

fn holds(condition: Condition, request: Request<()>) -> Answer {
    ask(Routes::new().route([condition], 7), request)
}

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).expect("a valid request")
}

fn text(answer: &Answer) -> Option<Vec<(&str, &str)>> {
    let (_, matched) = answer.as_ref().ok()?;
    let parameters = matched.parameters();
    Some(parameters.map(|(name, value)| (name, str::from_utf8(value).expect("text"))).collect())
}

fn path(pattern: &str) -> Condition {
    Condition::any().path(Pattern::new(pattern).expect(pattern)).expect(pattern)
}

fn header(name: &str, value: &str) -> Condition {
    Condition::any().header(name, ValuePattern::new(value).expect(value)).expect(name)
}

#[test]
fn paths() {
    for (pattern, uri, expected, source) in [
        ("/events", "/events", Some(&[][..]), "REF sse server: else exact"),
        ("/events", "/events/", None, "REF sse server: else exact"),
        ("/events", "/Events", None, "REF sse server: else exact"),
        ("/events", "/events?lastEventId=AQ", Some(&[]), "REF sse server: the query is not part"),
        ("/events", "/%65vents", Some(&[]), "RFC 3986 6.2.2.2"),
        ("/%65vents", "/events", Some(&[]), "RFC 3986 6.2.2.2"),
        ("/events", "/%2565vents", None, "issue 3: decoded after the split, once"),
        ("/é", "/%C3%A9", Some(&[]), "RFC 3986 2.5"),
        ("/a*", "/a", Some(&[]), "REF sse server: any text"),
        ("/a*b/c", "/a1/2b/c", Some(&[]), "issue 3: also inside a segment"),
        ("*", "/", Some(&[]), "REF sse server: any text"),
        ("/%2A", "/x", None, "an encoded star is a star"),
        ("/%2A", "/*", Some(&[]), "an encoded star is a star"),
        ("/{topic}", "/trades", Some(&[("topic", "trades")]), "REF sse-kafka proxy: captures"),
        ("/{topic}", "/a/b", None, "REF sse-kafka proxy: one segment"),
        ("/{topic}", "/", None, "a parameter is not empty"),
        ("/{topic}/", "/a/", Some(&[("topic", "a")]), "a final slash is text"),
        ("/{topic}", "/a%20b", Some(&[("topic", "a b")]), "REF sse-kafka proxy: percent-decoded"),
        ("/{topic}", "/a%2520b", Some(&[("topic", "a%20b")]), "percent-decoded once"),
        ("/{topic}", "/a%2Fb", None, "REF sse-kafka proxy: would contain `/`"),
        ("/{topic}", "/a%2fb", None, "REF sse-kafka proxy: would contain `/`"),
        ("/{topic}", "/a%00b", None, "REF sse-kafka proxy: would contain NUL"),
        ("/*", "/a%2Fb", None, "REF sse-kafka proxy: a path in which"),
        ("/{topic}", "/100%", Some(&[("topic", "100%")]), "no valid encoding is text"),
        ("/{topic}", "/%zz%", Some(&[("topic", "%zz%")]), "no valid encoding is text"),
        ("/{file}.json", "/a.json", Some(&[("file", "a")]), "Zilla: (?<file>.+)\\.json"),
        ("/{file}.json", "/axjson", None, "a dot is a dot"),
        ("/{a}/x/{b}", "/1/x/2", Some(&[("a", "1"), ("b", "2")]), "REF sse-kafka proxy: captures"),
        ("/a/b", "/a/./b", None, "no normalisation"),
        ("/b", "/a/../b", None, "no normalisation"),
        ("/a/b", "/a//b", None, "no normalisation"),
    ] {
        let answer = holds(path(pattern), get(uri));
        assert_eq!(text(&answer).as_deref(), expected, "{pattern} {uri}: {source}");
    }
}

#[test]
fn parameter_of_a_spanning_pattern_reaches_across_segments() {
    for (uri, expected) in [
        ("/index.html", Some("index.html")),
        ("/js/app%20one.js", Some("js/app one.js")),
        ("/", None),
        ("/js%2Fapp.js", None),
    ] {
        let pattern = Pattern::multi_segment("/{path}").expect("valid");
        let answer = holds(Condition::any().path(pattern).expect("one name"), get(uri));
        let value = answer.as_ref().ok().and_then(|(_, matched)| matched.parameter("path"));
        assert_eq!(value, expected.map(str::as_bytes), "{uri}");
    }
}

#[test]
fn path_header() {
    for (pattern, uri, expected, source) in [
        ("/events", "/events", Some(&[][..]), "GRAMMAR http server"),
        ("/events", "/events?lastEventId=AQ", Some(&[]), "GRAMMAR: the query is ignored"),
        ("/events/*", "/events/a?x=1", Some(&[]), "GRAMMAR: unless it ends in a star"),
        ("/events*", "/events?x=1", Some(&[]), "GRAMMAR: unless it ends in a star"),
        ("/events?x=*", "/events?x=1", Some(&[]), "GRAMMAR: unless it ends in a star"),
        ("/events?x=*", "/events?y=1", None, "GRAMMAR: unless it ends in a star"),
        ("/events?*", "/events", None, "no query"),
        ("*/public/*", "/private?/public/", None, "a query does not stand in for a path"),
        ("/{a}/x", "/7/x", Some(&[("a", "7")]), "GRAMMAR: captures"),
        ("/{a}/x", "/7/8/x", None, "issue 3: one segment"),
        ("/private/*", "/%70rivate/x", Some(&[]), "an inner layer finds the same path"),
        ("/private/*", "/private/a%2Fb", Some(&[]), "no way around a guard"),
        ("/private/*", "/private%2Fb", None, "an encoded slash is none"),
        ("/{a}", "/a%2Fb", None, "a parameter holds no slash"),
    ] {
        let answer = holds(header(":path", pattern), get(uri));
        assert_eq!(text(&answer).as_deref(), expected, "{pattern} {uri}: {source}");
    }
}

#[test]
fn pseudo_headers() {
    let request = |method: &str, uri: &str, host: Option<&str>| {
        let builder = Request::builder().method(method).uri(uri);
        host.into_iter().fold(builder, |builder, host| builder.header("host", host))
    };
    for (name, pattern, request, expected) in [
        (":method", "GET", request("GET", "/", None), true),
        (":method", "get", request("GET", "/", None), false),
        (":method", "*", request("BREW", "/", None), true),
        (":scheme", "http", request("GET", "/", None), true),
        (":scheme", "HTTP", request("GET", "/", None), true),
        (":scheme", "https", request("GET", "/", None), false),
        (":scheme", "https", request("GET", "https://a/", None), true),
        (":scheme", "https", request("GET", "/", None).extension(Scheme::Https), true),
        (":scheme", "https", request("GET", "https://a/", None).extension(Scheme::Http), false),
        (":authority", "localhost:7114", request("GET", "/", Some("localhost:7114")), true),
        (":authority", "LOCALHOST:7114", request("GET", "/", Some("LocalHost:7114")), true),
        (":authority", "localhost:7114", request("GET", "/", Some("localhost")), false),
        (":authority", "localhost:80", request("GET", "/", Some("localhost")), true),
        (":authority", "localhost", request("GET", "/", Some("localhost:80")), true),
        (":authority", "*:80", request("GET", "/", Some("localhost")), true),
        (
            ":authority",
            "localhost:80",
            request("GET", "/", Some("localhost")).extension(Scheme::Https),
            false,
        ),
        (":authority", "localhost:443", request("GET", "https://localhost/", None), true),
        (":authority", "a", request("GET", "http://a/", Some("b")), true),
        (":authority", "b", request("GET", "http://a/", Some("b")), false),
        (":authority", "*", request("GET", "/", None), false),
        (":authority", "a", request("GET", "/", Some("a")).header("host", "b"), false),
        (":authority", "*.example.com", request("GET", "/", Some("eu.example.com")), true),
        ("accept", "text/*", request("GET", "/", None).header("Accept", "text/html"), true),
        (
            "Accept",
            "text/*",
            request("GET", "/", None).header("accept", "a/b").header("accept", "text/x"),
            true,
        ),
        ("accept", "*", request("GET", "/", None), false),
        ("x", "", request("GET", "/", None).header("x", ""), true),
        ("x", "*", request("GET", "/", None).header("x", &b"\xff"[..]), true),
    ] {
        let request = request.body(()).expect("a valid request");
        let about = format!("{name}: {pattern} of {request:?}");
        assert_eq!(holds(header(name, pattern), request).is_ok(), expected, "{about}");
    }
}

#[test]
fn all_of_a_condition_and_any_of_a_route() {
    let both = path("/a").header("x", ValuePattern::new("{x}").expect("valid")).expect("one name");
    let routes = || Routes::new().route([both.clone(), path("/b")], 1);
    let with = |uri| Request::get(uri).header("x", "1").body(()).expect("valid");
    assert_eq!(text(&ask(routes(), with("/a"))), Some(vec![("x", "1")]));
    assert_eq!(ask(routes(), get("/a")), Err(Rejection::NotFound));
    assert_eq!(text(&ask(routes(), get("/b"))), Some(vec![]));
}

#[test]
fn first_route_in_order_wins_literal_or_not() {
    let routes = ["/a", "/{x}", "/b", "/a"]
        .into_iter()
        .zip(0..)
        .fold(Routes::new(), |routes, (pattern, target)| routes.route([path(pattern)], target));
    for (uri, target) in [("/a", Ok(0)), ("/b", Ok(1)), ("/b/c", Err(Rejection::NotFound))] {
        let answer = ask(routes.clone(), get(uri));
        assert_eq!(answer.map(|(target, _)| target), target, "{uri}");
    }
    let answer = ask(routes.fallback(9), get("/b/c"));
    assert_eq!(answer.map(|(target, _)| target), Ok(9));
    assert_eq!(ask(Routes::new(), get("/")), Err(Rejection::NotFound));
    assert!(ask(Routes::new().route([Condition::any()], 0), get("/%2F")).is_ok());
    let none: [Condition; 0] = [];
    assert!(ask(Routes::new().route(none, 0), get("/%2F")).is_ok());
}

#[test]
fn path_that_no_pattern_can_judge_takes_no_wider_route_either() {
    let routes =
        Routes::new().route([path("/private/{x}")], 0).route([Condition::any()], 1).fallback(2);
    for uri in ["/private/a%2Fb", "/private%2fa", "/private/%00"] {
        assert_eq!(ask(routes.clone(), get(uri)), Err(Rejection::NotFound), "{uri}");
    }
    assert_eq!(ask(routes, get("/public")).map(|(target, _)| target), Ok(1));
}

#[test]
fn rejection_has_a_status() {
    assert_eq!(Rejection::NotFound.status(), StatusCode::NOT_FOUND);
    assert_eq!(Rejection::Forbidden.status(), StatusCode::FORBIDDEN);
    assert_eq!(Rejection::Unauthenticated.status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn errors_name_their_position() {
    let name = |name: &str, at| Error::Name { name: name.into(), at };
    for (pattern, error, message) in [
        ("", Error::Start(String::new()), "path pattern `` does not begin with `/` or `*`"),
        ("a", Error::Start("a".into()), "path pattern `a` does not begin with `/` or `*`"),
        ("{a}", Error::Start("{a}".into()), "path pattern `{a}` does not begin with `/` or `*`"),
        ("/é/{a", Error::Unclosed(4), "unclosed `{` at byte 4 of the pattern"),
        ("/a}", Error::Unopened(2), "`}` without `{` at byte 2 of the pattern"),
        ("/{}", Error::Nameless(1), "parameter without a name at byte 1 of the pattern"),
        ("/{a b}", name("a b", 1), "`a b` at byte 1 of the pattern is no name of a parameter"),
        ("/{1}", name("1", 1), "`1` at byte 1 of the pattern is no name of a parameter"),
        ("/{a{b}}", name("a{b", 1), "`a{b` at byte 1 of the pattern is no name of a parameter"),
        ("/{é}", name("é", 1), "`é` at byte 1 of the pattern is no name of a parameter"),
        (
            "/{a}/{a}",
            Error::Duplicate { name: "a".into(), at: 5 },
            "second parameter `a` at byte 5 of the pattern",
        ),
        ("/{a}{b}", Error::Adjacent(4), "no text between two parameters at byte 4 of the pattern"),
        (
            "/a?b",
            Error::Query(2),
            "`?` at byte 2 of the path pattern: a query takes part only in `:path`, before a final `*`",
        ),
        ("/*/a%2fb", Error::Separator(4), "encoded `/` or NUL at byte 4 of the path pattern"),
    ] {
        let found = Pattern::new(pattern).expect_err(pattern);
        assert_eq!((&found, found.to_string()), (&error, message.to_owned()), "{pattern}");
    }
    for (header, value, error) in [
        (":status", "200", Error::PseudoHeader(":status".into())),
        ("a b", "*", Error::Header("a b".into())),
        (":path", "a", Error::Start("a".into())),
        (":path", "/a?b", Error::Query(2)),
        (":path", "/a?{b}*", Error::Query(2)),
        ("x", "1-{id}", Error::Duplicate { name: "id".into(), at: 2 }),
    ] {
        let value = ValuePattern::new(value).expect(value);
        assert_eq!(path("/{id}").header(header, value).expect_err(header), error, "{header}");
    }
}

#[test]
fn patterns_have_names_and_parse_back() {
    let pattern: Pattern = "/a/{b}/*/{c_d-1}".parse().expect("valid");
    assert_eq!(pattern.names().collect::<Vec<_>>(), ["b", "c_d-1"]);
    assert_eq!(pattern.to_string(), "/a/{b}/*/{c_d-1}");
    assert!(pattern.matches("/a/1/2/3") && !pattern.matches("/a/1/2%2F/3"));
    assert_eq!(ValuePattern::new("Bearer {t}").expect("valid").names().collect::<Vec<_>>(), ["t"]);
}
