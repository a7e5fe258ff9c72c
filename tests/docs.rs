//! The documentation is true where a program can tell: configurations, links, paths, generated parts.
//!
//! `TAILWATER_UPDATE_DOCS=1 cargo test --test docs` writes the configuration reference anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use tailwater::config;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below a folder that end so, relative to the root.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                out.push(path.strip_prefix(root()).expect("it is below the root").to_owned());
            }
        }
    }
    out.sort();
    out
}

/// The pages that people read.
fn pages() -> Vec<PathBuf> {
    let mut pages = files("docs", "md");
    let files = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "benches/README.md",
        "clients/browser/README.md",
    ];
    pages.extend(files.map(PathBuf::from));
    for layer in fs::read_dir(root().join("layers")).expect("the folder of the layers") {
        let readme = layer.expect("a layer").path().join("README.md");
        if readme.exists() {
            pages.push(readme.strip_prefix(root()).expect("it is below the root").to_owned());
        }
    }
    pages
}

/// The fenced blocks of a page: line, language, text.
fn blocks(text: &str) -> Vec<(usize, &str, String)> {
    let mut out: Vec<(usize, &str, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        if let Some(language) = line.strip_prefix("```") {
            open = !open;
            if open {
                out.push((index + 1, language, String::new()));
            }
        } else if open && let Some((_, _, block)) = out.last_mut() {
            block.push_str(line);
            block.push('\n');
        }
    }
    out
}

/// A page without its fenced blocks.
fn prose(text: &str) -> String {
    let mut open = false;
    let keep = |line: &&str| {
        let fence = line.starts_with("```");
        open ^= fence;
        !open && !fence
    };
    text.lines().filter(keep).collect::<Vec<_>>().join("\n")
}

/// What a block stands in: a block that is a part of a file replaces or extends these bindings.
const BINDINGS: &[(&str, &str)] = &[
    ("tcp_in", "{ type: tcp, kind: server, options: { port: 7114 }, exit: http_in }"),
    ("http_in", "{ type: http, kind: server, exit: sse_in }"),
    ("sse_in", "{ type: sse, kind: server, exit: mapping }"),
    ("mapping", "{ type: sse-kafka, kind: proxy, routes: [{ exit: cache_client, WITH }] }"),
    ("cache_client", "{ type: kafka, kind: cache_client, exit: cache_server }"),
    ("cache_server", "{ type: kafka, kind: cache_server, exit: kafka_client }"),
    (
        "kafka_client",
        "{ type: kafka, kind: client, options: { servers: [localhost:9092] }, exit: tcp_out }",
    ),
    ("tcp_out", "{ type: tcp, kind: client }"),
];
const SECTIONS: &[(&str, &str)] = &[
    ("name", "example"),
    (
        "catalogs",
        "{ registry: { type: schema-registry, options: { url: https://registry.example.com } } }",
    ),
    ("vaults", "{ servers: { type: filesystem, options: { keys: { store: a.pem, type: pem } } } }"),
    (
        "guards",
        "{ customers: { type: jwt, options: { issuer: https://auth.example.com, audience: a } } }",
    ),
];

/// A complete file of a block, which may be a `with`, a section or some bindings.
fn complete(block: &str) -> String {
    let keys: BTreeSet<&str> = block
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_alphabetic()))
        .filter_map(|line| line.split(':').next())
        .collect();
    if keys.contains("bindings") {
        return block.to_owned();
    }
    let mut out = String::new();
    for (name, section) in SECTIONS {
        if !keys.contains(name) {
            writeln!(out, "{name}: {section}").expect("a String can be written to");
        }
    }
    let is_section =
        keys.iter().any(|key| ["vaults", "guards", "catalogs", "telemetry"].contains(key));
    if is_section {
        out.push_str(block);
    }
    out.push_str("bindings:\n");
    let with = if keys.contains("with") { block.trim_end() } else { "with: { topic: orders }" };
    for (name, binding) in BINDINGS {
        if !keys.contains(name) {
            writeln!(out, "  {name}: {}", binding.replace("WITH", with)).expect("as above");
        }
    }
    if !is_section && !keys.contains("with") {
        for line in block.lines() {
            writeln!(out, "  {line}").expect("as above");
        }
    }
    out
}

