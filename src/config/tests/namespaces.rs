//! Several documents in a file.

use super::{described, said};

const PAGES: &str = "
bindings:
  in: { type: tcp, kind: server, options: { host: HOST, port: PORT }, exit: web }
  web: { type: http, kind: server, exit: pages }
  pages: { type: http-filesystem, kind: proxy, exit: files }
  files: { type: filesystem, kind: server, options: { location: www/ } }
";

fn pages(name: &str, host: &str, port: &str) -> String {
    format!("name: {name}{}", PAGES.replace("HOST", host).replace("PORT", port))
}

#[test]
fn each_document_is_described_and_the_memory_of_all_is_told_once() {
    let file = format!(
        "# Put together of several files.\n---\n{}---\n{}---\nname: exporters\ntelemetry: {{ exporters: {{ logs: {{ type: stdout }} }} }}\n---\n",
        pages("first", "localhost", "7114"),
        include_str!("fanout.yaml").replace("7114", "7115"),
    );
    assert_eq!(said(&file), "");
    insta::assert_snapshot!(described("F", &file), @r"
    namespace first

    in: listens on localhost:7114
      always -> web: http/1.1 or h2, pages of the same origin only
        always -> pages: static files
          always -> files: folder www/, symbolic links are ignored

    namespace fanout

    listen: listens on 0.0.0.0:7115
      port 7115 -> web: http/1.1 or h2, pages of any origin
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

    namespace exporters

    telemetry: logs writes logs to the standard output
    ");
    let text = super::describe(&super::read("F", &file).unwrap());
    let (_, memory, _) = super::around_memory(&text).unwrap();
    insta::assert_snapshot!(memory, @r"
      cache -> store -> cluster
        logs, if it has 1000 topics                    2 GiB
        read ahead at the live ends                   53 MiB
        history                                      170 MiB
      sum                                            2.2 GiB
      and for each further broker                     12 MiB
      and compressed batches, while librdkafka unpacks them
      in: 65536 connections, a stream each
        idle, 4 KiB each                             256 MiB
        if nobody reads, 68 KiB each                 4.3 GiB
        if each keeps other records, 1 MiB more       64 GiB
        if each is within a large record, 16 MiB       1 TiB
        and in the kernel, 256 KiB each               16 GiB
      listen: 65536 connections, a stream each
        idle, 4 KiB each                             256 MiB
        if nobody reads, 68 KiB each                 4.3 GiB
        if each keeps other records, 1 MiB more       64 GiB
        if each is within a large record, 16 MiB       1 TiB
        and in the kernel, 256 KiB each               16 GiB
    ");
}

#[test]
fn bindings_that_are_called_the_same_are_told_apart() {
    let fanout = include_str!("fanout.yaml");
    let second = fanout.replace("fanout", "second").replace("7114", "7115");
    let text = super::describe(&super::read("F", &format!("{fanout}---\n{second}")).unwrap());
    for expected in [
        "  fanout:cache -> store -> cluster\n",
        "  second:cache -> store -> cluster\n",
        "  sum                                            4.3 GiB\n",
        "  fanout:listen: 65536 connections",
        "  second:listen: 65536 connections",
    ] {
        assert!(text.contains(expected), "{expected}{text}");
    }
    let other = second.replace("  cluster:", "  kafka:").replace("exit: cluster", "exit: kafka");
    let text = super::describe(&super::read("F", &format!("{fanout}---\n{other}")).unwrap());
    assert!(text.contains("\n  cache -> store -> cluster\n"), "{text}");
    assert!(text.contains("\n  cache -> store -> kafka\n"), "{text}");
}

#[test]
fn documents_begin_and_end_as_yaml_lets_them() {
    let one = pages("one", "localhost", "1");
    let two = pages("two", "localhost", "2");
    for (file, names) in [
        (format!("{one}---\n"), 1),
        (format!("{one}---"), 1),
        (format!("{one}--- # the end\n# nothing\n"), 1),
        (format!("{one}---\n---\n\n---\n~\n"), 1),
        (format!("---\n{one}...\n"), 1),
        (format!("---\n---\n{one}...\n---\n"), 1),
        (format!("%YAML 1.2\n---\n{one}...\n# a comment\n"), 1),
        (format!("\u{feff}---\n{one}"), 1),
        (format!("{one}...\n{two}"), 2),
        (format!("{one}---\r\n{}", two.replace('\n', "\r\n")), 2),
        (format!("\u{feff}{one}---\n\u{feff}{two}"), 2),
        (format!("{one}...\n\u{feff}---\n{two}"), 2),
    ] {
        assert_eq!(said(&file), "", "{file}");
        assert_eq!(super::read("F", &file).unwrap().namespaces.len(), names, "{file}");
    }
}

#[test]
fn two_listeners_cannot_have_one_address() {
    let taken = |port: u16, host: &str| {
        format!(
            "10:3: error: bindings.in: `in` of the namespace `a` listens on port {port} of {host} already
  help: expected a port of its own, or another host
"
        )
    };
    for (one, two, expected) in [
        (("0.0.0.0", "7114"), ("0.0.0.0", "7114"), taken(7114, "0.0.0.0")),
        (("0.0.0.0", "7000-7200"), ("127.0.0.1", "[1, 7114-7115]"), taken(7114, "127.0.0.1")),
        (("localhost", "7114"), ("127.0.0.1", "7114"), taken(7114, "127.0.0.1")),
        (("a.example", "7114"), ("A.example", "7114"), taken(7114, "A.example")),
        (("\"::\"", "7114"), ("127.0.0.1", "7114"), taken(7114, "127.0.0.1")),
        (("0.0.0.0", "0"), ("0.0.0.0", "0"), String::new()),
        (("0.0.0.0", "7114"), ("0.0.0.0", "7115"), String::new()),
        (("127.0.0.1", "7114"), ("127.0.0.2", "7114"), String::new()),
    ] {
        let file = pages("a", one.0, one.1) + "---\n" + &pages("b", two.0, two.1);
        assert_eq!(said(&file), expected, "{one:?} {two:?}");
    }
    let twice = pages("a", "localhost", "1")
        + "  also: { type: tcp, kind: server, options: { host: 127.0.0.1, port: 1 }, exit: web }\n";
    assert_eq!(
        said(&twice),
        "7:3: error: bindings.also: `in` listens on port 1 of 127.0.0.1 already
  help: expected a port of its own, or another host
"
    );
}
