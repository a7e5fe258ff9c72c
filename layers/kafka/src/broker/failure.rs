//! Why a server of Kafka can't be reached, in plain words, derived from librdkafka's log about its connection.

use crate::broker::contact::Failure;

/// The most characters of a text of librdkafka, OpenSSL or a server.
const FOREIGN: usize = 200;

/// A line of librdkafka about a broker: `[thrd:ssl://host:port/1]: ssl://host:port/1: TEXT (after 5ms in state UP)`.
pub(super) struct Line<'a> {
    /// `host:port`.
    pub(super) server: &'a str,
    encrypted: bool,
    sasl: bool,
    text: &'a str,
    state: &'a str,
    /// How long the connection was in that state.
    milliseconds: u64,
}

impl<'a> Line<'a> {
    /// Parses a line. `None` if it is not about a broker. A group coordinator is not used, so it does not count.
    pub(super) fn parse(message: &'a str) -> Option<Self> {
        let line = match message.strip_prefix("[thrd:") {
            Some(rest) => rest.split_once("]: ")?.1,
            None => message,
        };
        let (name, text) = line.split_once(": ")?;
        let (scheme, server) = name.split_once("://").unwrap_or(("", name));
        let (server, _id) = server.rsplit_once('/')?;
        let (text, after) = text.rsplit_once(" (after ").unwrap_or((text, ""));
        let (milliseconds, state) = after.split_once("ms in state ").unwrap_or_default();
        let state = state.split([',', ')']).next().unwrap_or_default();
        Some(Self {
            server,
            encrypted: scheme.ends_with("ssl"),
            sasl: scheme.starts_with("sasl"),
            text,
            state,
            milliseconds: milliseconds.parse().unwrap_or_default(),
        })
    }

    /// Why the connection failed. `None` if it only ended.
    pub(super) fn failure(&self) -> Option<Failure> {
        let has = |part: &str| self.text.contains(part);
        let ended = has("Disconnected") || has("Broken pipe") || has("connection reset");
        let failure = match self.state {
            _ if has("Failed to resolve") => {
                Failure::new("name", "unknown name: it can't be resolved")
            }
            _ if has("Connection refused") => Failure::new("refused", "connection refused"),
            _ if has("timed out") || has("Timed out") => Failure::vague("no_answer", "no answer"),
            _ if has("Invalid response size") && self.is_kafka() => Failure::new(
                "too_large",
                format!(
                    "an answer of {} bytes is not received: a batch may be larger than max-record allows for",
                    self.response_size().unwrap_or_default()
                ),
            ),
            _ if has("Invalid response size") => Failure::new("no_kafka", self.no_kafka()),
            _ if has("ApiVersionRequest failed")
                || (has("Protocol parse failure") && !self.is_kafka()) =>
            {
                Failure::new("no_kafka", "what answers is not a Kafka, or one before 0.10")
            }
            "CONNECT" => Failure::new("connect", format!("no connection: {}", self.foreign())),
            _ if has("certificate verify failed") => Failure::new(
                "tls",
                "TLS handshake failed: certificate verify failed: its authority is not trusted, or it has another name",
            ),
            _ if has("SSL handshake failed") && (ended || has("wrong version number")) => {
                Failure::new("tls", "TLS handshake failed: it does not speak TLS")
            }
            _ if has("SSL handshake failed") => {
                Failure::new("tls", format!("TLS handshake failed: {}", self.foreign()))
            }
            _ if has("Unsupported SASL mechanism") => {
                let (_, offered) = self.text.rsplit_once("mechanisms: ").unwrap_or_default();
                let offered = bounded(offered);
                Failure::new("sasl", format!("SASL mechanism is not supported; it has {offered}"))
            }
            _ if has("not valid in current SASL state") => {
                Failure::new("sasl", "SASL where none is wanted: it takes no password")
            }
            _ if has("SASL authentication error") => {
                Failure::new("sasl", format!("wrong password or user name: {}", self.foreign()))
            }
            "APIVERSION_QUERY" if ended && !self.encrypted => {
                Failure::new("closed", "closed the connection at once: does it speak TLS?")
            }
            "APIVERSION_QUERY" if ended => {
                Failure::new("closed", "closed the connection at once: is it a Kafka?")
            }
            "SSL_HANDSHAKE" if ended => {
                Failure::new("tls", "TLS handshake failed: it does not speak TLS")
            }
            "AUTH_LEGACY" | "AUTH_HANDSHAKE" | "AUTH_REQ" if ended => Failure::new(
                "closed",
                "closed the connection when it got the password: is that wrong, or none wanted?",
            ),
            // A broker that requires SASL closes the connection at the first request.
            "UP" if ended && !self.sasl && self.milliseconds < 2000 => Failure::vague(
                "closed",
                "closed the connection at the first question: no SASL where it is wanted?",
            ),
            _ if ended => return None,
            _ => Failure::vague("other", self.foreign()),
        };
        Some(failure)
    }

