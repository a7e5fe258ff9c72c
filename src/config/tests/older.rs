//! Files as they were written before `servers`, and variables that are not set.

use super::{described, said};

/// A file with these lines for what stands below the `kafka` client.
fn below(client: &str, rest: &str) -> String {
    format!(
        "
name: a
vaults: {{}}
bindings:
  in: {{ type: tcp, kind: server, options: {{ host: 0.0.0.0, port: [\"7114\"] }}, routes: [{{ when: [{{ cidr: 0.0.0.0/0 }}], exit: web }}] }}
  web: {{ type: http, kind: server, routes: [{{ when: [], exit: streams }}] }}
  streams: {{ type: sse, kind: server, exit: map }}
  map: {{ type: sse-kafka, kind: proxy, routes: [{{ with: {{ topic: x }}, exit: cache }}] }}
  cache: {{ type: kafka, kind: cache_client, options: {{ topics: [{{ name: x, defaultOffset: live }}] }}, exit: store }}
  store: {{ type: kafka, kind: cache_server, options: {{ bootstrap: [x] }}, exit: kafka }}
  kafka: {{ type: kafka, kind: client, {client} }}
{rest}
guards: {{}}
"
    )
}

#[test]
fn the_servers_of_older_files_stand_at_the_tcp_client() {
    let plain = "exit: out";
    let with_sasl =
        "options: { sasl: { mechanism: scram-sha-256, username: u, password: p } }, exit: secure";
    for (client, rest, expected) in [
        (plain, "  out: { type: tcp, kind: client, options: { host: k, port: 9092 } }", "k:9092"),
        (
            plain,
            "  out:
    type: tcp
    kind: client
    options: { host: kafka.internal.net, port: 29092 }
    routes:
      - when:
          - cidr: 0.0.0.0/0
",
            "kafka.internal.net:29092",
        ),
        (
            plain,
            "  out: { type: tcp, kind: client, options: { host: k, port: [9092, \"9094-9095\"] }, routes: [{ when: [{ cidr: 10.0.0.0/8 }, { cidr: \"::/0\" }] }] }",
            "k:9092, k:9094, k:9095",
        ),
        (
            plain,
            "  out: { type: tcp, kind: client, options: { host: \"[::1]\", port: 9092 }, routes: [] }",
            "[::1]:9092",
        ),
        (
            plain,
            "  out: { type: tcp, kind: client, routes: [{ when: [{ authority: k.example, port: 9092 }] }] }",
            "k.example:9092",
        ),
        (
            plain,
            "  out: { type: tcp, kind: client, options: { host: \"*\", port: 9092 }, routes: [{ when: [{ authority: k.example }] }] }",
            "k.example:9092",
        ),
        (
            plain,
            "  out: { type: tcp, kind: client, options: { host: b-1.K.example, port: 9092 }, routes: [{ when: [{ authority: z.example }, { authority: \"*.k.example\" }] }] }",
            "b-1.K.example:9092",
        ),
        (
            "routes: [{ exit: out }]",
            "  out: { type: tcp, kind: client, options: { host: k, port: ${{env.PORT}} }, routes: [{}] }",
            "k:7114",
        ),
        (
            with_sasl,
            "  secure: { type: tls, kind: client, options: { trustcacerts: true }, exit: out }
  out: { type: tcp, kind: client, options: { host: k, port: 9094 }, routes: [{ when: [{ cidr: 0.0.0.0/0 }] }] }",
            "k:9094, by TLS, as u by SCRAM-SHA-256",
        ),
    ] {
        let file = below(client, rest);
        assert_eq!(said(&file), "", "{rest}");
        let text = described("F", &file);
        let expected = format!("Kafka: {expected} (cache -> store -> kafka)\n");
        assert!(text.contains(&expected), "{expected}{text}");
        assert!(text.contains("  always -> web"), "{text}");
        assert!(text.contains("without an id: live"), "{text}");
    }
}

#[test]
fn servers_win_over_the_address_of_the_tcp_client() {
    let file = below(
        "options: { servers: [k:9092] }, exit: out",
        "  out: { type: tcp, kind: client, options: { host: other, port: 1 } }",
    );
    assert!(described("F", &file).contains("Kafka: k:9092 ("));
    assert_eq!(
        said(&file),
        "12:35: warning: bindings.out.options: ignored: Kafka reports the addresses of its brokers
"
    );
}

#[test]
fn a_cluster_whose_address_stands_nowhere_is_a_mistake() {
    let missing = |what: &str| {
        format!(
            "11:3: error: bindings.kafka: the address of Kafka is missing: there are no `servers` here, and {what} at `out`, which the exit leads to
  help: expected `options` with `servers`, as `[\"kafka.example.com:9092\"]`, or, as in older files, with `host` and `port` at `out`
"
        )
    };
    let restricted = "12:35: error: bindings.out.routes: not supported yet: addresses would not be checked: name one in `options.host`, without conditions
";
    for (rest, expected) in [
        ("  out: { type: tcp, kind: client }", missing("no `host`")),
        ("  out: { type: tcp, kind: client, options: { host: \"*\", port: 1 } }", missing("no `host`")),
        ("  out: { type: tcp, kind: client, options: { host: k } }", missing("no `port`")),
        ("  out: { type: tcp, kind: client, options: { host: k, port: 0 } }", missing("port 0")),
        (
            "  out: { type: tcp, kind: client, options: { host: k, port: 1-99 } }",
            missing("more than 16 ports"),
        ),
        (
            "  out: { type: tcp, kind: client, routes: [{ when: [{ authority: a.example }, { authority: b.example }] }] }",
            restricted.to_owned(),
        ),
        (
            "  out: { type: tcp, kind: client, routes: [{ when: [{ authority: \"*.example\" }] }], options: { port: 1 } }",
            restricted.to_owned(),
        ),
        (
            "  out: { type: tcp, kind: client, routes: [{ when: [{ cidr: 10.0.0.0/8 }] }], options: { host: k, port: 1 } }",
            restricted.to_owned(),
        ),
        (
            "  out: { type: tcp, kind: client, options: { host: <your server>, port: 9092 } }",
            "12:52: error: bindings.out.options.host: expected a host name or an address, found `<your server>`
"
            .to_owned(),
        ),
        (
            "  out: { type: tcp, kind: client, options: { host: k, port: http } }",
            "12:61: error: bindings.out.options.port: expected a port (0 to 65535), \"from-to\" or a list of these, found `http`
"
            .to_owned(),
        ),
    ] {
        assert_eq!(said(&below("exit: out", rest)), expected, "{rest}");
    }
}

#[test]
fn a_variable_that_is_not_set_is_one_mistake() {
    let guarded = |options: &str| {
        format!(
            "
name: a
vaults: {{ v: {{ type: filesystem, options: {{ keys: {{ store: {} }} }} }} }}
guards: {{ who: {{ type: jwt, options: {{ issuer: {}, keys: {} }} }} }}
bindings:
  in: {{ type: tcp, kind: server, options: {{ port: [{}] }}, routes: [{{ when: [{{ port: 7114 }}], exit: {} }}] }}
  tls: {{ type: tls, kind: server, vault: v, options: {{ keys: [{}] }}, exit: web }}
  web:
    type: http
    kind: server
    options: {{ authorization: {{ who: {{ credentials: {{ headers: {{ authorization: \"{}\" }} }} }} }} }}
    routes: [{{ guarded: {{ who: [\"{}\"] }}, when: [{{ headers: {{ \":path\": {} }} }}], exit: streams }}]
  streams: {{ type: sse, kind: server, options: {{ retry: {} }}, exit: map }}
  map: {{ type: sse-kafka, kind: proxy, routes: [{{ when: [{{ path: {} }}], with: {{ topic: {}, filters: [{{ key: {} }}] }}, exit: kafka }}] }}
  kafka: {{ type: kafka, kind: client, options: {}, exit: {} }}
  out: {{ type: tcp, kind: client, options: {{ host: {}, port: {} }} }}
",
            of(options, "store", "k.p12"),
            of(options, "issuer", "https://a.example"),
            of(options, "keys", "https://a.example/keys"),
            of(options, "listen", "7114"),
            of(options, "exit", "tls"),
            of(options, "alias", "a"),
            of(options, "credentials", "Bearer {credentials}"),
            of(options, "role", "r"),
            of(options, "match", "/a"),
            of(options, "retry", "1"),
            of(options, "path", "/a"),
            of(options, "topic", "x"),
            of(options, "key", "k"),
            of(options, "sasl", "{ sasl: { mechanism: plain, username: u, password: p } }"),
            of(options, "way", "out"),
            of(options, "host", "k"),
            of(options, "port", "9092"),
        )
    };
    fn of(unset: &str, name: &str, value: &str) -> String {
        if name == unset { "${{env.UNSET}}".to_owned() } else { value.to_owned() }
    }
    let before = said(&guarded(""));
    assert!(!before.contains("error"), "{before}");
    for name in [
        "store",
        "issuer",
        "keys",
        "listen",
        "exit",
        "alias",
        "credentials",
        "role",
        "match",
        "retry",
        "path",
        "topic",
        "key",
        "sasl",
        "way",
        "host",
        "port",
    ] {
        let text = said(&guarded(name));
        let new: Vec<&str> = text.lines().filter(|line| !before.contains(line)).collect();
        assert!(
            matches!(new.as_slice(), [only] if only.ends_with("error: the environment variable UNSET is not set")),
            "{name}:\n{text}"
        );
    }
}
