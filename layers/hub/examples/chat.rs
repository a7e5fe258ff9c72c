//! How do many listeners share one log? Three threads listen to a room, one of them to one speaker only.
//!
//! `cargo run -p tailwater-hub --example chat`

use std::sync::Arc;
use std::thread;

use futures_executor::block_on;
use tailwater_hub::{Cursor, CursorError, Format, Hub, Selector};

struct Room;

#[derive(Clone)]
struct Said {
    who: u64,
    what: &'static str,
}

impl Format for Room {
    type Record = Said;
    type Position = u64;
    type Encoding = ();

    fn weight(&self, said: &Said) -> usize {
        said.what.len()
    }
    fn hashes(&self, said: &Said, add: &mut dyn FnMut(u64)) {
        add(said.who);
    }
    fn advance(&self, position: &u64, all: &[Said]) -> u64 {
        position + all.len() as u64
    }
    fn encode(&self, (): &(), _: &u64, said: &Said, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{}: {}\n", said.who, said.what).as_bytes());
    }
}

/// Everything until the room is closed.
async fn listen(mut cursor: Cursor<Room>) -> Result<String, CursorError> {
    let mut heard = String::new();
    loop {
        match cursor.next_batch(&(), 4096).await {
            Ok(batch) => heard.push_str(&String::from_utf8_lossy(batch.bytes())),
            Err(CursorError::Closed) => return Ok(heard),
            Err(lagged) => return Err(lagged),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = Hub::new(Room, 0, 1 << 20);
    let only_two = || Selector::Hashes([2].into(), Arc::new(|said: &Said| said.who == 2));
    let listeners = [Selector::All, Selector::All, only_two()].map(|selector| hub.tail(selector));
    let threads = listeners.map(|cursor| thread::spawn(|| block_on(listen(cursor))));

    hub.append(vec![Said { who: 1, what: "anybody here?" }]);
    hub.append(vec![Said { who: 2, what: "yes" }, Said { who: 1, what: "good" }]);
    hub.close();

    let mut heard = Vec::new();
    for thread in threads {
        heard.push(thread.join().map_err(|_| "a listener panicked")??);
    }
    assert_eq!(heard[0], "1: anybody here?\n2: yes\n1: good\n");
    assert_eq!(heard[0], heard[1]);
    assert_eq!(heard[2], "2: yes\n");
    Ok(())
}
