//! Metrics, as Prometheus reads them.

use crate::support::{Get, Scrape, health_address, kafka_alone, server};

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
