use hyper::StatusCode;

use crate::support::{Server, get, layer, soon};

#[tokio::test]
async fn a_panic_ends_the_http1_connection_only() {
    let server = Server::start(layer());
    let mut other = server.connect().await;
    other.get("/").await;
    other.read_until("hello").await;
    for (count, path) in (1..).zip(["/panic", "/panic-body", "/panic-events"]) {
        let mut client = server.connect().await;
        client.get(path).await;
        client.read_to_end().await;
        soon(async {
            while server.connections.counts().panicked < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    other.get("/").await;
    other.read_until("hello").await;
    drop(other);
    server.end().await;
}

#[tokio::test]
async fn a_panic_ends_the_http2_stream_only() {
    let mut server = Server::start(layer());
    let (mut client, _connection) = server.http2().await;
    let streaming = soon(client.send_request(get("/stream"))).await.unwrap();
    let mut stream = server.opened().await.stream();

    assert!(soon(client.send_request(get("/panic"))).await.is_err());
    let response = soon(client.send_request(get("/panic-body"))).await;
    if let Ok(response) = response {
        let body = http_body_util::BodyExt::collect(response.into_body());
        assert!(soon(body).await.is_err());
    }

    let response = soon(client.send_request(get("/"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    soon(stream.send_data("still".into())).await.unwrap();
    drop(stream);
    let body = http_body_util::BodyExt::collect(streaming.into_body());
    assert_eq!(soon(body).await.unwrap().to_bytes(), "still");
    assert_eq!(server.connections.counts().panicked, 0);
    drop(client);
    server.end().await;
}
