//! How do many listeners share one log? Three threads listen to a room, one of them to one speaker only.
//!
//! `cargo run -p tailwater-hub --example chat`

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tailwater_hub::{Content, Cursor, Hub, Want};

struct Room;

#[derive(Clone)]
struct Said {
    who: u64,
    what: &'static str,
}

impl Content for Room {
    type Record = Said;
    type Mark = u64;
    type View = ();

    fn weight(&self, said: &Said) -> usize {
        said.what.len()
    }
    fn values(&self, said: &Said, add: &mut dyn FnMut(u64)) {
        add(said.who);
    }
    fn advance(&self, mark: &u64, all: &[Said]) -> u64 {
        mark + all.len() as u64
    }
    fn render(&self, (): &(), _: &u64, all: &[Said], out: &mut Vec<u8>, ends: &mut Vec<usize>) {
        for said in all {
            out.extend_from_slice(format!("{}: {}\n", said.who, said.what).as_bytes());
            ends.push(out.len());
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Everything until the room is closed.
fn listen(mut cursor: Cursor<Room>) -> Result<String, tailwater_hub::Lost> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut heard = String::new();
    loop {
        match cursor.poll_batch(&mut cx, &(), 4096) {
            Poll::Ready(Ok(batch)) => heard.push_str(&String::from_utf8_lossy(batch.bytes())),
            Poll::Ready(Err(tailwater_hub::Lost::Closed)) => return Ok(heard),
            Poll::Ready(Err(lost)) => return Err(lost),
            Poll::Pending => thread::park(),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hub = Hub::new(Room, 0, 1 << 20);
    let only_two = || Want::Values([2].into(), Arc::new(|said: &Said| said.who == 2));
    let listeners = [Want::All, Want::All, only_two()].map(|want| hub.tail(want));
    let threads = listeners.map(|cursor| thread::spawn(|| listen(cursor)));

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
