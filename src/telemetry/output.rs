//! Writes the standard output and the standard error, each by a thread of its own. A reader that stops delays
//! only the lines of its output.
//!
//! `tracing-appender` has a similar writer. Its queue is bounded in lines but not in bytes, and it does not log
//! the number of dropped lines.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use crate::telemetry::LogFormat;
use crate::telemetry::escape::{coloured, escaped};

/// The maximum size of the queue. The batch that is being written can be as large again.
const MOST_BYTES: usize = 1024 * 1024;
/// The pause between two attempts if another process has made the shared descriptor non-blocking.
const NOT_READY: Duration = Duration::from_millis(10);

/// A bounded queue of lines, and the thread that writes them. Clones share the queue.
#[derive(Clone, Debug)]
pub(super) struct Output(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most_lines: usize,
    queue: Mutex<Queue>,
    came: Condvar,
    written: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    lines: usize,
    /// The number of lines that were dropped since the thread last took the queue.
    dropped: u64,
    /// The lines that the thread itself has logged. It writes them at once.
    own: Vec<u8>,
    writer: Option<ThreadId>,
    is_writing: bool,
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.bytes.is_empty() && self.dropped == 0
    }
}

/// The messages of the thread about its output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reports {
    /// Logs the number of dropped lines when the output can be written again.
    pub(super) dropped: fn(u64),
    /// Logs the first error after a successful write.
    pub(super) failed: fn(&io::Error),
}

impl Output {
    /// Starts the thread, with this name. Lines are dropped if more than `most_lines` or 1 MiB are queued.
    pub(super) fn start(
        name: &str,
        out: impl Write + Send + 'static,
        most_lines: usize,
        reports: Reports,
    ) -> io::Result<Self> {
        let output = Self::of(most_lines);
        let writer = output.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || writer.run(out, reports))?;
        Ok(output)
    }

    fn of(most_lines: usize) -> Self {
        let (queue, came, written) = Default::default();
        Self(Arc::new(Shared { most_lines, queue, came, written }))
    }

    /// Queues a line, or drops it. Never waits for the reader.
    pub(super) fn write(&self, line: &[u8]) {
        let mut queue = self.lock();
        if queue.writer == Some(thread::current().id()) {
            queue.own.extend_from_slice(line);
        } else if queue.lines >= self.0.most_lines || queue.bytes.len() + line.len() > MOST_BYTES {
            queue.dropped = queue.dropped.saturating_add(1);
        } else {
            queue.bytes.extend_from_slice(line);
            queue.lines += 1;
            self.0.came.notify_one();
        }
    }

    /// Waits until all lines are written, at most until `deadline`.
    pub(super) fn flush(&self, deadline: Instant) {
        let mut queue = self.lock();
        while !queue.is_idle() || queue.is_writing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.written.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Locks the queue. It is consistent even after a panic, since a line is added by one call.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, out: impl Write, reports: Reports) {
        let mut out = Lines { out, is_within_line: false };
        self.lock().writer = Some(thread::current().id());
        let mut batch = Vec::new();
        let mut lost = 0_u64;
        let mut failing = false;
        loop {
            let mut queue = self.lock();
            queue.is_writing = false;
            self.0.written.notify_all();
            while queue.is_idle() {
                queue = self.0.came.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.is_writing = true;
            batch.clear();
            std::mem::swap(&mut batch, &mut queue.bytes);
            queue.lines = 0;
            // The dropped lines came after those of this batch.
            lost = lost.saturating_add(std::mem::take(&mut queue.dropped));
            drop(queue);

            match out.write(&batch) {
                Ok(()) => failing = false,
                Err((error, unwritten)) => {
                    lost = lost.saturating_add(unwritten);
                    if !failing {
                        (reports.failed)(&error);
                    }
                    failing = true;
                }
            }
            if lost > 0 && !failing {
                (reports.dropped)(lost);
                let own = std::mem::take(&mut self.lock().own);
                if out.write(&own).is_ok() {
                    lost = 0;
                }
            }
            // The message of a failure can't be written to the output that failed.
            self.lock().own.clear();
        }
    }
}

/// Writes whole lines, unless the output fails.
struct Lines<W> {
    out: W,
    /// Whether an error left a line unfinished.
    is_within_line: bool,
}

impl<W: Write> Lines<W> {
    /// Writes all lines. An error has the number of lines that were not written.
    fn write(&mut self, lines: &[u8]) -> Result<(), (io::Error, u64)> {
        if self.is_within_line {
            self.write_some(b"\n").map_err(|(error, _)| (error, count(lines)))?;
            self.is_within_line = false;
        }
        self.write_some(lines).map_err(|(error, rest)| {
            let written = lines.len() - rest.len();
            self.is_within_line = lines
                .get(..written)
                .is_some_and(|value| value.last().is_some_and(|found| *found != b'\n'));
            (error, count(rest))
        })
    }

    /// Writes all bytes. An error has the bytes that were not written.
    fn write_some<'l>(&mut self, mut bytes: &'l [u8]) -> Result<(), (io::Error, &'l [u8])> {
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => return Err((io::ErrorKind::WriteZero.into(), bytes)),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(NOT_READY),
                Err(error) => return Err((error, bytes)),
            }
        }
        Ok(())
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Escapes the lines of a `fmt` layer and queues them.
#[derive(Debug)]
pub(super) struct LinesOf {
    pub(super) output: Output,
    pub(super) format: LogFormat,
    pub(super) has_colours: bool,
}

