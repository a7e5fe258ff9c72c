//! Metrics, as Prometheus reads them.

use crate::support::{
    Authority, FreePort, Get, Kafka, LOOK, Record, Registry, Scrape, Server, health_address, judge,
    kafka_alone, keys_store, run, server, soon, trust_store,
};

#[tokio::test]
async fn metrics_are_scraped_from_the_port_for_health_checks() {
    let kafka = kafka_alone().await;
    let server = server(&kafka).arguments(&["--health", "127.0.0.1:0"]).run().await;
    let at = health_address(&server).await;
    let stream = server.get("/all/orders").send().await;

    let answer = Get::new(at, "/metrics").send().await;
    assert_eq!(answer.status, 200);
    let content_type = answer.header("content-type").map(str::to_owned);
    assert_eq!(content_type.as_deref(), Some("text/plain; version=0.0.4; charset=utf-8"));
    let scrape = Scrape(answer.text().await);
    scrape.is_read_by_promtool(&[]).await;
    assert_eq!(scrape.value("tailwater_connections{binding=\"tcp_in\"}"), Some(1.0));
    let accepted = "tailwater_connections_accepted_total{binding=\"tcp_in\"}";
    assert_eq!(scrape.value(accepted), Some(1.0));
    let refused = "tailwater_connections_refused_total{binding=\"tcp_in\",reason=\"cap\"}";
    assert_eq!(scrape.value(refused), Some(0.0));
    assert!(scrape.value("tailwater_open_files").is_some_and(|files| files > 10.0));
    assert_eq!(scrape.value("tailwater_config_last_reload_successful"), Some(1.0));
    let version = concat!("tailwater_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"");
    assert!(scrape.0.contains(version), "{}", scrape.0);
    assert!(scrape.value("process_resident_memory_bytes").is_some_and(|bytes| bytes > 1e6));
    drop(stream);
    Scrape::until(at, "tailwater_connections{binding=\"tcp_in\"}", 0.0).await;

    let head = Get::new(at, "/metrics").method("HEAD").send().await;
    assert_eq!((head.status.as_u16(), head.header("content-type")), (200, content_type.as_deref()));
    assert_eq!(head.text().await, "");
    for path in ["/metrics", "/ready"] {
        let answer = Get::new(at, path).method("POST").send().await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, Some("GET, HEAD")));
    }
    // Never on a public port.
    assert_eq!(server.get("/metrics").send().await.status, 404);
}

/// A site of static files whose bindings record all metrics, and a port for scrapes.
fn recorded(port: u16) -> String {
    format!(
        r#"
name: example
telemetry:
  metrics: ["stream.*", http.duration, http.request.size, http.response.size, http.active.requests]
  exporters:
    scrape: {{ type: prometheus, options: {{ endpoints: [{{ scheme: http, port: {port}, path: /scrape }}] }} }}
bindings:
  tcp_in: {{ type: tcp, kind: server, options: {{ host: 127.0.0.1, port: 0 }}, exit: http_in, telemetry: {{ metrics: ["stream.*"] }} }}
  http_in:
    type: http
    kind: server
    exit: pages
    telemetry:
      metrics: ["http.*", stream.opens.sent, stream.data.sent]
      attributes:
        status: "${{http.response.status}}"
        method: "${{http.request.method}}"
        path: "${{http.request.path}}"
  pages: {{ type: http-filesystem, kind: proxy, exit: files, telemetry: {{ metrics: [stream.closes.sent] }} }}
  files: {{ type: filesystem, kind: server, options: {{ location: . }} }}
"#
    )
}

