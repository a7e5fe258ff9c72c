//! Configurations of the shape of Zilla's examples start as they are, on their own port.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use tokio::sync::Mutex;

use crate::support::{
    Authority, Kafka, LOOK, PASSWORD, Record, Registry, Server, kafka_alone, soon, trust_store,
};

/// The port that the examples name: one of them at a time.
static PORT: Mutex<()> = Mutex::const_new(());

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/examples").join(name)
}

/// Starts an example beside its page, with the topic `events` of two partitions.
async fn start(name: &str, kafka: &Kafka) -> Server {
    start_with(name, kafka, &[]).await
}

async fn start_with(name: &str, kafka: &Kafka, environment: &[(&str, &str)]) -> Server {
    let free = async {
        while TcpListener::bind("0.0.0.0:7114").is_err() {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("port 7114 is free", free).await;
    kafka.create_anew("events", 2).await;
    let environment = [environment, &[("KAFKA_BOOTSTRAP_SERVER", kafka.servers())]].concat();
    Server::start(&example(name), &environment).await
}

#[tokio::test]
async fn intro_streams_a_topic_from_now_on_with_keys_in_the_ids() {
    let _port = PORT.lock().await;
    let kafka = kafka_alone().await;
    let server = start("intro.json", &kafka).await;
    let get = |path: &str| server.get(path).authority("localhost:7114");
    let mut stream = get("/events").open().await;
    assert_eq!(stream.next().await, "id:AQQAAAIA\n");

    let etag = [("etag", Some(&b"revision=42"[..]))];
    for (record, expected) in [
        (Record::value("a").partition(1), "data:a\nid:[null,\"AQQAAAIC\"]\n"),
        (Record::value("b"), "data:b\nid:[null,\"AQQAAgIC\"]\n"),
        (
            Record::value("c").key("key").headers(&etag),
            "data:c\nid:[\"a2V5\",\"AQQABAIC/revision=42\"]\n",
        ),
        (Record::tombstone().key("key"), "event:delete\ndata:a2V5\nid:[\"a2V5\",\"AQQABgIC\"]\n"),
    ] {
        kafka.produce("events", record);
        assert_eq!(stream.next().await, expected);
    }
    let mut resumed =
        get("/events").last_event_id(r#"["a2V5","AQQABAIC/revision=42"]"#).open().await;
    assert_eq!(resumed.next().await, "event:delete\ndata:a2V5\nid:[\"a2V5\",\"AQQABgIC\"]\n");

    // The route is for this authority and this path only.
    for (path, authority, status) in [
        ("/events", "localhost:7114", 200),
        ("/events?x=1", "localhost:7114", 200),
        ("/events", "localhost", 404),
        ("/events", "other.example:7114", 404),
        ("/events/", "localhost:7114", 404),
        ("/", "localhost:7114", 404),
    ] {
        let answer = server.get(path).authority(authority).method("HEAD").send().await;
        assert_eq!(answer.status, status, "{authority}{path}");
    }
}

#[tokio::test]
async fn models_leave_out_what_does_not_fit() {
    let _port = PORT.lock().await;
    let kafka = kafka_alone().await;
    let server = start("models.yaml", &kafka).await;
    for (key, value) in [
        ("a", r#"{"id":"1","amount":2.50}"#),
        ("a", r#"{"amount":1}"#),
        ("", r#"{"id":"2"}"#),
        ("b", "text"),
        ("b", r#"{"id":"3"}"#),
    ] {
        kafka.produce("events", Record::value(value).key(key));
    }
    let mut stream = server.get("/events").authority("localhost:7114").open().await;
    let first = "data:{\"id\":\"1\",\"amount\":2.50}\nid:[\"YQ==\",\"AQQAAgIA\"]\n";
    assert_eq!(stream.next().await, first);
    let last = "data:{\"id\":\"3\"}\nid:[\"Yg==\",\"AQQACgIA\"]\n";
    assert_eq!(stream.next().await, last);
}

#[tokio::test]
async fn registry_converts_keys_and_values() {
    let _port = PORT.lock().await;
    let kafka = kafka_alone().await;
    let authority = Authority::new("of the registry");
    let registry = Registry::with_tls(&authority).await;
    let schema = r#"{"type":"record","name":"Event","fields":[{"name":"kind","type":"string"}]}"#;
    registry.subject("events-value", 9, schema);
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("trust.p12");
    fs::write(&store, trust_store(&[("ca", &authority)])).expect("it is written");
    let environment = [
        ("SCHEMA_REGISTRY_URL", &*registry.url()),
        ("SCHEMA_REGISTRY_CREDENTIALS", "dHc6c2VjcmV0"),
        ("TRUST_STORE", store.to_str().expect("a path")),
        ("TRUST_STORE_PASSWORD", PASSWORD),
    ];
    let server = start_with("registry.yaml", &kafka, &environment).await;
    let (key, value) = (b"\x0a\x01k", b"\0\0\0\0\x09\x06new");
    kafka.produce("events", Record::value(value).key(key));
    kafka.produce("events", Record::tombstone().key(key));
    let mut stream = server.get("/events").open().await;
    assert_eq!(stream.next().await, "data:{\"kind\":\"new\"}\nid:AQQAAgIA\n");
    assert_eq!(stream.next().await, "event:delete\ndata:aw==\nid:AQQABAIA\n");
    let asked = registry.requests().pop().expect("a request").to_lowercase();
    assert!(asked.contains("authorization: basic dhc6c2vjcmv0\r\n"), "{asked}");
}

#[tokio::test]
async fn fanout_filters_by_key_and_tag_beside_a_page() {
    let _port = PORT.lock().await;
    let kafka = kafka_alone().await;
    let server = start("fanout.yaml", &kafka).await;
    let red = [("tag", Some(&b"red"[..]))];
    let blue = [("tag", Some(&b"blue"[..]))];
    kafka.produce("events", Record::value("1").key("a").headers(&red));
    kafka.produce("events", Record::value("2").key("a").headers(&blue));
    kafka.produce("events", Record::value("3").key("b").headers(&blue));
    kafka.produce("events", Record::value("4").key("b"));
    let etag = [("tag", Some(&b"blue"[..])), ("etag", Some(&b"revision=42"[..]))];
    kafka.produce("events", Record::value("5").key("b").headers(&etag));

    let mut blue_of_a = server.get("/events/a/blue").open().await;
    assert_eq!(blue_of_a.next().await, "data:2\nid:AQQABAIA\n");
    let mut blue_of_b = server.get("/events/b/blue").open().await;
    let expected = ["data:3\nid:AQQABgIA\n", "data:5\nid:AQQACgIA/revision=42\n"];
    assert_eq!(blue_of_b.take(2).await, expected);
    // Every origin may.
    let foreign = server.get("/events/a/red").header("origin", "https://other.example");
    assert_eq!(foreign.open().await.next().await, "data:1\nid:AQQAAgIA\n");

    let page = server.get("/index.html").send().await;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let text = fs::read_to_string(example("www/index.html")).expect("the page");
    assert_eq!(page.text().await, text);
    // `{path}` is not empty: Zilla's `/` is 404, too.
    for path in
        ["/", "/events/a", "/events/a/b/c", "/missing.html", "/fanout.yaml", "/../fanout.yaml"]
    {
        assert_eq!(server.get(path).send().await.status, 404, "{path}");
    }
}

#[test]
fn the_examples_are_those_that_were_given() {
    let given = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/examples");
    if !given.exists() {
        return;
    }
    for name in ["fanout.yaml", "intro.json"] {
        let given = fs::read(given.join(name)).expect("it was given");
        assert_eq!(fs::read(example(name)).expect("our copy"), given, "{name}");
    }
}
