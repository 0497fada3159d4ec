//! Event loops: a thread each, a connection stays with the one it was given to.
//!
//! Connections do not move between threads, so that an answer given inline is read, made and written without a lock
//! or a wake-up in between. New connections go to the loop that has the fewest.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread::{self, JoinHandle};

use http::HeaderValue;
use http::header::CONNECTION;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use mapproxy_core::{Application, Response};
use tokio::runtime::{self, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::access_log::{AccessLog, Entry};
use crate::connection::{Order, Registered, Watch, WatchedStream};
use crate::remote::Remote;
use crate::service::State;
use crate::stream::{StdStream, Stream};
use crate::{Answer, AppService};

/// What every connection is served with.
pub(crate) struct Serving<A> {
    pub(crate) service: AppService<A>,
    pub(crate) protocol: Spoken,
    pub(crate) access_log: Option<AccessLog>,
}

/// What is spoken on the connections.
pub(crate) enum Spoken {
    Http(http1::Builder),
    #[cfg(feature = "fastcgi")]
    FastCgi(crate::fastcgi::Limits),
}

/// A connection on its way to a loop.
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) remote: Remote,
    pub(crate) registered: Registered,
}

/// The loops of a server: the thread that accepts, and others beside it.
pub(crate) struct EventLoops<A> {
    serving: Arc<Serving<A>>,
    here: Arc<AtomicUsize>,
    others: Vec<Other>,
}

struct Other {
    connections: Arc<AtomicUsize>,
    sender: UnboundedSender<(StdStream, Remote, Registered)>,
    thread: JoinHandle<()>,
}

/// A runtime for one thread.
pub(crate) fn runtime() -> io::Result<Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

impl<A: Application + 'static> EventLoops<A> {
    /// `count` loops, the calling thread's among them.
    pub(crate) fn start(count: usize, serving: Arc<Serving<A>>) -> io::Result<EventLoops<A>> {
        let others = (1..count).map(|_| Other::start(Arc::clone(&serving))).collect::<io::Result<_>>()?;
        Ok(EventLoops { serving, here: Arc::default(), others })
    }

    /// Gives a connection to the loop with the fewest. To be called in the runtime of the accepting thread.
    pub(crate) fn serve(&self, accepted: Accepted) -> io::Result<()> {
        let load = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let other = self.others.iter().min_by_key(|other| load(&other.connections));
        match other.filter(|other| load(&other.connections) < load(&self.here)) {
            Some(other) => {
                other.connections.fetch_add(1, Ordering::Relaxed);
                let stream = accepted.stream.into_std()?;
                // A loop ends before its server only by a defect; the connection is closed then.
                let _ = other.sender.send((stream, accepted.remote, accepted.registered));
            }
            None => {
                self.here.fetch_add(1, Ordering::Relaxed);
                let (serving, counter) = (Arc::clone(&self.serving), Arc::clone(&self.here));
                tokio::spawn(serving.connection(accepted, counter));
            }
        }
        Ok(())
    }

    /// Ends the loops with all connections they still have.
    pub(crate) fn stop(self) {
        for other in self.others {
            drop(other.sender);
            if other.thread.join().is_err() {
                log::error!(target: "mapproxy.http", "an event loop ended in a panic");
            }
        }
    }
}

impl Other {
    fn start<A: Application + 'static>(serving: Arc<Serving<A>>) -> io::Result<Other> {
        let (sender, receiver) = unbounded_channel();
        let connections: Arc<AtomicUsize> = Arc::default();
        let counter = Arc::clone(&connections);
        let runtime = runtime()?;
        let thread = thread::Builder::new()
            .name("mapproxy-loop".to_owned())
            .spawn(move || runtime.block_on(receive(receiver, serving, counter)))?;
        Ok(Other { connections, sender, thread })
    }
}

async fn receive<A: Application + 'static>(
    mut receiver: UnboundedReceiver<(StdStream, Remote, Registered)>,
    serving: Arc<Serving<A>>,
    counter: Arc<AtomicUsize>,
) {
    while let Some((stream, remote, registered)) = receiver.recv().await {
        match stream.into_tokio() {
            Ok(stream) => {
                let accepted = Accepted { stream, remote, registered };
                tokio::spawn(Arc::clone(&serving).connection(accepted, Arc::clone(&counter)));
            }
            Err(error) => {
                counter.fetch_sub(1, Ordering::Relaxed);
                log::warn!(target: "mapproxy.http", "cannot serve a connection: {error}");
            }
        }
    }
}

impl<A: Application + 'static> Serving<A> {
    async fn connection(self: Arc<Self>, accepted: Accepted, counter: Arc<AtomicUsize>) {
        let Accepted { stream, remote, registered } = accepted;
        let _counted = Counted(counter);
        let watch = registered.watch();
        let stream = WatchedStream::new(stream, Arc::clone(watch));
        match &self.protocol {
            Spoken::Http(protocol) => self.http(protocol, stream, watch, remote).await,
            #[cfg(feature = "fastcgi")]
            Spoken::FastCgi(limits) => {
                crate::fastcgi::converse(&self.service, self.access_log.as_ref(), *limits, stream, watch).await;
            }
        }
    }

    async fn http(
        self: &Arc<Self>,
        protocol: &http1::Builder,
        stream: WatchedStream,
        watch: &Arc<Watch>,
        remote: Remote,
    ) {
        let service = Exchange { serving: Arc::clone(self), watch: Arc::clone(watch), remote };
        let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
        let mut draining = false;
        let result = poll_fn(|context| {
            match watch.poll_order(context) {
                Order::Close => return Poll::Ready(Ok(())),
                Order::Drain if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                Order::Drain | Order::LastCall | Order::Serve => {}
            }
            connection.as_mut().poll(context)
        })
        .await;
        if let Err(error) = result {
            // Clients that vanish and nonsense sent to the port are no concern of the operator.
            log::debug!(target: "mapproxy.http", "connection from {remote}: {error}");
        }
    }
}

/// Says so when there will be no further answer on the connection.
fn close_after_last(watch: &Watch, response: &mut Response) {
    if watch.answers_last() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Requests of one connection and their answers.
struct Exchange<A> {
    serving: Arc<Serving<A>>,
    watch: Arc<Watch>,
    remote: Remote,
}

impl<A: Application + 'static> Service<http::Request<Incoming>> for Exchange<A> {
    type Response = <AppService<A> as Service<http::Request<Incoming>>>::Response;
    type Error = <AppService<A> as Service<http::Request<Incoming>>>::Error;
    type Future = Answer;

    fn call(&self, mut request: http::Request<Incoming>) -> Answer {
        self.watch.busy();
        if let Some(peer) = self.remote.peer() {
            request.extensions_mut().insert(peer);
        }
        let log = self.serving.access_log.as_ref();
        let (parts, body) = request.into_parts();
        let logged = log.map(|log| (log.clone(), Entry::new(self.remote, &parts)));
        let request = http::Request::from_parts(parts, body);
        let note = move |response: &Response| {
            if let Some((log, entry)) = &logged {
                log.write(entry, response);
            }
        };
        match self.serving.service.answer(request).0 {
            State::Now(Some(mut response)) => {
                self.watch.idle();
                note(&response);
                close_after_last(&self.watch, &mut response);
                Answer::now(response)
            }
            State::Now(None) => Answer(State::Now(None)),
            State::Later(future) => {
                let watch = Arc::clone(&self.watch);
                Answer(State::Later(Box::pin(async move {
                    let mut response = future.await;
                    watch.idle();
                    note(&response);
                    close_after_last(&watch, &mut response);
                    response
                })))
            }
        }
    }
}
