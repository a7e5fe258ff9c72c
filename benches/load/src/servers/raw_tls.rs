//! The bound of TLS: tokio-rustls with its defaults, a task for each client, and pieces of 16 KiB that were encoded in
//! advance. There is no Kafka.

use std::thread;
use std::time::Instant;
use std::{io, process};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::Result;
use crate::cli::RawTlsOptions;
use crate::kafka::Pace;
use crate::servers::raw::{HEAD, Order, chunk, orders};
use crate::tls;

/// The maximum number of events of a piece. They fit into one TLS record, whose payload is 16 KiB at most.
const EVENTS_PER_PIECE: u64 = 59;

/// All pieces of the run. They are kept so that a slow client loses nothing.
type Pieces = Vec<Bytes>;

pub(crate) fn serve(options: &RawTlsOptions) -> Result<()> {
    let acceptor = TlsAcceptor::from(tls::server(&options.store, &["http/1.1"])?);
    let (pieces, clients) = watch::channel(Pieces::new());
    thread::spawn(move || {
        orders().for_each(|order| make(&order, &pieces));
        process::exit(0);
    });
    // tailwater has the same number of threads.
    let threads = thread::available_parallelism()?.get().saturating_sub(1).max(1);
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(super::listen(options.port)?)?;
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let acceptor = acceptor.clone();
            let pieces = clients.clone();
            tokio::spawn(async move {
                // Clients notice an error. The check whether this server listens is no client.
                let _ = stream(acceptor, socket, pieces).await;
            });
        }
    })
}

fn make(order: &Order, pieces: &watch::Sender<Pieces>) {
    let end = order.first + order.count;
    match order.pace {
        Pace::PerSecond(_) => {
            let begin = Instant::now();
            for number in order.first..end {
                order.pace.wait(begin, number - order.first);
                pieces.send_modify(|pieces| pieces.push(chunk(number, 1).into()));
            }
        }
        Pace::AsFastAsPossible => {
            let made = (order.first..end)
                .step_by(EVENTS_PER_PIECE as usize)
                .map(|first| chunk(first, EVENTS_PER_PIECE.min(end - first)).into());
            let made: Pieces = made.collect();
            pieces.send_modify(|pieces| pieces.extend(made));
        }
    }
}

/// Starts a client at the next piece, when its request is complete.
async fn stream(
    acceptor: TlsAcceptor,
    socket: TcpStream,
    mut pieces: watch::Receiver<Pieces>,
) -> io::Result<()> {
    let mut stream = acceptor.accept(socket).await?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    drop(request);
    let mut next = pieces.borrow_and_update().len();
    stream.write_all(HEAD).await?;
    loop {
        let piece = pieces.borrow_and_update().get(next).cloned();
        match piece {
            Some(piece) => {
                stream.write_all(&piece).await?;
                next += 1;
            }
            None => {
                stream.flush().await?;
                if pieces.changed().await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_what_one_record_of_tls_takes() {
        const RECORD_BYTES: usize = 16 * 1024;
        assert!(chunk(0, EVENTS_PER_PIECE).len() <= RECORD_BYTES);
        assert!(chunk(0, EVENTS_PER_PIECE + 1).len() > RECORD_BYTES);
    }
}
