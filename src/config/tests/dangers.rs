//! What passes, and is hardly meant.

use super::{described, said};

/// A file with these options of the guard, of the `http` binding, and routes of the `sse` and the
/// `sse-kafka` binding.
fn guarded(guard: &str, http: &str, sse: &str, topics: &str) -> String {
    format!(
        "name: a
guards: {{ who: {{ type: jwt, options: {{ {guard} }} }} }}
bindings:
  in: {{ type: tcp, kind: server, options: {{ port: 1 }}, exit: web }}
  web: {{ type: http, kind: server, options: {{ {http} }}, exit: streams }}
  streams: {{ type: sse, kind: server, {sse} }}
  map:
    type: sse-kafka
    kind: proxy
    routes: {topics}
  kc: {{ type: kafka, kind: client, options: {{ servers: [k:9092] }}, exit: out }}
  out: {{ type: tcp, kind: client }}
"
    )
}

const GOOD: &str = "issuer: https://a.example, audience: b, keys: https://a.example/keys";
const ASKS: &str = "authorization: { who: { credentials: { headers: { authorization: \"Bearer {credentials}\" } } } }";
const OPEN: &str = "[{ when: [{ path: /x }], with: { topic: x }, exit: kc }]";

#[test]
fn a_guard_that_takes_tokens_of_others_is_told() {
    for (options, expected) in [
        (GOOD, ""),
        ("issuer: https://a.example, audience: b", ""),
        ("issuer: http://localhost:8080, audience: b", ""),
        ("issuer: a, audience: b, keys: http://127.0.0.2/keys", ""),
        ("issuer: a, audience: b, keys: \"http://[::1]:1/keys\"", ""),
        ("issuer: https://a.example, keys: https://a.example/keys", "no `audience`"),
        ("issuer: https://a.example, audience: []", "no `audience`"),
        ("audience: b, keys: https://a.example/keys", "no `issuer`"),
        ("issuer: http://a.example, audience: b", "the keys are fetched without TLS"),
        (
            "issuer: a, audience: b, keys: http://127.evil.example/keys",
            "the keys are fetched without TLS",
        ),
    ] {
        let said = said(&guarded(options, ASKS, "exit: map", OPEN));
        match expected {
            "" => assert_eq!(said, "", "{options}"),
            expected => {
                let start = format!("2:11: warning: guards.who: {expected}");
                assert!(said.starts_with(&start), "{options}: {said}");
                assert_eq!(said.lines().count(), 2, "{said}");
                assert!(said.contains("\n  help: expected "), "{said}");
            }
        }
    }
    // Nobody asks it.
    assert_eq!(said(&guarded("keys: http://a.example/keys", "", "exit: map", OPEN)), "");
}