fn parse(file: &str) -> Result<config::Parsed, config::Report> {
    config::parse("zilla.yaml", file.as_bytes(), &|_| Some("localhost:9092".to_owned()))
}

#[test]
fn every_yaml_block_is_a_configuration() {
    let mut number = 0;
    for page in pages() {
        for (line, language, block) in blocks(&read(&page)) {
            if language != "yaml" {
                continue;
            }
            number += 1;
            let file = complete(&block);
            if let Err(report) = parse(&file) {
                panic!("{}:{line}\n{report}\n{file}", page.display());
            }
        }
    }
    assert!(number > 10, "{number} blocks were found");
}

#[test]
fn check_prints_what_the_tutorial_shows() {
    let page = read("docs/tutorial/first-topic.md");
    let blocks = blocks(&page);
    let block = |of: &str| {
        let found = blocks.iter().find(|(_, language, _)| *language == of);
        found.unwrap_or_else(|| panic!("there is no {of}")).2.clone()
    };
    let printed = config::describe(&parse(&block("yaml")).expect("a configuration"));
    assert!(block("console").contains(&printed), "the page lacks this:\n{printed}");
}

#[test]
fn every_rust_block_is_a_doctest() {
    let facade = read("src/lib.rs");
    for page in files("docs", "md").into_iter().chain([PathBuf::from("README.md")]) {
        let has = blocks(&read(&page)).iter().any(|(_, language, _)| language.starts_with("rust"));
        let included = facade.contains(&format!("include_str!(\"../{}\")", page.display()));
        assert!(
            !has || included,
            "{} has Rust, and src/lib.rs does not include it",
            page.display()
        );
    }
}

/// The anchor of a heading, as forges and mdbook make it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_relative_link_leads_somewhere() {
    for page in pages() {
        let text = prose(&read(&page));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let folder = root().join(&page).parent().expect("a page is in a folder").to_owned();
            let target = if path.is_empty() { root().join(&page) } else { folder.join(path) };
            assert!(target.exists(), "{}: {link}", page.display());
            if !fragment.is_empty() {
                let text = prose(&read(&target));
                let mut headings = text.lines().filter_map(|line| line.strip_prefix('#'));
                let found = headings
                    .any(|heading| anchor(heading.trim_start_matches('#').trim()) == fragment);
                assert!(found, "{}: {link} names no heading", page.display());
            }
        }
    }
}

#[test]
fn the_summary_lists_every_chapter() {
    let summary = read("docs/SUMMARY.md");
    for page in files("docs", "md") {
        let page = page.strip_prefix("docs").expect("it is below docs").display().to_string();
        assert!(page == "SUMMARY.md" || summary.contains(&format!("({page})")), "{page}");
    }
}

#[test]
fn architecture_names_the_folders_that_are_there() {
    let text = read("ARCHITECTURE.md");
    let (_, _, tree) = blocks(&text).into_iter().next().expect("the tree is the first block");
    let mut above: Vec<PathBuf> = Vec::new();
    let mut named = BTreeSet::new();
    for line in tree.lines() {
        let depth = (line.len() - line.trim_start().len()) / 2;
        // What stands further right goes on with the line before.
        if depth > above.len() {
            continue;
        }
        above.truncate(depth);
        // Names stand before two spaces, and what they are behind them.
        let names = line.trim_start().split("  ").next().expect("a line has a first part");
        for name in names.split(' ') {
            let path = above.last().map_or_else(|| PathBuf::from(name), |above| above.join(name));
            assert!(root().join(&path).exists(), "{} is not there", path.display());
            named.insert(path.components().collect::<PathBuf>());
        }
        above.push(above.last().map_or_else(|| PathBuf::from(names), |above| above.join(names)));
    }
    for folder in ["", "src", "layers"] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder of the repository") {
            let path = entry.expect("an entry of it").path();
            let path = path.strip_prefix(root()).expect("it is below the root").to_owned();
            // What git ignores is no part of the repository, nor are settings, whose names begin with a dot.
            if path.starts_with("target") || path.to_string_lossy().starts_with('.') {
                continue;
            }
            // A folder beside a file of its name belongs to it.
            let is_named = named.contains(&path)
                || named.contains(&path.with_extension("rs"))
                || folder.is_empty() && named.iter().any(|name| name.starts_with(&path));
            let is_folder = root().join(&path).is_dir();
            assert!(!is_folder || is_named, "ARCHITECTURE.md lacks {}", path.display());
        }
    }
}

