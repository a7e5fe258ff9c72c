//! `kafka` bindings.

use std::fmt;
use std::ops::RangeInclusive;

use tailwater_route::ValuePattern;

use crate::config::bindings::topics::{self, Topic};
use crate::config::bindings::{BindingOutline, Route, Routes};
use crate::config::check::support::Unsupported;
use crate::config::decode::pattern;
use crate::config::decode::{Map, Value, decimal};

/// A `kafka` binding of kind `cache_client`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KafkaCacheClient {
    /// `options.topics`: options of single topics. `defaultOffset` is accepted here, as in
    /// older files. Default: none.
    pub topics: Vec<Topic>,
    /// `routes`: where streams go, by the name of their topic.
    pub routes: Vec<Route<TopicCondition>>,
}

/// A `kafka` binding of kind `cache_server` keeps the latest records of topics in memory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KafkaCacheServer {
    /// `options.bootstrap`: topics that are read from the start of the program, before a
    /// client asks for them. Default: none.
    pub bootstrap: Vec<String>,
    /// `options.memory`: how much is kept of all topics together, as `512MiB` or a number of
    /// bytes. Older records are read from Kafka again. Default: 256 MiB. (Not in Zilla.)
    pub memory_bytes: Option<usize>,
    /// `options.max-record`: the size of the largest record that is delivered, as `64MiB` or
    /// a number of bytes. It counts key, value and headers after decompression. A gap
    /// `too_large` takes the place of a larger record. Default: 16 MiB; at most 1 GiB. (Not
    /// in Zilla.)
    pub max_record_bytes: Option<usize>,
    /// `options.topics`: options of single topics. Default: none.
    pub topics: Vec<Topic>,
    /// `routes`: where streams go, by the name of their topic.
    pub routes: Vec<Route<TopicCondition>>,
}

/// A `kafka` binding of kind `client` connects to a Kafka cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KafkaClient {
    /// `options.servers`: brokers to connect to first, each as `host:port`. At least one is
    /// required if a listener leads here. Default, as in older files: `host` and `port` of
    /// the `tcp` client that `exit` leads to.
    pub servers: Vec<Server>,
    /// Whether the `tcp` client has the address instead of `servers`.
    pub(crate) servers_below: bool,
    /// `options.authorization`: a name with `credentials`, as below; in older files
    /// `options.sasl`. Default: none.
    pub authorization: Option<KafkaAuthorization>,
    /// `exit`: the `tcp` or `tls` client that opens the connections.
    pub exit: String,
}

/// Where a stream without an event id begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DefaultOffset {
    /// `historical`: with the first record that Kafka has.
    #[default]
    Historical,
    /// `live`: with the next record.
    Live,
}

impl fmt::Display for DefaultOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DefaultOffset::Historical => "historical",
            DefaultOffset::Live => "live",
        })
    }
}

/// A condition on the name of the topic.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TopicCondition {
    /// `topic`: the name, with `*` for any text. Default: any.
    pub topic: Option<ValuePattern>,
}

impl TopicCondition {
    /// Whether every topic satisfies the condition.
    fn is_always(&self) -> bool {
        self.topic.as_ref().is_none_or(|pattern| pattern.to_string() == "*")
    }

    /// Whether a topic satisfies the condition.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.topic.as_ref().is_none_or(|pattern| pattern.matches(topic.as_bytes()))
    }
}

/// The address of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Server {
    /// A host name or address; an IPv6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// `credentials` for Kafka, by SASL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KafkaAuthorization {
    /// `mechanism`, `username` and `password`: SASL with a name and a password.
    Password {
        /// `mechanism`: the SASL mechanism. Required.
        mechanism: SaslMechanism,
        /// `username`: the name. Required.
        username: String,
        /// `password`: the password. Required.
        password: Secret,
    },
    /// SASL OAUTHBEARER.
    OauthBearer {
        /// `token`: the token of `mechanism: oauthbearer`, which is not supported yet.
        token: Secret,
    },
}

/// A SASL mechanism that takes a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SaslMechanism {
    /// `plain`: PLAIN.
    Plain,
    /// `scram-sha-1`: SCRAM-SHA-1.
    ScramSha1,
    /// `scram-sha-256`: SCRAM-SHA-256.
    ScramSha256,
    /// `scram-sha-512`: SCRAM-SHA-512.
    ScramSha512,
}