#[tokio::test]
async fn a_prometheus_exporter_serves_the_metrics_of_zilla() {
    let free = FreePort::new();
    let port = free.number();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("page.txt"), "a page\n").expect("a page is written");
    let server = Server::of_text(folder, &recorded(port), &[]).await;
    for path in ["/page.txt?access_token=secret", "/page.txt", "/absent\"}"] {
        let path = path.replace('"', "%22");
        server.get(&path).send().await.text().await;
    }
    server.get("/page.txt").method("BREW").send().await.text().await;
    server.get("/page.txt").method("HEAD").send().await.text().await;
    let at = ([127, 0, 0, 1], port).into();
    let scraped = async {
        loop {
            let scrape = Scrape(Get::new(at, "/scrape").send().await.text().await);
            let closed = "stream_closes_received_total{namespace=\"example\",binding=\"tcp_in\"}";
            // A scrape reads one value after the other: the last connection may close between these two.
            let active = "stream_active_received{namespace=\"example\",binding=\"tcp_in\"}";
            if (scrape.value(closed), scrape.value(active)) == (Some(5.0), Some(0.0)) {
                return scrape;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let scrape = soon("all connections are counted", scraped).await;
    // Names without units are Zilla's.
    scrape.is_read_by_promtool(&["stream_", "http_"]).await;
    assert!(!scrape.0.contains("secret"), "{}", scrape.0);
    let of_get = "method=\"GET\",path=\"/page.txt\",status=\"200\"}";
    let of_http = "{namespace=\"example\",binding=\"http_in\"";
    for (series, value) in [
        (format!("http_duration_milliseconds_count{of_http},{of_get}"), 2.0),
        (format!("http_response_size_bytes_sum{of_http},{of_get}"), 14.0),
        (format!("http_request_size_bytes_sum{of_http},{of_get}"), 0.0),
        (
            format!(
                "http_response_size_bytes_bucket{{le=\"8\",{},{of_get}",
                of_http.trim_start_matches('{')
            ),
            2.0,
        ),
        (format!("http_active_requests{of_http},method=\"GET\",path=\"/page.txt\"}}"), 0.0),
        (format!("stream_opens_sent_total{of_http}}}"), 5.0),
        ("stream_closes_sent_total{namespace=\"example\",binding=\"pages\"}".to_owned(), 5.0),
        ("stream_active_received{namespace=\"example\",binding=\"tcp_in\"}".to_owned(), 0.0),
        ("tailwater_connections_accepted_total{binding=\"tcp_in\"}".to_owned(), 5.0),
        ("engine_workers_usage".to_owned(), 0.0),
    ] {
        assert_eq!(scrape.value(&series), Some(value), "{series}\n{}", scrape.0);
    }
    // Heads are bytes of a connection, and the body of two responses.
    for (direction, least, most) in [("received", 100.0, 5000.0), ("sent", 500.0, 10_000.0)] {
        let of_tcp = "{namespace=\"example\",binding=\"tcp_in\"}";
        let bytes = scrape.value(&format!("stream_data_{direction}_bytes_total{of_tcp}"));
        assert!(bytes.is_some_and(|bytes| least < bytes && bytes < most), "{direction} {bytes:?}");
    }
    for name in ["engine_workers_count_total", "engine_workers_capacity"] {
        assert!(scrape.value(name).is_some_and(|value| value >= 1.0), "{name}");
    }
    assert!(scrape.0.contains("method=\"_other_\""), "{}", scrape.0);
    assert_eq!(Get::new(at, "/metrics").send().await.status, 404);
    assert_eq!(Get::new(at, "/scrape").method("POST").send().await.status, 405);

    // The port is taken.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("zilla.yaml");
    std::fs::write(&file, recorded(port)).expect("the configuration is written");
    let file = file.to_str().expect("a path in UTF-8");
    let mut second = run(&["start", "-c", file, "--log-format", "json"], &[]);
    assert_eq!(second.ended().await.code(), Some(1));
    second.stderr.says(&format!("scrape can't listen on [::]:{port}")).await;
}

#[tokio::test]
async fn an_event_stream_is_active_until_its_client_leaves() {
    let kafka = kafka_alone().await;
    let topic = kafka.topic(1).await;
    // A topic that the file does not name, and that Kafka has not confirmed within a second, is counted as `_other_`.
    let builder = server(&kafka).bootstrap(&topic).arguments(&["--health", "127.0.0.1:0"]);
    let telemetry = "telemetry: { metrics: [\"stream.*\", http.duration, http.active.requests],";
    let recorded = "exit: mapping, telemetry: { metrics: [\".*\"] } }";
    let config =
        builder.config().replace("telemetry: {", telemetry).replace("exit: mapping }", recorded);
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::of_text(folder, &config, &["--health", "127.0.0.1:0"]).await;
    let at = health_address(&server).await;
    let mut stream = server.get(&format!("/all/{topic}")).open().await;
    kafka.produce(&topic, Record::value("1"));
    stream.next().await;
    let of_sse = "{namespace=\"e2e\",binding=\"sse_in\"}";
    let scrape = Scrape::of(at).await;
    assert_eq!(scrape.value(&format!("stream_active_received{of_sse}")), Some(1.0));
    assert_eq!(scrape.value(&format!("stream_active_sent{of_sse}")), Some(1.0));
    assert_eq!(scrape.value(&format!("http_active_requests{of_sse}")), Some(1.0));
    let sent = scrape.value(&format!("stream_data_sent_bytes_total{of_sse}"));
    assert!(sent.is_some_and(|bytes| bytes >= 20.0), "{sent:?}");
    let of_mapping = format!("{{binding=\"mapping\",topic=\"{topic}\"");
    let of_topic = format!("{{topic=\"{topic}\"");
    let streams = format!("tailwater_streams{of_mapping}}}");
    let live = format!("tailwater_streams_state{of_topic},state=\"live\"}}");
    Scrape::until(at, &live, 1.0).await;
    let scrape = Scrape::until(at, &streams, 1.0).await;
    for (series, value) in [
        (format!("tailwater_streams_opened_total{of_mapping},start=\"beginning\"}}"), 1.0),
        (format!("tailwater_events_sent_total{of_topic}}}"), 1.0),
        (format!("tailwater_records_read_total{of_topic}}}"), 1.0),
        (format!("tailwater_stream_lag_records_count{of_topic}}}"), 1.0),
        (format!("tailwater_topic_advances{of_topic}}}"), 1.0),
    ] {
        assert_eq!(scrape.value(&series), Some(value), "{series}\n{}", scrape.0);
    }
    scrape.is_read_by_promtool(&["stream_", "http_"]).await;
    stream.cut();
    let ended = format!("tailwater_streams_ended_total{of_mapping},reason=\"client\"}}");
    Scrape::until(at, &ended, 1.0).await;
    let scrape = Scrape::until(at, &format!("stream_active_received{of_sse}"), 0.0).await;
    assert_eq!(scrape.value(&streams), Some(0.0));
    assert_eq!(scrape.value(&format!("stream_errors_sent_total{of_sse}")), Some(1.0));
    assert_eq!(scrape.value(&format!("stream_closes_sent_total{of_sse}")), Some(0.0));
    // All that is on the wire, with the comment and the reconnection time at the beginning.
    let sent = |series: String| scrape.value(&series).expect("it was counted");
    let of_sse_sent = sent(format!("stream_data_sent_bytes_total{of_sse}"));
    assert_eq!(sent(format!("tailwater_sent_bytes_total{of_topic}}}")), of_sse_sent);
    // An aborted exchange has a duration, too.
    assert_eq!(scrape.value(&format!("http_duration_milliseconds_count{of_sse}")), Some(1.0));
}

/// A server with an exporter of type `otlp` that has these options, beside files in its folder.
async fn pushes(kafka: &Kafka, vault: &str, options: &str, files: &[(&str, Vec<u8>)]) -> Server {
    let vaults = "vaults: { stores: { type: filesystem, options: { \
                  keys: { store: keys.p12, type: pkcs12, password: generated }, \
                  trust: { store: trust.p12, type: pkcs12, password: generated } } } }";
    let vaults = if vault.is_empty() { "" } else { vaults };
    let exporter = format!(
        "{vaults}\ntelemetry: {{ exporters: {{ push: {{ type: otlp, {vault} options: {{ {options} }} }}, logs"
    );
    let config = server(kafka).config().replace("telemetry: { exporters: { logs", &exporter);
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).expect("a file is written");
    }
    Server::of_text(folder, &config, &["--health", "127.0.0.1:0", "--drain", "0"]).await
}

