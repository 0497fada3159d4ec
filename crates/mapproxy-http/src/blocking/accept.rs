//! Waiting for connections on several sockets at once, and for being told to stop.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::listen::{Listener, ListeningSocket};
use crate::remote::Remote;

/// A connection whose calls wait.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
}

/// Hands out connections until woken for the end.
#[derive(Debug)]
pub(super) struct Acceptors {
    #[cfg(unix)]
    wakes: std::os::unix::net::UnixStream,
    waker: Waker,
}

/// Ends [`Acceptors::accept`].
#[derive(Clone, Debug)]
pub(super) struct Waker {
    #[cfg(unix)]
    wakes: Arc<std::os::unix::net::UnixStream>,
    stop: Arc<AtomicBool>,
}

impl Waker {
    pub(super) fn wake(&self) {
        self.stop.store(true, Ordering::Release);
        #[cfg(unix)]
        // The other end is gone when the server is.
        let _ = self.wakes.shutdown(Shutdown::Both);
    }
}

impl Acceptors {
    #[cfg(unix)]
    pub(super) fn new() -> io::Result<Acceptors> {
        let (wakes, other) = std::os::unix::net::UnixStream::pair()?;
        Ok(Acceptors { wakes, waker: Waker { wakes: Arc::new(other), stop: Arc::default() } })
    }

    #[cfg(not(unix))]
    pub(super) fn new() -> io::Result<Acceptors> {
        Ok(Acceptors { waker: Waker { stop: Arc::default() } })
    }

    pub(super) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// The next connection, or `None` when the server shall stop.
    pub(super) fn accept(&self, listeners: &[Listener]) -> Option<(Stream, Remote)> {
        loop {
            if self.waker.stop.load(Ordering::Acquire) {
                return None;
            }
            for listener in listeners {
                match accept(&listener.socket) {
                    Ok(accepted) => return Some(accepted),
                    Err(error) => match error.kind() {
                        // Nobody is there, or the client was gone before we came.
                        io::ErrorKind::WouldBlock
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset => {}
                        _ => {
                            // Most likely there are no file descriptors left. They come back as connections end.
                            log::error!(target: "mapproxy.http", "cannot accept a connection: {error}");
                            thread::sleep(Duration::from_millis(250));
                        }
                    },
                }
            }
            self.wait(listeners);
        }
    }

    #[cfg(unix)]
    fn wait(&self, listeners: &[Listener]) {
        use rustix::event::{PollFd, PollFlags, poll};

        let mut sockets: Vec<PollFd<'_>> = listeners
            .iter()
            .map(|listener| match &listener.socket {
                ListeningSocket::Tcp(socket) => PollFd::new(socket, PollFlags::IN),
                ListeningSocket::Unix(socket) => PollFd::new(socket, PollFlags::IN),
            })
            .collect();
        sockets.push(PollFd::new(&self.wakes, PollFlags::IN));
        // An interruption by a signal is as good as a connection that has gone.
        if let Err(error) = poll(&mut sockets, None)
            && error != rustix::io::Errno::INTR
        {
            log::error!(target: "mapproxy.http", "cannot wait for connections: {error}");
            thread::sleep(Duration::from_millis(250));
        }
    }

    #[cfg(not(unix))]
    fn wait(&self, _listeners: &[Listener]) {
        thread::sleep(Duration::from_millis(10));
    }
}

fn accept(socket: &ListeningSocket) -> io::Result<(Stream, Remote)> {
    match socket {
        ListeningSocket::Tcp(socket) => {
            let (stream, remote) = socket.accept()?;
            stream.set_nonblocking(false)?;
            // A connection that is gone already will say so when it is read.
            let _ = stream.set_nodelay(true);
            Ok((Stream::Tcp(stream), Remote::Ip(remote.ip().to_canonical())))
        }
        #[cfg(unix)]
        ListeningSocket::Unix(socket) => {
            let (stream, _) = socket.accept()?;
            stream.set_nonblocking(false)?;
            Ok((Stream::Unix(stream), Remote::Unix))
        }
    }
}

/// Calls `$call` on whatever `$stream` is.
macro_rules! either {
    ($stream:expr, $name:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($name) => $call,
            #[cfg(unix)]
            Stream::Unix($name) => $call,
        }
    };
}

impl Stream {
    /// Reads what is there, waiting no longer than `limit` for it.
    pub(super) fn read(&self, buffer: &mut [u8], limit: Duration) -> io::Result<usize> {
        // The system takes no limit of 0 for one.
        let limit = Some(limit.max(Duration::from_millis(1)));
        either!(self, stream => {
            stream.set_read_timeout(limit)?;
            io::Read::read(&mut &*stream, buffer)
        })
    }

    /// Writes everything, waiting no longer than `limit` for the client to take some of it.
    pub(super) fn write_all(&self, bytes: &[u8], limit: Duration) -> io::Result<()> {
        let limit = Some(limit.max(Duration::from_millis(1)));
        either!(self, stream => {
            stream.set_write_timeout(limit)?;
            io::Write::write_all(&mut &*stream, bytes)
        })
    }

    pub(super) fn shutdown(&self, how: Shutdown) {
        // A connection that has ended needs no end.
        let _ = either!(self, stream => stream.shutdown(how));
    }
}
