//! Catalogs, models and transforms, and what is said about them.

use super::{report, said};

/// A file with these catalogs, and these options of a topic `t`.
fn file(catalogs: &str, topic: &str) -> String {
    format!(
        "name: a
catalogs: {{ {catalogs} }}
bindings:
  cs: {{ type: kafka, kind: cache_server, options: {{ topics: [{{ name: t, {topic} }}] }}, exit: kc }}
  kc: {{ type: kafka, kind: client, options: {{ servers: [k:9092] }}, exit: out }}
  out: {{ type: tcp, kind: client }}
"
    )
}

const HERE: &str = "here: { type: inline, options: { subjects: {
  s: { schema: '\"string\"' }, o: { schema: '{}', version: 1 }, p: { schema: 'syntax = \"proto3\"; message M { int32 a = 1; }' },
  bad: { schema: string }, t-value: { schema: '\"int\"' } } } }";

#[test]
fn what_a_model_may_be() {
    for topic in [
        "key: string, value: int32",
        "value: { model: string, encoding: utf_16, minLength: 1, maxLength: 9, pattern: '[a-z]+' }",
        "value: { model: int32, format: binary, range: '[-5,10)', multiple: 2 }",
        "value: { model: int64, range: '(,5]', validate: lenient }",
        "value: { model: double, range: '[0.5,)', multiple: 0.25 }",
        "value: { model: int32, range: '[5,5]' }",
        "value: { model: boolean }, key: bytes",
        "value: { model: avro, view: json, logical-types: text, catalog: { here: [{ subject: s }] } }",
        "value: { model: avro, catalog: { here: [{ strategy: topic }] }, validate: { decode: lenient } }",
        "value: { model: avro, catalog: { here: [{ strategy: encoded, version: latest }] } }",
        "value: { model: json, catalog: { here: [{ subject: o, version: 1 }] } }",
        "value: { model: protobuf, view: json, catalog: { here: [{ subject: p, record: M }] } }",
        "value: { model: json, catalog: { r: [{ id: 7 }] } }",
        "key: string, value: { model: json, catalog: { r: [{ strategy: topic }] } }, transforms: [{ extract-key: '${message.value.id}', extract-headers: { h: '${message.value.a}' } }]",
    ] {
        for kind in [
            "schema-registry",
            "confluent-schema-registry",
            "karapace",
            "karapace-schema-registry",
            "apicurio",
            "apicurio-registry",
        ] {
            let registry = format!("{HERE}, r: {{ type: {kind}, options: {{ url: http://r }} }}");
            assert_eq!(said(&file(&registry, topic)), "", "{topic}");
        }
    }
}

