//! A small HTTP/1 server of the standard library's sockets and threads, for programs that have no async runtime and want
//! none.
//!
//! ```no_run
//! # fn serve(app: impl mapproxy_core::Application + 'static) -> Result<(), Box<dyn std::error::Error>> {
//! let server = mapproxy_http::blocking::Server::builder(app).listen("127.0.0.1:8080".parse()?).build()?;
//! server.run()?;
//! # Ok(())
//! # }
//! ```
//!
//! Each connection has a thread of its own for as long as it is open, so there are as many connections at once as there
//! are threads; further ones are told to come back. That suits a few clients, or a web server in front. The
//! event loops of [`crate::Server`] hold thousands of slow clients at less cost, and answer cached tiles while all
//! workers wait. Limits in size and time are the same.
//!
//! With `default-features = false, features = ["blocking"]` neither tokio nor hyper is compiled.

mod accept;
mod connection;
mod request;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mapproxy_core::Application;

use self::accept::{Acceptors, Waker};
use self::connection::{Connections, Serving};
use crate::listen::Listener;
use crate::{AccessLog, Listen, ListenAddr, ServerError, Workers};

/// A server for one application, bound to its addresses. [`Server::run`] serves.
pub struct Server<A> {
    listeners: Vec<Listener>,
    options: Options,
    app: A,
    acceptors: Acceptors,
}

/// Stops a running [`Server`] from elsewhere.
#[derive(Clone, Debug)]
pub struct Handle {
    waker: Waker,
}

/// Settings of a [`Server`]; each has a default.
pub struct Builder<A> {
    listen: Vec<Listen>,
    options: Options,
    app: A,
}

#[derive(Clone)]
struct Options {
    threads: usize,
    max_head: usize,
    max_body: usize,
    head_timeout: Duration,
    body_timeout: Duration,
    idle_timeout: Duration,
    stop_timeout: Duration,
    access_log: Option<AccessLog>,
}

impl Server<()> {
    /// A server for `app`, on `127.0.0.1:8080` unless told otherwise.
    pub fn builder<A: Application + 'static>(app: A) -> Builder<A> {
        let options = Options {
            threads: 256,
            max_head: 64 << 10,
            max_body: 10 << 20,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            stop_timeout: Duration::from_secs(30),
            access_log: None,
        };
        Builder { listen: Vec::new(), options, app }
    }
}

impl<A: Application + 'static> Builder<A> {
    /// Where to listen; may be called several times. Without a call it is `127.0.0.1:8080`.
    #[must_use]
    pub fn listen(mut self, listen: Listen) -> Self {
        self.listen.push(listen);
        self
    }

    /// Connections open at once, each with a thread; 256. Further ones get the status 503.
    #[must_use]
    pub fn threads(mut self, count: usize) -> Self {
        self.options.threads = count.max(1);
        self
    }

    /// Bytes of a request's first line and headers; 64 KiB. More is refused with 431, and so are more than 100 headers.
    #[must_use]
    pub fn max_head(mut self, bytes: usize) -> Self {
        self.options.max_head = bytes;
        self
    }

    /// Bytes of a request's body; 10 MiB. More is refused with 413.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.options.max_body = bytes;
        self
    }

    /// How long first line and headers may be on their way; 10 s. Later, the connection is closed.
    #[must_use]
    pub fn head_timeout(mut self, limit: Duration) -> Self {
        self.options.head_timeout = limit;
        self
    }

    /// How long a body may be on its way; 30 s. Later, the request is refused with 408.
    #[must_use]
    pub fn body_timeout(mut self, limit: Duration) -> Self {
        self.options.body_timeout = limit;
        self
    }

    /// How long a connection stays open without a new request, or without its client taking any of an answer; 75 s.
    #[must_use]
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.options.idle_timeout = limit;
        self
    }

    /// How long requests at hand may go on after the server was told to stop; 30 s.
    #[must_use]
    pub fn stop_timeout(mut self, limit: Duration) -> Self {
        self.options.stop_timeout = limit;
        self
    }

    /// Where to note each request; nowhere.
    #[must_use]
    pub fn access_log(mut self, log: impl Into<Option<AccessLog>>) -> Self {
        self.options.access_log = log.into();
        self
    }

    /// Binds the addresses: from here on clients can connect, and wait for [`Server::run`].
    pub fn build(mut self) -> Result<Server<A>, ServerError> {
        if self.listen.is_empty() {
            self.listen.push(Listen::Tcp("127.0.0.1:8080".to_owned()));
        }
        let mut listeners = Vec::new();
        for listen in &self.listen {
            listeners.extend(listen.open()?);
        }
        let acceptors = Acceptors::new().map_err(ServerError::Runtime)?;
        Ok(Server { listeners, options: self.options, app: self.app, acceptors })
    }
}

impl<A: Application + 'static> Server<A> {
    /// Where it listens.
    pub fn addresses(&self) -> impl Iterator<Item = &ListenAddr> {
        self.listeners.iter().map(|listener| &listener.address)
    }

    /// The first address of the network it listens on, if any.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.addresses().find_map(|address| match address {
            ListenAddr::Tcp(address) => Some(*address),
            ListenAddr::Unix(_) => None,
        })
    }

    /// For stopping it while it runs.
    pub fn handle(&self) -> Handle {
        Handle { waker: self.acceptors.waker() }
    }

    /// Serves until stopped; the calling thread accepts connections.
    pub fn run(self) -> Result<(), ServerError> {
        let Server { listeners, options, app, acceptors } = self;
        // Whoever finds no thread is answered by this one, so nothing may queue.
        let workers = Workers::new(options.threads, 0);
        let connections = Arc::new(Connections::default());
        let stop_timeout = options.stop_timeout;
        let serving = Arc::new(Serving { app, options, connections: Arc::clone(&connections) });
        while let Some((stream, remote)) = acceptors.accept(&listeners) {
            let stream = Arc::new(stream);
            let job = {
                let (serving, stream) = (Arc::clone(&serving), Arc::clone(&stream));
                move || {
                    let registered = serving.connections.register(&stream);
                    serving.converse(&stream, remote);
                    // Who waits for the connections to end wants nothing of the server to be in use any more.
                    drop((serving, stream));
                    drop(registered);
                }
            };
            if workers.submit(job).is_err() {
                connection::refuse(&stream);
            }
        }
        drop(listeners);
        let left = connections.drain(stop_timeout);
        if left > 0 {
            log::warn!(target: "mapproxy.http", "stopped with {left} connections still open after {stop_timeout:?}");
        }
        Ok(())
    }
}

impl Handle {
    /// No further connections and requests; [`Server::run`] returns when those at hand are answered, or when their time
    /// is up.
    pub fn stop(&self) {
        self.waker.wake();
    }
}

impl<A> fmt::Debug for Server<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl<A> fmt::Debug for Builder<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("listen", &self.listen).finish_non_exhaustive()
    }
}
