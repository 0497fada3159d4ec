//! Programs of others: run in a process group of their own, and ended with all that they have started.

use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

/// Bytes kept of what a program says of errors.
const MAX_MESSAGES: usize = 4000;

/// A running program; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    messages: Vec<u8>,
    status: Option<ExitStatus>,
}

/// What came of waiting for output.
#[derive(Debug, PartialEq)]
pub(crate) enum Came {
    /// So many bytes; they were appended.
    Bytes(usize),
    /// The output is closed.
    End,
    /// Nothing in time.
    Nothing,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Process> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Ok(Process { child, stdin, stdout, stderr, messages: Vec::new(), status: None })
    }

    /// Waits for output, and takes what the program says of errors meanwhile.
    pub(crate) fn read(&mut self, to: &mut Vec<u8>, deadline: Instant) -> io::Result<Came> {
        let mut buffer = [0; 64 * 1024];
        loop {
            let Some(stdout) = &mut self.stdout else { return Ok(Came::End) };
            let left = deadline.saturating_duration_since(Instant::now());
            let [output, messages] = readable([Some(stdout.as_fd()), self.stderr.as_ref().map(AsFd::as_fd)], left)?;
            if messages {
                self.take_messages(&mut buffer)?;
            }
            if output {
                let Some(stdout) = &mut self.stdout else { return Ok(Came::End) };
                match stdout.read(&mut buffer)? {
                    0 => {
                        self.stdout = None;
                        return Ok(Came::End);
                    }
                    count => {
                        to.extend_from_slice(&buffer[..count]);
                        return Ok(Came::Bytes(count));
                    }
                }
            } else if !messages && left.is_zero() {
                return Ok(Came::Nothing);
            }
        }
    }

    /// Waits for the end; `None` if it does not come in time.
    pub(crate) fn wait(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        let mut pause = Duration::from_micros(50);
        loop {
            if let Some(status) = self.status {
                return Ok(Some(status));
            }
            self.status = self.child.try_wait()?;
            if self.status.is_none() {
                if Instant::now() >= deadline {
                    return Ok(None);
                }
                // Its output is closed: it is about to end.
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(5));
            }
        }
    }

    /// What the program has said of errors: its first lines, on one.
    pub(crate) fn messages(&mut self) -> String {
        let mut buffer = [0; 4096];
        while let Some(stderr) = &self.stderr
            && matches!(readable([Some(stderr.as_fd()), None], Duration::ZERO), Ok([true, _]))
            && self.take_messages(&mut buffer).is_ok()
        {}
        let text = String::from_utf8_lossy(&self.messages);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn take_messages(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let Some(stderr) = &mut self.stderr else { return Ok(()) };
        match stderr.read(buffer)? {
            0 => self.stderr = None,
            count => {
                let room = MAX_MESSAGES.saturating_sub(self.messages.len());
                self.messages.extend_from_slice(&buffer[..count.min(room)]);
            }
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_some() {
            return;
        }
        // Not waited for yet: the number is still its own.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Which of two pipes have something to be read, or are closed.
fn readable(pipes: [Option<std::os::fd::BorrowedFd<'_>>; 2], wait: Duration) -> io::Result<[bool; 2]> {
    let mut polled: Vec<(usize, PollFd<'_>)> = Vec::with_capacity(2);
    for (place, pipe) in pipes.into_iter().enumerate() {
        polled.extend(pipe.map(|pipe| (place, PollFd::from_borrowed_fd(pipe, PollFlags::IN))));
    }
    let (places, mut fds): (Vec<usize>, Vec<PollFd<'_>>) = polled.into_iter().unzip();
    // A millisecond more: what is left of a deadline must not become a busy loop.
    let wait = if wait.is_zero() { wait } else { wait + Duration::from_millis(1) };
    let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
    let mut ready = [false; 2];
    match poll(&mut fds, Some(&wait)) {
        Ok(_) => {
            for (place, fd) in places.into_iter().zip(&fds) {
                ready[place] = !fd.revents().is_empty();
            }
            Ok(ready)
        }
        Err(Errno::INTR) => Ok(ready),
        Err(error) => Err(error.into()),
    }
}
