//! Many requests at once, on scoped threads: they mostly wait for upstream servers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Calls `work` for each item on up to `concurrency` threads; the answers are in the order of the items. One item, or
/// one thread, is worked on by the caller's own.
pub fn fan_out<T: Sync, R: Send>(items: &[T], concurrency: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = concurrency.min(items.len());
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut answers = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            match items.get(index) {
                Some(item) => answers.push((index, work(item))),
                None => return answers,
            }
        }
    };
    let trace = mapproxy_trace::scope();
    let mut answers = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| trace.enter(worker))).collect();
        let mut answers = worker();
        for other in others {
            answers.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        answers
    });
    answers.sort_unstable_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers_are_in_order_and_threads_are_bounded() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items: Vec<u64> = (0..20).collect();
        let answers = fan_out(&items, 4, |item| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(20 - item % 7));
            running.fetch_sub(1, Ordering::SeqCst);
            item * 2
        });
        assert_eq!(answers, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        let most = most.load(Ordering::SeqCst);
        assert!((2..=4).contains(&most), "{most} at once");
    }

    #[test]
    fn nothing_to_do_gives_nothing() {
        assert!(fan_out(&[] as &[u8], 4, |_| ()).is_empty());
        assert_eq!(fan_out(&[1], 0, |item| item + 1), [2]);
    }
}
