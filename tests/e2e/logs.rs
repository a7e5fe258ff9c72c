//! What the logs hold, and what they never do.

use rustix::process::Signal;

use crate::support::{Record, Version, kafka, raw, server};

#[tokio::test]
async fn no_secret_is_in_a_log_of_any_level() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    kafka.produce(&topic, Record::value("secret-value").key("secret-key"));
    for level in ["info", "debug", "trace"] {
        // A password that this Kafka does not even ask for: librdkafka has something to complain of.
        for sasl in ["", "sasl: { mechanism: plain, username: someone, password: secret-password }"]
        {
            let builder = server(&kafka).arguments(&["--log-level", level, "--drain", "0"]);
            let builder = if sasl.is_empty() { builder } else { builder.sasl(sasl) };
            let mut server = builder.run().await;
            for version in Version::BOTH {
                let path = format!("/all/{topic}?access_token=secret-token&x=1");
                let get = server.get(&path).over(version).header("cookie", "token=secret-cookie");
                let get = get.header("authorization", "Bearer secret-bearer");
                let mut stream = get.last_event_id("secret-id").open().await;
                if sasl.is_empty() {
                    stream.gap().await;
                    assert_eq!(stream.next().await, "data:secret-value\nid:AQIAAg==\n");
                } else {
                    assert_eq!(stream.comment().await, "");
                }
            }
            let nonsense = "GET /?access_token=secret-token HTTP/1.1\r\nhost: a b\r\nx\r\n\r\n";
            raw(server.address(), nonsense.as_bytes(), |_| false).await;
            if !sasl.is_empty() {
                server.stderr().says("Kafka is away").await;
            }
            server.process().signal(Signal::TERM);
            server.process().ended().await;
            let log = server.stderr().all().await + &server.stdout().all().await;
            assert!(log.contains(&topic), "the paths are in the access log: {log}");
            let secret = log.lines().find(|line| line.contains("secret"));
            assert_eq!(secret, None, "{level} {sasl}");
        }
    }
}

#[tokio::test]
async fn logs_in_json_are_an_object_on_each_line() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let mut server =
        server(&kafka).arguments(&["--log-level", "debug", "--drain", "0"]).run().await;
    server.get(&format!("/all/{topic}/%0A\"%22")).send().await;
    server.get(&format!("/all/{topic}")).open().await.comment().await;
    server.process().signal(Signal::TERM);
    server.process().ended().await;
    let access = server.stdout().all().await;
    for line in server.stderr().all().await.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    for line in access.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(line["event"].is_string() && line["time"].is_string(), "{line}");
    }
    assert!(access.contains("\"status\":404") && access.contains("\"status\":200"), "{access}");
}
