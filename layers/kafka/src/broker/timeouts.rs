//! How long librdkafka waits for a peer. A connection that died without a word (a firewall, a NAT) is
//! found by a question that is not answered, and by nothing else.
//!
//! librdkafka counts the time of a whole answer, whatever came of it already: so fetches are bounded in
//! bytes, and who reads waits longer where answers come late again and again.

use std::time::Duration;

use rdkafka::ClientConfig;

/// How long an answer may take.
pub(super) const SOCKET: &str = "socket.timeout.ms";

const FETCH_WAIT: &str = "fetch.wait.max.ms";

/// To a reader, beside the wait of its fetch: 4 MiB come by 5 Mbit/s in that time.
const READING: Duration = Duration::from_secs(8);

/// To a handle that only asks, whose answers are small.
const ASKING: Duration = Duration::from_secs(4);

/// To a reader at most: librdkafka's own default.
const LONGEST: Duration = Duration::from_secs(60);

/// Connecting, the handshake of TLS, and SASL: eight round trips of a second.
const SETUP: Duration = Duration::from_secs(8);

/// A connection that nobody uses is ended before a NAT forgets it, which takes four minutes and more.
const IDLE: Duration = Duration::from_secs(180);

/// What holds unless it is set by name.
pub(super) fn set(config: &mut ClientConfig) {
    config
        .set("socket.keepalive.enable", "true")
        .set("socket.connection.setup.timeout.ms", SETUP.as_millis().to_string())
        .set("connections.max.idle.ms", IDLE.as_millis().to_string());
}

/// The time for an answer is longer than that of a fetch, unless it is `chosen`.
pub(super) fn fit_fetch_wait(config: &mut ClientConfig, chosen: bool) {
    if !chosen {
        let wait = milliseconds(config, FETCH_WAIT);
        set_patience(config, wait.map_or(READING, |wait| READING + wait));
    }
}

/// The same of a handle that only asks.
pub(super) fn set_asking(config: &mut ClientConfig, chosen: bool) {
    // It has to fit the time for an answer.
    config.remove(FETCH_WAIT);
    if !chosen {
        set_patience(config, ASKING);
    }
}

/// How long an answer may take, as the configuration says.
pub(super) fn patience(config: &ClientConfig) -> Duration {
    milliseconds(config, SOCKET).unwrap_or(LONGEST)
}

pub(super) fn set_patience(config: &mut ClientConfig, patience: Duration) {
    config.set(SOCKET, patience.as_millis().to_string());
}

/// The next step of who waits in vain.
pub(super) fn longer(patience: Duration) -> Duration {
    patience.max(LONGEST.min(2 * patience))
}

fn milliseconds(config: &ClientConfig, name: &str) -> Option<Duration> {
    config.get(name)?.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_that_was_set_stays_and_a_longer_fetch_has_more() {
        let times = |properties: &[(&str, &str)]| {
            let mut config = ClientConfig::new();
            set(&mut config);
            for (name, value) in properties {
                config.set(*name, *value);
            }
            let chosen = properties.iter().any(|(name, _)| *name == SOCKET);
            fit_fetch_wait(&mut config, chosen);
            let reading = patience(&config);
            set_asking(&mut config, chosen);
            config.create_native_config().expect("librdkafka takes it");
            (reading.as_millis(), patience(&config).as_millis())
        };
        assert_eq!(times(&[]), (8000, 4000));
        assert_eq!(times(&[(FETCH_WAIT, "50")]), (8050, 4000));
        assert_eq!(times(&[(FETCH_WAIT, "30000")]), (38_000, 4000));
        assert_eq!(times(&[(SOCKET, "20000"), (FETCH_WAIT, "30")]), (20_000, 20_000));
    }

    #[test]
    fn a_timeout_doubles_up_to_a_minute() {
        let steps = std::iter::successors(Some(READING), |timeout| Some(longer(*timeout)));
        let seconds: Vec<u64> = steps.take(5).map(|timeout| timeout.as_secs()).collect();
        assert_eq!(seconds, [8, 16, 32, 60, 60]);
        assert_eq!(longer(Duration::from_secs(90)), Duration::from_secs(90));
    }
}
