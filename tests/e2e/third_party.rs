//! A client that is not ours: eventsource-client of crates.io, over hyper.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use eventsource_client::{Client as _, ClientBuilder, ReconnectOptions, SSE};
use futures_util::{Stream, StreamExt as _};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use launchdarkly_sdk_transport::{ByteStream, HttpTransport, ResponseFuture, TransportError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

use crate::support::{Record, id, kafka, server, soon};

/// How it speaks HTTP: a connection for each request.
#[derive(Clone)]
struct Transport;

impl HttpTransport for Transport {
    fn request(&self, request: Request<Option<Bytes>>) -> ResponseFuture {
        let answer = tokio::spawn(async move {
            let authority = request.uri().authority().expect("an absolute URL").clone();
            let socket =
                TcpStream::connect(authority.as_str()).await.map_err(TransportError::new)?;
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(socket)).await.map_err(TransportError::new)?;
            tokio::spawn(connection);
            let mut head = request.map(|_| Empty::<Bytes>::new());
            head.headers_mut().insert("host", authority.as_str().parse().expect("an authority"));
            *head.uri_mut() = head.uri().path().parse().expect("a path");
            let response = sender.send_request(head).await.map_err(TransportError::new)?;
            Ok(response.map(|body| -> ByteStream {
                Box::pin(body.into_data_stream().map(|bytes| bytes.map_err(TransportError::new)))
            }))
        });
        Box::pin(async move {
            let answer: Result<Response<ByteStream>, _> = answer.await.expect("it does not panic");
            answer
        })
    }
}

/// Stands before the server and cuts all that goes through it when it is told to.
struct Cuttable {
    address: SocketAddr,
    cut: broadcast::Sender<()>,
}

impl Cuttable {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (cut, _) = broadcast::channel(1);
        let cutter = cut.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut cut = cutter.subscribe();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await.expect("the server");
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = cut.recv() => {}
                    }
                });
            }
        });
        Self { address, cut }
    }
}

async fn next(
    stream: &mut (impl Stream<Item = eventsource_client::Result<SSE>> + Unpin),
) -> eventsource_client::Event {
    loop {
        // It tells of each cut, and connects again.
        let item = soon("an event", stream.next()).await.expect("it goes on");
        if let Ok(SSE::Event(event)) = item {
            return event;
        }
    }
}

#[tokio::test]
async fn it_reads_on_through_cuts_without_loss_or_repetition() {
    let kafka = kafka().await;
    let topic = kafka.topic(1).await;
    let server = server(&kafka).retry(10).run().await;
    let cuttable = Cuttable::before(server.address()).await;
    let url = format!("http://{}/all/{topic}", cuttable.address);
    let reconnect = ReconnectOptions::reconnect(true).delay(Duration::from_millis(10)).build();
    let client = ClientBuilder::for_url(&url).expect("a client").reconnect(reconnect);
    let client = client.build_with_transport(Transport);
    let mut stream = client.stream();
    for number in 0..60 {
        if number % 10 == 7 {
            // Nobody is there if the cut falls between two connections.
            let _ = cuttable.cut.send(());
        }
        let value = format!("{number}\nsecond line");
        kafka.produce(&topic, Record::value(&value).key("k"));
        let event = next(&mut stream).await;
        assert_eq!((event.event_type.as_str(), &event.data), ("message", &value));
        assert_eq!(event.id, Some(id(&[(0, number + 1)])));
    }
    kafka.produce(&topic, Record::tombstone().key("k"));
    let event = next(&mut stream).await;
    assert_eq!((event.event_type.as_str(), event.data.as_str()), ("delete", "aw=="));
}
