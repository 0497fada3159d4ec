//! Documents that are the same for all who know us by the same address, kept as they are sent.
//!
//! A document of some thousand layers has megabytes. It is written once, by one, into one piece of memory that all
//! answers share, however many clients load it at once. By which address a client knows us is for the client to say
//! (`Host`), so only a few addresses are kept, and a few megabytes; the others have their document written for them alone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;

/// Documents that are kept.
const MAX_KEPT: usize = 16;
/// Their bytes.
const MAX_BYTES: usize = 16 << 20;

/// A few documents, those used last.
#[derive(Debug, Default)]
pub(crate) struct KeptDocuments {
    /// Used last first.
    kept: Mutex<VecDeque<Kept>>,
}

#[derive(Debug)]
struct Kept {
    variant: usize,
    address: String,
    text: Arc<OnceLock<Bytes>>,
}

impl KeptDocuments {
    /// The document, which `write` writes if it is not there. Who wants it meanwhile waits for it.
    pub(crate) fn get_or_write(&self, variant: usize, address: &str, write: impl FnOnce() -> String) -> Bytes {
        let text = {
            let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            take_first(&mut all, variant, address).unwrap_or_else(|| {
                let text = Arc::new(OnceLock::new());
                all.push_front(Kept { variant, address: address.to_owned(), text: Arc::clone(&text) });
                text
            })
        };
        let document = text.get_or_init(|| Bytes::from(write())).clone();
        self.forget_beyond_limits();
        document
    }

    /// The document, if it is there.
    pub(crate) fn get(&self, variant: usize, address: &str) -> Option<Bytes> {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        take_first(&mut all, variant, address)?.get().cloned()
    }

    fn forget_beyond_limits(&self) {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        let fitting = all.iter().take(MAX_KEPT).take_while(|kept| {
            bytes += kept.text.get().map_or(0, Bytes::len) + kept.address.len();
            bytes <= MAX_BYTES
        });
        let fitting = fitting.count();
        all.truncate(fitting);
    }
}

fn take_first(all: &mut VecDeque<Kept>, variant: usize, address: &str) -> Option<Arc<OnceLock<Bytes>>> {
    let at = all.iter().position(|kept| kept.variant == variant && kept.address == address)?;
    let kept = all.remove(at)?;
    let text = Arc::clone(&kept.text);
    all.push_front(kept);
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_document_is_written_once_and_shared() {
        let documents = KeptDocuments::default();
        let written = AtomicUsize::new(0);
        assert!(documents.get(0, "a").is_none());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let text = documents.get_or_write(0, "a", || {
                        written.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        "text".to_owned()
                    });
                    assert_eq!(text, "text");
                });
            }
        });
        assert_eq!(written.load(Ordering::Relaxed), 1);
        let (first, second) = (documents.get(0, "a").unwrap(), documents.get(0, "a").unwrap());
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert!(documents.get(1, "a").is_none());
    }

    #[test]
    fn addresses_that_clients_invent_are_forgotten() {
        let documents = KeptDocuments::default();
        for index in 0..100 {
            documents.get_or_write(0, &format!("host{index}"), || "text".to_owned());
            documents.get_or_write(0, "ours", || "text".to_owned());
        }
        assert_eq!(documents.kept.lock().unwrap().len(), MAX_KEPT);
        assert!(documents.get(0, "ours").is_some() && documents.get(0, "host0").is_none());
        let large = documents.get_or_write(0, "large", || "x".repeat(MAX_BYTES + 1));
        assert_eq!(large.len(), MAX_BYTES + 1);
        assert!(documents.get(0, "large").is_none());
    }
}
