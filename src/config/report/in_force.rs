//! The configuration in force as JSON, for an operator. Secrets of it are not shown.

use serde_json::{Map, Number, Value};

use crate::config::syntax::yaml::{Node, NodeKind};

const MASK: &str = "***";

/// A document with the values of its variables. What is or may contain a secret reads `***`: passwords, tokens,
/// credentials, headers with credentials, private keys, and user and query of a URL.
pub(crate) fn in_force(document: &Node) -> Value {
    json(document, false)
}

fn json(node: &Node, is_secret: bool) -> Value {
    match &node.kind {
        NodeKind::Null | NodeKind::Unresolved => Value::Null,
        NodeKind::Scalar { .. } if is_secret => MASK.into(),
        NodeKind::Scalar { text, quoted } => scalar(text, *quoted),
        NodeKind::Sequence(items) => items.iter().map(|item| json(item, is_secret)).collect(),
        NodeKind::Mapping(entries) => {
            let is_key = entries.iter().any(|(key, _)| key.text == "kty");
            let entries = entries.iter().map(|(key, node)| {
                // The mapping `authorization` of an `http` binding has the names of guards as keys.
                let is_plain = !matches!(node.kind, NodeKind::Mapping(_));
                let is_secret = is_secret
                    || key.text == "credentials"
                    || (is_plain && is_secret_name(&key.text))
                    || (is_key && PRIVATE_MEMBERS.contains(&key.text.as_str()));
                (key.text.clone(), json(node, is_secret))
            });
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

/// The members of a JSON Web Key that are not public (RFC 7518, 6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '_'], "");
    let ends =
        ["password", "passphrase", "secret", "token", "apikey", "privatekey", "authorization"];
    ends.iter().any(|end| name.ends_with(end)) || ["cookie", "setcookie"].contains(&name.as_str())
}

fn scalar(text: &str, quoted: bool) -> Value {
    if text.contains("PRIVATE KEY-----") {
        return MASK.into();
    }
    if let Some(masked) = url(text) {
        return masked.into();
    }
    match text {
        _ if quoted => text.into(),
        "true" | "True" | "TRUE" => true.into(),
        "false" | "False" | "FALSE" => false.into(),
        // A number with more digits than JSON readers keep stays a text.
        _ if text.len() > 15 => text.into(),
        _ => text.parse::<Number>().map_or_else(|_| text.into(), Value::Number),
    }
}

/// A text with a URL in it whose user or query may be secret.
fn url(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let (rest, has_query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, true),
        None => (rest, false),
    };
    // A password may contain any character, also a `/` that was not escaped.
    let (user, host) = match rest.rsplit_once('@') {
        Some((_, host)) => ("***@", host),
        None => ("", rest),
    };
    let query = if has_query { "?***" } else { "" };
    (has_query || !user.is_empty()).then(|| format!("{scheme}://{user}{host}{query}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config;

    #[test]
    fn values_are_there_and_secrets_are_not() {
        let file = r#"
name: test
vaults:
  servers: { type: filesystem, options: { keys: { store: keys.p12, type: pkcs12, password: hunter2 } } }
guards:
  who:
    type: jwt
    options:
      issuer: https://auth.example.com
      keys: https://user:hunter2@auth.example.com/keys?token=hunter2
      leeway: 5
bindings:
  in: { type: tcp, kind: server, options: { host: "0.0.0.0", port: "${{env.PORT}}" }, exit: web }
  web:
    type: http
    kind: server
    options:
      authorization: { who: { credentials: { headers: { authorization: "Bearer {credentials}" } } } }
    exit: streams
  streams: { type: sse, kind: server, exit: mapping }
  mapping:
    type: sse-kafka
    kind: proxy
    routes:
      - when: [{ path: /orders }]
        exit: client
        guarded: { who: [ read ] }
        with: { topic: orders }
  client: { type: kafka, kind: cache_client, exit: server }
  server: { type: kafka, kind: cache_server, exit: kafka }
  kafka:
    type: kafka
    kind: client
    options:
      servers: [ "localhost:9092" ]
      sasl: { mechanism: plain, username: alice, password: "${{env.SECRET}}" }
    exit: out
  out: { type: tcp, kind: client }
telemetry:
  exporters:
    collector:
      type: otlp
      options:
        endpoint: { protocol: http, location: "https://collector.example.com" }
        credentials: { headers: { authorization: "Bearer hunter2" } }
"#;
        let env = |name: &str| match name {
            "PORT" => Some("7114".to_owned()),
            "SECRET" => Some("hunter2".to_owned()),
            _ => None,
        };
        let parsed = config::parse("zilla.yaml", file.as_bytes(), &env).unwrap();
        let shown = &parsed.namespaces[0].in_force;
        assert!(!shown.to_string().contains("hunter2"), "{shown}");
        assert_eq!(shown["name"], "test");
        let tcp = &shown["bindings"]["in"];
        assert_eq!(tcp["options"], json!({ "host": "0.0.0.0", "port": 7114 }));
        let guard = &shown["guards"]["who"]["options"];
        assert_eq!(guard["keys"], "https://***@auth.example.com/keys?***");
        assert_eq!(guard["leeway"], 5);
        let authorization = &shown["bindings"]["web"]["options"]["authorization"];
        let credentials = json!({ "headers": { "authorization": "***" } });
        assert_eq!(authorization["who"]["credentials"], credentials);
        let sasl = &shown["bindings"]["kafka"]["options"]["sasl"];
        assert_eq!(*sasl, json!({ "mechanism": "plain", "username": "alice", "password": "***" }));
        let vault = &shown["vaults"]["servers"]["options"]["keys"];
        assert_eq!((&vault["store"], &vault["password"]), (&json!("keys.p12"), &json!("***")));
    }

    #[test]
    fn names_and_texts_of_secrets_are_known() {
        for (name, is_secret) in [
            ("password", true),
            ("Authorization", true),
            ("proxy-authorization", true),
            ("access_token", true),
            ("X-Api-Key", true),
            ("cookie", true),
            ("key", false),
            ("keys", false),
            ("topic", false),
        ] {
            assert_eq!(super::is_secret_name(name), is_secret, "{name}");
        }
        for (text, shown) in [
            ("http://a.example.com/", json!("http://a.example.com/")),
            ("http://u:p@a.example.com/b", json!("http://***@a.example.com/b")),
            ("http://u:p/q@a.example.com", json!("http://***@a.example.com")),
            ("http://a.example.com/?a=b", json!("http://a.example.com/?***")),
            ("-----BEGIN PRIVATE KEY-----\nx", json!("***")),
            ("/orders?", json!("/orders?")),
            ("12", json!(12)),
            ("0x12", json!("0x12")),
            ("012", json!("012")),
            ("1.5", json!(1.5)),
            ("99999999999999999999", json!("99999999999999999999")),
            ("True", json!(true)),
        ] {
            assert_eq!(super::scalar(text, false), shown, "{text}");
            let is_text = super::scalar(text, true).is_string();
            assert!(is_text, "{text}");
        }
    }
}
