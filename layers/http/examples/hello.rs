//! An HTTP server with every limit stated, that counts for each client and stops as it should:
//! `cargo run -p tailwater-http --example hello`, then `curl -N http://127.0.0.1:8080/`, then
//! Ctrl-C here: the stream ends cleanly.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Channel};
use hyper::body::Incoming;
use tailwater_http::{
    ConnectionLimit, HttpLayer, ListenOptions, Peer, ServeOptions, Shutdown, raise_open_files,
    serve,
};
use tower_layer::Layer;

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn count(
    request: Request<Incoming>,
    shutdown: Shutdown,
) -> Result<Response<Body>, Infallible> {
    let (mut sender, body) = Channel::new(1);
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    tokio::spawn(async move {
        let mut started = std::pin::pin!(shutdown.started());
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        for number in 0_u64.. {
            tokio::select! {
                biased;
                _ = &mut started => return, // the end of the body is the end of the stream
                _ = ticks.tick() => {}
            }
            let line = format!("{number} for {peer:?}\n");
            if sender.send_data(line.into()).await.is_err() {
                return; // the client has left
            }
        }
    });
    Ok(Response::new(body.boxed_unsync()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = raise_open_files()?;
    let shutdown = Shutdown::new();
    let handler = tower::service_fn({
        let shutdown = shutdown.clone();
        move |request| count(request, shutdown.clone())
    });
    let service = HttpLayer::new().shutdown(shutdown.clone()).layer(handler);
    let address = std::env::args().nth(1);
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:8080").parse()?;
    let listener = ListenOptions::new().bind(address)?;
    let address = listener.local_address()?;
    eprintln!("http://{address}/, with at most {files:?} open files");

    let connections = ConnectionLimit::new(50_000);
    let options = ServeOptions::new().connection_limit(connections.clone());
    let server = tokio::spawn(serve([listener], service, options, shutdown.clone()));
    tokio::signal::ctrl_c().await?;
    shutdown.begin(Duration::from_secs(5));
    server.await?;
    eprintln!("{:?}", connections.counts());
    Ok(())
}
