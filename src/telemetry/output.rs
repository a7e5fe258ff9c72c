//! The standard output and the standard error, each written by a thread of its own: whoever reads them
//! may stop for as long as they like, and holds up nothing but their lines.
//!
//! `tracing-appender` has a writer of this kind, bounded in lines alone and silent about those it drops.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use super::LogFormat;
use super::escape::{coloured, escaped};

/// What waits for the reader at the most; as much again is being written.
const MOST_BYTES: usize = 1024 * 1024;
/// Between two attempts where the descriptor was made non-blocking by another process that has it.
const NOT_READY: Duration = Duration::from_millis(10);

/// A bounded queue of lines, and the thread that writes them. Clones are the same one.
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
    /// Lines for which there was no room since the thread looked last.
    dropped: u64,
    /// What the thread itself has logged: it writes that at once.
    own: Vec<u8>,
    writer: Option<ThreadId>,
    is_writing: bool,
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.bytes.is_empty() && self.dropped == 0
    }
}

/// What the thread logs of its output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reports {
    /// So many lines were dropped, where it goes on.
    pub(super) dropped: fn(u64),
    /// Writing failed, the first time since it went well.
    pub(super) failed: fn(&io::Error),
}

impl Output {
    /// Begins the thread, which is called `name`. Beyond `most_lines`, and beyond 1 MiB, lines are dropped.
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

    /// Never waits for the reader.
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

    /// Waits until all is written, until `deadline` at the latest.
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

    /// A panic while it was locked has left it whole: lines are added by one call.
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
            // They came after those that are written now.
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
            // What it logged of a failure has no reader.
            self.lock().own.clear();
        }
    }
}

/// Writes whole lines, as far as its output lets it.
struct Lines<W> {
    out: W,
    /// Whether an error left a line unfinished.
    is_within_line: bool,
}

impl<W: Write> Lines<W> {
    /// Writes them all, or fails with how many lines were not written.
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

    /// Fails with what was not written.
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

/// Takes the lines of a `fmt` layer, escapes what could be taken for more than text, and queues them.
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

/// Takes one line, in one piece.
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
    /// Lines stay in the queue.
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

    /// Takes what it is told to, and waits in between.
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

        /// Until the thread has this line in hand, and the queue is empty.
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
        // Nobody was held up. A reader that goes on has the oldest ones, and then their number.
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
