//! `concurrent_requests`: a server gets only so many requests at once, from all processes together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::{ClientError, HttpClient, UpstreamRequest, UpstreamResponse};

/// A client that waits for its turn.
#[derive(Debug)]
pub struct Limited {
    inner: Arc<dyn HttpClient>,
    limit: u32,
    lock_dir: PathBuf,
    timeout: Duration,
}

impl Limited {
    /// At most `limit` requests at once to each host, counted with lock files in `lock_dir` (as MapProxy does: a Python
    /// MapProxy may share the directory). Who has not got a turn after `timeout` fails.
    pub fn new(inner: Arc<dyn HttpClient>, limit: u32, lock_dir: &Path, timeout: Duration) -> Self {
        Limited { inner, limit, lock_dir: lock_dir.to_owned(), timeout }
    }
}

impl HttpClient for Limited {
    fn send(&self, request: &UpstreamRequest) -> Result<UpstreamResponse, ClientError> {
        let _ = request;
        todo!()
    }
}
