//! Connections of either kind, from listening sockets of either kind.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use crate::listen::{Listener, ListeningSocket, SocketFile};
use crate::remote::Remote;

/// The listening sockets of a server, in its runtime.
pub(crate) struct Acceptors {
    sockets: Vec<Acceptor>,
    /// Who is asked first next time, so that a busy socket does not starve the others.
    turn: usize,
    _files: Vec<SocketFile>,
}

enum Acceptor {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

/// A connection in the runtime of a loop.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// A connection on its way between runtimes.
#[derive(Debug)]
pub(crate) enum StdStream {
    Tcp(std::net::TcpStream),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
}

impl Acceptors {
    pub(crate) fn new(listeners: Vec<Listener>) -> io::Result<Acceptors> {
        let mut acceptors = Acceptors { sockets: Vec::new(), turn: 0, _files: Vec::new() };
        for Listener { socket, file, .. } in listeners {
            acceptors._files.extend(file);
            acceptors.sockets.push(match socket {
                ListeningSocket::Tcp(socket) => Acceptor::Tcp(TcpListener::from_std(socket)?),
                #[cfg(unix)]
                ListeningSocket::Unix(socket) => Acceptor::Unix(UnixListener::from_std(socket)?),
            });
        }
        Ok(acceptors)
    }

    /// Listens no longer: the connections that the system has made in the meantime, which would be cut off otherwise.
    pub(crate) fn close(self) -> Vec<(StdStream, Remote)> {
        /// Nobody can keep us from closing by connecting faster than we accept.
        const MAX: usize = 4096;
        let mut waiting = Vec::new();
        for socket in self.sockets {
            match socket {
                Acceptor::Tcp(socket) => {
                    let Ok(socket) = socket.into_std() else { continue };
                    while waiting.len() < MAX
                        && let Ok((stream, remote)) = socket.accept()
                    {
                        if stream.set_nonblocking(true).is_ok() && stream.set_nodelay(true).is_ok() {
                            waiting.push((StdStream::Tcp(stream), Remote::Ip(remote.ip().to_canonical())));
                        }
                    }
                }
                #[cfg(unix)]
                Acceptor::Unix(socket) => {
                    let Ok(socket) = socket.into_std() else { continue };
                    while waiting.len() < MAX
                        && let Ok((stream, _)) = socket.accept()
                    {
                        if stream.set_nonblocking(true).is_ok() {
                            waiting.push((StdStream::Unix(stream), Remote::Unix));
                        }
                    }
                }
            }
        }
        waiting
    }

    pub(crate) async fn accept(&mut self) -> io::Result<(Stream, Remote)> {
        poll_fn(|context| {
            let count = self.sockets.len();
            for at in (0..count).map(|offset| (self.turn + offset) % count) {
                if let Poll::Ready(accepted) = self.sockets[at].poll_accept(context) {
                    self.turn = at + 1;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Acceptor {
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Stream, Remote)>> {
        match self {
            Acceptor::Tcp(socket) => socket.poll_accept(context).map_ok(|(stream, remote): (_, SocketAddr)| {
                // A connection that is gone already will say so when it is read.
                let _ = stream.set_nodelay(true);
                // IPv4 over an IPv6 socket is still IPv4, for rules and readers alike.
                (Stream::Tcp(stream), Remote::Ip(remote.ip().to_canonical()))
            }),
            #[cfg(unix)]
            Acceptor::Unix(socket) => {
                socket.poll_accept(context).map_ok(|(stream, _)| (Stream::Unix(stream), Remote::Unix))
            }
        }
    }
}

impl Stream {
    pub(crate) fn into_std(self) -> io::Result<StdStream> {
        match self {
            Stream::Tcp(stream) => stream.into_std().map(StdStream::Tcp),
            #[cfg(unix)]
            Stream::Unix(stream) => stream.into_std().map(StdStream::Unix),
        }
    }
}

impl StdStream {
    /// To be called in the runtime that shall drive it.
    pub(crate) fn into_tokio(self) -> io::Result<Stream> {
        match self {
            StdStream::Tcp(stream) => TcpStream::from_std(stream).map(Stream::Tcp),
            #[cfg(unix)]
            StdStream::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(context),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
