//! A server whose streams are guarded, over TLS.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::support::tokens::{AUDIENCE, ISSUER};
use crate::support::{
    Authority, Kafka, PASSWORD, Server, Stream, Tls, ec_key, keys_store, rsa_key,
};

const CONFIG: &str = r#"
name: guarded
vaults:
  servers:
    type: filesystem
    options: { keys: { store: server.p12, type: pkcs12, password: PASSWORD } }
guards:
  who:
    type: jwt
    options:
      issuer: "ISSUER"
      audience: AUDIENCE
      KEYS
      roles: "ROLES"
      identity: account
      attributes: { tenant: tenant }
      challenge: CHALLENGE
bindings:
  tcp_in: { type: tcp, kind: server, options: { host: 127.0.0.1, port: 0 }, exit: tls_in }
  tls_in: { type: tls, kind: server, vault: servers, options: { keys: [localhost] }, exit: http_in }
  http_in:
    type: http
    kind: server
    options:
      versions: VERSIONS
      authorization:
        who:
          credentials:
            cookies: { access_token: "{credentials}" }
            headers: { authorization: "Bearer {credentials}" }
            query: { access_token: "{credentials}" }
      access-control: { policy: cross-origin }
    exit: sse_in
  sse_in: { type: sse, kind: server, exit: mapping }
  mapping:
    type: sse-kafka
    kind: proxy
    routes:
      - { when: [{ path: "/open/{topic}" }], exit: cache_client, with: { topic: "${params.topic}" } }
      - when: [{ path: "/any/{topic}" }]
        guarded: { who: [] }
        exit: cache_client
        with: { topic: "${params.topic}" }
      - when: [{ path: "/read/{topic}" }]
        guarded: { who: [read] }
        exit: cache_client
        with: { topic: "${params.topic}" }
      - when: [{ path: "/own/{topic}" }]
        guarded: { who: [] }
        exit: cache_client
        with: { topic: "${params.topic}", filters: [{ key: "${guarded['who'].identity}" }] }
      - when: [{ path: "/tenant/{topic}" }]
        guarded: { who: [] }
        exit: cache_client
        with:
          topic: "${params.topic}"
          filters: [{ headers: { tenant: "${guarded['who'].attributes.tenant}" } }]
  cache_client: { type: kafka, kind: cache_client, exit: cache_server }
  cache_server: { type: kafka, kind: cache_server, exit: kafka_out }
  kafka_out: { type: kafka, kind: client, options: { servers: ["SERVERS"] }, exit: tcp_out }
  tcp_out: { type: tcp, kind: client }
telemetry: { exporters: { logs: { type: stdout, options: { access-log: { subject: LOGGED } } } } }
"#;

/// A server with guarded streams of any topic: `/any/TOPIC` with a token, `/read/TOPIC` with the role
/// `read`, `/own/TOPIC` with the records whose key is the claim `account`, `/tenant/TOPIC` with those
/// whose header `tenant` is the claim `tenant`; `/open/TOPIC` with nothing. Challenges come as soon as
/// a stream begins.
pub(crate) fn guarded(kafka: &Kafka) -> Builder {
    Builder {
        servers: kafka.servers().to_owned(),
        versions: "[h2, http/1.1]",
        challenge: 3600,
        issuer: ISSUER.to_owned(),
        keys: format!("keys: [{}, {}]", rsa_key().public, ec_key().public),
        roles: "scope",
        logged: "off",
        arguments: Vec::new(),
    }
}

pub(crate) struct Builder {
    servers: String,
    versions: &'static str,
    challenge: u32,
    issuer: String,
    keys: String,
    roles: &'static str,
    logged: &'static str,
    arguments: Vec<&'static str>,
}

impl Builder {
    pub(crate) fn versions(self, versions: &'static str) -> Self {
        Self { versions, ..self }
    }

    /// How many seconds before its expiry a stream is challenged.
    pub(crate) fn challenge(self, seconds: u32) -> Self {
        Self { challenge: seconds, ..self }
    }

    /// The keys of the guard, as YAML or JSON, in place of those that sign.
    pub(crate) fn keys(self, keys: &str) -> Self {
        Self { keys: format!("keys: {keys}"), ..self }
    }

    /// Another issuer, whose keys are not in the file.
    pub(crate) fn keys_of(self, issuer: &str) -> Self {
        Self { issuer: issuer.to_owned(), keys: String::new(), ..self }
    }

    /// The claim that has the roles.
    pub(crate) fn roles(self, roles: &'static str) -> Self {
        Self { roles, ..self }
    }

    /// What the access log has of subjects.
    pub(crate) fn logged(self, logged: &'static str) -> Self {
        Self { logged, ..self }
    }

    pub(crate) fn arguments(mut self, arguments: &[&'static str]) -> Self {
        self.arguments.extend(arguments);
        self
    }

    pub(crate) async fn run(self) -> Server {
        let authority = Authority::new("Test authority");
        let folder = tempfile::tempdir().expect("a folder");
        let store = keys_store(&[&authority.issue(&["localhost", "127.0.0.1"])]);
        fs::write(folder.path().join("server.p12"), store).expect("it is written");
        fs::write(folder.path().join("ca.pem"), authority.pem()).expect("it is written");
        let config = CONFIG
            .replace("PASSWORD", PASSWORD)
            .replace("ISSUER", &self.issuer)
            .replace("AUDIENCE", AUDIENCE)
            .replace("KEYS", &self.keys)
            .replace("ROLES", self.roles)
            .replace("CHALLENGE", &self.challenge.to_string())
            .replace("LOGGED", self.logged)
            .replace("VERSIONS", self.versions)
            .replace("SERVERS", &self.servers);
        let server = Server::of_text(folder, &config, &self.arguments).await;
        server.encrypted(Tls::trusting(&authority))
    }
}

/// A challenge over HTTP/2, to the byte.
pub(crate) const CHALLENGE: &str = "event:challenge\n\
    data:{\"method\":\"POST\",\"headers\":{\"content-type\":\"application/x-challenge-response\"}}\n";

/// A stream ends within a second of its expiry.
const WITHIN: Duration = Duration::from_secs(1);
/// What a loaded machine takes to see that it has.
const SLACK: Duration = Duration::from_secs(4);

/// Waits for the end of a stream, which has to be clean and at its expiry; what came until then.
pub(crate) async fn ends_at(stream: &mut Stream, expiry: SystemTime) -> Vec<String> {
    let (blocks, clean, left) = stream.end().await;
    let now = SystemTime::now();
    assert!(clean, "END_STREAM, or the last chunk");
    assert_eq!(left.escape_ascii().to_string(), "", "it ends at an event's end");
    // Tokens have whole milliseconds.
    let early = expiry.duration_since(now).unwrap_or_default();
    assert!(early <= Duration::from_millis(1), "{early:?} before the expiry");
    let late = now.duration_since(expiry).unwrap_or_default();
    assert!(late < WITHIN + SLACK, "{late:?} after the expiry");
    blocks.into_iter().map(|block| String::from_utf8(block).expect("a text")).collect()
}
