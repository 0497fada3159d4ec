//! Threads for calls that may wait: for upstream servers, for locks, for pixels.
//!
//! Threads are made when needed, up to a limit, and end after a while without work. What finds no thread waits in a
//! queue; what finds the queue full is refused, because a client that waits longer than it is willing to is worse off
//! than one that is told to come back.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

/// A bounded set of threads with a bounded queue. Dropping it lets the threads end once the queue is empty.
pub struct Workers {
    shared: Arc<Shared>,
}

/// Neither a thread nor a place in the queue is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all workers are busy and their queue is full")]
pub struct Busy;

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    max_threads: usize,
    max_queue: usize,
    keep_alive: Duration,
    niceness: i32,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closing: bool,
}

impl Workers {
    /// At most `max_threads` (at least one), and a queue of `max_queue` for what finds none of them free.
    pub fn new(max_threads: usize, max_queue: usize) -> Workers {
        Workers::with_niceness(max_threads, max_queue, 0)
    }

    /// The same with threads that step back behind others by `niceness` (0 to 19, Linux only), so that event loops get
    /// the processor first. Threads which these threads start inherit it.
    pub fn with_niceness(max_threads: usize, max_queue: usize, niceness: i32) -> Workers {
        let shared = Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            max_threads: max_threads.max(1),
            max_queue,
            keep_alive: Duration::from_secs(10),
            niceness: niceness.clamp(0, 19),
        };
        Workers { shared: Arc::new(shared) }
    }

    /// Has `job` run by a thread, now or when one is free. A panic in it ends the job, not the thread.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
        let job: Job = Box::new(job);
        let mut state = self.shared.lock();
        if state.idle > state.queue.len() {
            state.queue.push_back(job);
            drop(state);
            self.shared.work.notify_one();
            return Ok(());
        }
        // Where nobody is left to take the job from the queue, the queue is no place for it.
        let may_queue = state.threads > 0 && state.queue.len() < self.shared.max_queue;
        if state.threads < self.shared.max_threads {
            state.threads += 1;
            state.queue.push_back(job);
            drop(state);
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("mapproxy-call".to_owned()).spawn(move || shared.run());
            return match thread {
                Ok(_) => Ok(()),
                Err(error) => self.without_thread(&error, may_queue),
            };
        }
        if !may_queue {
            return Err(Busy);
        }
        state.queue.push_back(job);
        Ok(())
    }

    /// The system gives no more threads: the job waits for one of those there are, if any.
    fn without_thread(&self, error: &std::io::Error, may_queue: bool) -> Result<(), Busy> {
        let mut state = self.shared.lock();
        state.threads -= 1;
        log::warn!(target: "mapproxy.http", "no further thread for requests beside {}: {error}", state.threads);
        if may_queue {
            return Ok(());
        }
        state.queue.pop_back();
        Err(Busy)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("Workers")
            .field("threads", &state.threads)
            .field("idle", &state.idle)
            .field("queued", &state.queue.len())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Jobs run outside the lock and the code inside does not panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        step_back(self.niceness);
        while let Some(job) = self.next() {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                log::error!(target: "mapproxy.http", "a request ended in a panic");
            }
        }
    }

    /// The next job, or `None` when this thread shall end; it is counted off then.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                return Some(job);
            }
            if state.closing {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            let (guard, timeout) =
                self.work.wait_timeout(state, self.keep_alive).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn step_back(niceness: i32) {
    if niceness > 0 {
        // On Linux the call concerns the one thread that is named. Nothing is lost where it is not allowed.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), niceness);
    }
}

#[cfg(not(target_os = "linux"))]
fn step_back(_niceness: i32) {}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_job_beyond_threads_and_queue_is_refused_and_the_others_run() {
        let workers = Workers::new(2, 1);
        let (done, finished) = mpsc::channel();
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().unwrap();
        let submit = |name: u32| {
            let (gate, done) = (Arc::clone(&gate), done.clone());
            workers.submit(move || {
                drop(gate.lock());
                done.send(name).unwrap();
            })
        };
        submit(1).unwrap();
        submit(2).unwrap();
        // Both threads must have taken their job, or the queue is not free.
        while !workers.shared.lock().queue.is_empty() {
            thread::yield_now();
        }
        submit(3).unwrap();
        assert_eq!(submit(4), Err(Busy));
        drop(closed);
        let mut names: Vec<u32> = (0..3).map(|_| finished.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, [1, 2, 3]);
    }

    #[test]
    fn a_panic_does_not_take_the_thread_with_it() {
        let workers = Workers::new(1, 8);
        workers.submit(|| panic!("as told")).unwrap();
        let (done, finished) = mpsc::channel();
        workers.submit(move || done.send(()).unwrap()).unwrap();
        finished.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(workers.shared.lock().threads, 1);
    }

    #[test]
    fn threads_are_reused_when_idle() {
        let workers = Workers::new(8, 8);
        for _ in 0..20 {
            let (done, finished) = mpsc::channel();
            workers.submit(move || done.send(()).unwrap()).unwrap();
            finished.recv_timeout(Duration::from_secs(10)).unwrap();
            while workers.shared.lock().idle == 0 {
                thread::yield_now();
            }
        }
        assert_eq!(workers.shared.lock().threads, 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn nice_workers_step_back_and_leave_other_threads_alone() {
        let workers = Workers::with_niceness(1, 1, 5);
        let (done, finished) = mpsc::channel();
        let niceness = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let before = niceness();
        workers.submit(move || done.send(niceness()).unwrap()).unwrap();
        assert_eq!(finished.recv_timeout(Duration::from_secs(10)).unwrap(), (before.max(5)));
        assert_eq!(niceness(), before);
    }
}