impl fmt::Display for SaslMechanism {
    /// The name of the mechanism in SASL, as `SCRAM-SHA-256`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha1 => "SCRAM-SHA-1",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        })
    }
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn decode(value: &Value<'_>) -> Option<Secret> {
        value.text().map(Secret)
    }

    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl KafkaCacheClient {
    pub(crate) fn decode(map: &Map<'_>, outline: &mut BindingOutline) -> Option<KafkaCacheClient> {
        let mut topics = Vec::new();
        if let Some(options) = map.map("options") {
            topics = topics::decode_all(&options);
            merged(&options);
            options.deny_unknown();
        }
        Some(KafkaCacheClient { topics, routes: routes(map, outline) })
    }
}

impl KafkaCacheServer {
    pub(crate) fn decode(map: &Map<'_>, outline: &mut BindingOutline) -> Option<KafkaCacheServer> {
        let mut bootstrap = Vec::new();
        let mut topics = Vec::new();
        let mut memory_bytes = None;
        let mut max_record_bytes = None;
        if let Some(options) = map.map("options") {
            if let Some(value) = options.get("memory") {
                memory_bytes = value.parsed(
                    "an amount of memory of 1 MiB to 1 TiB, as `512MiB` or a number of bytes",
                    |text| size(text, 1 << 20..=1 << 40),
                );
            }
            if let Some(value) = options.get("max-record") {
                max_record_bytes = value
                    .parsed("a size of 1 KiB to 1 GiB, as `16MiB` or a number of bytes", |text| {
                        size(text, 1 << 10..=1 << 30)
                    });
            }
            if let Some(value) = options.get("bootstrap") {
                bootstrap = value.each(|item| pattern::topic(&item));
            }
            topics = topics::decode_all(&options);
            merged(&options);
            options.deny_unknown();
        }
        let routes = routes(map, outline);
        Some(KafkaCacheServer { bootstrap, memory_bytes, max_record_bytes, topics, routes })
    }
}

/// Checks `merged` of older files: the topics whose partitions are one stream. Here every topic's partitions are one
/// stream.
fn merged(options: &Map<'_>) {
    if let Some(value) = options.get("merged") {
        value.each(|topic| pattern::topic(&topic));
    }
}

/// A number of bytes, with or without a unit.
fn size(text: &str, range: RangeInclusive<u64>) -> Option<usize> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
    let unit = units.iter().find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes)));
    let (number, bytes): (_, u64) = unit.unwrap_or((text, 1));
    let size = decimal::<u64>(number.trim_end())?.checked_mul(bytes)?;
    usize::try_from(size).ok().filter(|_| range.contains(&size))
}

fn routes(map: &Map<'_>, outline: &mut BindingOutline) -> Vec<Route<TopicCondition>> {
    Routes { when: &|value, _| condition(value), with: &|_, _, _| Some(()), own: Some(()) }
        .decode(map, outline)
}

fn condition(value: &Value<'_>) -> Option<TopicCondition> {
    let map = value.map()?;
    let pattern = |text: &str| ValuePattern::new(text).ok().filter(|_| !text.is_empty());
    let topic = map
        .get("topic")
        .map(|value| value.parsed("the name of a topic, with `*` for any text", pattern));
    map.deny_unknown();
    match topic {
        Some(topic) => Some(TopicCondition { topic: Some(topic?) }),
        None => Some(TopicCondition { topic: None }),
    }
}

impl KafkaClient {
    pub(crate) fn decode(map: &Map<'_>, outline: &mut BindingOutline) -> Option<KafkaClient> {
        let exit = exit(map, outline);
        let options = map.map_or_empty("options")?;
        let servers = options.get("servers").map(|value| {
            if value.list().is_some_and(|items| items.is_empty()) {
                value.error("expected at least one server");
            }
            value.each(|item| servers(&item)).into_iter().flatten().collect::<Vec<_>>()
        });
        let older = options.get("sasl").map(|value| sasl(&value, outline));
        let authorization = options.get("authorization").map(|value| {
            let map = value.map()?;
            let mut entries = map.entries();
            let (Some((_, only)), None) = (entries.next(), entries.next()) else {
                value.error("expected one name with its `credentials`");
                return None;
            };
            let only = only.map()?;
            let credentials = only.require("credentials").and_then(|value| sasl(&value, outline));
            only.deny_unknown();
            credentials
        });
        if let (Some(value), true) = (options.get("sasl"), authorization.is_some()) {
            value.error("expected either `authorization` or `sasl`, found both");
        }
        options.deny_unknown();
        let authorization = match authorization.or(older) {
            Some(authorization) => Some(authorization?),
            None => None,
        };
        let servers_below = servers.is_none();
        let servers = servers.unwrap_or_default();
        Some(KafkaClient { servers, servers_below, authorization, exit: exit? })
    }
}

