//! The timeouts of librdkafka. A connection that a firewall or a NAT has dropped silently is only found by a
//! request without a response.
//!
//! librdkafka's timeout is for the whole response, even while parts of it arrive. So fetches are bounded in
//! bytes, and a consumer waits longer if responses are late repeatedly.

use std::time::Duration;

use rdkafka::ClientConfig;

/// The request timeout.
pub(super) const SOCKET: &str = "socket.timeout.ms";

const FETCH_WAIT: &str = "fetch.wait.max.ms";

/// The request timeout of a consumer, beside the wait of its fetch: 4 MiB arrive in that time at 5 Mbit/s.
const READING: Duration = Duration::from_secs(8);

/// The request timeout of a query client, whose responses are small.
const ASKING: Duration = Duration::from_secs(4);

/// The longest request timeout of a consumer: librdkafka's default.
const LONGEST: Duration = Duration::from_secs(60);

/// The timeout for connecting, the TLS handshake, and SASL: eight round trips of a second.
const SETUP: Duration = Duration::from_secs(8);

/// An idle connection is closed before a NAT drops it, which takes four minutes and more.
const IDLE: Duration = Duration::from_secs(180);

/// Sets the defaults, which properties of the user override.
pub(super) fn set(config: &mut ClientConfig) {
    config
        .set("socket.keepalive.enable", "true")
        .set("socket.connection.setup.timeout.ms", SETUP.as_millis().to_string())
        .set("connections.max.idle.ms", IDLE.as_millis().to_string());
}

/// Makes the request timeout longer than the wait of a fetch, unless it is `chosen` by the user.
pub(super) fn fit_fetch_wait(config: &mut ClientConfig, chosen: bool) {
    if !chosen {
        let wait = milliseconds(config, FETCH_WAIT);
        set_request_timeout(config, wait.map_or(READING, |wait| READING + wait));
    }
}

/// Sets the request timeout of a query client.
pub(super) fn set_asking(config: &mut ClientConfig, chosen: bool) {
    // librdkafka requires that it is less than the request timeout.
    config.remove(FETCH_WAIT);
    if !chosen {
        set_request_timeout(config, ASKING);
    }
}

/// The request timeout in the configuration.
pub(super) fn request_timeout(config: &ClientConfig) -> Duration {
    milliseconds(config, SOCKET).unwrap_or(LONGEST)
}

pub(super) fn set_request_timeout(config: &mut ClientConfig, timeout: Duration) {
    config.set(SOCKET, timeout.as_millis().to_string());
}

/// The next request timeout after one that was too short.
pub(super) fn longer(timeout: Duration) -> Duration {
    timeout.max(LONGEST.min(2 * timeout))
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
            let reading = request_timeout(&config);
            set_asking(&mut config, chosen);
            config.create_native_config().expect("librdkafka takes it");
            (reading.as_millis(), request_timeout(&config).as_millis())
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
