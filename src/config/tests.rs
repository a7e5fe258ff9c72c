use super::{GuardKeys, Kind, Parsed, Report, describe, parse};

mod dangers;
mod mistakes;
mod models;
mod namespaces;
mod older;

fn env(name: &str) -> Option<String> {
    let value = match name {
        "KAFKA_BOOTSTRAP_SERVER" => "kafka:9092",
        "PASSWORD" => "p",
        "PORT" => "7114",
        "STRUCTURE" => "a, b: [c] # d\n  e: \"",
        _ => return None,
    };
    Some(value.to_owned())
}

fn read(name: &str, file: &str) -> Result<Parsed, Report> {
    parse(name, file.as_bytes(), &env)
}

fn report(file: &str) -> Report {
    match read("F", file) {
        Ok(parsed) => parsed.report,
        Err(report) => report,
    }
}

/// All that is said about a file, without its name.
fn said(file: &str) -> String {
    report(file).to_string().replace("F:", "")
}

/// What a file means, but for the memory that it takes.
fn described(name: &str, file: &str) -> String {
    let text = describe(&read(name, file).expect("the file has no mistakes"));
    let Some((before, _, rest)) = around_memory(&text) else { return text };
    let rest = rest.map(|rest| format!("\n{rest}"));
    before.to_owned() + &rest.unwrap_or_default()
}

/// What stands before the memory, the memory, and what stands behind it.
fn around_memory(text: &str) -> Option<(&str, &str, Option<&str>)> {
    let (before, after) = text.split_once("\nmemory, at most:\n")?;
    let (memory, rest) =
        after.split_once("\n\n").map_or((after, None), |(memory, rest)| (memory, Some(rest)));
    Some((before, memory, rest))
}

