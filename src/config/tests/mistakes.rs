//! Mistakes, and what is said about them.

use super::said;

/// What is wrong, the file, and what is said about it: each line `line:column: error: message`.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "an empty file",
        "",
        "1:1: error: the file is empty: expected a mapping with `name` and `bindings`
",
    ),
    (
        "nothing but empty documents",
        "---
# nothing
---
...
",
        "1:1: error: the file is empty: expected a mapping with `name` and `bindings`
",
    ),
    (
        "mistakes in several documents",
        "name: a
bindngs: {}
---
bindings: {}
---
- a
---
# Again.
name: a
bindings:
  x: { type: filesystem, kind: server }
",
        "2:1: error: unknown key `bindngs`
  help: did you mean `bindings`? known here: bindings, catalogs, guards, name, telemetry, vaults
4:1: error: `name` is missing
6:1: error: expected a mapping, found a list
9:7: error: name: the document at line 1 is the namespace `a`
  help: expected another name in each document
11:3: error: bindings.x.options: `location` is missing
",
    ),
    (
        "an anchor of another document",
        "name: &a a
---
name: *a
",
        "3:7: error: the alias refers to no anchor before it in this document
",
    ),
    (
        "no mapping",
        "- a
",
        "1:1: error: expected a mapping, found a list
",
    ),
    (
        "broken YAML",
        "name: a
bindings: {
",
        "3:1: error: not valid YAML: while parsing a node, did not find expected node content
",
    ),
    (
        "a duplicate key",
        "name: a
bindings: {}
name: b
",
        "3:1: error: duplicate key `name`
",
    ),
    (
        "an unknown key at the top",
        "name: a
bindngs: {}
",
        "2:1: error: unknown key `bindngs`
  help: did you mean `bindings`? known here: bindings, catalogs, guards, name, telemetry, vaults
",
    ),
    (
        "no name",
        "bindings: {}
",
        "1:1: error: `name` is missing
",
    ),
    (
        "a bad name",
        "name: 1st
bindings:
  _x: { type: filesystem, kind: server, options: { location: a } }
",
        "1:7: error: name: `1st` is no name
  help: a name is a letter, followed by letters, digits, `.`, `_` and `-`
3:3: error: bindings._x: `_x` is no name
  help: a name is a letter, followed by letters, digits, `.`, `_` and `-`
",
    ),
    (
        "an unknown type",
        "name: a
bindings:
  x: { type: htp, kind: server }
",
        "3:14: error: bindings.x.type: unknown type `htp`
  help: did you mean `http`? there are: tcp, tls, http, sse, sse-kafka, kafka, http-filesystem, filesystem
",
    ),
    (
        "a type of Zilla that is not ours",
        "name: a
bindings:
  x: { type: mqtt, kind: server }
",
        "3:14: error: bindings.x.type: bindings of type `mqtt` are not supported by tailwater
  help: supported: tcp, tls, http, sse, sse-kafka, kafka, http-filesystem, filesystem
",
    ),
    (
        "an unknown kind",
        "name: a
bindings:
  x: { type: kafka, kind: server, exit: y }
",
        "3:27: error: bindings.x.kind: unknown kind `server` of type `kafka`: expected cache_client, cache_server or client
3:41: error: bindings.x.exit: there is no binding `y`
  help: defined: x
",
    ),
    (
        "no type and no kind",
        "name: a
bindings:
  x: {}
",
        "3:3: error: bindings.x: `type` is missing
3:3: error: bindings.x: `kind` is missing
",
    ),
    (
        "an unknown key of a binding",
        "name: a
bindings:
  x: { type: filesystem, kind: server, option: { location: a } }
",
        "3:3: error: bindings.x.options: `location` is missing
3:40: error: bindings.x: unknown key `option`
  help: did you mean `options`? known here: catalog, exit, kind, options, telemetry, type, vault
",
    ),
    (
        "an unknown option",
        "name: a
bindings:
  in: { type: tcp, kind: server, options: { port: 7114, prot: 1 }, exit: web }
  web: { type: http, kind: server, exit: pages }
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
",
        "3:57: error: bindings.in.options: unknown key `prot`
  help: did you mean `port`? known here: connections, host, port, write-deadline
",
    ),
    (
        "bad ports",
        "name: a
bindings:
  in: { type: tcp, kind: server, options: { port: [70000, 9-1, http] }, exit: web }
  web: { type: http, kind: server, exit: pages }
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
",
        r#"3:52: error: bindings.in.options.port[0]: expected a port (0 to 65535), "from-to" or a list of these, found `70000`
3:59: error: bindings.in.options.port[1]: expected a port (0 to 65535), "from-to" or a list of these, found `9-1`
3:64: error: bindings.in.options.port[2]: expected a port (0 to 65535), "from-to" or a list of these, found `http`
"#,
    ),
    (
        "a value of the wrong type",
        "name: a
bindings:
  x: { type: filesystem, kind: server, options: { location: [a] } }
  y: { type: filesystem, kind: server, options: yes }
",
        "3:61: error: bindings.x.options.location: expected the path of a folder, found a list
4:49: error: bindings.y.options: expected a mapping, found `yes`
",
    ),
    (
        "a number in quotes",
        r#"name: a
bindings:
  x: { type: sse, kind: server, options: { retry: "5" }, exit: m }
  m: { type: sse, kind: client, exit: h }
  h: { type: http, kind: client, exit: t }
  t: { type: tcp, kind: client, options: { host: h, port: 1 } }
"#,
        "3:51: error: bindings.x.options.retry: expected a number of milliseconds (0 to 86400000), found the text `5`
",
    ),
    (
        "a missing required option",
        "name: a
bindings:
  in: { type: tcp, kind: server, exit: web }
  web: { type: http, kind: server, exit: pages }
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
",
        "3:3: error: bindings.in.options: `port` is missing
",
    ),
    (
        "an unknown exit",
        "name: a
bindings:
  in: { type: tcp, kind: server, options: { port: 1 }, exit: wbe }
  web: { type: http, kind: server, exit: pages }
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
",
        "3:62: error: bindings.in.exit: there is no binding `wbe`
  help: did you mean `web`? defined: in, web, pages, files
",
    ),
    (
        "a vault, guard and catalog that are not there",
        "name: a
guards: { who: { type: jwt } }
bindings:
  x: { type: filesystem, kind: server, vault: v, catalog: { c: [] }, options: { location: a }, routes: [] }
  w: { type: http, kind: server, routes: [{ guarded: { whom: [] }, exit: pages }] }
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
",
        "4:40: warning: bindings.x.vault: ignored: only bindings of type tls take keys and certificates from a vault
4:47: error: bindings.x.vault: there is no vault `v`
  help: none is defined
4:50: warning: bindings.x.catalog: ignored: a schema is read where a model names it
4:64: error: bindings.x.catalog.c: there is no catalog `c`
  help: none is defined
4:96: error: bindings.x: unknown key `routes`
  help: known here: catalog, exit, kind, options, telemetry, type, vault
5:62: error: bindings.w.routes[0].guarded.whom: there is no guard `whom`
  help: did you mean `who`? defined: who
",
    ),
    (
        "guards and vaults that do not have what is asked of them",
        "name: a
vaults: { v: { type: filesystem, options: { revocation: crl } } }
guards: { who: { type: jwt, options: { attributes: { region: r } } } }
bindings:
  in: { type: tcp, kind: server, options: { port: 1 }, exit: tls }
  tls: { type: tls, kind: server, vault: v, options: { keys: [a], trust: [b] }, exit: web }
  web:
    type: http
    kind: server
    options: { authorization: { who: { credentials: { headers: { authorization: \"Bearer {credentials}\" } } } } }
    exit: streams
  streams: { type: sse, kind: server, exit: map }
  map:
    type: sse-kafka
    kind: proxy
    routes:
      - with: { topic: x, filters: [{ key: \"${guarded['who'].attributes.regoin}\" }] }
        exit: kc
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, exit: out }
  out: { type: tcp, kind: client }
",
        "2:11: error: vaults.v.options.revocation: not supported yet: revoked certificates would be accepted
3:11: error: guards.who: there are no keys
  help: expected `keys`, or a URL as `issuer`, from which the keys are fetched
3:11: warning: guards.who: no `audience`: the guard accepts tokens that the issuer made for other services
  help: expected `audience` in its options, what tokens for this service have as `aud`
3:11: warning: guards.who: no `issuer`: the guard accepts the tokens of everybody who owns one of the keys
  help: expected `issuer` in its options, what your tokens have as `iss`
6:3: error: bindings.tls: the vault `v` has no `keys`
  help: expected `options.keys` with a `store` there
6:3: error: bindings.tls: the vault `v` has no `trust`
  help: expected `options.trust` with a `store` there
17:9: error: bindings.map: the guard `who` has no attribute `regoin`
  help: did you mean `region`? defined: region
",
    ),
    (
        "a guard that nobody asks",
        "name: a
guards: { who: { type: jwt, options: { keys: https://a.example/keys } } }
bindings:
  in: { type: tcp, kind: server, options: { port: 1 }, exit: web }
  web: { type: http, kind: server, routes: [{ guarded: { who: [] }, exit: pages }] }
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
",
        "5:45: warning: bindings.web: no request that comes through `web` can take a route: that binding reads no credentials for the guard `who`
  help: expected an `authorization` in its options
",
    ),
    (
        "overrides of a client, TLS that librdkafka can't be told, and keys without TLS",
        "name: a
vaults: { v: { type: filesystem, options: { keys: { store: k.p12 }, trust: { store: t.p12 } } } }
guards: { who: { type: jwt, options: { keys: http://a.example/keys } } }
bindings:
  in: { type: tcp, kind: server, options: { port: 1 }, exit: web }
  web:
    type: http
    kind: server
    options: { authorization: { who: { credentials: { query: { token: \"{credentials}\" } } } } }
    exit: streams
  streams: { type: sse, kind: server, routes: [{ when: [{ path: /a }], exit: map }], exit: up }
  map: { type: sse-kafka, kind: proxy, routes: [{ with: { topic: x }, exit: kc }] }
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, exit: tls }
  tls: { type: tls, kind: client, vault: v, options: { trust: [a], version: TLSv1.3, sni: [k] }, exit: out }
  out: { type: tcp, kind: client }
  up: { type: sse, kind: client, exit: http }
  http:
    type: http
    kind: client
    options: { overrides: { \":authority\": \"a b\", \":path\": /x, x-a: \"\\n\", x-b: y } }
    exit: there
  there: { type: tcp, kind: client, options: { host: h, port: 1 } }
",
        "3:11: warning: guards.who: no `audience`: the guard accepts tokens that the issuer made for other services
  help: expected `audience` in its options, what tokens for this service have as `aud`
3:11: warning: guards.who: no `issuer`: the guard accepts the tokens of everybody who owns one of the keys
  help: expected `issuer` in its options, what your tokens have as `iss`
3:11: warning: guards.who: the keys are fetched without TLS: an attacker in the network can replace them and sign tokens
  help: expected a URL with `https`
14:3: error: bindings.tls.options.version: not supported yet: librdkafka always offers both TLS 1.2 and 1.3
14:3: warning: bindings.tls.options.sni: ignored: librdkafka sends the name of each broker and offers no protocol
20:43: error: bindings.http.options.overrides.:authority: expected a host, with a port where it has one, found the text `a b`
20:59: error: bindings.http.options.overrides.:path: expected the name of a header, or `:authority`
20:68: error: bindings.http.options.overrides.x-a: expected the value of a header, found the text `\\n`
",
    ),
    (
        "keys that are of no use for signatures",
        "name: a
guards:
  who:
    type: jwt
    options:
      keys:
        - { kty: oct, kid: a, k: AAAA }
        - { kty: RSA, kid: b, n: AQAB, e: AQAB }
        - { kty: EC, crv: P-256, kid: c, x: AQAB, y: AQAB, alg: HS256 }
",
        "7:9: error: guards.who.options.keys: no key is usable for signatures
7:11: warning: guards.who.options.keys[0]: key `a` is not usable and is ignored: its `kty` is `oct`, not `RSA`, `EC` or `OKP`
8:11: warning: guards.who.options.keys[1]: key `b` is not usable and is ignored: it has 17 bits: from 2048 to 8192 are accepted
9:11: warning: guards.who.options.keys[2]: key `c` is not usable and is ignored: its `alg` `HS256` does not fit its `kty` and `crv`
",
    ),
    (
        "keys that are a key set",
        "name: a
guards:
  who:
    type: jwt
    options:
      keys: { keys: [{ kty: RSA, kid: b, n: AQAB, e: AQAB }] }
",
        "6:13: error: guards.who.options.keys: expected the URL of a key set or a list of keys, found a mapping
  help: expected the list that a key set has as `keys`
",
    ),
    (
        "keys of which one is not set",
        "name: a
guards:
  who:
    type: jwt
    options:
      keys: [{ kty: RSA, kid: b, n: \"${{env.MISSING}}\", e: AQAB }]
",
        "6:37: error: the environment variable MISSING is not set
",
    ),
    (
        "exits in a circle",
        "name: a
bindings:
  a: { type: http, kind: server, exit: b }
  b: { type: sse, kind: server, exit: c }
  c: { type: sse, kind: client, exit: a }
",
        "3:3: error: bindings.a: its exits form a cycle: a -> b -> c -> a
5:39: error: bindings.c.exit: `a` (http server) cannot follow `c` (sse client)
  help: what can follow: `http client`
",
    ),
    (
        "an exit that cannot follow",
        "name: a
bindings:
  web: { type: http, kind: server, exit: kc }
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, exit: out }
  out: { type: tcp, kind: client }
",
        "3:42: error: bindings.web.exit: `kc` (kafka client) cannot follow `web` (http server)
  help: what can follow: `sse server`, `http-filesystem proxy` or `http client`
",
    ),
    (
        "neither exit nor routes",
        "name: a
bindings:
  web: { type: http, kind: server }
",
        "3:3: error: bindings.web: neither `exit` nor `routes`
",
    ),
    (
        "a route without exit",
        r#"name: a
bindings:
  web:
    type: http
    kind: server
    routes:
      - when: [{ headers: { ":path": /x } }]
"#,
        "7:9: error: bindings.web.routes[0]: the route has no `exit`, and the binding has none either
",
    ),
    (
        "bad path patterns",
        r#"name: a
bindings:
  map:
    type: sse-kafka
    kind: proxy
    routes:
      - when: [{ path: "/{topic" }, { path: "/{}" }, { path: events }]
        with: { topic: events }
        exit: cc
  cc: { type: kafka, kind: cache_client, exit: cs }
  cs: { type: kafka, kind: cache_server, exit: kc }
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, exit: out }
  out: { type: tcp, kind: client }
"#,
        "7:24: error: bindings.map.routes[0].when[0].path: bad path pattern `/{topic`: unclosed `{` at byte 1 of the pattern
7:45: error: bindings.map.routes[0].when[1].path: bad path pattern `/{}`: parameter without a name at byte 1 of the pattern
7:62: error: bindings.map.routes[0].when[2].path: path pattern `events` does not begin with `/` or `*`
",
    ),
    (
        "a template that names no parameter",
        r#"name: a
bindings:
  map:
    type: sse-kafka
    kind: proxy
    routes:
      - when: [{ path: "/{topic}/{key}" }, { path: "/{topic}" }]
        with: { topic: "${params.topic}", filters: [{ key: "${params.key}" }] }
        exit: cc
      - with: { topic: "${params.topic}" }
        exit: cc
  cc: { type: kafka, kind: cache_client, exit: cs }
  cs: { type: kafka, kind: cache_server, exit: kc }
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, exit: out }
  out: { type: tcp, kind: client }
"#,
        "8:60: error: bindings.map.routes[0].with.filters[0].key: `${params.key}` names no parameter of the route's path
  help: captured by every condition of the route: topic
10:24: error: bindings.map.routes[1].with.topic: `${params.topic}` names no parameter of the route's path
  help: every condition of the route must have it in its `path`, and there is none
",
    ),
    (
        "malformed templates",
        r#"name: a
bindings:
  map:
    type: sse-kafka
    kind: proxy
    routes:
      - when: [{ path: "/{a}" }]
        with: { topic: "${a}", filters: [{ key: "${params.a" }, {}] }
        exit: cc
  cc: { type: kafka, kind: cache_client, exit: cs }
  cs: { type: kafka, kind: cache_server, exit: kc }
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, exit: out }
  out: { type: tcp, kind: client }
"#,
        "8:24: error: bindings.map.routes[0].with.topic: `${a}` is not known; known are `${params.NAME}`, `${guarded['GUARD'].identity}` and `${guarded['GUARD'].attributes.NAME}`
8:49: error: bindings.map.routes[0].with.filters[0].key: unclosed `${` at byte 0 of the template
8:65: error: bindings.map.routes[0].with.filters[1]: a filter has a `key`, `headers` or both
",
    ),
    (
        "a guard of a template that is not there",
        r#"name: a
bindings:
  map:
    type: sse-kafka
    kind: proxy
    routes:
      - with: { topic: "x-${guarded['who'].identity}" }
        exit: cc
  cc: { type: kafka, kind: cache_client, exit: cs }
  cs: { type: kafka, kind: cache_server, exit: kc }
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, exit: out }
  out: { type: tcp, kind: client }
"#,
        "7:24: error: bindings.map.routes[0].with.topic: there is no guard `who`
  help: none is defined
",
    ),
    (
        "an event id of another form",
        r#"name: a
bindings:
  map:
    type: sse-kafka
    kind: proxy
    routes:
      - with: { topic: a, event: { id: "${key}" } }
        exit: cc
  cc: { type: kafka, kind: cache_client, exit: cs }
  cs: { type: kafka, kind: cache_server, exit: kc }
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, exit: out }
  out: { type: tcp, kind: client }
"#,
        r#"7:40: error: bindings.map.routes[0].with.event.id: expected `${etag}` or `["${base64(key)}","${etag}"]`, found the text `${key}`
"#,
    ),
    (
        "bad topic names",
        r#"name: a
bindings:
  cs: { type: kafka, kind: cache_server, options: { bootstrap: [a/b, ""], topics: [{ name: a, defaultOffset: latest }, { name: a }] }, exit: kc }
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, exit: out }
  out: { type: tcp, kind: client }
"#,
        "3:65: error: bindings.cs.options.bootstrap[0]: the topic name `a/b` has characters other than a-z, A-Z, 0-9, `.`, `_` and `-`
3:70: error: bindings.cs.options.bootstrap[1]: the topic name `` is empty
3:110: error: bindings.cs.options.topics[0].defaultOffset: expected live or historical, found `latest`
3:120: error: bindings.cs.options.topics[1]: the topic `a` is listed twice
",
    ),
    (
        "bad servers",
        r#"name: a
bindings:
  kc: { type: kafka, kind: client, options: { servers: [kafka, "kafka:99999"] }, exit: out }
  kd: { type: kafka, kind: client, options: { servers: [] }, exit: out }
  out: { type: tcp, kind: client }
"#,
        "3:57: error: bindings.kc.options.servers[0]: expected the address of a server, as `kafka.example.com:9092`, found `kafka`
3:64: error: bindings.kc.options.servers[1]: expected the address of a server, as `kafka.example.com:9092`, found the text `kafka:99999`
4:56: error: bindings.kd.options.servers: expected at least one server
",
    ),
    (
        "bad credentials for Kafka",
        "name: a
bindings:
  kc: { type: kafka, kind: client, options: { servers: [k:1], sasl: { mechanism: gssapi } }, exit: out }
  kd: { type: kafka, kind: client, options: { servers: [k:1], sasl: { mechanism: plain, username: u } }, exit: out }
  out: { type: tcp, kind: client }
",
        "3:82: error: bindings.kc.options.sasl.mechanism: expected plain, scram-sha-1, scram-sha-256, scram-sha-512 or oauthbearer, found `gssapi`
4:63: error: bindings.kd.options.sasl: `password` is missing
",
    ),
    (
        "a missing variable",
        r#"name: a
bindings:
  kc: { type: kafka, kind: client, options: { servers: ["${{env.KAFKA}}"] }, exit: "${{env.OUT}}" }
"#,
        "3:57: error: the environment variable KAFKA is not set
3:84: error: the environment variable OUT is not set
",
    ),
    (
        "bad header conditions",
        r#"name: a
bindings:
  web:
    type: http
    kind: server
    routes:
      - when: [{ headers: { ":pth": /x, "a b": c, ":path": x, x-a: "{" } }]
        exit: pages
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
"#,
        "7:29: error: bindings.web.routes[0].when[0].headers.:pth: unknown pseudo header `:pth`: `:scheme`, `:authority`, `:path` and `:method` are known
7:41: error: bindings.web.routes[0].when[0].headers.a b: `a b` is no name of a header
7:60: error: bindings.web.routes[0].when[0].headers.:path: path pattern `x` does not begin with `/` or `*`
7:68: error: bindings.web.routes[0].when[0].headers.x-a: bad pattern `{`: unclosed `{` at byte 0 of the pattern
",
    ),
    (
        "a bad network",
        "name: a
bindings:
  in:
    type: tcp
    kind: server
    options: { port: 1 }
    routes: [{ when: [{ cidr: 10.0.0.0 }], exit: web }]
  web: { type: http, kind: server, exit: pages }
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
",
        "7:31: error: bindings.in.routes[0].when[0].cidr: expected a network, as `10.0.0.0/8`, found `10.0.0.0`
",
    ),
    (
        "an unknown start",
        "name: a
bindings:
  map:
    type: sse-kafka
    kind: proxy
    routes: [{ with: { topic: x, start: [from, until] }, exit: kc }, { with: { topic: x, start: since }, exit: kc }]
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, exit: out }
  out: { type: tcp, kind: client }
",
        "6:48: error: bindings.map.routes[0].with.start[1]: expected from or since, found `until`
6:97: error: bindings.map.routes[1].with.start: expected a list, found `since`
",
    ),
    (
        "two ways out of a Kafka client, and a field that is none",
        r#"name: a
bindings:
  cs: { type: kafka, kind: cache_server, options: { topics: [{ name: a, transforms: [{ extract-key: "${message.header.id}" }] }] }, exit: kc }
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, routes: [{ when: [{ topic: a }], exit: out }, { exit: out, with: {} }] }
  kd: { type: kafka, kind: client, options: { servers: [k:9092] } }
  out: { type: tcp, kind: client }
"#,
        "3:101: error: bindings.cs.options.topics[0].transforms[0].extract-key: expected a field of the value or the key, as `${message.value.id}` or `${message.key.id}`, found the text `${message.header.id}`
4:86: error: bindings.kc.routes[0].when[0]: a client has one exit: expected routes without conditions
4:127: error: bindings.kc.routes[1]: unknown key `with`
  help: known here: exit, guarded, when
5:3: error: bindings.kd: neither `exit` nor `routes`
",
    ),
    (
        "origins that are none",
        r#"name: a
bindings:
  web:
    type: http
    kind: server
    options:
      access-control:
        policy: cross-origin
        allow: { origins: ["https://*", "*.example.org", "https://a*.example.org", "https://a.*.org", "*://a.example", "https://*.example.org:*", "https://*.*.org", "https://*.", [a]] }
    exit: pages
  good:
    type: http
    kind: server
    options: { access-control: { policy: cross-origin, allow: { origins: ["*", "null", "https://*.example.org:8443", "http://localhost:3000/", "capacitor://localhost", "https://[::1]"] } } }
    exit: pages
  silent:
    type: http
    kind: server
    options: { access-control: { policy: cross-origin, allow: { origins: [example.org, "https://a.example/b", "https://u@a.example"] } } }
    exit: pages
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
"#,
        "9:28: error: bindings.web.options.access-control.allow.origins[0]: expected `*`, or an origin as `https://app.example.org`, or `https://*.example.org` for one label, found the text `https://*`
9:41: error: bindings.web.options.access-control.allow.origins[1]: expected `*`, or an origin as `https://app.example.org`, or `https://*.example.org` for one label, found the text `*.example.org`
9:58: error: bindings.web.options.access-control.allow.origins[2]: expected `*`, or an origin as `https://app.example.org`, or `https://*.example.org` for one label, found the text `https://a*.example.org`
9:84: error: bindings.web.options.access-control.allow.origins[3]: expected `*`, or an origin as `https://app.example.org`, or `https://*.example.org` for one label, found the text `https://a.*.org`
9:103: error: bindings.web.options.access-control.allow.origins[4]: expected `*`, or an origin as `https://app.example.org`, or `https://*.example.org` for one label, found the text `*://a.example`
9:120: error: bindings.web.options.access-control.allow.origins[5]: expected `*`, or an origin as `https://app.example.org`, or `https://*.example.org` for one label, found the text `https://*.example.org:*`
9:147: error: bindings.web.options.access-control.allow.origins[6]: expected `*`, or an origin as `https://app.example.org`, or `https://*.example.org` for one label, found the text `https://*.*.org`
9:166: error: bindings.web.options.access-control.allow.origins[7]: expected `*`, or an origin as `https://app.example.org`, or `https://*.example.org` for one label, found the text `https://*.`
9:180: error: bindings.web.options.access-control.allow.origins[8]: expected `*`, or an origin as `https://app.example.org`, or `https://*.example.org` for one label, found a list
19:75: warning: bindings.silent.options.access-control.allow.origins[0]: no page has the origin `example.org`: expected `*`, or an origin as `https://app.example.org`, or `https://*.example.org` for one label
19:88: warning: bindings.silent.options.access-control.allow.origins[1]: no page has the origin `https://a.example/b`: expected `*`, or an origin as `https://app.example.org`, or `https://*.example.org` for one label
19:111: warning: bindings.silent.options.access-control.allow.origins[2]: no page has the origin `https://u@a.example`: expected `*`, or an origin as `https://app.example.org`, or `https://*.example.org` for one label
",
    ),
    (
        "an unknown model and metric",
        "name: a
telemetry: { metrics: [stream.opens.*, http.request.sise] }
bindings:
  cs: { type: kafka, kind: cache_server, options: { topics: [{ name: a, value: avr }] }, exit: kc }
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, exit: out }
  out: { type: tcp, kind: client }
",
        "2:40: error: telemetry.metrics[1]: unknown metric `http.request.sise`
  help: did you mean `http.request.size`? there are: stream.active.received, stream.active.sent, stream.opens.received, stream.opens.sent, stream.data.received, stream.data.sent, stream.errors.received, stream.errors.sent, stream.closes.received, stream.closes.sent, http.request.size, http.response.size, http.duration, http.active.requests, grpc.active.requests, grpc.requests.per.rpc, grpc.responses.per.rpc
4:80: error: bindings.cs.options.topics[0].value: unknown model `avr`: expected string, int32, int64, float, double, boolean, bytes, json, avro or protobuf
  help: did you mean `avro`?
",
    ),
    (
        "limits that are none",
        "name: a
bindings:
  in: { type: tcp, kind: server, options: { port: 1, connections: 0, write-deadline: 1m }, exit: web }
  web: { type: http, kind: server, exit: pages }
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
  store: { type: kafka, kind: cache_server, options: { memory: 256MB }, exit: cluster }
  cluster: { type: kafka, kind: client, options: { servers: [a:1] }, exit: out }
  out: { type: tcp, kind: client }
  streams: { type: sse, kind: server, options: { max-age: 0 }, exit: map }
  map: { type: sse-kafka, kind: proxy, routes: [{ with: { topic: x }, exit: cluster }] }
",
        "3:67: error: bindings.in.options.connections: expected a number of connections (1 to 10000000), found `0`
3:86: error: bindings.in.options.write-deadline: expected a number of seconds (1 to 86400), found `1m`
7:64: error: bindings.store.options.memory: expected an amount of memory of 1 MiB to 1 TiB, as `512MiB` or a number of bytes, found `256MB`
10:59: error: bindings.streams.options.max-age: expected a number of seconds (1 to 31536000), found `0`
",
    ),
    (
        "methods that are none",
        r#"name: a
bindings:
  in: { type: tcp, kind: server, options: { port: 1 }, exit: web }
  web: { type: http, kind: server, exit: pages }
  pages:
    type: http-filesystem
    kind: proxy
    routes:
      - when: [{ method: "{x" }, { method: "}" }, { method: "{p}" }, { method: get me }, { method: "" }, { method: "*" }]
        exit: files
  files: { type: filesystem, kind: server, options: { location: www/ } }
"#,
        "9:26: error: bindings.pages.routes[0].when[0].method: expected a method, as `GET`, found the text `{x`
9:44: error: bindings.pages.routes[0].when[1].method: expected a method, as `GET`, found the text `}`
9:61: error: bindings.pages.routes[0].when[2].method: expected a method, as `GET`, found the text `{p}`
9:80: error: bindings.pages.routes[0].when[3].method: expected a method, as `GET`, found `get me`
9:100: error: bindings.pages.routes[0].when[4].method: expected a method, as `GET`, found the text ``
9:116: error: bindings.pages.routes[0].when[5].method: expected a method, as `GET`, found the text `*`
",
    ),
    (
        "credentials that are looked for nowhere",
        r#"name: a
guards: { who: { type: jwt, options: { keys: https://a.example/keys } } }
bindings:
  one:
    type: http
    kind: server
    options:
      authorization:
        who:
          credentials:
            headers: { "bad name": "{credentials}", "": "{credentials}", x: "credentials" }
            query: { "": "{credentials}" }
            cookies: { "a;b": "{credentials}" }
    exit: pages
  two: { type: http, kind: server, options: { authorization: { who: { credentials: {} } } }, exit: pages }
  three: { type: http, kind: server, options: { authorization: { who: { credentials: { headers: {} } } } }, exit: pages }
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
"#,
        "11:24: error: bindings.one.options.authorization.who.credentials.headers.bad name: `bad name` is no name of a header, a cookie or a parameter
11:53: error: bindings.one.options.authorization.who.credentials.headers.: `` is no name of a header, a cookie or a parameter
11:77: error: bindings.one.options.authorization.who.credentials.headers.x: expected a text with `{credentials}` in it, found the text `credentials`
12:22: error: bindings.one.options.authorization.who.credentials.query.: `` is no name of a header, a cookie or a parameter
13:24: error: bindings.one.options.authorization.who.credentials.cookies.a;b: `a;b` is no name of a header, a cookie or a parameter
15:71: error: bindings.two.options.authorization.who.credentials: expected a place in `headers`, `query` or `cookies`
16:73: error: bindings.three.options.authorization.who.credentials: expected a place in `headers`, `query` or `cookies`
",
    ),
    (
        "ports that stand there twice",
        r#"name: a
bindings:
  in: { type: tcp, kind: server, options: { port: [7371, 7371, "7370-7380", 0, 0, 7381] }, exit: web }
  web: { type: http, kind: server, exit: pages }
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
"#,
        "3:58: error: bindings.in.options.port[1]: a port is listed twice
3:64: error: bindings.in.options.port[2]: a port is listed twice
",
    ),
    (
        "a mechanism that is not there yet",
        r#"name: a
bindings:
  in: { type: tcp, kind: server, options: { port: 1 }, exit: web }
  web: { type: http, kind: server, exit: streams }
  streams: { type: sse, kind: server, exit: map }
  map: { type: sse-kafka, kind: proxy, routes: [{ with: { topic: x }, exit: kc }] }
  kc: { type: kafka, kind: client, options: { servers: [k:9092], sasl: { mechanism: oauthbearer, token: t } }, exit: out }
  out: { type: tcp, kind: client }
"#,
        "7:66: error: bindings.kc.options.sasl: not supported yet: the connection to Kafka would have no credentials
",
    ),
    (
        "unknown keys and catalogs",
        r#"name: a
catalogs:
  r: { type: schema-registry, options: { url: u, tls: { turst: [a] }, credentials: { headers: { authorisation: x }, query: {} } } }
bindings:
  web:
    type: http
    kind: server
    options:
      requests:
        - { method: P T, contnt: json, content: { model: json, catalog: { none: [{ id: 1 }] } } }
        - { path: /a, params: { cookie: {}, path: { id: strng } }, headers: [], responses: [{ status: 99, statuses: [] }, { status: [200, ok], content: json }] }
        - x
      requets: []
    exit: pages
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
telemetry:
  exporters:
    o: { type: otlp, options: { endpoint: { location: u }, tls: { key: a }, credentials: { headers: {}, cookies: {} } } }
"#,
        "3:47: error: catalogs.r.options.url: `u` is not an absolute http or https URL of a registry
3:57: error: catalogs.r.options.tls: unknown key `turst`
  help: did you mean `trust`? known here: alpn, keys, sni, trust, trustcacerts, version
3:97: error: catalogs.r.options.credentials.headers: unknown key `authorisation`
  help: did you mean `authorization`? known here: authorization
3:117: error: catalogs.r.options.credentials: unknown key `query`
  help: known here: headers
9:7: warning: bindings.web.options.requests: ignored: requests and responses are not validated
10:11: error: bindings.web.options.requests[0]: `path` is missing
10:21: error: bindings.web.options.requests[0].method: expected a method, as `GET`, found `P T`
10:26: error: bindings.web.options.requests[0]: unknown key `contnt`
  help: did you mean `content`? known here: content, content-type, headers, method, params, path, responses
10:81: error: bindings.web.options.requests[0].content.catalog.none: there is no catalog `none`
  help: defined: r
11:33: error: bindings.web.options.requests[1].params: unknown key `cookie`
  help: known here: path, query
11:57: error: bindings.web.options.requests[1].params.path.id: unknown model `strng`: expected string, int32, int64, float, double, boolean, bytes, json, avro or protobuf
  help: did you mean `string`?
11:77: error: bindings.web.options.requests[1].headers: expected a mapping, found a list
11:103: error: bindings.web.options.requests[1].responses[0].status: expected a status (100 to 599), found `99`
11:107: error: bindings.web.options.requests[1].responses[0]: unknown key `statuses`
  help: did you mean `status`? known here: content, content-type, headers, status
11:139: error: bindings.web.options.requests[1].responses[1].status[1]: expected a status (100 to 599), found `ok`
11:153: error: bindings.web.options.requests[1].responses[1].content: the model `json` needs a `catalog`
12:11: error: bindings.web.options.requests[2]: expected a mapping, found `x`
13:7: error: bindings.web.options: unknown key `requets`
  help: did you mean `requests`? known here: access-control, authorization, overrides, requests, versions
19:55: error: telemetry.exporters.o.options.endpoint.location: expected an absolute http or https URL without user and query, found `u`
19:67: error: telemetry.exporters.o.options.tls: unknown key `key`
  help: did you mean `keys`? known here: alpn, keys, sni, trust, trustcacerts, version
19:105: error: telemetry.exporters.o.options.credentials: unknown key `cookies`
  help: known here: headers
",
    ),
    (
        "TLS without a vault, guards that nobody can ask, and leave for pages that need none",
        r#"name: a
guards: { who: { type: jwt, options: { keys: https://a.example/keys } } }
bindings:
  in: { type: tcp, kind: server, options: { port: 1 }, routes: [{ guarded: { who: [] }, exit: tls }] }
  tls: { type: tls, kind: server, options: { keys: [a] }, exit: web }
  web:
    type: http
    kind: server
    options: { access-control: { policy: same-origin, allow: { origins: [https://a.example] }, expose: { headers: [x] } } }
    exit: streams
  streams: { type: sse, kind: server, exit: map }
  map: { type: sse-kafka, kind: proxy, routes: [{ with: { topic: x }, exit: cache }] }
  cache: { type: kafka, kind: cache_client, routes: [{ guarded: { who: [] }, exit: store }] }
  store: { type: kafka, kind: cache_server, exit: kc }
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, exit: out }
  out: { type: tcp, kind: client }
"#,
        "4:67: error: bindings.in.routes[0].guarded: not supported yet: guards check requests, so only routes of http, sse, sse-kafka and http-filesystem bindings can have them
5:3: error: bindings.tls: `vault` is missing
9:55: error: bindings.web.options.access-control.allow: pages of the same origin need no permission
  help: expected `policy: cross-origin` with this key
9:96: error: bindings.web.options.access-control.expose: pages of the same origin need no permission
  help: expected `policy: cross-origin` with this key
13:56: error: bindings.cache.routes[0].guarded: not supported yet: guards check requests, so only routes of http, sse, sse-kafka and http-filesystem bindings can have them
",
    ),
    (
        "telemetry that can't be recorded, served or pushed",
        r#"name: a
vaults: { v: { type: filesystem } }
bindings:
  in: { type: tcp, kind: server, options: { host: 127.0.0.1, port: 7190 }, exit: web }
  web:
    type: http
    kind: server
    exit: pages
    telemetry:
      metrics: [stream.*, "http.(request", "(?!http).*", "a)(b", "\\w{9000}"]
      attributes: { method: "${http.request.method}", le: "${http.request.path}", a.b: "${http.request.a}", a_b: "${http.request.b}", tenant: fixed }
      labels: {}
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
telemetry:
  exporters:
    none: { type: prometheus, options: { endpoints: [] } }
    bare: { type: prometheus }
    taken: { type: prometheus, options: { endpoints: [{ scheme: http, port: 7190 }] } }
    twice: { type: prometheus, options: { endpoints: [{ scheme: http, port: 7191 }, { scheme: https, port: 0, path: m }, { scheme: http, port: 7191, path: /m }] } }
    out: { type: stdout, vault: v, options: { access-log: { subject: full } } }
    push: { type: otlp, options: { interval: 0, signals: [traces], endpoint: { location: "https://user:pass@collector", overrides: { metrics: v1 } } } }
    away: { type: otlp, vault: x, options: { endpoint: { location: "https://collector" } } }
    keys: { type: otlp, vault: v, options: { endpoint: { location: "https://collector" }, tls: { keys: [k] }, credentials: { headers: { authorization: "a\nb" } } } }
"#,
        r"10:27: error: bindings.web.telemetry.metrics[1]: `http.(request` is no regular expression that can be matched in linear time
10:44: error: bindings.web.telemetry.metrics[2]: `(?!http).*` is no regular expression that can be matched in linear time
10:58: error: bindings.web.telemetry.metrics[3]: `a)(b` is no regular expression that can be matched in linear time
10:66: error: bindings.web.telemetry.metrics[4]: `\\w{9000}` is no regular expression that can be matched in linear time
11:55: warning: bindings.web.telemetry.attributes.le: ignored: a label has a name of its own, and is `${http.request.X}` or `${http.response.X}`
11:109: warning: bindings.web.telemetry.attributes.a_b: ignored: a label has a name of its own, and is `${http.request.X}` or `${http.response.X}`
11:135: warning: bindings.web.telemetry.attributes.tenant: ignored: a label has a name of its own, and is `${http.request.X}` or `${http.response.X}`
12:7: error: bindings.web.telemetry: unknown key `labels`
  help: known here: attributes, metrics
17:53: error: telemetry.exporters.none.options.endpoints: expected at least one endpoint
18:5: error: telemetry.exporters.bare.options: `endpoints` is missing
19:55: error: telemetry.exporters.taken: `in` listens on port 7190 of :: already
  help: expected a port of its own, or another host
20:95: error: telemetry.exporters.twice.options.endpoints[1].scheme: expected http, found `https`
20:108: error: telemetry.exporters.twice.options.endpoints[1].port: expected a port (1 to 65535), found `0`
20:117: error: telemetry.exporters.twice.options.endpoints[1].path: expected a path, as `/metrics`, found `m`
20:122: error: telemetry.exporters.twice: `twice` listens on port 7191 of :: already
  help: expected a port of its own, or another host
21:26: warning: telemetry.exporters.out.vault: ignored: only exporters of type otlp open connections
21:70: error: telemetry.exporters.out.options.access-log.subject: expected plain, hash or off, found `full`
22:46: error: telemetry.exporters.push.options.interval: expected a number of seconds (1 to 31536000), found `0`
22:59: error: telemetry.exporters.push.options.signals[0]: expected metrics or logs, found `traces`
22:90: error: telemetry.exporters.push.options.endpoint.location: expected an absolute http or https URL without user and query, found a text
22:143: error: telemetry.exporters.push.options.endpoint.overrides.metrics: expected a path, as `/metrics`, found `v1`
23:32: error: telemetry.exporters.away.vault: there is no vault `x`
  help: defined: v
24:152: error: telemetry.exporters.keys.options.credentials.headers.authorization: the value of the header has a character that no header may have
",
    ),
    (
        "what would be unsafe to ignore",
        "name: a
vaults: { v: { type: filesystem } }
bindings:
  in: { type: tcp, kind: server, options: { port: 1 }, routes: [{ when: [{ authority: a.b }], exit: tls }] }
  tls: { type: tls, kind: server, vault: v, options: { keys: [a] }, exit: web }
  web: { type: http, kind: server, exit: pages }
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
",
        "4:76: error: bindings.in.routes[0].when[0].authority: not supported yet: the name would not be checked
5:3: error: bindings.tls: the vault `v` has no `keys`
  help: expected `options.keys` with a `store` there
",
    ),
];

#[test]
fn every_mistake_is_named_with_its_place() {
    for (what, file, expected) in MISTAKES {
        assert_eq!(said(file), *expected, "{what}");
    }
}
