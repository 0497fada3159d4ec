//! The server: listens, accepts, stops.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hyper::server::conn::http1;
use mapproxy_core::Application;
use tokio::sync::Notify;

use crate::connection::{Connections, Order, TimeLimits};
use crate::event_loop::{Accepted, EventLoops, Serving, Spoken, runtime};
use crate::listen::Listener;
use crate::notify::{self, Turn};
use crate::remote::Remote;
use crate::stream::{Acceptors, Stream};
use crate::{AccessLog, AppService, Listen, ListenAddr, ServerError, Workers};

/// A server for one application, bound to its addresses. [`Server::run`] serves.
pub struct Server<A> {
    listeners: Vec<Listener>,
    web_servers: Option<Vec<IpAddr>>,
    options: Options,
    app: A,
    handle: Handle,
}

/// Stops a running [`Server`] from elsewhere.
#[derive(Clone, Debug)]
pub struct Handle {
    stop: Arc<Notify>,
}

/// How long connections that nobody uses stay open when the server stops.
const LAST_CALL: Duration = Duration::from_millis(500);

/// Settings of a [`Server`]; each has a default.
pub struct Builder<A> {
    listen: Vec<Listen>,
    options: Options,
    app: A,
}

/// What is spoken on the connections of a [`Server`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.1 and HTTP/1.0.
    #[default]
    Http,
    /// FastCGI, as a responder, for web servers in front. Where `FCGI_WEB_SERVER_ADDRS` is set in the environment, only
    /// web servers from these addresses may connect over the network.
    #[cfg(feature = "fastcgi")]
    FastCgi,
}

struct Options {
    protocol: Protocol,
    event_loops: usize,
    workers: usize,
    queue: usize,
    worker_niceness: i32,
    max_connections: usize,
    max_head: usize,
    max_body: usize,
    head_timeout: Duration,
    body_timeout: Duration,
    idle_timeout: Duration,
    stop_timeout: Duration,
    access_log: Option<AccessLog>,
    stop_on_signals: bool,
    on_hangup: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Server<()> {
    /// A server for `app`, on `127.0.0.1:8080` unless told otherwise.
    pub fn builder<A: Application + 'static>(app: A) -> Builder<A> {
        Builder { listen: Vec::new(), options: Options::default(), app }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            protocol: Protocol::default(),
            event_loops: thread::available_parallelism().map_or(1, usize::from),
            workers: 512,
            queue: 1024,
            worker_niceness: 19,
            max_connections: 10_000,
            max_head: 64 << 10,
            max_body: 10 << 20,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            stop_timeout: Duration::from_secs(30),
            access_log: None,
            stop_on_signals: false,
            on_hangup: None,
        }
    }
}

impl<A: Application + 'static> Builder<A> {
    /// Listens on `host:port`; the short form of [`Builder::listen`].
    #[must_use]
    pub fn bind(self, address: impl Into<String>) -> Self {
        self.listen(Listen::Tcp(address.into()))
    }

    /// Where to listen; may be called several times. Without a call it is `127.0.0.1:8080`.
    #[must_use]
    pub fn listen(mut self, listen: Listen) -> Self {
        self.listen.push(listen);
        self
    }

    /// What to speak, on all addresses; HTTP.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.options.protocol = protocol;
        self
    }

    /// Threads that read requests and give the answers that can be had at once; as many as there are processors.
    #[must_use]
    pub fn event_loops(mut self, count: usize) -> Self {
        self.options.event_loops = count.max(1);
        self
    }

    /// Threads for answers that take time, at most; 512.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.options.workers = count.max(1);
        self
    }

    /// Requests that may wait for a worker before further ones are refused with 503; 1024.
    #[must_use]
    pub fn queue(mut self, count: usize) -> Self {
        self.options.queue = count;
        self
    }

    /// How far workers step back when processors are scarce (Linux), 0 to 19; 19, so that drawing maps does not slow
    /// down the answers that are there already. With 0 the system shares processors out evenly.
    #[must_use]
    pub fn worker_niceness(mut self, niceness: i32) -> Self {
        self.options.worker_niceness = niceness;
        self
    }

    /// Connections open at once; beyond, new ones wait to be accepted. 10,000.
    #[must_use]
    pub fn max_connections(mut self, count: usize) -> Self {
        self.options.max_connections = count.max(1);
        self
    }

    /// Bytes of a request's first line and headers, at least 8 KiB; 64 KiB. More is refused with 431.
    #[must_use]
    pub fn max_head(mut self, bytes: usize) -> Self {
        self.options.max_head = bytes.max(8 << 10);
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

    /// Whether SIGTERM and SIGINT (elsewhere than on Unix, Ctrl-C) stop the server as [`Handle::stop`] does; no.
    #[must_use]
    pub fn stop_on_signals(mut self, stop: bool) -> Self {
        self.options.stop_on_signals = stop;
        self
    }

    /// What to do on SIGHUP, on a thread of its own; the access log is opened anew in any case. Without it, SIGHUP is
    /// left as it is. systemd is told about the reload if it asked to be. Nothing happens elsewhere than on Unix.
    #[must_use]
    pub fn on_hangup(mut self, action: impl Fn() + Send + Sync + 'static) -> Self {
        self.options.on_hangup = Some(Arc::new(action));
        self
    }

    /// Binds the addresses: from here on clients can connect, and wait for [`Server::run`].
    pub fn build(mut self) -> Result<Server<A>, ServerError> {
        if self.listen.is_empty() {
            self.listen.push(Listen::Tcp("127.0.0.1:8080".to_owned()));
        }
        let mut listeners = Vec::new();
        let web_servers = web_servers(self.options.protocol)?;
        for listen in &self.listen {
            listeners.extend(listen.open()?);
        }
        let handle = Handle { stop: Arc::default() };
        Ok(Server { listeners, web_servers, options: self.options, app: self.app, handle })
    }
}

