//! `StreamHandler`: standard output and standard error.

use std::io::{self, Write};

use crate::sink::{Batch, Output};

#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Output for Stream {
    fn write(&mut self, lines: &Batch) -> io::Result<()> {
        match self {
            Stream::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines.bytes()).and_then(|()| stdout.flush())
            }
            Stream::Stderr => io::stderr().lock().write_all(lines.bytes()),
        }
        .or_else(|error| match error.kind() {
            // Nobody listens any more.
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error),
        })
    }
}
