//! What is known of each open connection: how long it may stay in its present state, and whether it shall end.
//!
//! A request costs no timer and no clock: the states are stamped with the count of a clock that ticks a few times a
//! second, and whoever moves the clock on looks through all connections for those past their limit
//! ([`Connections::sweep`]). So limits are as exact as the ticks are short.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::stream::Stream;

/// How long a connection may stay in a state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimits {
    /// From the first byte of a request, or the opening of the connection, to the end of the request's head.
    pub(crate) head: Duration,
    /// Without a new request, or without the client taking anything of the answer.
    pub(crate) idle: Duration,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The head of a request is on its way.
    Head = 0,
    /// An answer is being written, or nothing is.
    Idle = 1,
    /// The application is at work (bodies have a time limit of their own).
    Busy = 2,
}

/// What a connection shall do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// Carry on.
    #[default]
    Serve = 0,
    /// Answer once more, and close then. Whoever keeps the connection for later, a web server in front of us say, may be
    /// about to use it: closed under its hands it would cost a request.
    LastCall = 1,
    /// Finish the request at hand and close.
    Drain = 2,
    /// Close at once.
    Close = 3,
}

/// One connection, as seen by itself and by the sweep.
#[derive(Debug)]
pub(crate) struct Watch {
    connections: Arc<Connections>,
    /// The phase in the lowest two bits, the tick it began (or was last renewed) above: one word, so that no reader
    /// sees the one without the other.
    state: AtomicU64,
    order: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

/// All open connections of a server.
#[derive(Debug)]
pub(crate) struct Connections {
    ticks: AtomicU64,
    tick: Duration,
    head_ticks: u64,
    idle_ticks: u64,
    open: Mutex<Open>,
    /// A connection was opened or closed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    watches: HashMap<u64, Arc<Watch>>,
    order: Order,
}

/// Keeps a connection in the list of the open ones.
#[derive(Debug)]
pub(crate) struct Registered {
    number: u64,
    watch: Arc<Watch>,
}

impl Connections {
    pub(crate) fn new(limits: TimeLimits) -> Arc<Connections> {
        let tick = (limits.head.min(limits.idle) / 8).clamp(Duration::from_millis(5), Duration::from_millis(500));
        // The count begins anywhere within a tick: one more, so that no limit is cut short.
        let ticks = |limit: Duration| (limit.as_nanos().div_ceil(tick.as_nanos()) + 1).try_into().unwrap_or(u64::MAX);
        Arc::new(Connections {
            ticks: AtomicU64::new(0),
            tick,
            head_ticks: ticks(limits.head),
            idle_ticks: ticks(limits.idle),
            open: Mutex::default(),
            changed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a new connection.
    pub(crate) fn register(self: &Arc<Self>) -> Registered {
        let mut open = self.lock();
        let number = open.next;
        open.next += 1;
        let order = open.order;
        let watch = Arc::new(Watch {
            connections: Arc::clone(self),
            state: AtomicU64::new(self.stamp(Phase::Head)),
            order: AtomicU8::new(order as u8),
            waker: Mutex::new(None),
        });
        open.watches.insert(number, Arc::clone(&watch));
        let first = open.watches.len() == 1;
        drop(open);
        if first {
            self.changed.notify_waiters();
        }
        Registered { number, watch }
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().watches.len()
    }

    /// Waits until fewer than `limit` connections are open.
    pub(crate) async fn below(&self, limit: usize) {
        self.wait_for(|count| count < limit).await;
    }

    /// Tells all connections, and those to come, how to go on.
    pub(crate) fn order(&self, order: Order) {
        let mut open = self.lock();
        open.order = order;
        for watch in open.watches.values() {
            watch.order(order);
        }
    }

    /// Moves the clock, and closes connections that are past their limit. Does nothing at all while none are open.
    pub(crate) async fn sweep(&self) {
        loop {
            self.wait_for(|count| count > 0).await;
            tokio::time::sleep(self.tick).await;
            let now = self.ticks.fetch_add(1, Ordering::Relaxed) + 1;
            for watch in self.lock().watches.values() {
                if watch.expired(now) {
                    watch.order(Order::Close);
                }
            }
        }
    }

    async fn wait_for(&self, condition: impl Fn(usize) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Listening begins before the condition is looked at, or a change in between would be missed.
            changed.as_mut().enable();
            if condition(self.count()) {
                return;
            }
            changed.await;
        }
    }

    fn stamp(&self, phase: Phase) -> u64 {
        self.ticks.load(Ordering::Relaxed) << 2 | phase as u64
    }
}

impl Watch {
    /// The head of a request is complete; its answer is in the making.
    pub(crate) fn busy(&self) {
        self.state.store(self.connections.stamp(Phase::Busy), Ordering::Relaxed);
    }

    /// The answer is ready for the client to take.
    pub(crate) fn idle(&self) {
        self.state.store(self.connections.stamp(Phase::Idle), Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        match self.state.load(Ordering::Relaxed) & 3 {
            0 => Phase::Head,
            1 => Phase::Idle,
            _ => Phase::Busy,
        }
    }

    /// Bytes came in. The first ones after an answer begin the head of a request.
    fn read(&self) {
        if self.phase() == Phase::Idle {
            self.state.store(self.connections.stamp(Phase::Head), Ordering::Relaxed);
        }
    }

    /// The client took bytes. While an answer is being written, the beginning of the next request may have come in
    /// already; its time does not run before the answer is through.
    fn written(&self) {
        if self.phase() != Phase::Busy {
            self.idle();
        }
    }

    fn expired(&self, now: u64) -> bool {
        let since = now.saturating_sub(self.state.load(Ordering::Relaxed) >> 2);
        match self.phase() {
            Phase::Head => since > self.connections.head_ticks,
            Phase::Idle => since > self.connections.idle_ticks,
            Phase::Busy => false,
        }
    }

    fn order(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::Release);
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }

    /// What to do, and whom to wake when that changes.
    pub(crate) fn poll_order(&self, context: &Context<'_>) -> Order {
        {
            let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                *waker = Some(context.waker().clone());
            }
        }
        self.current_order()
    }

    /// Whether the connection shall be closed after the answer that is being given.
    pub(crate) fn answers_last(&self) -> bool {
        self.current_order() != Order::Serve
    }

    fn current_order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Serve,
            1 => Order::LastCall,
            2 => Order::Drain,
            _ => Order::Close,
        }
    }
}

