//! `concurrent_requests`: a server gets only so many requests at once, from all processes together.
//!
//! Each running request holds one of N lock files, `<md5 of host:port>.lck0` … `.lckN-1`; a Python MapProxy with the
//! same lock directory counts with the same files. Inside the process a counter comes first, so that waiting threads
//! sleep instead of polling files.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use md5::{Digest as _, Md5};

use crate::{ClientError, ErrorKind, HttpClient, RedactedUrl, UpstreamRequest, UpstreamResponse};

/// How often the lock files are tried while other processes hold them all.
const POLL: Duration = Duration::from_millis(10);

/// A client that waits for its turn.
#[derive(Debug)]
pub struct Limited {
    inner: Arc<dyn HttpClient>,
    limit: u32,
    lock_dir: PathBuf,
    timeout: Duration,
    running: Mutex<u32>,
    finished: Condvar,
}

impl Limited {
    /// At most `limit` requests at once to each host (0: any number), counted with lock files in `lock_dir`. Who has not
    /// got a turn after `timeout` fails.
    pub fn new(inner: Arc<dyn HttpClient>, limit: u32, lock_dir: &Path, timeout: Duration) -> Self {
        let lock_dir = lock_dir.to_owned();
        Limited { inner, limit, lock_dir, timeout, running: Mutex::new(0), finished: Condvar::new() }
    }

    /// Counts us in, or `None` if it is nobody's turn to end before `deadline`.
    fn take_turn(&self, deadline: Instant) -> Option<Turn<'_>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let left = deadline.saturating_duration_since(Instant::now());
        let (mut running, _) = self
            .finished
            .wait_timeout_while(running, left, |running| *running >= self.limit)
            .unwrap_or_else(PoisonError::into_inner);
        if *running >= self.limit {
            return None;
        }
        *running += 1;
        Some(Turn(self))
    }

    /// One of the lock files of the host, or `None` if other processes hold all of them until `deadline`.
    fn take_file(&self, url: &str, deadline: Instant) -> io::Result<Option<File>> {
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        let host = &host[..host.find(['/', '?', '#']).unwrap_or(host.len())];
        let stem = format!("{:x}", Md5::digest(host));
        fs::create_dir_all(&self.lock_dir)?;
        loop {
            for number in 0..self.limit {
                let path = self.lock_dir.join(format!("{stem}.lck{number}"));
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                match file.try_lock() {
                    Ok(()) => return Ok(Some(file)),
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(error)) => return Err(error),
                }
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }
}

/// Our place among the running requests.
struct Turn<'a>(&'a Limited);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.finished.notify_one();
    }
}

impl HttpClient for Limited {
    fn send(&self, request: &UpstreamRequest) -> Result<UpstreamResponse, ClientError> {
        if self.limit == 0 {
            return self.inner.send(request);
        }
        let error = |kind, reason: String| ClientError::new(kind, RedactedUrl::new(&request.url), reason);
        let too_late = || {
            let seconds = self.timeout.as_secs_f64();
            let limit = self.limit;
            error(ErrorKind::Timeout, format!("waited {seconds} s for one of {limit} concurrent_requests to end"))
        };
        let deadline = Instant::now() + self.timeout;
        let _turn = self.take_turn(deadline).ok_or_else(too_late)?;
        let _file = self
            .take_file(&request.url, deadline)
            .map_err(|e| error(ErrorKind::Local, format!("lock files in {}: {e}", self.lock_dir.display())))?
            .ok_or_else(too_late)?;
        self.inner.send(request)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::fan_out;
    use crate::testkit::{ScriptedClient, response};

    /// A client that takes 20 ms, and the most requests that it had at once.
    fn slow() -> (Arc<ScriptedClient>, Arc<AtomicU32>) {
        let most = Arc::new(AtomicU32::new(0));
        let (running, seen) = (AtomicU32::new(0), Arc::clone(&most));
        let client = ScriptedClient::new(move |_| {
            seen.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(20));
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(response("image/png", "x"))
        });
        (Arc::new(client), most)
    }

    #[test]
    fn two_clients_of_one_lock_directory_share_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let (inner, most) = slow();
        let limited: Vec<Limited> = (0..2)
            .map(|_| Limited::new(Arc::clone(&inner) as _, 2, directory.path(), Duration::from_secs(10)))
            .collect();
        let jobs: Vec<usize> = (0..12).collect();
        let request = UpstreamRequest::get("http://localhost:8080/service?x=1");
        for answer in fan_out(&jobs, 12, |job| limited[job % 2].send(&request)) {
            answer.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 2);
        let mut names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let md5_of_host = "9f5ffc7a10e0bad054458b089947ce2f";
        assert_eq!(names, [format!("{md5_of_host}.lck0"), format!("{md5_of_host}.lck1")]);
    }

    #[test]
    fn who_gets_no_turn_in_time_fails() {
        let directory = tempfile::tempdir().unwrap();
        let (inner, _) = slow();
        let limited = Limited::new(inner, 1, directory.path(), Duration::from_millis(50));
        let held = limited.take_file("http://h/x", Instant::now()).unwrap();
        let error = limited.send(&UpstreamRequest::get("http://h/y")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout);
        assert!(error.reason.contains("concurrent_requests"), "{}", error.reason);
        drop(held);
        limited.send(&UpstreamRequest::get("http://h/y")).unwrap();
    }

    #[test]
    fn an_unusable_lock_directory_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let limited = Limited::new(slow().0, 1, &file.path().join("locks"), Duration::from_secs(1));
        let error = limited.send(&UpstreamRequest::get("http://h/y")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Local);
        assert!(error.reason.contains("locks"), "{}", error.reason);
    }
}