/// Waits until a collector has both signals.
async fn both_arrive(collector: &Registry) {
    let arrived = async {
        loop {
            let requests = collector.requests();
            let has = |path: &str| requests.iter().any(|head| head.starts_with(path));
            if has("POST /v1/metrics ") && has("POST /v1/logs ") {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("metrics and logs arrive", arrived).await;
}

#[tokio::test]
async fn a_collector_is_reached_over_tls_with_the_certificates_of_a_vault() {
    let kafka = kafka_alone().await;
    let authority = Authority::new("collectors");
    let collector = Registry::with_mutual_tls(&authority).await;
    for path in ["/v1/metrics", "/v1/logs"] {
        collector.answer(path, 200, "{}");
    }
    let endpoint = format!("interval: 1, endpoint: {{ location: \"{}\" }}", collector.url());
    let identity = authority.issue(&["exporter"]);
    let files = [
        ("keys.p12", keys_store(&[&identity])),
        ("trust.p12", trust_store(&[("collectors", &authority)])),
    ];
    let tls = format!("{endpoint}, tls: {{ keys: [exporter], trust: [collectors] }}");
    let _server = pushes(&kafka, "vault: stores,", &tls, &files).await;
    both_arrive(&collector).await;

    // Without the vault nobody knows the authority.
    let stranger = pushes(&kafka, "", &endpoint, &[]).await;
    let warning = stranger.stderr().find(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        (line["message"] == "telemetry is not taken").then_some(line)
    });
    let warning = warning.await;
    let error = warning["error"].as_str().expect("a text").to_owned();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn telemetry_is_pushed_once_more_when_the_process_stops() {
    let kafka = kafka_alone().await;
    let collector = Registry::new().await;
    for path in ["/v1/metrics", "/v1/logs"] {
        collector.answer(path, 200, "{}");
    }
    let endpoint = format!("interval: 3600, endpoint: {{ location: \"{}\" }}", collector.url());
    let mut server = pushes(&kafka, "", &endpoint, &[]).await;
    server.get("/nowhere").send().await;
    assert!(collector.requests().is_empty());
    server.process().signal(rustix::process::Signal::TERM);
    assert_eq!(server.process().ended().await.code(), Some(0));
    both_arrive(&collector).await;
}

/// A server with an exporter of type `otlp`.
pub(crate) async fn pushes_to(kafka: &Kafka, location: &str) -> Server {
    let exporter = format!(
        "telemetry: {{ attributes: {{ service.name: orders, a: b }}, exporters: {{ push: {{ type: otlp, options: {{ \
         interval: 1, endpoint: {{ location: \"{location}\" }}, \
         credentials: {{ headers: {{ authorization: \"Bearer of-the-collector\" }} }} }} }}, logs"
    );
    let config = server(kafka).config().replace("telemetry: { exporters: { logs", &exporter);
    let folder = tempfile::tempdir().expect("a folder");
    Server::of_text(folder, &config, &["--health", "127.0.0.1:0"]).await
}

#[tokio::test]
async fn a_collector_takes_metrics_and_logs() {
    let Some(collector) = judge("promtool", ["collector"]).await else { return };
    let port = collector.stdout.find(|line| line.parse::<u16>().ok()).await;
    let kafka = kafka_alone().await;
    let server = pushes_to(&kafka, &format!("http://127.0.0.1:{port}/base/")).await;
    let topic = kafka.topic(1).await;
    let mut stream = server.get(&format!("/all/{topic}")).open().await;
    kafka.produce(&topic, Record::value("1"));
    stream.next().await;
    for path in ["/base/v1/metrics", "/base/v1/logs"] {
        let pushed = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            // The first metrics may come before the first request.
            let of_requests = line.to_string().contains("http.server.request.duration");
            (line["path"] == path && (of_requests || path.ends_with("/logs"))).then_some(line)
        };
        let pushed = collector.stdout.find(pushed).await;
        assert!(pushed.get("mistakes").is_none(), "{pushed}");
        assert_eq!(pushed["encoding"], "gzip");
        assert_eq!(pushed["authorization"], "Bearer of-the-collector");
        let text = pushed["request"].to_string();
        assert!(text.contains("service.name") && text.contains("orders"), "{text}");
        if path.ends_with("/metrics") {
            assert!(text.contains("messaging.client.consumed.messages"), "{text}");
        }
    }
    assert!(!server.stderr().text().contains("of-the-collector"));
}

#[tokio::test]
async fn a_collector_that_is_away_is_told_and_counted() {
    let kafka = kafka_alone().await;
    let free = FreePort::new();
    let location = format!("http://127.0.0.1:{}", free.number());
    let server = pushes_to(&kafka, &location).await;
    let warning = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        (line["message"] == "telemetry is not taken").then_some(line)
    };
    let warning = server.stderr().find(warning).await;
    assert_eq!((&warning["level"], &warning["location"]), (&"WARN".into(), &location.into()));
    assert!(warning["error"].as_str().is_some_and(|error| error.contains("refused")), "{warning}");
    let at = health_address(&server).await;
    let failed = async {
        let series = "tailwater_otlp_failures_total{exporter=\"push\"}";
        while Scrape::of(at).await.value(series).is_none_or(|failures| failures < 1.0) {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon("failures are counted", failed).await;
}
