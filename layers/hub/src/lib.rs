//! A shared, bounded log with cursors: fan-out without a queue for each client.
//!
//! A server that pushes the same events to many clients usually has a queue for each client, and
//! encodes each event once for each of them. A [`Hub`] keeps the events once. A client is a [`Cursor`], a
//! position in the log. The cost of appending does not depend on how far cursors lag. A chunk is encoded once
//! for each [`Encoding`](Format::Encoding), and a cursor that is polled returns all records since its last
//! poll, as slices of shared buffers.
//!
//! # When to use it
//! Use it in place of `tokio::sync::broadcast`, which drops events when a receiver lags, clones each event
//! for each receiver, and wakes all receivers for every event. Here
//! - memory is bounded by bytes, not by a number of events. A cursor that falls behind what is kept learns
//!   exactly what it missed ([`CursorError::Lagged`]), and where to go on from elsewhere
//!   ([`Cursor::position`]);
//! - a cursor that selects by a value ([`Selector::Hashes`]) goes from match to match by an index. A record
//!   that no cursor selects wakes no task, and a selective cursor without matches never falls behind;
//! - a client that reconnects resumes at its own position ([`Hub::seek`]).
//!
//! It needs no runtime and no unsafe code. [`Cursor::next`] works in any runtime, and appending never waits.
//! A server with a single-threaded runtime for each core spawns [`relay`] on each of them, so that an append
//! wakes each core once. For single messages between two tasks a channel is simpler.
//!
//! # Example
//! ```
//! use tailwater_hub::{Format, Hub, Selector};
//!
//! /// Lines of text, encoded with their number. A position is the number of the next line.
//! struct Lines;
//!
//! impl Format for Lines {
//!     type Record = String;
//!     type Position = usize;
//!     type Encoding = &'static str;
//!
//!     fn weight(&self, line: &String) -> usize {
//!         line.len()
//!     }
//!     fn advance(&self, position: &usize, lines: &[String]) -> usize {
//!         position + lines.len()
//!     }
//!     fn encode(&self, separator: &&str, position: &usize, line: &String, out: &mut Vec<u8>) {
//!         out.extend_from_slice(format!("{position}{separator}{line}\n").as_bytes());
//!     }
//! }
//!
//! # futures_executor::block_on(async {
//! let hub = Hub::new(Lines, 1, 1 << 20);
//! hub.append(vec!["one".into(), "two".into()]);
//! let mut behind = hub.seek(|position| *position <= 2, Selector::All).expect("line 2 is kept");
//! let mut tail = hub.tail(Selector::All);
//! hub.append(vec!["three".into()]);
//!
//! let batch = behind.next_batch(&": ", 4096).await?;
//! assert_eq!(batch.bytes(), "2: two\n3: three\n".as_bytes());
//! assert_eq!((batch.count(), behind.last(&batch).after()), (2, 4));
//! assert_eq!(tail.next().await?.record(), "three");
//! # Ok::<(), tailwater_hub::CursorError>(())
//! # }).expect("nothing is evicted");
//! ```

mod batch;
mod cursor;
mod error;
mod format;
mod groups;
mod hub;
mod index;
#[cfg(all(test, loom))]
mod interleavings;
mod log;
mod relay;
mod segment;
mod selector;
mod slots;
mod state;
mod sync;
mod view;

pub use batch::{Batch, Entry};
pub use cursor::Cursor;
pub use error::CursorError;
pub use format::Format;
pub use hub::{Hub, WeakHub};
pub use relay::relay;
pub use selector::{Predicate, Selector};
pub use view::{CursorView, Lag};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
