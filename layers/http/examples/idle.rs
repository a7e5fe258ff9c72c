//! What does an idle stream cost? `cargo run --release -p tailwater-http --example idle -- 10000`
//! opens that many HTTP/1.1 streams from a second process, and prints the resident memory that each
//! added to this one. Linux only: it reads `/proc`.

#![expect(clippy::print_stdout, reason = "it is a program")]

use std::{
    convert::Infallible,
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    pin::Pin,
    process::{Command, Stdio},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tailwater_http::{
    Connections, HttpLayer, ListenOptions, ServeOptions, Shutdown, raise_open_files, serve,
};
use tower_layer::Layer;

/// One comment, and then nothing.
struct Idle(Option<Bytes>);

impl Body for Idle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => Poll::Pending,
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    raise_open_files()?;
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.as_slice() {
        [_, count, address] => client(count.parse()?, address.parse()?),
        [_, count] => server(count.parse()?),
        _ => server(1000),
    }
}

/// Opens streams until it may end.
fn client(count: usize, address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let mut streams = Vec::with_capacity(count);
    // As long as a browser's.
    let padding = "x".repeat(500);
    for _ in 0..count {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET / HTTP/1.1\r\nhost: localhost\r\nuser-agent: {padding}\r\n\r\n")?;
        streams.push(stream);
    }
    for stream in &mut streams {
        let mut read = Vec::new();
        while !read.ends_with(b":\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            read.extend(byte);
        }
    }
    println!("open");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

#[tokio::main]
async fn server(count: usize) -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::new();
    let handler = tower::service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(Idle(Some(Bytes::from_static(b":\n"))))
                .expect("a response"),
        )
    });
    let service = HttpLayer::new().shutdown(shutdown.clone()).layer(handler);
    let listener = ListenOptions::new().bind(([127, 0, 0, 1], 0).into())?;
    let address = listener.local_address()?;
    let options = ServeOptions::new().connections(Connections::new(count));
    let server = tokio::spawn(serve([listener], service, options, shutdown.clone()));

    let before = resident_bytes()?;
    let mut client = Command::new(std::env::current_exe()?)
        .args([count.to_string(), address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = client.stdout.take().ok_or("no output")?;
    let opened = tokio::task::spawn_blocking(move || {
        let mut line = [0; 5];
        let mut output = output;
        output.read_exact(&mut line)
    });
    opened.await??;
    let after = resident_bytes()?;
    println!("{} bytes for each of {count} idle streams", (after - before) / count.max(1));

    shutdown.begin(Duration::ZERO);
    server.await?;
    drop(client.stdin.take());
    client.wait()?;
    Ok(())
}

fn resident_bytes() -> Result<usize, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kib = line.split_whitespace().nth(1).ok_or("no number")?;
    Ok(kib.parse::<usize>()? * 1024)
}
