//! How does a TLS server load its certificate again when the file changes?
//!
//! Run `cargo run -p tailwater-tls --example echo -- cert.pem` with a file that contains a certificate, its
//! chain and its key. Then run `openssl s_client -connect 127.0.0.1:8443 -quiet`: the server sends back each
//! line. Without an argument the example creates a certificate and a client that says hello, and ends.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tailwater_tls::{
    BoxError, ClientConfig, ClientOptions, ConnectLayer, Credentials, Roots, ServerConfig,
    ServerOptions, Store, TlsLayer, TlsStream, Watch,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::{Layer, ServiceExt, service_fn};

async fn echo(mut stream: TlsStream<TcpStream>) -> Result<(), BoxError> {
    eprintln!("{:?} over {:?}", stream.io().peer_addr()?, stream.handshake().version());
    let mut buffer = vec![0; 4096];
    loop {
        // The timeout for reads is an hour. A real server also has a timeout for writes.
        let reading = stream.read(&mut buffer);
        let count = tokio::time::timeout(std::time::Duration::from_secs(3600), reading).await??;
        if count == 0 {
            return Ok(stream.shutdown().await?);
        }
        stream.write_all(buffer.get(..count).unwrap_or_default()).await?;
        stream.flush().await?;
    }
}

fn load(path: &PathBuf) -> Result<Credentials, BoxError> {
    let store = Store::pem("server", &fs::read(path)?)?;
    Ok(Credentials::new().identity(store.identity("server")?))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let (path, port) = match std::env::args().nth(1) {
        Some(path) => (PathBuf::from(path), 8443),
        None => {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
            let path = folder.path().join("cert.pem");
            fs::write(&path, made.cert.pem() + &made.signing_key.serialize_pem())?;
            (path, 0)
        }
    };
    let watch = Watch::new([&path]);
    let config = ServerConfig::new(load(&path)?, ServerOptions::new())?;
    let rotated = config.clone();
    let certificates = path.clone();
    tokio::spawn(watch.run(Watch::INTERVAL, move || -> Result<(), BoxError> {
        Ok(rotated.rotate(load(&certificates)?)?)
    }));

    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    eprintln!("listening at {address}");
    let service = TlsLayer::new(config).layer(service_fn(echo));
    let server = tokio::spawn(async move {
        let connections = Arc::new(Semaphore::new(1000));
        while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
            let Ok((io, peer)) = listener.accept().await else { continue };
            let service = service.clone();
            tokio::spawn(async move {
                if let Err(error) = service.oneshot(io).await {
                    eprintln!("{peer}: {error}");
                }
                drop(permit);
            });
        }
    });

    if port != 0 {
        tokio::signal::ctrl_c().await?;
    } else {
        // A client that trusts exactly this certificate.
        let store = Store::pem("server", &fs::read(&path)?)?;
        let roots = Roots::empty().with_certificates(&store.certificates("server")?)?;
        let client = ClientConfig::new(Credentials::new().roots(roots), ClientOptions::new())?;
        let tcp = service_fn(move |_| TcpStream::connect(address));
        let connector = ConnectLayer::new(client).layer(tcp);
        let mut stream = connector.oneshot("https://localhost".parse()?).await?;
        stream.write_all(b"hello").await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        eprintln!("{answer}");
    }
    server.abort();
    Ok(())
}
