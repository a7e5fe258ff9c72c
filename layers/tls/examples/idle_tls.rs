//! What does an idle connection cost? `cargo run --release -p tailwater-tls --example idle_tls -- 5000`
//! opens that many connections from a second process, and prints the resident memory that each
//! added to this one: first those that say nothing, then those that wait behind their handshake.
//! Linux only: it reads `/proc`.

#![expect(clippy::print_stdout, reason = "it is a program")]

use std::{
    env, fs,
    io::Read,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tailwater_tls::{
    BoxError, ClientConfig, ClientOptions, ConnectLayer, Credentials, Roots, ServerConfig,
    ServerOptions, Store, TlsLayer, TlsStream,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tower::{Layer, ServiceExt, service_fn};

const STORE: &[u8] = include_bytes!("../tests/fixtures/keytool.p12");

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = env::args().collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.as_slice() {
        [_, count, address, kind] => {
            runtime.block_on(client(count.parse()?, address.parse()?, kind == "silent"))
        }
        [_, count] => runtime.block_on(server(count.parse()?)),
        _ => runtime.block_on(server(200)),
    }
}

/// Opens connections until it may end.
async fn client(count: usize, address: SocketAddr, silent: bool) -> Result<(), BoxError> {
    let store = Store::pkcs12(STORE, "generated")?;
    let roots = Roots::none().with(&store.certificates("localhost")?)?;
    let client = ClientConfig::new(Credentials::new().roots(roots), ClientOptions::new())?;
    let connector =
        ConnectLayer::new(client).layer(service_fn(move |_| TcpStream::connect(address)));
    let (mut plain, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..count {
        if silent {
            plain.push(TcpStream::connect(address).await?);
        } else {
            let uri = "https://localhost".parse()?;
            let mut stream = connector.clone().oneshot(uri).await?;
            let mut greeting = [0; 5];
            stream.read_exact(&mut greeting).await?;
            streams.push(stream);
        }
    }
    println!("open");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

async fn server(count: usize) -> Result<(), BoxError> {
    let store = Store::pkcs12(STORE, "generated")?;
    let credentials = Credentials::new().identity(store.identity("localhost")?);
    let config = ServerConfig::new(credentials, ServerOptions::new())?;
    let (sender, mut ready) = mpsc::unbounded_channel();
    let inner = service_fn(move |mut stream: TlsStream<TcpStream>| {
        let sender = sender.clone();
        Box::pin(async move {
            stream.write_all(b"hello").await?;
            stream.flush().await?;
            sender.send(())?;
            stream.read_u8().await?;
            Ok::<_, BoxError>(())
        })
    });
    let service = TlsLayer::new(config).deadline(Duration::from_secs(600)).layer(inner);
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await?);
    let address = listener.local_addr()?;
    for kind in ["silent", "idle"] {
        let mut tasks = JoinSet::new();
        let before = resident_bytes()?;
        let mut client = Command::new(env::current_exe()?)
            .args([count.to_string(), address.to_string(), kind.to_owned()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        for _ in 0..count {
            let (io, _) = listener.accept().await?;
            tasks.spawn(service.clone().oneshot(io));
            if kind == "idle" {
                ready.recv().await;
            }
        }
        let mut output = client.stdout.take().ok_or("no output")?;
        tokio::task::spawn_blocking(move || output.read_exact(&mut [0; 5])).await??;
        let each = resident_bytes()?.saturating_sub(before) / count.max(1);
        println!("{each} bytes for each of {count} connections, {kind}");
        tasks.shutdown().await;
        drop(client.stdin.take());
        client.wait()?;
    }
    Ok(())
}

fn resident_bytes() -> Result<usize, BoxError> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kib = line.split_whitespace().nth(1).ok_or("no number")?;
    Ok(kib.parse::<usize>()? * 1024)
}