impl<A> fmt::Debug for Builder<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl<A> fmt::Debug for Server<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl Handle {
    /// No further connections and requests; [`Server::run`] returns when those at hand are answered, or when their
    /// time is up.
    pub fn stop(&self) {
        self.stop.notify_one();
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
        self.handle.clone()
    }

    /// Serves until stopped, with the calling thread as one of the event loops.
    pub fn run(self) -> Result<(), ServerError> {
        let runtime = runtime().map_err(ServerError::Runtime)?;
        let result = runtime.block_on(self.serve());
        // Nothing is left but what a deadline has given up.
        runtime.shutdown_background();
        result
    }

    async fn serve(self) -> Result<(), ServerError> {
        let Server { listeners, web_servers, options, app, handle } = self;
        allow_open_files(options.max_connections);
        let mut acceptors = Acceptors::new(listeners).map_err(ServerError::Runtime)?;
        let workers = Workers::with_niceness(options.workers, options.queue, options.worker_niceness);
        let serving = Arc::new(Serving {
            service: AppService::new(app, workers).max_body(options.max_body).body_timeout(options.body_timeout),
            protocol: spoken(&options),
            access_log: options.access_log.clone(),
        });
        let loops = EventLoops::start(options.event_loops, serving).map_err(ServerError::Runtime)?;
        let limits = TimeLimits { head: options.head_timeout, idle: options.idle_timeout };
        let connections = Connections::new(limits);
        let sweeper = tokio::spawn({
            let connections = Arc::clone(&connections);
            async move { connections.sweep().await }
        });
        if options.stop_on_signals {
            signals::stop_on_signals(handle.clone()).map_err(ServerError::Runtime)?;
        }
        if let Some(action) = options.on_hangup {
            signals::on_hangup(action, options.access_log).map_err(ServerError::Runtime)?;
        }

        notify::tell(Turn::Ready);
        tokio::select! {
            () = accept(&mut acceptors, web_servers.as_deref(), options.max_connections, &connections, &loops) => {}
            () = handle.stop.notified() => {}
        }
        notify::tell(Turn::Stopping);
        for (stream, remote) in acceptors.close() {
            let served = match stream.into_tokio() {
                Ok(stream) => admit(stream, remote, web_servers.as_deref(), &connections, &loops),
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                log::debug!(target: "mapproxy.http", "connection from {remote}: {error}");
            }
        }
        // Those who keep connections to us, web servers in front above all, learn with an answer that we go. Only who has
        // not asked for anything by then finds a connection closed.
        connections.order(Order::LastCall);
        let _ = tokio::time::timeout(LAST_CALL.min(options.stop_timeout), connections.below(1)).await;
        connections.order(Order::Drain);
        if tokio::time::timeout(options.stop_timeout, connections.below(1)).await.is_err() {
            let left = connections.count();
            log::warn!(
                target: "mapproxy.http",
                "stopped with {left} connections still open after {:?}",
                options.stop_timeout
            );
        }
        sweeper.abort();
        loops.stop();
        Ok(())
    }
}

fn spoken(options: &Options) -> Spoken {
    match options.protocol {
        Protocol::Http => {
            let mut protocol = http1::Builder::new();
            // Time limits are those of `connection`; they need no timer for each request.
            protocol.header_read_timeout(None).max_buf_size(options.max_head);
            Spoken::Http(protocol)
        }
        #[cfg(feature = "fastcgi")]
        Protocol::FastCgi => Spoken::FastCgi(crate::fastcgi::Limits {
            max_head: options.max_head,
            max_body: options.max_body,
            max_connections: options.max_connections,
            max_requests: options.workers + options.queue,
        }),
    }
}