#[test]
fn an_open_route_beside_a_guarded_one_to_the_same_place_is_told() {
    let route = |guarded: &str, path: &str, with: &str| {
        format!("{{ {guarded} when: [{{ path: \"{path}\" }}], with: {{ {with} }}, exit: kc }}")
    };
    let who = "guarded: { who: [] },";
    for (one, two, order) in [
        ((who, "/x", "topic: x"), ("", "/x", "topic: x"), "a later"),
        ((who, "/{a}/x", "topic: x"), ("", "/*", "topic: x"), "a later"),
        (
            (who, "/{t}", "topic: \"${params.t}\""),
            ("", "/{u}", "topic: \"${params.u}\""),
            "a later",
        ),
        ((who, "/x", "topic: x"), ("", "/{t}", "topic: \"${params.t}\""), "a later"),
        (
            (who, "/x", "topic: x, filters: [{ key: \"${guarded['who'].identity}\" }]"),
            ("", "/x", "topic: x"),
            "a later",
        ),
        (("", "/*", "topic: x"), (who, "/x", "topic: x"), "an earlier"),
        ((who, "/{t}", "topic: \"${params.t}\""), ("", "/x", "topic: x"), "a later"),
        (
            (who, "/x/{id}", "topic: x, filters: [{ key: \"${params.id}\" }]"),
            ("", "/x/all", "topic: x"),
            "a later",
        ),
        // Another place, another path, or guarded as well.
        ((who, "/x", "topic: x"), ("", "/x", "topic: y"), ""),
        ((who, "/x", "topic: x"), ("", "/y", "topic: x"), ""),
        ((who, "/x/{a}", "topic: x"), ("", "/x", "topic: x"), ""),
        ((who, "/x", "topic: x"), ("", "/{t}", "topic: \"y-${params.t}\""), ""),
        ((who, "/x", "topic: \"x-${guarded['who'].identity}\""), ("", "/x", "topic: x"), ""),
        ((who, "/x", "topic: x"), ("guarded: { who: [r] },", "/x", "topic: x"), ""),
        ((who, "/x", "topic: x"), (who, "/*", "topic: x"), ""),
    ] {
        let routes = format!("[{}, {}]", route(one.0, one.1, one.2), route(two.0, two.1, two.2));
        let said = said(&guarded(GOOD, ASKS, "exit: map", &routes));
        match order {
            "" => assert_eq!(said, "", "{routes}"),
            order => {
                let expected = format!(
                    "warning: bindings.map: the route is guarded, but {order} route without `guarded` leads to the same: requests without credentials take that route
  help: expected `guarded` on both routes, or another path for the open one
"
                );
                assert!(said.ends_with(&expected), "{routes}: {said}");
                let column =
                    if order == "a later" { 14 } else { 14 + route(one.0, one.1, one.2).len() + 2 };
                assert!(said.starts_with(&format!("10:{column}: ")), "{said}");
            }
        }
    }
    // Any of the conditions.
    let routes = format!(
        "[{{ {who} when: [{{ path: /a }}, {{ path: \"/b/{{t}}\" }}], with: {{ topic: x }}, exit: kc }}, {}]",
        route("", "/b/*", "topic: x")
    );
    assert!(said(&guarded(GOOD, ASKS, "exit: map", &routes)).contains("a later route"), "{routes}");
    let routes = routes.replace("/b/*", "/c/*");
    assert_eq!(said(&guarded(GOOD, ASKS, "exit: map", &routes)), "");
    // The exit of the binding is its last route, and open.
    let sse = "routes: [{ guarded: { who: [] }, when: [{ path: /x }], exit: map }], exit: map";
    assert!(said(&guarded(GOOD, ASKS, sse, OPEN)).contains("a later route without `guarded`"));
}

