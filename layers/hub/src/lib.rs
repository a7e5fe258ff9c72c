//! A shared, bounded log with cursors: fan-out without a queue for each listener.
//!
//! A server that pushes the same events to many clients usually keeps a queue for each of them, and
//! encodes and wakes for each event and client. A [`Hub`] keeps the events once: a client is a
//! [`Cursor`], a place in the log. What it costs to append does not grow with the lag of anybody, a
//! chunk is encoded once for each way to show it ([`Format::Encoding`]), and a client that is polled gets
//! everything since its last turn as slices of shared buffers.
//!
//! # When to use it
//! In place of `tokio::sync::broadcast`, which drops silently when a receiver lags, clones each event
//! for each receiver and wakes all of them for every event. Here
//! - memory is bounded by bytes, not by a number of events, and whoever falls behind what is kept is
//!   told so, exactly ([`CursorError::Lagged`]), with the place to go on from elsewhere ([`Cursor::position`]);
//! - a cursor that selects by a value ([`Selector::Hashes`]) goes from match to match by an index: a record
//!   that nobody selects wakes nobody, and an idle selective cursor never falls behind;
//! - a reader that comes back finds its place by its own position ([`Hub::seek`]).
//!
//! It needs no runtime and no unsafe code: a cursor is polled with a [`std::task::Context`], appending
//! never waits. For single messages between two tasks a channel is simpler.
//!
//! # Example
//! ```
//! use std::task::{Context, Poll, Waker};
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
//! let hub = Hub::new(Lines, 1, 1 << 20);
//! hub.append(vec!["one".into(), "two".into()]);
//! let mut behind = hub.seek(|position| *position <= 2, Selector::All).expect("line 2 is kept");
//! let mut tail = hub.tail(Selector::All);
//! hub.append(vec!["three".into()]);
//!
//! let cx = &mut Context::from_waker(Waker::noop());
//! let Poll::Ready(Ok(batch)) = behind.poll_batch(cx, &": ", 4096) else { panic!("there are two lines") };
//! assert_eq!(batch.bytes(), "2: two\n3: three\n".as_bytes());
//! assert_eq!((batch.count(), behind.last(&batch).after()), (2, 4));
//!
//! let Poll::Ready(Ok(batch)) = tail.poll_batch(cx, &" - ", 4096) else { panic!("there is a line") };
//! assert_eq!(batch.bytes(), "3 - three\n".as_bytes());
//! assert!(tail.poll_batch(cx, &" - ", 4096).is_pending());
//! ```

mod batch;
mod cursor;
mod error;
mod format;
mod hub;
mod index;
mod log;
mod segment;
mod selector;
mod slots;
mod state;

pub use batch::{Batch, Entry};
pub use cursor::Cursor;
pub use error::CursorError;
pub use format::Format;
pub use hub::{Hub, WeakHub};
pub use selector::{Predicate, Selector};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