#[test]
fn what_a_model_may_not_be() {
    let registry = format!("{HERE}, r: {{ type: karapace, options: {{ url: http://r }} }}");
    for (topic, expected) in [
        ("value: avro", "value: the model `avro` needs a `catalog`"),
        ("value: { model: int32, max: 5 }", "value: unknown key `max`"),
        ("value: { model: string, max: 5 }", "value: unknown key `max`"),
        ("value: { model: int32, view: json }", "value: unknown key `view`"),
        (
            "value: { model: json, view: json, catalog: { here: [{ subject: s }] } }",
            "value: unknown key `view`",
        ),
        (
            "value: { model: avro, view: avro, catalog: { here: [{ subject: s }] } }",
            "value.view: expected json, found `avro`",
        ),
        (
            "value: { model: int32, range: '[0;5]' }",
            "value.range: expected a range of the model `int32`, as `[0,10)` or `(,5]`, found the text `[0;5]`",
        ),
        ("value: { model: int32, range: '[0.5,1]' }", "value.range: expected a range"),
        (
            "value: { model: int32, multiple: 0.5 }",
            "value.multiple: expected a number of the model `int32` greater than 0, found `0.5`",
        ),
        ("value: { model: int32, range: '[5,1]' }", "value.range: expected a range"),
        ("value: { model: double, range: '(5,5]' }", "value.range: expected a range"),
        (
            "value: { model: avro, logical-types: text, catalog: { here: [{ subject: s }] } }",
            "value.logical-types: ignored: without `view: json` the data stays Avro",
        ),
        (
            "value: { model: json, catalog: { r: [{ id: 1 }] } }, transforms: [{ extract-headers: { '': '${message.value.a}' } }]",
            "transforms[0].extract-headers.: expected the name of a header, found an empty text",
        ),
        (
            "value: { model: string, pattern: '(' }",
            "value.pattern: the pattern is not a regular expression",
        ),
        (
            "value: { model: avro, catalog: { here: [] } }",
            "value.catalog.here: expected an entry that names a schema, found an empty list",
        ),
        (
            "value: { model: avro, catalog: { none: [{ id: 1 }] } }",
            "value.catalog.none: there is no catalog `none`",
        ),
        ("value: { model: avro, catalog: {} }", "value.catalog: expected the name of one catalog"),
        (
            "value: { model: avro, catalog: { here: [{ subject: s }], r: [{ id: 1 }] } }",
            "value.catalog: expected the name of one catalog",
        ),
        (
            "value: { model: avro, catalog: { here: [{ subject: s, id: 1 }] } }",
            "value.catalog.here[0]: expected one of `id`, `strategy` and `subject`",
        ),
        (
            "value: { model: json, catalog: { here: [{ strategy: tool }] } }",
            "value.catalog.here[0].strategy: expected topic or encoded, found `tool`",
        ),
        (
            "value: { model: avro, catalog: { here: [{ subject: s, overlay: {} }] } }",
            "value.catalog.here[0].overlay: overlays of a schema are not supported",
        ),
        (
            "value: { model: avro, catalog: { here: [{ subject: nope }] } }",
            "value.catalog.here[0]: the catalog `here` has no subject nope version latest",
        ),
        (
            "value: { model: json, catalog: { here: [{ subject: o }] } }",
            "value.catalog.here[0]: the catalog `here` has no subject o version latest",
        ),
        (
            "key: { model: avro, catalog: { here: [{ strategy: topic }] } }",
            "key.catalog.here[0]: the catalog `here` has no subject t-key version latest",
        ),
        (
            "value: { model: avro, catalog: { here: [{ id: 5 }] } }",
            "value.catalog.here[0]: the catalog `here` has no id 5",
        ),
        (
            "value: { model: avro, catalog: { r: [{ id: -1 }] } }",
            "value.catalog.r[0]: the catalog has no schemas with such an id",
        ),
        (
            "value: { model: protobuf, catalog: { here: [{ subject: p }] } }",
            "value.catalog.here[0]: `record` is missing",
        ),
        (
            "value: { model: protobuf, catalog: { here: [{ subject: p, record: N }] } }",
            "value.catalog.here[0]: ",
        ),
        (
            "transforms: [{ extract-headers: { h: '${message.key.a}' } }, { extract-key: '${message.key.a}' }]",
            "transforms[1].extract-key: expected `extract-key` before `extract-headers`",
        ),
        (
            "transforms: [{ extract-key: '${message.key.a.b}' }]",
            "transforms[0].extract-key: expected a field of the value or the key",
        ),
        (
            "key: string, transforms: [{ extract-key: '${message.key.a}' }]",
            "transforms[0].extract-key: ignored: the topic has no model of json, avro or protobuf for the part that the field is in",
        ),
    ] {
        let said = said(&file(&registry, topic));
        let expected = format!("bindings.cs.options.topics[0].{expected}");
        assert!(said.contains(&expected), "{topic}\n{said}");
    }
    let said = said(&file(HERE, "value: { model: avro, catalog: { here: [{ subject: bad }] } }"));
    let expected =
        "4:18: error: catalogs.here.options.subjects.bad.schema: the text is no schema of avro: ";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn what_a_catalog_may_not_be() {
    for (catalog, expected) in [
        ("c: { type: schema-registry }", "2:13: error: catalogs.c.options: `url` is missing"),
        (
            "c: { type: schema-registry, options: { url: r } }",
            "is not an absolute http or https URL",
        ),
        ("c: { type: inline, options: {} }", "catalogs.c.options: `subjects` is missing"),
        (
            "c: { type: inline, options: { subjects: { s: {} } } }",
            "catalogs.c.options.subjects.s: `schema` is missing",
        ),
        (
            "c: { type: nope }",
            "expected inline, filesystem, schema-registry, confluent-schema-registry, karapace, karapace-schema-registry, apicurio or apicurio-registry",
        ),
        (
            "c: { type: karapace, vault: v, options: { url: http://r } }",
            "catalogs.c.vault: there is no vault `v`",
        ),
        (
            "c: { type: karapace, options: { url: https://r, tls: { trust: [a] } } }",
            "catalogs.c: `vault` is missing",
        ),
        (
            "c: { type: karapace, options: { url: http://r, tls: { trustcacerts: true } } }",
            "catalogs.c.options.tls: ignored: the URL of the catalog is not https",
        ),
        (
            "c: { type: karapace, options: { url: http://r, credentials: { headers: { authorization: \"a\\nb\" } } } }",
            "authorization: the value of the header has a character that no header may have",
        ),
    ] {
        let said = said(&file(catalog, "value: int32"));
        assert!(said.contains(expected), "{catalog}\n{said}");
    }
    let said = said(&file(
        "c: { type: karapace, options: { url: 'ftp://user:secret@r' } }",
        "value: int32",
    ));
    assert!(said.contains("error") && !said.contains("secret"), "{said}");
}

#[test]
fn names_of_topics_are_expressions() {
    let models =
        "value: int32 }, { name: 'orders-{x}', value: int64 }, { name: 'a(b|c)', value: string";
    assert_eq!(said(&file("", models)), "");
    for (name, expected) in [
        ("a b", "the topic name `a b` has characters other than"),
        ("'a('", "`a(` is no regular expression that can be matched in linear time"),
        ("'(a)\\1'", "is no regular expression that can be matched in linear time"),
    ] {
        let said = said(&file("", &format!("value: int32 }}, {{ name: {name}")));
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn models_of_the_client_side_have_no_effect() {
    let file = "name: a
bindings:
  cc: { type: kafka, kind: cache_client, options: { topics: [{ name: t, key: string, value: int32 }] }, exit: cs }
  cs: { type: kafka, kind: cache_server, options: { topics: [{ name: t, value: int32 }] }, exit: kc }
  kc: { type: kafka, kind: client, options: { servers: [k:9092] }, exit: out }
  out: { type: tcp, kind: client }
";
    let reason = "records are validated and converted by the models of the cache_server, which has none for this topic";
    assert_eq!(
        said(file),
        format!("3:73: warning: bindings.cc.options.topics[0].key: ignored: {reason}\n")
    );
}

#[test]
fn files_of_schemas_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zilla.yaml");
    let catalog = "c: { type: filesystem, options: { subjects: { s: { path: s.avsc }, m: { path: m.avsc } } } }";
    let text =
        file(catalog, "value: { model: avro, catalog: { c: [{ subject: s, version: 3 }] } }");
    std::fs::write(&path, text).unwrap();
    std::fs::write(folder.path().join("s.avsc"), "\"strin\"").unwrap();
    let Err(crate::config::Error::Invalid(report)) = crate::config::load(&path) else {
        panic!("two mistakes");
    };
    let said = report.to_string();
    assert!(said.contains("catalogs.c.options.subjects.m.path: schema file `"), "{said}");
    assert!(
        said.contains("catalogs.c.options.subjects.s.path: the text is no schema of avro: "),
        "{said}"
    );
    std::fs::write(folder.path().join("s.avsc"), "\"string\"").unwrap();
    std::fs::write(folder.path().join("m.avsc"), "\"int\"").unwrap();
    crate::config::load(&path).unwrap();
}

#[test]
fn a_strategy_of_events_needs_data_with_ids() {
    let of = |catalog: &str| {
        format!(
            "name: a
catalogs: {{ {HERE}, r: {{ type: karapace, options: {{ url: http://r }} }} }}
bindings:
  s: {{ type: sse, kind: server, options: {{ requests: [{{ path: /a, content: {{ model: json, catalog: {{ {catalog}: [{{ strategy: topic }}] }} }} }}] }} }}
"
        )
    };
    let path = "bindings.s.options.requests[0].content.catalog.here[0]";
    let said_of_here = said(&of("here"));
    let expected = format!("{path}: `strategy` needs a topic, and events have none");
    assert!(said_of_here.contains(&expected), "{said_of_here}");
    assert!(!said(&of("r")).contains("catalog"), "{}", said(&of("r")));
}

#[test]
fn no_message_shows_a_password() {
    for catalog in [
        "c: 'http://u:pa55word@h'",
        "c: { type: karapace, options: 'http://u:pa55word@h' }",
        "c: { type: karapace, url: 'http://u:pa55word@h' }",
        "c: { type: karapace, options: { url: 'ftp://u:pa55word@h' } }",
        "c: { type: karapace, options: { url: 'http://u:pa55word@' } }",
        "c: { type: karapace, options: { url: ['http://u:pa55word@h'] } }",
        "c: { type: karapace, options: { url: http://h, max-age: 'http://u:pa55word@h' } }",
        "c: { type: karapace, options: { url: http://h, credentials: pa55word } }",
        "c: { type: karapace, options: { url: http://h, credentials: { headers: pa55word } } }",
        "c: { type: karapace, options: { url: http://h, credentials: { authorization: pa55word } } }",
        "c: { type: karapace, options: { url: http://h, credentials: { headers: { authorization: [pa55word] } } } }",
        "c: { type: karapace, options: { url: http://h, credentials: { headers: { authorization: \"pa55word\\n\" } } } }",
    ] {
        let source = file(catalog, "value: string");
        let said = said(&source);
        assert!(said.contains("error: ") && !said.contains("pa55word"), "{catalog}\n{said}");
        let shown = report(&source).graphical(false);
        assert!(shown.contains("error: ") && !shown.contains("pa55word"), "{catalog}\n{shown}");
    }
}