#[test]
fn every_path_that_a_page_names_is_there() {
    let folders = [
        "src/",
        "layers/",
        "tests/",
        "docs/",
        "benches/",
        "clients/",
        "fuzz/",
        "examples/",
        "api/",
        "deploy/",
    ];
    let made_by_tests = ["tests/browser/.out", "fuzz/corpus"];
    let of_kafka = ["source/", "engine/", "stream/", "topic/", "broker/", "data/"];
    for page in pages() {
        let text = prose(&read(&page));
        let internals = page.starts_with("docs/internals");
        for span in text.split('`').skip(1).step_by(2) {
            let begins = |folders: &[&str]| folders.iter().any(|folder| span.starts_with(folder));
            // Names in capitals stand for others.
            if span.contains(|char: char| " *{…".contains(char) || char.is_ascii_uppercase()) {
                continue;
            }
            let package = page.parent().filter(|folder| folder.starts_with("layers"));
            let bases = [package, Some(Path::new(""))];
            let found = |path: &str| {
                bases.iter().flatten().any(|base| root().join(base).join(path).exists())
            };
            if begins(&made_by_tests) {
                continue;
            }
            if begins(&folders) {
                assert!(found(span), "{}: `{span}` is not there", page.display());
            } else if internals && begins(&of_kafka) {
                let path = format!("layers/kafka/src/{span}");
                assert!(found(&path), "{}: `{span}` is not there", page.display());
            }
        }
    }
}

/// What the documentation of a type of `src/config` says.
#[derive(Default)]
struct Type {
    doc: String,
    /// Of each field or variant: documentation, name, type.
    entries: Vec<(String, String, String)>,
    /// Whether these are values, and not keys.
    is_choice: bool,
}

/// The public types of `src/config`, by the layout that rustfmt gives them.
fn types() -> BTreeMap<String, Type> {
    let mut types = BTreeMap::new();
    for file in files("src/config", "rs") {
        let mut doc = String::new();
        let mut current: Option<(String, bool, Type)> = None;
        for line in read(&file).lines() {
            let text = line.trim();
            if let Some(more) = text.strip_prefix("///") {
                let more = more.trim();
                let paragraph = more.is_empty() || doc.ends_with('\n');
                let space = if doc.is_empty() || paragraph { "" } else { " " };
                doc = format!("{doc}{space}{}", if more.is_empty() { "\n\n" } else { more });
                continue;
            }
            if text.starts_with("#[") {
                continue;
            }
            let written = std::mem::take(&mut doc);
            let header = line.strip_suffix(" {").and_then(|line| {
                let (is_enum, rest) = match line.strip_prefix("pub struct ") {
                    Some(rest) => (false, rest),
                    None => (true, line.strip_prefix("pub enum ")?),
                };
                Some((rest.split('<').next()?.to_owned(), is_enum))
            });
            if let Some((name, is_enum)) = header {
                current = Some((name, is_enum, Type { doc: written, ..Type::default() }));
                continue;
            }
            if line == "}" {
                if let Some((name, _, complete)) = current.take() {
                    let before = types.insert(name.clone(), complete);
                    assert!(before.is_none(), "src/config has two types {name}");
                }
                continue;
            }
            let Some((_, is_enum, of)) = &mut current else { continue };
            // A variant with fields is described by them.
            if *is_enum && text.ends_with('{') {
                continue;
            }
            let text = text.trim_end_matches(',');
            if let Some((name, holds)) = text.split_once(": ") {
                let name = if *is_enum { Some(name) } else { name.strip_prefix("pub ") };
                of.entries.extend(name.map(|name| (written, name.to_owned(), holds.to_owned())));
            } else if *is_enum && !written.is_empty() {
                let (name, holds) = text.split_once('(').unwrap_or((text, ""));
                of.entries.push((written, name.to_owned(), holds.to_owned()));
                of.is_choice = true;
            }
        }
    }
    types
}

