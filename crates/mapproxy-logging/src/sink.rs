//! Where lines go: a thread for each handler writes them, so that a slow disk or terminal holds up nobody.
//!
//! Lines wait in a buffer of bounded size; should a handler stall for long, further ones are dropped and counted.
//! [`Sink::flush`] waits until all are written. What cannot be written is no reason to stop.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::Level;

/// Bytes that wait to be written, at most.
const MAX_WAITING: usize = 8 << 20;
/// How often it is told that a handler fails.
const COMPLAIN: Duration = Duration::from_secs(60);

/// Writes lines somewhere; only its own thread calls it.
pub(crate) trait Output: Send {
    fn write(&mut self, lines: &Batch) -> io::Result<()>;
    /// Opens files anew, for logs that were moved away.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines in the order in which they were logged.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    end: usize,
    level: Level,
    time: Timestamp,
}

impl Batch {
    /// Appends what `write` writes as one line.
    pub(crate) fn push(&mut self, level: Level, time: Timestamp, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.lines.push(Line { end: self.bytes.len(), level, time });
    }

    /// All lines together.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The lines one by one, with their ends, levels and times.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&[u8], Level, Timestamp)> {
        let begins = std::iter::once(0).chain(self.lines.iter().map(|line| line.end));
        begins.zip(&self.lines).map(|(begin, line)| (&self.bytes[begin..line.end], line.level, line.time))
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
        self.lines.clear();
        self.lines.shrink_to(1 << 12);
    }
}

/// A handler's buffer, and the thread that empties it.
#[derive(Debug)]
pub(crate) struct Sink {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    written: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    batch: Batch,
    dropped: u64,
    writing: bool,
    reopen: bool,
    closing: bool,
    /// Somebody has waited in vain; nobody does again before something is written.
    stalled: bool,
}

impl Sink {
    /// `name` is what complaints call it.
    pub(crate) fn start(name: String, mut output: Box<dyn Output>) -> io::Result<Sink> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("mapproxy-log".to_owned()).spawn(move || of_thread.run(&name, output.as_mut()))?;
        Ok(Sink { shared })
    }

    /// Leaves a line to be written.
    pub(crate) fn push(&self, level: Level, time: Timestamp, write: impl FnOnce(&mut Vec<u8>)) {
        let mut waiting = self.shared.lock();
        if waiting.batch.bytes.len() > MAX_WAITING {
            waiting.dropped += 1;
            return;
        }
        let first = waiting.batch.lines.is_empty();
        waiting.batch.push(level, time, write);
        drop(waiting);
        if first {
            self.shared.changed.notify_one();
        }
    }

    /// Has files opened anew before the next line.
    pub(crate) fn reopen(&self) {
        self.shared.lock().reopen = true;
        self.shared.changed.notify_one();
    }

    /// Waits until everything is written, though not beyond the deadline.
    pub(crate) fn flush(&self, deadline: Instant) {
        let mut waiting = self.shared.lock();
        while !waiting.stalled && (!waiting.batch.lines.is_empty() || waiting.writing || waiting.reopen) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                waiting.stalled = true;
                return;
            }
            (waiting, _) = self.shared.written.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // The thread ends when it can; one that hangs in a write must not hang the program.
        self.shared.lock().closing = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, name: &str, output: &mut dyn Output) {
        let mut complained: Option<Instant> = None;
        let mut complain = |what: &str, error: &dyn std::fmt::Display| {
            if complained.is_none_or(|last| last.elapsed() > COMPLAIN) {
                complained = Some(Instant::now());
                // The log is what fails, so this is the only place left.
                let _ = writeln!(io::stderr(), "logging: {name}: {what}: {error}");
            }
        };
        let mut batch = Batch::default();
        loop {
            let mut waiting = self.lock();
            while waiting.batch.lines.is_empty() && !waiting.reopen && !waiting.closing {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            if waiting.batch.lines.is_empty() && !waiting.reopen {
                return;
            }
            waiting.writing = true;
            let reopen = std::mem::take(&mut waiting.reopen);
            let dropped = std::mem::take(&mut waiting.dropped);
            std::mem::swap(&mut waiting.batch, &mut batch);
            drop(waiting);
            if reopen && let Err(error) = output.reopen() {
                complain("cannot be opened anew", &error);
            }
            if dropped > 0 {
                complain("is too slow", &format_args!("{dropped} lines were left out"));
            }
            if !batch.lines.is_empty()
                && let Err(error) = output.write(&batch)
            {
                complain("cannot be written", &error);
            }
            batch.clear();
            let mut waiting = self.lock();
            (waiting.writing, waiting.stalled) = (false, false);
            drop(waiting);
            self.written.notify_all();
        }
    }
}

/// Batches for the tests of outputs.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(crate) fn batch(lines: &[&str]) -> Batch {
        batch_at(lines, Timestamp::now())
    }

    pub(crate) fn batch_at(lines: &[&str], time: Timestamp) -> Batch {
        let mut batch = Batch::default();
        for line in lines {
            batch.push(Level::Info, time, |bytes| bytes.extend([line.as_bytes(), b"\n"].concat()));
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes a batch whenever it is allowed to.
    struct Slow {
        permits: Receiver<()>,
        lines: Sender<String>,
    }

    impl Output for Slow {
        fn write(&mut self, lines: &Batch) -> io::Result<()> {
            let _ = self.permits.recv();
            for (line, _, _) in lines.lines() {
                let _ = self.lines.send(String::from_utf8(line.to_vec()).unwrap());
            }
            Err(io::Error::other("the disk is full"))
        }
    }

    fn push(sink: &Sink, text: &str) {
        sink.push(Level::Info, Timestamp::now(), |bytes| bytes.extend_from_slice(text.as_bytes()));
    }

    #[test]
    fn a_handler_that_stalls_holds_up_nobody_and_its_memory_is_bounded() {
        let (permit, permits) = channel();
        let (lines, written) = channel();
        let sink = Sink::start("slow".to_owned(), Box::new(Slow { permits, lines })).unwrap();
        let megabyte = "x".repeat(1 << 20);
        push(&sink, "first\n");
        let begun = Instant::now();
        for _ in 0..100 {
            push(&sink, &megabyte);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "logging waited for the handler");
        sink.flush(Instant::now() + Duration::from_millis(20));
        // It is waited for once; whoever comes next goes on.
        sink.flush(Instant::now() + Duration::from_secs(60));
        assert!(begun.elapsed() < Duration::from_secs(30), "a stalled handler was waited for twice");
        // A failure is no reason to stop.
        for _ in 0..10 {
            let _ = permit.send(());
        }
        let begun = Instant::now();
        while sink.shared.lock().stalled {
            assert!(begun.elapsed() < Duration::from_secs(10), "the handler goes on, but nobody notices");
            thread::sleep(Duration::from_millis(1));
        }
        sink.flush(Instant::now() + Duration::from_secs(10));
        push(&sink, "last\n");
        sink.flush(Instant::now() + Duration::from_secs(10));
        let written: Vec<String> = written.try_iter().collect();
        assert_eq!((written[0].as_str(), written[written.len() - 1].as_str()), ("first\n", "last\n"));
        // Two batches of it at most: the one that the handler has, and the one that waits.
        assert!(written.len() < 25, "{} lines of 102 were kept", written.len());
    }
}
