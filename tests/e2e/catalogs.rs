//! Where schemas come from: the types of catalogs, registries over TLS, and credentials that nothing shows.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{
    Authority, Kafka, PASSWORD, Record, Registry, Server, field, kafka, keys_store, run, server,
    trust_store,
};

const STRING: &str = r#"{"type":"record","name":"R","fields":[{"name":"s","type":"string"}]}"#;
const SECRET: &str = "correct-horse";
const OUTAGE: &str = "schemas cannot be fetched, trying again";

/// A configuration whose catalog has these options beside its URL, and the vault of it.
fn configure(
    kafka: &Kafka,
    topic: &str,
    registry: &str,
    authority: &Authority,
    options: &str,
) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let other = Authority::new("other");
    for (name, store) in [
        ("keys.p12", keys_store(&[&authority.issue(&["client"])])),
        ("trust.p12", trust_store(&[("ca", authority), ("other", &other)])),
    ] {
        fs::write(folder.path().join(name), store).expect("it is written");
    }
    let store = |name| format!("{{ store: {name}.p12, type: pkcs12, password: {PASSWORD} }}");
    let vault = format!(
        "vaults: {{ known: {{ type: filesystem, options: {{ keys: {}, trust: {} }} }} }}\n",
        store("keys"),
        store("trust")
    );
    let catalog = format!(
        "reg: {{ type: schema-registry, vault: known, options: {{ url: \"{registry}\", {options} }} }}"
    );
    let model = "value: { model: avro, view: json, catalog: { reg: [{ strategy: topic }] } }";
    let config = server(kafka).catalog(&catalog).topic(topic, model).config();
    (folder, config + &vault)
}

/// Neither as it was written nor as it is sent.
fn shows_no_secret(said: &str) {
    let sent = STANDARD.encode(format!("tw:{SECRET}"));
    for secret in [SECRET, &sent] {
        assert!(!said.contains(secret), "{secret}\n{said}");
    }
}

#[tokio::test]
async fn each_type_of_catalog_has_the_schema_of_a_topic_that_an_expression_names() {
    let kafka = kafka().await;
    let registry = Registry::new().await;
    let url = registry.url();
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("r.avsc"), STRING).expect("it is written");
    let inline = format!("options: {{ subjects: {{ SUBJECT: {{ schema: '{STRING}' }} }} }}");
    let file = "options: { subjects: { SUBJECT: { path: r.avsc } } }".to_owned();
    let of_url = format!("options: {{ url: \"{url}\", max-age: 9 }}");
    let catalogs = [
        ("inline", &inline),
        ("filesystem", &file),
        ("schema-registry", &of_url),
        ("confluent-schema-registry", &of_url),
        ("karapace", &of_url),
        ("karapace-schema-registry", &of_url),
        ("apicurio", &of_url),
        ("apicurio-registry", &of_url),
    ];
    let mut server = server(&kafka);
    let mut topics = Vec::new();
    for (kind, options) in catalogs {
        let topic = kafka.topic(1).await;
        let subject = format!("{topic}-value");
        registry.subject(&subject, 9, STRING);
        let meta = r#"{"globalId":9,"contentId":9,"version":"1","type":"AVRO"}"#;
        let artifact = format!("/apis/registry/v2/groups/default/artifacts/{subject}/meta");
        registry.answer(&artifact, 200, meta);
        let options = options.replace("SUBJECT", &subject);
        server = server.catalog(&format!("{kind}: {{ type: {kind}, {options} }}"));
        // The name is no text that a subject could be made of. The schema is that of the topic itself.
        let expression = format!("{topic}|{topic}-none");
        server = server.topic(
            &expression,
            &format!("value: {{ model: avro, view: json, catalog: {{ {kind}: [{{ strategy: topic }}] }} }}"),
        );
        kafka.produce(&topic, Record::value(b"\x02a"));
        topics.push((kind, topic));
    }
    registry.answer("/apis/registry/v2/ids/globalIds/9", 200, STRING);
    let config = server.config();
    let server = Server::of_text(folder, &config, &[]).await;
    for (kind, topic) in topics {
        let mut stream = server.get(&format!("/all/{topic}")).open().await;
        assert_eq!(field(&stream.next().await, "data"), Some(r#"{"s":"a"}"#), "{kind}");
    }
}

#[tokio::test]
async fn a_registry_is_asked_by_tls_with_credentials_that_nothing_shows() {
    let kafka = kafka().await;
    let authority = Authority::new("of the registry");
    let registry = Registry::with_mutual_tls(&authority).await;
    let header = format!("Basic {}", STANDARD.encode(format!("tw:{SECRET}")));
    let in_url = registry.url_of(&format!("tw:{SECRET}@"));
    let of_header = format!("credentials: {{ headers: {{ authorization: \"{header}\" }} }}, ");
    for (url, credentials) in [(in_url, ""), (registry.url(), &*of_header)] {
        let topic = kafka.topic(1).await;
        registry.subject(&format!("{topic}-value"), 9, STRING);
        let options = format!("{credentials}tls: {{ trust: [ca], keys: [client] }}");
        let (folder, config) = configure(&kafka, &topic, &url, &authority, &options);
        kafka.produce(&topic, Record::value(b"\0\0\0\0\x09\x02a"));
        let mut server = Server::of_text(folder, &config, &["--log-level", "trace"]).await;
        let mut stream = server.get(&format!("/all/{topic}")).open().await;
        assert_eq!(field(&stream.next().await, "data"), Some(r#"{"s":"a"}"#));
        let asked = registry.requests().pop().expect("a request").to_lowercase();
        let expected = format!("authorization: {header}\r\n").to_lowercase();
        assert!(asked.contains(&expected), "{asked}");

        let file = server.folder().join("zilla.yaml");
        let file = file.to_str().expect("a path");
        for arguments in [&["check", "-c", file][..], &["check", "--connect", "-c", file]] {
            let mut check = run(arguments, &[("TAILWATER_LOG", "trace")]);
            let (said, logged) = (check.stdout.all().await, check.stderr.all().await);
            assert!(check.ended().await.success(), "{said}{logged}");
            assert!(said.contains(&registry.url()), "{said}");
            shows_no_secret(&said);
            shows_no_secret(&logged);
        }
        assert!(server.process().is_running());
        drop(stream);
        server.process().signal(Signal::TERM);
        let log = server.stderr().all().await;
        assert!(log.contains("DEBUG"), "{log}");
        shows_no_secret(&log);
        shows_no_secret(&server.stdout().all().await);
    }
}

#[tokio::test]
async fn a_registry_that_is_not_trusted_or_trusts_nobody_holds_records_up() {
    let kafka = kafka().await;
    let authority = Authority::new("of the registry");
    let registry = Registry::with_mutual_tls(&authority).await;
    let url = registry.url_of(&format!("tw:{SECRET}@"));
    for tls in ["tls: { trust: [other], keys: [client] }", "tls: { trust: [ca] }"] {
        let topic = kafka.topic(1).await;
        kafka.produce(&topic, Record::value(b"\0\0\0\0\x09\x02a"));
        let (folder, config) = configure(&kafka, &topic, &url, &authority, tls);
        let server = Server::of_text(folder, &config, &["--log-level", "trace"]).await;
        let mut stream = server.get(&format!("/all/{topic}")).open().await;
        assert_eq!(stream.comment().await, "");
        server.stderr().says(OUTAGE).await;
        assert_eq!(stream.seen(), 0);
        let log = server.stderr().text();
        assert!(!log.contains("a record was rejected"), "{log}");
        shows_no_secret(&log);
    }
    assert_eq!(registry.requests(), Vec::<String>::new());
}