/// The chapters of the reference, and the type that each describes.
const REFERENCE: &[(&str, &str)] = &[
    ("A namespace", "Config"),
    ("A binding", "Binding"),
    ("A route", "Route"),
    ("`tcp` server", "TcpServer"),
    ("`tcp` client", "TcpClient"),
    ("`tls` server", "TlsServer"),
    ("`tls` client", "TlsClient"),
    ("`http` server", "HttpServer"),
    ("`http` client", "HttpClient"),
    ("`sse` server", "SseServer"),
    ("`sse` client", "SseClient"),
    ("`sse-kafka` proxy", "SseKafka"),
    ("`kafka` cache_client", "KafkaCacheClient"),
    ("`kafka` cache_server", "KafkaCacheServer"),
    ("`kafka` client", "KafkaClient"),
    ("`http-filesystem` proxy", "HttpFilesystem"),
    ("`filesystem` server", "Filesystem"),
    ("Vaults", "Vault"),
    ("Guards", "Guard"),
    ("Catalogs", "Catalog"),
    ("Models", "Model"),
    ("Telemetry", "Telemetry"),
];

/// Types with a heading of their own below a chapter.
const HEADINGS: &[(&str, &str)] = &[
    ("`when` of a `tcp` route", "TcpCondition"),
    ("`options` of both kinds of `tls`", "TlsOptions"),
    ("`when` of a `tls` route", "TlsCondition"),
    ("`with` of a `tls` client route", "ClientCertificate"),
    ("`versions`", "HttpVersion"),
    ("`access-control`", "AccessControl"),
    ("`access-control` with `cross-origin`", "CrossOrigin"),
    ("`authorization`", "Authorization"),
    ("`when` of an `http` route", "HttpCondition"),
    ("`when` of an `sse` or `sse-kafka` route", "PathCondition"),
    ("`with` of an `sse-kafka` route", "SseKafkaWith"),
    ("`start`", "StartParameter"),
    ("`filters`", "Filter"),
    ("`event.id`", "EventId"),
    ("`topics`", "Topic"),
    ("`transforms`", "Transforms"),
    ("`when` of a `kafka` route", "TopicCondition"),
    ("`defaultOffset`", "DefaultOffset"),
    ("`credentials` of Kafka", "KafkaAuthorization"),
    ("`mechanism`", "SaslMechanism"),
    ("`when` of an `http-filesystem` route", "FileCondition"),
    ("`with` of an `http-filesystem` route", "FileWith"),
    ("`symlinks`", "Symlinks"),
    ("`keys`, `trust` and `signers` of a vault", "Store"),
    ("`type` of a store", "StoreKind"),
    ("`keys` of a guard", "GuardKeys"),
    ("A public key", "Jwk"),
    ("`requests` of an `sse` server", "EventModel"),
    ("`type` of a catalog", "CatalogKind"),
    ("`subjects` of an `inline` catalog", "InlineSubject"),
    ("`subjects` of a `filesystem` catalog", "FileSubject"),
    ("`options` of a schema registry", "SchemaRegistry"),
    ("`options` of an Apicurio Registry", "ApicurioRegistry"),
    ("`options` of all registries", "RegistryOptions"),
    ("`model`", "ModelKind"),
    ("Options of `string`", "StringOptions"),
    ("Options of `int32`, `int64`, `float` and `double`", "NumberOptions"),
    ("Options of `avro`", "AvroOptions"),
    ("Options of `protobuf`", "ProtobufOptions"),
    ("`catalog` of a model", "SchemaChoice"),
    ("An entry of `catalog`", "SchemaName"),
    ("`telemetry` of a binding", "BindingTelemetry"),
    ("Metrics of Zilla", "Metric"),
    ("`exporters`", "Exporter"),
    ("`type` of an exporter", "ExporterKind"),
    ("`subject` of an access log", "LoggedSubject"),
    ("Exporters of type `prometheus`", "Prometheus"),
    ("`endpoints`", "Endpoint"),
    ("Exporters of type `otlp`", "Otlp"),
    ("`signals`", "Signal"),
    ("`guarded`", "Guarded"),
];