impl<'w> MakeWriter<'w> for LinesOf {
    type Writer = Line<'w>;

    fn make_writer(&'w self) -> Line<'w> {
        Line(self)
    }
}

/// The writer of one line, which the layer writes by one call.
#[derive(Debug)]
pub(super) struct Line<'w>(&'w LinesOf);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let LinesOf { output, format, has_colours } = self.0;
        let text = escaped(line, *format);
        if *has_colours {
            output.write(&coloured(&text));
        } else {
            output.write(&text);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
impl Output {
    /// An output without a thread, whose lines stay in the queue.
    pub(super) fn without_writer() -> Self {
        Self::of(usize::MAX)
    }

    pub(super) fn queued(&self) -> String {
        String::from_utf8(self.lock().bytes.clone()).expect("text")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    /// An output that takes as many lines as the test allows, and blocks in between.
    struct Reader {
        written: SyncSender<Vec<u8>>,
        answers: Receiver<io::Result<usize>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let Ok(answer) = self.answers.recv() else { return Ok(bytes.len()) };
            let taken = answer?.min(bytes.len());
            self.written.send(bytes[..taken].to_vec()).expect("it is read");
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Test {
        output: Output,
        written: Receiver<Vec<u8>>,
        answers: SyncSender<io::Result<usize>>,
    }

    fn start(most_lines: usize, reports: Reports) -> Test {
        let (written, read) = sync_channel(1024);
        let (answers, answered) = sync_channel(1024);
        let reader = Reader { written, answers: answered };
        let output = Output::start("test", reader, most_lines, reports).unwrap();
        Test { output, written: read, answers }
    }

    impl Test {
        fn take(&self, bytes: usize) -> String {
            self.answers.send(Ok(bytes)).unwrap();
            String::from_utf8(self.written.recv_timeout(SOON).unwrap()).unwrap()
        }

        /// Waits until the thread is writing this line and the queue is empty.
        fn in_hand(&self, line: &str) {
            self.output.write(line.as_bytes());
            while !self.output.lock().bytes.is_empty() {
                thread::yield_now();
            }
        }
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_is_told_how_many_where_it_goes_on() {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        let dropped = |lines| {
            DROPPED.store(lines, SeqCst);
        };
        let test = start(3, Reports { dropped, failed: |error| panic!("{error}") });
        test.in_hand("first\n");
        for number in 0..10 {
            test.output.write(format!("{number}\n").as_bytes());
        }
        // Nothing blocked. A reader that continues gets the oldest lines, and then the number of dropped ones.
        assert_eq!(test.take(3), "fir");
        assert_eq!(test.take(99), "st\n");
        assert_eq!(test.take(99), "0\n1\n2\n");
        test.output.flush(Instant::now() + SOON);
        assert_eq!(DROPPED.load(SeqCst), 7);
        test.output.write(b"again\n");
        assert_eq!(test.take(99), "again\n");
    }

    #[test]
    fn the_queue_is_bounded_in_bytes() {
        let test = start(1024, Reports { dropped: |_| (), failed: |error| panic!("{error}") });
        test.in_hand("first\n");
        let line = [b'x'; 64 * 1024];
        for _ in 0..100 {
            test.output.write(&line);
        }
        let queue = test.output.lock();
        assert_eq!((queue.bytes.len(), queue.dropped), (MOST_BYTES, 100 - 16));
    }

    #[test]
    fn a_reader_that_is_gone_ends_nothing_and_a_disk_that_has_room_again_goes_on() {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        static FAILED: AtomicU64 = AtomicU64::new(0);
        let dropped = |lines| {
            DROPPED.store(lines, SeqCst);
        };
        let failed = |_: &io::Error| {
            FAILED.fetch_add(1, SeqCst);
        };
        let test = start(1024, Reports { dropped, failed });
        let full = || Err(io::ErrorKind::StorageFull.into());
        test.in_hand("one\n");
        assert_eq!(test.take(2), "on");
        test.answers.send(full()).unwrap();
        test.in_hand("two\n");
        test.answers.send(full()).unwrap();
        test.in_hand("three\n");
        test.answers.send(Err(io::ErrorKind::WouldBlock.into())).unwrap();
        assert_eq!(test.take(99), "\n", "the line that was cut off is ended");
        assert_eq!(test.take(99), "three\n");
        test.output.flush(Instant::now() + SOON);
        assert_eq!((DROPPED.load(SeqCst), FAILED.load(SeqCst)), (2, 1));
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_that_does_not_read() {
        let test = start(1024, Reports { dropped: |_| (), failed: |error| panic!("{error}") });
        test.in_hand("first\n");
        let begun = Instant::now();
        test.output.flush(begun + Duration::from_millis(20));
        assert!(begun.elapsed() < SOON);
        assert_eq!(test.take(99), "first\n");
        test.output.flush(begun + SOON);
        assert!(test.output.lock().is_idle());
    }
}
