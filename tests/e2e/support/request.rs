//! Requests to Kafka as bytes, for what rust-rdkafka does not ask.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::SOON;

/// Sends a request with its header: the answer behind its number.
pub(super) fn request(server: &str, request: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(server).expect("Kafka listens");
    socket.set_read_timeout(Some(SOON)).expect("a socket");
    socket.write_all(&length(request.len())).expect("it is sent");
    socket.write_all(request).expect("it is sent");
    let mut size = [0; 4];
    socket.read_exact(&mut size).expect("an answer");
    let mut answer = vec![0; u32::from_be_bytes(size) as usize];
    socket.read_exact(&mut answer).expect("an answer");
    answer.split_off(4)
}

/// A text behind its length.
pub(super) fn text(text: &str) -> Vec<u8> {
    let length = i16::try_from(text.len()).expect("a short name");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

pub(super) fn length(length: usize) -> [u8; 4] {
    i32::try_from(length).expect("a small request").to_be_bytes()
}