/// The exit of a client. If it has `routes`, the first one takes every connection.
fn exit(map: &Map<'_>, outline: &mut BindingOutline) -> Option<String> {
    let when = |value: &Value<'_>, _: &mut BindingOutline| {
        let condition = condition(value)?;
        if !condition.is_always() {
            value.error("a client has one exit: expected routes without conditions");
            return None;
        }
        Some(condition)
    };
    let routes =
        Routes { when: &when, with: &|_, _, _| Some(()), own: Some(()) }.decode(map, outline);
    routes.into_iter().next().map(|route| route.exit)
}

/// An entry of `servers`: an address, or a list separated by commas, as in an environment variable.
fn servers(value: &Value<'_>) -> Option<Vec<Server>> {
    let parse = |text: &str| text.split(',').map(|part| server(part.trim())).collect();
    value.parsed("the address of a server, as `kafka.example.com:9092`", parse)
}

fn server(text: &str) -> Option<Server> {
    let (host, port) = text.rsplit_once(':')?;
    let port = decimal(port).filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[') {
        Some(address) => {
            let address = address.strip_suffix(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            address
        }
        None => host,
    };
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let valid = text.starts_with('[') || (!host.is_empty() && host.bytes().all(named));
    valid.then(|| Server { host: host.to_owned(), port })
}

fn sasl(value: &Value<'_>, outline: &mut BindingOutline) -> Option<KafkaAuthorization> {
    let map = value.map()?;
    let mechanism = map.require("mechanism")?.one_of(&[
        ("plain", Some(SaslMechanism::Plain)),
        ("scram-sha-1", Some(SaslMechanism::ScramSha1)),
        ("scram-sha-256", Some(SaslMechanism::ScramSha256)),
        ("scram-sha-512", Some(SaslMechanism::ScramSha512)),
        ("oauthbearer", None),
    ])?;
    let Some(mechanism) = mechanism else {
        outline.unsupported(value, Unsupported::KafkaOauthBearer);
        let token = map.require("token").and_then(|value| Secret::decode(&value));
        map.deny_unknown();
        return Some(KafkaAuthorization::OauthBearer { token: token? });
    };
    let username = map.require("username").and_then(|value| value.filled("a name"));
    let password = map.require("password").and_then(|value| Secret::decode(&value));
    map.deny_unknown();
    Some(KafkaAuthorization::Password { mechanism, username: username?, password: password? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_host_and_port() {
        for text in ["kafka:9092", "10.0.0.1:9092", "[::1]:9092", "a-b.c_d.example:1"] {
            assert_eq!(server(text).unwrap().to_string(), text);
        }
        let bad = [
            "kafka",
            "kafka:",
            ":9092",
            "kafka:0",
            "kafka:70000",
            "::1:9092",
            "[x]:1",
            "ka fka:1",
            "a/b:1",
        ];
        for text in bad {
            assert_eq!(server(text), None, "{text}");
        }
    }

    #[test]
    fn amounts_of_memory_have_a_unit_or_are_bytes() {
        for (text, expected) in [
            ("1MiB", Some(1 << 20)),
            ("512 MiB", Some(512 << 20)),
            ("1048576", Some(1 << 20)),
            ("2048KiB", Some(2 << 20)),
            ("3GiB", Some(3 << 30)),
            ("1TiB", Some(1 << 40)),
            ("2TiB", None),
            ("1048575", None),
            ("0", None),
            ("-1MiB", None),
            ("1.5GiB", None),
            ("256MB", None),
            ("256m", None),
            ("MiB", None),
            ("", None),
            ("99999999999999999999GiB", None),
            ("18446744073709551615TiB", None),
        ] {
            assert_eq!(size(text, 1 << 20..=1 << 40), expected, "{text}");
        }
    }

    #[test]
    fn topic_conditions_match_with_stars() {
        for (pattern, topic, expected) in [
            ("events", "events", true),
            ("events", "events2", false),
            ("*", "events", true),
            ("a*", "abc", true),
            ("a*c", "abc", true),
            ("a*a", "a", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "ac", false),
        ] {
            let condition = TopicCondition { topic: Some(ValuePattern::new(pattern).unwrap()) };
            assert_eq!(condition.matches(topic), expected, "{pattern} {topic}");
        }
    }
}
