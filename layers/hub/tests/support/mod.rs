//! Numbered records, and positions that count them.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tailwater_hub::{Batch, Cursor, CursorError, Format, Selector};

#[derive(Clone, Debug)]
pub struct Numbered {
    pub id: u64,
    pub keys: Vec<u8>,
    pub weight: usize,
    pub padding: usize,
}

/// Two keys share a hash, so that every other candidate is a collision.
pub fn hash(key: u8) -> u64 {
    u64::from(key / 2)
}

#[derive(Debug, Default)]
pub struct Numbers {
    /// The number of records that were encoded.
    pub rendered: Arc<AtomicUsize>,
    /// The number of records by which positions were advanced.
    pub advanced: Arc<AtomicUsize>,
    /// The next encoding panics.
    pub panics: Arc<AtomicBool>,
}

impl Format for Numbers {
    type Record = Numbered;
    type Position = u64;
    type Encoding = u8;

    fn weight(&self, record: &Numbered) -> usize {
        record.weight
    }

    fn hashes(&self, record: &Numbered, add: &mut dyn FnMut(u64)) {
        record.keys.iter().for_each(|key| add(hash(*key)));
    }

    fn advance(&self, position: &u64, records: &[Numbered]) -> u64 {
        self.advanced.fetch_add(records.len(), Ordering::SeqCst);
        position + records.len() as u64
    }

    fn encode(&self, encoding: &u8, position: &u64, record: &Numbered, out: &mut Vec<u8>) {
        show(*encoding, *position, record, out);
    }

    fn encode_all(
        &self,
        encoding: &u8,
        position: &u64,
        records: &[Numbered],
        out: &mut Vec<u8>,
        ends: &mut Vec<usize>,
    ) {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "told to panic");
        self.rendered.fetch_add(records.len(), Ordering::SeqCst);
        for (position, record) in (*position..).zip(records) {
            self.encode(encoding, &position, record, out);
            ends.push(out.len());
        }
    }
}

pub fn show(encoding: u8, position: u64, record: &Numbered, out: &mut Vec<u8>) {
    if encoding == 2 && record.id.is_multiple_of(3) {
        return; // an encoding may show nothing of a record
    }
    out.extend_from_slice(format!("{encoding}/{position}/{}:", record.id).as_bytes());
    out.resize(out.len() + record.padding, b'.');
    out.push(b'\n');
}

pub fn record(id: u64, keys: &[u8]) -> Numbered {
    Numbered { id, keys: keys.to_vec(), weight: 100, padding: 10 }
}

pub fn with_key(key: u8) -> Selector<Numbered> {
    with_keys(vec![key])
}

pub fn with_keys(keys: Vec<u8>) -> Selector<Numbered> {
    let values = keys.iter().map(|key| hash(*key)).collect();
    Selector::Hashes(
        values,
        Arc::new(move |record| record.keys.iter().any(|key| keys.contains(key))),
    )
}

/// A waker that records whether it was woken.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    pub fn is_woken(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls with a waker of its own.
pub fn poll(
    cursor: &mut Cursor<Numbers>,
    encoding: u8,
    limit: usize,
) -> (Poll<Result<Batch<Numbers>, CursorError>>, Arc<Flag>) {
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(Arc::clone(&flag));
    (cursor.poll_batch(&mut Context::from_waker(&waker), &encoding, limit), flag)
}

/// The records that are ready, as text.
pub fn read(cursor: &mut Cursor<Numbers>) -> String {
    match poll(cursor, 0, usize::MAX).0 {
        Poll::Ready(Ok(batch)) => String::from_utf8(batch.bytes().to_vec()).expect("text"),
        Poll::Ready(Err(lost)) => lost.to_string(),
        Poll::Pending => "pending".to_owned(),
    }
}