impl Registered {
    pub(crate) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let connections = &self.watch.connections;
        connections.lock().watches.remove(&self.number);
        connections.changed.notify_waiters();
    }
}

/// A client's stream whose reads and writes are noted.
#[derive(Debug)]
pub(crate) struct WatchedStream {
    stream: Stream,
    watch: Arc<Watch>,
}

impl WatchedStream {
    pub(crate) fn new(stream: Stream, watch: Arc<Watch>) -> WatchedStream {
        WatchedStream { stream, watch }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.watch.read();
        }
        result
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        if result.is_ready() {
            self.watch.written();
        }
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if result.is_ready() {
            self.watch.written();
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections() -> Arc<Connections> {
        Connections::new(TimeLimits { head: Duration::from_secs(4), idle: Duration::from_secs(8) })
    }

    /// Ticks of half a second; a limit of four seconds is eight of them, and one more.
    fn after(connections: &Connections, ticks: u64) -> u64 {
        connections.ticks.load(Ordering::Relaxed) + ticks
    }

    #[test]
    fn a_silent_new_connection_has_the_time_for_a_head() {
        let connections = connections();
        let registered = connections.register();
        assert!(!registered.watch().expired(after(&connections, 9)));
        assert!(registered.watch().expired(after(&connections, 10)));
    }

    #[test]
    fn further_bytes_of_a_head_do_not_renew_its_time() {
        let connections = connections();
        let registered = connections.register();
        registered.watch().idle();
        registered.watch().read();
        connections.ticks.fetch_add(5, Ordering::Relaxed);
        registered.watch().read();
        assert!(registered.watch().expired(after(&connections, 5)));
    }

    #[test]
    fn an_answer_in_the_making_has_no_limit_and_one_being_taken_is_renewed_by_each_write() {
        let connections = connections();
        let registered = connections.register();
        let watch = registered.watch();
        watch.busy();
        watch.read();
        assert!(!watch.expired(after(&connections, 1_000_000)));
        watch.idle();
        connections.ticks.fetch_add(17, Ordering::Relaxed);
        assert!(!watch.expired(after(&connections, 0)));
        watch.written();
        assert!(!watch.expired(after(&connections, 17)));
        assert!(watch.expired(after(&connections, 18)));
    }

    #[test]
    fn a_request_sent_ahead_does_not_shorten_the_answer_before_it() {
        let connections = connections();
        let registered = connections.register();
        let watch = registered.watch();
        watch.idle();
        watch.read();
        watch.written();
        assert!(!watch.expired(after(&connections, 17)));
    }

    #[test]
    fn connections_leave_the_list_when_they_end_and_late_ones_drain_too() {
        let connections = connections();
        let first = connections.register();
        assert_eq!(connections.count(), 1);
        connections.order(Order::Drain);
        drop(first);
        assert_eq!(connections.count(), 0);
        let late = connections.register();
        assert_eq!(late.watch().poll_order(&Context::from_waker(Waker::noop())), Order::Drain);
    }
}