/// Types that are described where they are used.
const INLINE: &[&str] =
    &["AttributeValue", "MessageField", "PathExpression", "Server", "Span", "TopicName"];

/// The key that a field stands for, and what is said about it.
fn entry(doc: &str) -> Option<(String, String)> {
    let (key, text) = doc.strip_prefix('`')?.split_once('`')?;
    let text = text.replace("\n\n", " ");
    let text = text.trim_start_matches([':', ',', '.']).trim();
    let mut chars = text.chars();
    let first = chars.next()?.to_uppercase().to_string();
    Some((key.to_owned(), format!("{first}{}", chars.as_str())))
}

fn heading(name: &str) -> &'static str {
    let all = REFERENCE.iter().chain(HEADINGS);
    let found = all.clone().find(|(_, of)| *of == name);
    found.unwrap_or_else(|| panic!("the type {name} needs a heading in tests/docs.rs")).0
}

fn reference() -> String {
    let types = types();
    let mut out = "# Configuration\n\n\
        <!-- Generated from the documentation of the fields in src/config: \
        TAILWATER_UPDATE_DOCS=1 cargo test --test docs -->\n\n\
        Keys are written as paths: `options.port` is the key `port` in the map `options` of the binding. \
        Keys that have no effect yet are listed in [Compatibility with Zilla](zilla.md#not-supported-yet), \
        and `tailwater check` names those of a file. `${{env.NAME}}` stands for an environment variable, \
        anywhere in a value. A template is a text with variables: `${params.NAME}` stands for a parameter \
        of the path, and `${guarded['GUARD'].identity}` and `${guarded['GUARD'].attributes.NAME}` for \
        claims of the token.\n"
        .to_owned();
    let mut written: BTreeSet<&str> = REFERENCE.iter().map(|(_, of)| *of).collect();
    for (_, of) in REFERENCE {
        let mut queue = vec![(*of, "##")];
        while !queue.is_empty() {
            let (name, level) = queue.remove(0);
            let of = types.get(name).unwrap_or_else(|| panic!("src/config has no type {name}"));
            let mut rows = String::new();
            for (doc, _, holds) in &of.entries {
                let Some((key, text)) = entry(doc) else { continue };
                write!(rows, "| `{key}` | {}", text.replace('|', "\\|")).expect("as above");
                let names = holds.split(|char: char| !char.is_alphanumeric());
                let known = names.filter_map(|found| types.get_key_value(found));
                let below = known.map(|(found, _)| found.as_str());
                for (index, below) in
                    below.filter(|found| *found != name && !INLINE.contains(found)).enumerate()
                {
                    let title = heading(below);
                    let see = if index == 0 { " See " } else { ", " };
                    write!(rows, "{see}[{title}](#{})", anchor(title)).expect("as above");
                    if written.insert(below) {
                        queue.push((below, "###"));
                    }
                }
                let end = if rows.ends_with(')') && !text.ends_with(')') { "." } else { "" };
                writeln!(rows, "{end} |").expect("as above");
            }
            write!(out, "\n{level} {}\n\n{}\n", heading(name), of.doc).expect("as above");
            if !rows.is_empty() {
                let first = if of.is_choice { "value" } else { "key" };
                write!(out, "\n| {first} | meaning |\n|---|---|\n{rows}").expect("as above");
            }
        }
    }
    out
}

#[test]
fn the_configuration_reference_is_what_the_fields_say() {
    let generated = reference();
    let path = root().join("docs/reference/configuration.md");
    if env::var_os("TAILWATER_UPDATE_DOCS").is_some() {
        fs::write(&path, &generated).expect("the reference can be written");
    }
    assert!(
        fs::read_to_string(&path).is_ok_and(|found| found == generated),
        "TAILWATER_UPDATE_DOCS=1 cargo test --test docs writes docs/reference/configuration.md anew"
    );
}