#[test]
fn page_and_filtered_streams_are_described() {
    let text = described("fanout.yaml", include_str!("tests/fanout.yaml"));
    insta::assert_snapshot!(text, @r#"
    fanout

    listen: listens on 0.0.0.0:7114
      port 7114 -> web: http/1.1 or h2, pages of any origin
        :scheme http, :path /events/* -> streams: event streams, retry 2000 ms
          always -> topics: topics as event streams
            /{topic}/{key}/{tag} -> topic ${params.topic}
              records with key ${params.key} and header tag: ${params.tag}
              event ids: ${etag}
              without an id: historical, from the first record
              Kafka: kafka:9092 (cache -> store -> cluster)
              read from the start of the program: events
        :scheme http -> pages: static files
          /{path} -> file ${params.path} in files: folder www/, symbolic links are ignored

    telemetry: logs writes logs to the standard output
    "#);
}

#[test]
fn the_memory_is_told_with_its_sum() {
    let file = include_str!("tests/guarded.yaml");
    let text = describe(&read("guarded.yaml", file).unwrap());
    let (_, memory, _) = around_memory(&text).unwrap();
    insta::assert_snapshot!(memory, @r#"
      cluster
        logs, shared by its topics                   256 MiB
        read ahead at the live ends                   53 MiB
        history                                      170 MiB
      who: verified tokens, about                     32 MiB
      sum                                            511 MiB
      and for each further broker                     12 MiB
      and compressed batches, while librdkafka unpacks them
      listen: 65536 connections, a stream each
        idle, 16 KiB each                              1 GiB
        if nobody reads, 80 KiB each                   5 GiB
        if each keeps other records, 1 MiB more       64 GiB
        if each is within a large record, 16 MiB       1 TiB
        and in the kernel, 256 KiB each               16 GiB
    "#);
}

#[test]
fn limits_of_the_file_count() {
    let file = include_str!("tests/fanout.yaml");
    let limited = file
        .replace("port: [7114] }", "port: [7114], connections: 1000, write-deadline: 20 }")
        .replace("bootstrap: [events] }", "bootstrap: [events], memory: 64MiB }");
    let parsed = read("fanout.yaml", &limited).unwrap();
    let (_, server) = parsed.namespaces[0].listeners().next().unwrap();
    assert_eq!(server.connections, Some(1000));
    assert_eq!(server.write_deadline, Some(std::time::Duration::from_secs(20)));
    let text = describe(&parsed);
    let (_, memory, _) = around_memory(&text).unwrap();
    insta::assert_snapshot!(memory, @r#"
      cache -> store -> cluster
        logs, if it has 1000 topics                    2 GiB
        read ahead at the live ends                   53 MiB
        history                                      170 MiB
      sum                                            2.2 GiB
      and for each further broker                     12 MiB
      and compressed batches, while librdkafka unpacks them
      listen: 1000 connections, a stream each
        idle, 4 KiB each                             3.9 MiB
        if nobody reads, 68 KiB each                66.4 MiB
        if each keeps other records, 1 MiB more     1000 MiB
        if each is within a large record, 16 MiB    15.6 GiB
        and in the kernel, 256 KiB each              250 MiB
    "#);
}

#[test]
fn json_with_event_ids_and_live_offsets_is_described() {
    let text = described("intro.json", include_str!("tests/intro.json"));
    insta::assert_snapshot!(text, @r#"
    intro

    listen: listens on 0.0.0.0:7114
      always -> web: http/1.1 or h2, pages of any origin
        :scheme http, :authority localhost:7114, :path /events -> streams: event streams, retry 5000 ms
          always -> topics: topics as event streams
            /events -> topic events
              event ids: ["${base64(key)}","${etag}"]
              without an id: live, from the next record
              Kafka: a:9092, b:9092, as u by SCRAM-SHA-256 (cache -> store -> cluster)
              read from the start of the program: events
    "#);
}

#[test]
fn guards_and_tls_and_streams_of_another_server_are_told() {
    let text = described("guarded.yaml", include_str!("tests/guarded.yaml"));
    insta::assert_snapshot!(text, @r#"
    guarded

    listen: listens on 0.0.0.0:7143,7150-7151
      always -> secure: TLS, keys localhost of servers
        always -> web: h2, pages of the same origin only
          credentials for who: cookie token, then header authorization, then query parameter access_token
          always -> streams: event streams, retry 2000 ms
            /mine -> topics: topics as event streams
              always with a token for who -> topic events
                records with key ${guarded['who'].identity} and header region: ${guarded['who'].attributes.region}
                event ids: ${etag}
                without an id: historical, from the first record
                Kafka: kafka:9093, by TLS (cluster)
            always with a token for who and role proxy:stream -> upstream: event streams of another server
              always -> out: requests in http/1.1
                always -> to_upstream: connects to localhost:8001

    guard who: JSON Web Tokens, keys rsa, ec
      issuer https://auth.example.com, audience https://api.example.com
      roles in realm.roles, identity in email
      attribute region in https://example.com/region
      tokens without an expiry are refused
      streams get a challenge 10 s before their token expires

    ignored:
      guarded.yaml:63:3: bindings.encrypt.options.sni: ignored: librdkafka sends the name of each broker and offers no protocol
    "#);
}

#[test]
fn all_of_the_grammar_parses_and_says_what_has_no_effect() {
    let text = described("grammar.yaml", include_str!("tests/grammar.yaml"));
    insta::assert_snapshot!(text, @r#"
    grammar

    listen: listens on localhost:7114-7116
      port 7114 or port 7115 from 10.0.0.0/8 -> web: http/1.1 or h2, pages of https://a.example, methods GET, headers x-a, with credentials
        :method GET, x-tenant {tenant} or :path /a?* -> streams: event streams, retry 2000 ms, each for at most 3600 s
          events of paths with /x: string
          always -> topics: topics as event streams
            /{a}/* or /x/{a} -> topic t-${params.a}
              records with key a
              or with header h: v and header i: w
              event ids: ${etag}, no blocks with an id alone
              records that a model rejects become event:gap
              without an id: historical, from the first record; live: one
              Kafka: kafka:9092, [::1]:9092 (cache -> direct -> cluster)
              without an id: historical, from the first record; live: one, t-1
              topic t-2
                keys: avro, as JSON, schema of registry: subject t-2-key, version latest, lenient
                values: protobuf, as JSON, message R, schema of apicurio: subject s, version 2
                the key becomes ${message.key.id}
                the header h is added with ${message.value.a}
                the header i is added with ${message.key.b}
              Kafka: kafka:9092, [::1]:9092 (cache -> store -> cluster)
              read from the start of the program: t-1, t-2
            /one -> topic one
              event ids: ${etag}
              each stream gets event:live when it has delivered all that was there
              a request may choose its start by the query parameter since or from
              without an id: live, from the next record
              Kafka: kafka:9092, [::1]:9092 (cache -> direct -> cluster)
        always -> pages: static files
          GET /d/{d} -> folder x/${params.d} in files: folder ., symbolic links are followed
          always -> files (see above)

    no listener leads to: lonely, requests, encrypt, bearer, out

    guard url: JSON Web Tokens, keys of auth.example.com/keys
      issuer any, audience any
      roles in scope, identity in sub
      tokens without an expiry are refused
      streams get no challenge before their token expires

    catalog here: schemas of this file: s (1)

    catalog there: schemas of files: s in s.avsc

    catalog registry: the schema registry http://r, context c
      the latest version of a subject is used for 10 s
      requests have credentials

    catalog apicurio: the Apicurio registry http://r, group g
      the latest version of a subject is used for 10 s

    telemetry: scraped serves metrics at port 7190/metrics

    telemetry: pushed pushes metrics and logs to http://collector:4318 every 15 s

    dangerous:
      grammar.yaml:23:3: bindings.listen: no route takes connections to port 7116: they are closed
        expected a route with `when: [{ port: [7116] }]`, or an `exit`

    ignored:
      grammar.yaml:15:3: catalogs.registry.options.tls: ignored: the URL of the catalog is not https
      grammar.yaml:27:59: bindings.listen.telemetry.attributes.a: ignored: a label has a name of its own, and is `${http.request.X}` or `${http.response.X}`
      grammar.yaml:28:5: bindings.listen.catalog: ignored: a schema is read where a model names it
      grammar.yaml:41:7: bindings.web.options.overrides: ignored: headers of requests are not changed
      grammar.yaml:42:7: bindings.web.options.requests: ignored: requests and responses are not validated
      grammar.yaml:83:74: bindings.cache.options.topics[0].key: ignored: records are validated and converted by the models of the cache_server, which has none for this topic
      grammar.yaml:83:86: bindings.cache.options.topics[0].value: ignored: records are validated and converted by the models of the cache_server, which has none for this topic
      grammar.yaml:97:45: bindings.store.options.topics[0].deltaType: ignored: whole values are sent
      grammar.yaml:101:110: bindings.store.options.topics[1].value.catalog.apicurio[1]: ignored: of the list only the first entry counts
      grammar.yaml:109:43: bindings.connections.vault: ignored: only bindings of type tls take keys and certificates from a vault
      grammar.yaml:109:56: bindings.connections.options: ignored: Kafka reports the addresses of its brokers
      grammar.yaml:115:5: bindings.requests.vault: ignored: only bindings of type tls take keys and certificates from a vault
      grammar.yaml:116:40: bindings.requests.options.access-control: ignored: browsers send such requests to servers only
      grammar.yaml:125:16: bindings.encrypt.routes[0].when[0]: not supported yet; accepted, as no listener leads there
      grammar.yaml:125:76: bindings.encrypt.routes[0].when[0].trust: not supported yet; accepted, as no listener leads there
      grammar.yaml:125:88: bindings.encrypt.routes[0].when[0].mutual: not supported yet; accepted, as no listener leads there
      grammar.yaml:131:57: bindings.bearer.options.authorization.sasl.credentials: not supported yet; accepted, as no listener leads there
      grammar.yaml:133:35: bindings.out.routes: not supported yet; accepted, as no listener leads there
      grammar.yaml:136:52: telemetry.metrics[2]: ignored: no binding is of type grpc
      grammar.yaml:146:9: telemetry.exporters.pushed.options.tls: ignored: the location is not https
    "#);
}

#[test]
fn what_no_listener_leads_to_needs_nothing_of_what_others_use() {
    // An http client needs an address of the tcp client below it, a kafka client does not.
    let file = "
name: a
bindings:
  in: { type: tcp, kind: server, options: { port: 1 }, exit: web }
  web: { type: http, kind: server, exit: streams }
  streams: { type: sse, kind: server, exit: map }
  map: { type: sse-kafka, kind: proxy, routes: [{ with: { topic: x }, exit: kc }] }
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, exit: out }
  unused: { type: http, kind: client, exit: out }
  out: { type: tcp, kind: client }
";
    assert_eq!(said(file), "");
    let used = file
        .replace("exit: map }", "routes: [{ when: [{ path: /a }], exit: up }], exit: map }")
        + "  up: { type: sse, kind: client, exit: unused }\n";
    assert!(said(&used).contains("bindings.out: the address of the server is missing"));
}

#[test]
fn ports_of_a_tls_route_may_be_ranges() {
    let file = "
name: a
vaults: { v: { type: filesystem, options: { keys: { store: k.p12 } } } }
bindings:
  in: { type: tcp, kind: server, options: { port: 1-9 }, exit: tls }
  tls:
    type: tls
    kind: server
    vault: v
    options: { keys: [a] }
    routes:
      - when: [{ port: 1-2 }, { port: [4, 6-7], alpn: h2 }]
        exit: web
  web: { type: http, kind: server, exit: pages }
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
";
    let text = described("F", file);
    assert!(text.contains("    port 1-2 or protocol h2 port 4,6-7 -> web: "), "{text}");
}

#[test]
fn keys_of_a_list_that_are_of_no_use_are_warnings_and_the_others_serve() {
    let ed = "kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let file = format!(
        "
name: a
guards:
  who:
    type: jwt
    options:
      keys:
        - {{ {ed}, kid: a, x5t: a, x5c: [MIIC], alg: EdDSA, use: sig, key_ops: [verify] }}
        - {{ {ed}, kid: b, issuer: https://login.example.com/x, cloud_instance_name: {{ a: [] }} }}
        - {{ {ed}, use: enc, kid: c }}
        - {{ kty: RSA, kid: d, n: AQAB, e: AQAB }}
        - {{ kty: RSA, kid: e, n: [AQAB], e: AQAB }}
        - {{ kid: \"f\\ng\" }}
        - {{ kty: AKP, kid: h, alg: ML-DSA-44, pub: AAAA }}
        - key
        - null
        - {{ {ed}, kid: null, alg: null, key_ops: verify }}
        - {{ {ed}, key_ops: [sign] }}
        - {{ {ed}, kid: a, x5t: a, alg: EdDSA, use: sig, key_ops: [verify] }}
bindings: {{}}
"
    );
    insta::assert_snapshot!(said(&file), @r"
    9:93: warning: guards.who.options.keys[1]: unknown key `issuer`: it is ignored
    9:130: warning: guards.who.options.keys[1]: unknown key `cloud_instance_name`: it is ignored
    10:11: warning: guards.who.options.keys[2]: key `c` is not usable and is ignored: its `use` is `enc`, not `sig`
    11:11: warning: guards.who.options.keys[3]: key `d` is not usable and is ignored: it has 17 bits: from 2048 to 8192 are accepted
    12:34: warning: guards.who.options.keys[4].n: expected a text, found a list: the key is ignored
    13:11: warning: guards.who.options.keys[5]: key `f\ng` is not usable and is ignored: it has no `kty`
    14:11: warning: guards.who.options.keys[6]: key `h` is not usable and is ignored: its `kty` is `AKP`, not `RSA`, `EC` or `OKP`
    15:11: warning: guards.who.options.keys[7]: expected a key, found `key`: it is ignored
    16:11: warning: guards.who.options.keys[8]: expected a key, found nothing: it is ignored
    18:11: warning: guards.who.options.keys[10]: a key without a name is not usable and is ignored: its `key_ops` do not contain `verify`
    ");
    let parsed = read("F", &file).unwrap();
    let Some(GuardKeys::List(keys)) = &parsed.namespaces[0].guards[0].keys else {
        panic!("a list")
    };
    let names: Vec<_> = keys.iter().map(|key| key.jwk.kid.as_deref()).collect();
    assert_eq!(names, [Some("a"), Some("b"), None, Some("a")]);
}

#[test]
fn report_for_a_terminal_shows_the_source() {
    let report =
        read("zilla.yaml", "name: a\nbindings:\n  x: { type: htp, kind: server }\n").unwrap_err();
    insta::assert_snapshot!(report.graphical(false), @r"
    error: bindings.x.type: unknown type `htp`
     --> zilla.yaml:3:14
      |
    3 |   x: { type: htp, kind: server }
      |              ^^^
      |
      = help: did you mean `http`? there are: tcp, tls, http, sse, sse-kafka, kafka, http-filesystem, filesystem
    ");
}

#[test]
fn report_for_a_terminal_shows_of_a_long_line_what_is_around_the_mistake() {
    let long = "x".repeat(500_000);
    let file = format!("{{ name: {long}, bindings: {{}}, typo: {long} }}");
    let report = read("zilla.yaml", &file).unwrap_err();
    let graphical = report.graphical(true);
    assert!(graphical.len() < 2_000 && graphical.contains("typo"), "{}", graphical.len());
    for file in ["", "name: a\n\"", "\t", "name: \u{feff}é\u{2028}\r\n", "name: a\nbindings:"] {
        let report = read("zilla.yaml", file).unwrap_err();
        assert!(report.graphical(true).contains("error"), "{file:?}");
    }
}

#[test]
fn what_a_file_says_is_shown_on_one_line_that_no_terminal_obeys() {
    let file = include_str!("tests/fanout.yaml")
        .replace("key: ${params.key}", r#"key: "a\x1b[2J\u202E\n  b""#);
    let text = described("F", &file);
    assert!(text.contains(r"records with key a\u{1b}[2J\u{202e}\n  b"), "{text}");

    let name = "F\u{1b}[2J\n.yaml";
    let report = read(name, "name: a\n\"x\\u202E\": 1 # \u{202e}\n").unwrap_err();
    let shown = r"F\u{1b}[2J\n.yaml";
    let hidden = ['\u{1b}', '\u{202e}'];
    let text = report.to_string();
    assert!(text.starts_with(&format!("{shown}:")), "{text}");
    assert!(text.contains(r"unknown key `x\u{202e}`"), "{text}");
    let graphical = report.graphical(false);
    assert!(graphical.contains(shown) && graphical.contains("# ???"), "{graphical}");
    for text in [text, graphical, report.place(report.diagnostics()[0].span)] {
        assert!(!text.contains(hidden), "{text}");
    }
}

#[test]
fn json_may_be_indented_with_tabs_and_lines_end_in_crlf() {
    let spaces = include_str!("tests/intro.json");
    for file in
        [spaces.replace("  ", "\t"), spaces.replace('\n', "\r\n"), format!("\u{feff}{spaces}")]
    {
        assert_eq!(described("intro.json", &file), described("intro.json", spaces));
    }
    let crlf = include_str!("tests/fanout.yaml").replace('\n', "\r\n");
    assert_eq!(said(&crlf), "");
    assert_eq!(said("name: a\r\nx: 1\r\n"), said("name: a\nx: 1\n"));
}

#[test]
fn variables_need_no_quotes_anywhere() {
    let file = "
name: a
bindings:
  in: { type: tcp, kind: server, options: { port: ${{env.PORT}}, connections: ${{ env.PORT }} }, exit: web } # ${{env.X}}
  web: { type: http, kind: server, exit: streams }
  streams: { type: sse, kind: server, exit: map }
  map:
    type: sse-kafka
    kind: proxy
    routes: [{ with: { topic: x, filters: [{ key: ${{env.STRUCTURE}}, headers: { ${{env.PORT}}: x-${{env.PORT}}-${{env.PORT}} } }] }, exit: kc }]
  kc: { type: kafka, kind: client, options: { servers: [${{env.KAFKA_BOOTSTRAP_SERVER}},\"${{env.KAFKA_BOOTSTRAP_SERVER}}\"], sasl: { mechanism: plain, username: u, password: ${{env.PASSWORD}} } }, exit: out }
  out:
    type: tcp
    kind: client
";
    let text = described("F", file);
    for expected in [
        "in: listens on 0.0.0.0:7114\n",
        "records with key a, b: [c] # d\\n  e: \" and header ${{env.PORT}}: x-7114-7114\n",
        "Kafka: kafka:9092, kafka:9092, as u by PLAIN",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    let missing = file.replace("env.PORT }}", "env.PRT }}").replace("type: http,", "type: htp,");
    let said = said(&missing);
    assert!(
        said.starts_with("4:79: error: the environment variable PRT is not set\n5:16: "),
        "{said}"
    );
}

#[test]
fn json_writes_characters_as_pairs_of_escapes() {
    let file = r#"{ "name": "a", "bindings": {
  "x": { "type": "filesystem", "kind": "server", "options": { "location": "\ud83d\ude00/\u00e4" }, "valt": 1 }
} }"#;
    let text = said(file);
    assert_eq!(
        text,
        "2:100: error: bindings.x: unknown key `valt`\n  help: did you mean `vault`? known here: catalog, exit, kind, options, telemetry, type, vault\n"
    );
    let parsed = read("F", &file.replace(r#", "valt": 1"#, "")).unwrap();
    let Some(Kind::Filesystem(folder)) =
        parsed.namespaces[0].binding("x").map(|binding| &binding.kind)
    else {
        panic!("a folder");
    };
    assert_eq!(folder.location, "\u{1f600}/\u{e4}");
    let lone = read("zilla.json", &file.replace("ude00", "u0041")).unwrap_err().to_string();
    assert!(lone.starts_with("zilla.json:2:75: error: not valid JSON: "), "{lone}");
}

#[test]
fn places_count_characters() {
    assert_eq!(
        said("name: a\nbindings:\n  \"\u{e4}\u{2026}\": { type: mqtt, kind: server }\n")
            .lines()
            .nth(2),
        Some(
            "3:17: error: bindings.\u{e4}\u{2026}.type: bindings of type `mqtt` are not supported by tailwater"
        )
    );
}

#[test]
fn anchors_aliases_and_merge_keys_are_understood() {
    let file = "
name: a
bindings:
  one: &files { type: filesystem, kind: server, options: &options { location: www/ } }
  two: *files
  three:
    <<: *files
    options: { <<: [*options, { location: x, symlinks: follow }] }
";
    let parsed = read("F", file).unwrap();
    let locations: Vec<_> =
        parsed.namespaces[0].bindings.iter().map(|binding| &binding.kind).collect();
    let [Kind::Filesystem(one), Kind::Filesystem(two), Kind::Filesystem(three)] = locations[..]
    else {
        panic!("three folders: {locations:?}");
    };
    assert_eq!(one, two);
    assert_eq!((&one.location, &three.location), (&"www/".to_owned(), &"www/".to_owned()));
    assert_ne!(one.symlinks, three.symlinks);
}

#[test]
fn bombs_are_refused() {
    let mut file = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        file.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    assert!(said(&file).contains("more than 50000 values"), "{}", said(&file));
    for deep in ["[".repeat(100_000), "a: {".repeat(100_000), "- ".repeat(100_000)] {
        assert!(said(&deep).contains("error: "), "{}", said(&deep));
    }
    let keys: String = (0..3000).map(|number| format!("k{number}: 1\n")).collect();
    assert!(said(&keys).contains("more than 2000 keys"));
    assert_eq!(said(&" ".repeat(2 << 20)), "1:1: error: the file is larger than 1048576 bytes\n");
    let mistakes = format!("name: a\nx: [\n{}]\nbindings: {{}}", "  \"${{env.X}}\",\n".repeat(500));
    assert!(said(&mistakes).ends_with("and 401 more\n"), "{}", said(&mistakes));
}

#[test]
fn what_is_not_text_is_refused() {
    let report = parse("F", b"name: a\nx: \xff", &env).unwrap_err();
    assert_eq!(report.to_string(), "F:2:4: error: the file is not UTF-8\n");
    assert!(said("name: a\u{0}b").contains("error"));
    assert_eq!(said("name: !custom a"), "1:7: error: the tag `!custom` has no meaning here\n");
    assert_eq!(said("[a]: b"), "1:1: error: a key must be a text\n");
    assert_eq!(
        said("a: &x [*x]"),
        "1:8: error: the alias refers to no anchor before it in this document\n"
    );
}

#[test]
fn passwords_are_not_shown() {
    let parsed = read("F", include_str!("tests/intro.json")).unwrap();
    let cluster = parsed.namespaces[0].binding("cluster").unwrap();
    assert!(format!("{cluster:?}").contains("Secret(..)"));
}

#[test]
fn topics_lead_to_the_first_cache_that_takes_them() {
    let parsed = read("F", include_str!("tests/grammar.yaml")).unwrap();
    let plan = parsed.namespaces[0].plan();
    for (topic, expected) in [
        ("one", Some((vec!["cache", "direct", "cluster"], "live"))),
        ("t-1", Some((vec!["cache", "store", "cluster"], "live"))),
        ("t-9", Some((vec!["cache", "store", "cluster"], "historical"))),
        ("other", None),
    ] {
        let source = plan.topic_source("cache", topic);
        let found = source.map(|source| {
            let path: Vec<&str> = source.path.iter().map(|binding| binding.name.as_str()).collect();
            (path, source.default_offset(topic).to_string())
        });
        assert_eq!(found, expected.map(|(path, offset)| (path, offset.to_owned())), "{topic}");
    }
}