#[test]
fn what_lies_behind_the_open_route_counts() {
    let file = |open: &str, inner: &str| {
        format!(
            "name: a
guards: {{ who: {{ type: jwt, options: {{ {GOOD} }} }} }}
bindings:
  in: {{ type: tcp, kind: server, options: {{ port: 1 }}, exit: web }}
  web: {{ type: http, kind: server, options: {{ {ASKS} }}, routes: [{{ guarded: {{ who: [] }}, when: [{{ headers: {{ \":path\": /x }} }}], exit: streams }}], exit: {open} }}
  streams: {{ type: sse, kind: server, exit: map }}
  others: {{ type: sse, kind: server, exit: map }}
  map: {{ type: sse-kafka, kind: proxy, routes: [{{ {inner} when: [{{ path: /x }}], with: {{ topic: x }}, exit: kc }}] }}
  kc: {{ type: kafka, kind: client, options: {{ servers: [k:9092] }}, exit: out }}
  out: {{ type: tcp, kind: client }}
"
        )
    };
    for open in ["streams", "others"] {
        assert!(
            said(&file(open, ""))
                .starts_with("5:155: warning: bindings.web: the route is guarded, but a later"),
            "{}",
            said(&file(open, ""))
        );
        // It is guarded there.
        assert_eq!(said(&file(open, "guarded: { who: [] },")), "");
    }
}

#[test]
fn files_behind_a_guard_are_not_served_by_a_wider_route() {
    let file = |private: &str, all: &str| {
        format!(
            "name: a
guards: {{ who: {{ type: jwt, options: {{ {GOOD} }} }} }}
bindings:
  in: {{ type: tcp, kind: server, options: {{ port: 1 }}, exit: web }}
  web: {{ type: http, kind: server, options: {{ {ASKS} }}, routes: [{{ guarded: {{ who: [] }}, when: [{{ headers: {{ \":path\": /admin/*, \":method\": GET, \":authority\": a.example }} }}], exit: pages }}, {{ when: [{{ headers: {{ \":path\": /public/* }} }}], exit: pages }}] }}
  pages:
    type: http-filesystem
    kind: proxy
    routes:
      - {{ guarded: {{ who: [] }}, when: [{{ path: \"/private/{{p}}\" }}], with: {{ path: \"{private}\" }}, exit: files }}
      - {{ when: [{{ path: \"/{{path}}\" }}], with: {{ path: \"{all}\" }}, exit: files }}
  files: {{ type: filesystem, kind: server, options: {{ location: www/ }} }}
"
        )
    };
    let same = said(&file("private/${params.p}", "${params.path}"));
    assert!(
        same.starts_with("10:9: warning: bindings.pages: the route is guarded, but a later"),
        "{same}"
    );
    assert_eq!(said(&file("private/${params.p}", "public/${params.path}")), "");
    assert_eq!(said(&file("secret/${params.p}", "${params.path}")), "");
}

#[test]
fn credentials_for_pages_of_any_origin_are_told() {
    for (allow, told) in [
        ("credentials: true", true),
        ("credentials: true, origins: [\"*\"]", true),
        ("credentials: true, origins: [\"https://a.example\", \"null\"]", true),
        ("credentials: true, origins: [\"https://a.example\"]", false),
        ("credentials: false", false),
    ] {
        let http = format!("access-control: {{ policy: cross-origin, allow: {{ {allow} }} }}");
        let said = said(&guarded(GOOD, &http, "exit: map", OPEN));
        let expected = "bindings.web.options.access-control.allow.credentials: pages of any origin may read what a user's cookies give access to
  help: expected the origins of your pages in `allow.origins`, or no `credentials`
";
        assert_eq!(said.ends_with(expected), told, "{allow}: {said}");
        assert_eq!(said.is_empty(), !told, "{said}");
    }
}

#[test]
fn a_folder_that_is_all_there_is_is_told() {
    for (location, told) in [
        ("/", true),
        ("//", true),
        ("/srv/..", true),
        ("/../.", true),
        ("/proc/self/root", true),
        ("../../../../../../../../../../../../../..", true),
        ("/srv", false),
        (".", false),
        ("www/..", false),
    ] {
        for (symlinks, followed) in [("follow", ", wherever symbolic links lead"), ("ignore", "")] {
            let file = format!(
                "name: a
bindings:
  in: {{ type: tcp, kind: server, options: {{ port: 1 }}, exit: web }}
  web: {{ type: http, kind: server, exit: pages }}
  pages: {{ type: http-filesystem, kind: proxy, exit: files }}
  files: {{ type: filesystem, kind: server, options: {{ location: {location}, symlinks: {symlinks} }} }}
"
            );
            let expected = match told {
                true => format!(
                    "6:3: warning: bindings.files.options: the folder is `/`: each file that this process can read is served{followed}
  help: expected the folder of the pages as `location`
"
                ),
                false => String::new(),
            };
            assert_eq!(said(&file), expected, "{location}");
        }
    }
}

#[test]
fn ports_that_no_route_takes_are_told() {
    for (port, routes, lost) in [
        ("[1, 2]", "routes: [{ when: [{ port: 1 }], exit: web }]", "2"),
        ("1-9", "routes: [{ when: [{ port: 2-3 }, { port: 9 }], exit: web }]", "1,4-8"),
        (
            "[1, 2]",
            "routes: [{ when: [{ port: 1 }, { port: 2, cidr: 10.0.0.0/8 }], exit: web }]",
            "",
        ),
        ("[1, 2]", "routes: [{ when: [{ port: 1 }], exit: web }], exit: web", ""),
        ("[1, 2]", "routes: [{ when: [{ cidr: 0.0.0.0/0 }], exit: web }]", ""),
        ("0", "routes: [{ when: [{ port: 1 }], exit: web }]", ""),
        // By TLS.
        ("[3, 4]", "exit: tls", "4"),
        ("[3, 4]", "routes: [{ when: [{ port: 4 }], exit: web }], exit: tls", ""),
        (
            "[3, 4]",
            "routes: [{ when: [{ port: 4, cidr: 10.0.0.0/8 }], exit: web }], exit: tls",
            "4",
        ),
    ] {
        let file = format!(
            "name: a
vaults: {{ v: {{ type: filesystem, options: {{ keys: {{ store: k.p12 }} }} }} }}
bindings:
  in: {{ type: tcp, kind: server, options: {{ port: {port} }}, {routes} }}
  tls: {{ type: tls, kind: server, vault: v, options: {{ keys: [a] }}, routes: [{{ when: [{{ port: 3 }}], exit: web }}] }}
  web: {{ type: http, kind: server, exit: pages }}
  pages: {{ type: http-filesystem, kind: proxy, exit: files }}
  files: {{ type: filesystem, kind: server, options: {{ location: www/ }} }}
"
        );
        let (place, name) = if routes.contains("tls") { ("5:3", "tls") } else { ("4:3", "in") };
        let expected = match lost {
            "" => String::new(),
            lost => format!(
                "{place}: warning: bindings.{name}: no route takes connections to port {lost}: they are closed
  help: expected a route with `when: [{{ port: [{}] }}]`, or an `exit`
",
                lost.replace(',', ", ")
            ),
        };
        assert_eq!(said(&file), expected, "{port} {routes}");
    }
}

#[test]
fn routes_that_no_encrypted_connection_takes_are_told() {
    for (options, when, why) in [
        ("", "alpn: h2", ""),
        ("", "authority: \"*.example\"", ""),
        ("alpn: [http/1.1],", "alpn: h2", "the protocol `h2` is never negotiated"),
        ("", "alpn: h3", "the protocol `h3` is never negotiated"),
        ("", "authority: a.example:7143", "`a.example:7143` never matches"),
        ("", "authority: 127.0.0.1", "`127.0.0.1` never matches"),
    ] {
        let file = format!(
            "name: a
vaults: {{ v: {{ type: filesystem, options: {{ keys: {{ store: k.p12 }} }} }} }}
bindings:
  in: {{ type: tcp, kind: server, options: {{ port: 1 }}, exit: tls }}
  tls: {{ type: tls, kind: server, vault: v, options: {{ {options} keys: [a] }}, routes: [{{ when: [{{ {when} }}], exit: web }}], exit: web }}
  web: {{ type: http, kind: server, exit: pages }}
  pages: {{ type: http-filesystem, kind: proxy, exit: files }}
  files: {{ type: filesystem, kind: server, options: {{ location: www/ }} }}
"
        );
        let said = said(&file);
        match why {
            "" => assert_eq!(said, "", "{when}"),
            why => {
                assert!(said.starts_with("5:"), "{said}");
                let expected =
                    format!("warning: bindings.tls: no connection takes the route: {why}");
                assert!(said.contains(&expected), "{said}");
            }
        }
    }
}

#[test]
fn examples_are_not_dangerous() {
    let env = |_: &str| Some("1".to_owned());
    for (name, file) in [
        ("fanout", include_str!("fanout.yaml")),
        ("guarded", include_str!("guarded.yaml")),
        ("intro", include_str!("intro.json")),
        ("demo", include_str!("../../demo/zilla.yaml")),
        ("e2e fanout", include_str!("../../../tests/e2e/examples/fanout.yaml")),
        ("e2e intro", include_str!("../../../tests/e2e/examples/intro.json")),
        ("e2e jwt", include_str!("../../../tests/e2e/examples/fanout-jwt.yaml")),
    ] {
        let report = match super::super::parse(name, file.as_bytes(), &env) {
            Ok(parsed) => parsed.report,
            Err(report) => report,
        };
        let danger = super::super::Severity::Danger;
        let dangers =
            report.diagnostics().iter().filter(|diagnostic| diagnostic.severity == danger).count();
        assert_eq!(dangers, 0, "{report}");
    }
}

#[test]
fn check_says_what_to_write_instead() {
    let text = described("F", &guarded("keys: https://a.example/k", ASKS, "exit: map", OPEN));
    let (_, text) = text.split_once("\ndangerous:\n").expect("a list");
    insta::assert_snapshot!(text, @r"
      F:2:11: guards.who: no `audience`: the guard accepts tokens that the issuer made for other services
        expected `audience` in its options, what tokens for this service have as `aud`
      F:2:11: guards.who: no `issuer`: the guard accepts the tokens of everybody who owns one of the keys
        expected `issuer` in its options, what your tokens have as `iss`
    ");
}