/// Lets the process have as many open files as it needs for its connections, where it may: systems begin with few.
#[cfg(unix)]
fn allow_open_files(connections: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    /// Files beside connections: tiles, logs, upstream connections.
    const OTHERS: u64 = 1024;
    let wanted = connections as u64 + OTHERS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let result = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
    if result.is_err() || raised < wanted {
        log::warn!(
            target: "mapproxy.http",
            "{connections} connections are allowed, but fewer open files; raise the limit (ulimit -n, LimitNOFILE=) to {wanted}"
        );
    }
}

#[cfg(not(unix))]
fn allow_open_files(_connections: usize) {}

/// The machines that `FCGI_WEB_SERVER_ADDRS` lets in; `None` is all of them.
fn web_servers(protocol: Protocol) -> Result<Option<Vec<IpAddr>>, ServerError> {
    const NAME: &str = "FCGI_WEB_SERVER_ADDRS";
    if protocol == Protocol::Http {
        return Ok(None);
    }
    let Some(text) = std::env::var(NAME).ok().filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    let address = |text: &str| {
        let address = text.trim().parse::<IpAddr>().map_err(|_| ServerError::Socket {
            address: "FastCGI".to_owned(),
            problem: format!("{text:?} in {NAME} is no address; expected addresses with commas between them"),
        });
        address.map(|address| address.to_canonical())
    };
    text.split(',').map(address).collect::<Result<_, _>>().map(Some)
}

/// Gives a connection to a loop, if it comes from where it may.
fn admit<A: Application + 'static>(
    stream: Stream,
    remote: Remote,
    web_servers: Option<&[IpAddr]>,
    connections: &Arc<Connections>,
    loops: &EventLoops<A>,
) -> io::Result<()> {
    if let (Remote::Ip(address), Some(allowed)) = (remote, web_servers)
        && !allowed.contains(&address)
    {
        log::warn!(target: "mapproxy.http", "{address} is not among the FCGI_WEB_SERVER_ADDRS: refused");
        return Ok(());
    }
    loops.serve(Accepted { stream, remote, registered: connections.register() })
}

/// Accepts connections, for ever.
async fn accept<A: Application + 'static>(
    acceptors: &mut Acceptors,
    web_servers: Option<&[IpAddr]>,
    max_connections: usize,
    connections: &Arc<Connections>,
    loops: &EventLoops<A>,
) {
    loop {
        if connections.count() >= max_connections {
            log::warn!(target: "mapproxy.http", "{max_connections} connections are open, new ones have to wait");
            connections.below(max_connections).await;
        }
        let served = match acceptors.accept().await {
            Ok((stream, remote)) => admit(stream, remote, web_servers, connections, loops),
            Err(error) => Err(error),
        };
        let Err(error) = served else { continue };
        match error.kind() {
            // The client was gone before we came.
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected => {}
            _ => {
                // Most likely there are no file descriptors left. They come back as connections end.
                log::error!(target: "mapproxy.http", "cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
    }
}

/// Signals of the operating system.
#[cfg(unix)]
mod signals {
    use std::io;
    use std::sync::Arc;

    use tokio::signal::unix::{SignalKind, signal};

    use super::Handle;
    use crate::AccessLog;
    use crate::notify::{self, Turn};

    pub(super) fn stop_on_signals(handle: Handle) -> io::Result<()> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::spawn(async move {
            let mut stopping = false;
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if stopping {
                    // Who asks twice does not want to wait. The status is that of a program ended by a signal.
                    std::process::exit(if name == "SIGTERM" { 143 } else { 130 });
                }
                stopping = true;
                log::info!(target: "mapproxy.http", "{name}: stopping");
                handle.stop();
            }
        });
        Ok(())
    }

    pub(super) fn on_hangup(action: Arc<dyn Fn() + Send + Sync>, access_log: Option<AccessLog>) -> io::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                if let Some(log) = &access_log {
                    log.reopen();
                }
                notify::tell(Turn::Reloading);
                let action = Arc::clone(&action);
                if let Err(error) = tokio::task::spawn_blocking(move || action()).await {
                    log::error!(target: "mapproxy.http", "SIGHUP: {error}");
                }
                notify::tell(Turn::Ready);
            }
        });
        Ok(())
    }
}

/// Signals of the operating system.
#[cfg(not(unix))]
mod signals {
    use std::io;
    use std::sync::Arc;

    use super::Handle;
    use crate::AccessLog;

    pub(super) fn stop_on_signals(handle: Handle) -> io::Result<()> {
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                handle.stop();
            }
        });
        Ok(())
    }

    pub(super) fn on_hangup(_action: Arc<dyn Fn() + Send + Sync>, _log: Option<AccessLog>) -> io::Result<()> {
        Ok(())
    }
}