    /// Whether the server has answered as Kafka does: the first request is for API versions, before any password.
    fn is_kafka(&self) -> bool {
        self.state == "UP" || self.state.starts_with("AUTH")
    }

    fn response_size(&self) -> Option<i32> {
        let (_, size) = self.text.split_once("response size ")?;
        size.split(' ').next()?.parse().ok()
    }

    /// The cause if the server is not Kafka: librdkafka took the first bytes for the length of a response.
    fn no_kafka(&self) -> &'static str {
        match self.response_size().map(i32::to_be_bytes).as_ref().map(|bytes| &bytes[..]) {
            Some(b"HTTP") => "what answers is not a Kafka: it speaks HTTP",
            // Records of TLS: an alert, or a handshake.
            Some([0x15 | 0x16, 3, ..]) => "what answers speaks TLS, and was not asked by TLS",
            _ => "what answers is not a Kafka",
        }
    }

    /// The text of librdkafka, OpenSSL or the server.
    fn foreign(&self) -> String {
        bounded(self.text)
    }
}

/// The start of a text, without control characters.
fn bounded(text: &str) -> String {
    let mut bounded = String::new();
    for character in text.chars().take(FOREIGN) {
        match character {
            '\'' | '"' => bounded.push(character),
            _ => bounded.extend(character.escape_debug()),
        }
    }
    bounded
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of librdkafka 2.12 and 2.16, each from the case that the cause names.
    #[test]
    fn causes_are_plain_words() {
        const CLOSED: &str = "Disconnected: connection closed by peer: receive 0 after POLLIN";
        let rows = [
            (
                "127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed: Connection refused (after 0ms in state CONNECT)",
                "connection refused",
            ),
            (
                "a.invalid:9092/bootstrap: Failed to resolve 'a.invalid:9092': Name or service not known (after 1ms in state CONNECT)",
                "unknown name",
            ),
            (
                "10.0.0.1:9092/1: Connect to ipv4#10.0.0.1:9092 failed: No route to host (after 3ms in state CONNECT)",
                "no connection: Connect to ipv4#10.0.0.1:9092 failed: No route to host",
            ),
            (
                "a:1/bootstrap: Connection setup timed out in state CONNECT (after 3002ms in state CONNECT)",
                "no answer",
            ),
            (
                "a:1/bootstrap: Connection setup timed out in state APIVERSION_QUERY (after 3002ms in state APIVERSION_QUERY)",
                "no answer",
            ),
            (
                "a:1/1: 1 request(s) timed out: disconnect (average rtt 0.3ms) (after 60000ms in state UP)",
                "no answer",
            ),
            (
                "a:1/bootstrap: Receive failed: Invalid response size 1213486160 (0..100000000): increase receive.message.max.bytes (after 0ms in state APIVERSION_QUERY)",
                "what answers is not a Kafka: it speaks HTTP",
            ),
            (
                "a:1/bootstrap: Receive failed: Invalid response size 1397966893 (0..100000000): increase receive.message.max.bytes (after 0ms in state APIVERSION_QUERY)",
                "what answers is not a Kafka",
            ),
            (
                "a:1/bootstrap: Receive failed: Invalid response size 352518912 (0..100000000): increase receive.message.max.bytes (after 0ms in state APIVERSION_QUERY)",
                "what answers speaks TLS",
            ),
            (
                "a:1/1: Receive failed: Invalid response size 120000218 (0..100000000): increase receive.message.max.bytes (after 812ms in state UP)",
                "an answer of 120000218 bytes is not received: a batch may be larger than max-record",
            ),
            (
                "a:1/1: Receive failed: Protocol parse failure (after 812ms in state UP)",
                "Receive failed: Protocol parse failure",
            ),
            (
                "a:1/bootstrap: Receive failed: Protocol parse failure (after 8ms in state APIVERSION_QUERY)",
                "what answers is not a Kafka, or one before 0.10",
            ),
            (
                "a:1/bootstrap: ApiVersionRequest failed: Err-30840?: probably due to broker version < 0.10 (see api.version.request configuration) (after 0ms in state APIVERSION_QUERY)",
                "what answers is not a Kafka, or one before 0.10",
            ),
            (
                "ssl://a:1/bootstrap: SSL handshake failed: Disconnected: SSL connection closed by peer: connecting to a PLAINTEXT broker listener? (after 5ms in state SSL_HANDSHAKE)",
                "TLS handshake failed: it does not speak TLS",
            ),
            (
                "ssl://a:1/bootstrap: SSL handshake failed: error:0A00010B:SSL routines::wrong version number (after 1ms in state SSL_HANDSHAKE)",
                "TLS handshake failed: it does not speak TLS",
            ),
            (
                "ssl://a:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified (after 86ms in state SSL_HANDSHAKE)",
                "TLS handshake failed: certificate verify failed: its authority is not trusted",
            ),
            (
                "ssl://a:1/bootstrap: Send failed: error:80000020:system library::Broken pipe: tls_retry_write_records failure (after 1ms in state UP)",
                "closed the connection at the first question: no SASL where it is wanted?",
            ),
            (
                "sasl_plaintext://a:1/bootstrap: SASL PLAIN mechanism handshake failed: Broker: Request not valid in current SASL state: broker's supported mechanisms:  (after 3ms in state AUTH_HANDSHAKE)",
                "SASL where none is wanted",
            ),
            (
                "sasl_ssl://a:1/bootstrap: SASL authentication error: Authentication failed: Invalid username or password (after 302ms in state AUTH_REQ)",
                "wrong password or user name",
            ),
            (
                "sasl_plaintext://a:1/bootstrap: SASL SCRAM-SHA-1 mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: PLAIN,SCRAM-SHA-512 (after 306ms in state AUTH_HANDSHAKE)",
                "SASL mechanism is not supported; it has PLAIN,SCRAM-SHA-512",
            ),
            (
                &format!("a:1/bootstrap: {CLOSED} (after 8ms in state APIVERSION_QUERY)"),
                "closed the connection at once: does it speak TLS?",
            ),
            (
                &format!("sasl_ssl://a:1/1: {CLOSED} (after 8ms in state APIVERSION_QUERY)"),
                "closed the connection at once: is it a Kafka?",
            ),
            (
                &format!("a:1/bootstrap: {CLOSED} (after 2ms in state UP)"),
                "closed the connection at the first question: no SASL where it is wanted?",
            ),
            (
                &format!("sasl_ssl://a:1/1: {CLOSED} (after 2ms in state AUTH_REQ)"),
                "closed the connection when it got the password",
            ),
        ];
        for (line, cause) in rows {
            let threaded = format!("[thrd:{}]: {line}", line.split_once(": ").unwrap().0);
            for line in [line, &threaded] {
                let failure = Line::parse(line).and_then(|line| line.failure());
                let failure = failure.unwrap_or_else(|| panic!("{line}"));
                assert!(failure.cause.starts_with(cause), "{line}: {failure:?}");
            }
        }
    }

    #[test]
    fn a_connection_that_only_ended_is_no_failure() {
        for line in [
            "a:1/1: Disconnected (after 600000ms in state UP)",
            "sasl_ssl://a:1/1: Disconnected (after 60ms in state UP, 1 identical error(s) suppressed)",
        ] {
            assert_eq!(Line::parse(line).unwrap().failure(), None);
        }
    }

    #[test]
    fn the_server_is_a_host_and_a_port_and_a_coordinator_is_none() {
        let server = |line| Line::parse(line).map(|line| line.server);
        assert_eq!(server("sasl_ssl://a:1/bootstrap: Disconnected"), Some("a:1"));
        assert_eq!(server("[thrd:[::1]:9092/2]: [::1]:9092/2: Disconnected"), Some("[::1]:9092"));
        assert_eq!(server("GroupCoordinator: 127.0.0.1:1: Connect failed"), None);
        assert_eq!(server("[thrd:main]: nothing of a broker"), None);
    }

    #[test]
    fn foreign_text_is_bounded_and_escaped() {
        let long = "\u{1b}[31m\n".repeat(1000);
        let line =
            format!("a:1/1: SASL authentication error: {long} (after 3ms in state AUTH_REQ)");
        let cause = Line::parse(&line).unwrap().failure().unwrap().cause;
        assert!(!cause.chars().any(char::is_control), "{cause:?}");
        assert!(cause.len() < 2000);
    }
}
