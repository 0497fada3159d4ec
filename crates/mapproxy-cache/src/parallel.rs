//! Does several things at once, on scoped threads: creating tiles means waiting for sources and locks.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Calls `work` for each item, up to `limit` at once, and returns the results in the order of the items. After a
/// failure nothing new is begun, and the first failure is returned. One item or a limit of one needs no thread.
pub(crate) fn try_map<T: Sync, R: Send, E: Send>(
    items: &[T],
    limit: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let threads = limit.clamp(1, items.len().max(1));
    if threads == 1 {
        return items.iter().map(work).collect();
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results: Mutex<Vec<Option<R>>> = Mutex::new(items.iter().map(|_| None).collect());
    let failure = Mutex::new(None);
    let take_turns = || {
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            match work(item) {
                Ok(result) => lock(&results)[index] = Some(result),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    lock(&failure).get_or_insert(error);
                }
            }
        }
    };
    let trace = mapproxy_trace::scope();
    std::thread::scope(|scope| {
        for _ in 1..threads {
            let thread = std::thread::Builder::new().name("mapproxy-tiles".to_owned());
            // Without a thread to be had, this one does all.
            if thread.spawn_scoped(scope, || trace.enter(take_turns)).is_err() {
                break;
            }
        }
        take_turns();
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => {
            let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
            Ok(results.into_iter().map(|result| result.expect("every item was worked on")).collect())
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<u64> = (0..50).collect();
        let doubled = try_map(&items, 4, |item| {
            std::thread::sleep(Duration::from_micros((50 - item) * 10));
            Ok::<_, ()>(item * 2)
        });
        assert_eq!(doubled.unwrap(), items.iter().map(|item| item * 2).collect::<Vec<_>>());
    }

    #[test]
    fn no_more_than_the_limit_run_at_once() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |_: &i32| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, ()>(())
        };
        try_map(&[0; 12], 3, work).unwrap();
        assert_eq!(most.into_inner(), 3);
    }

    #[test]
    fn nothing_is_begun_after_a_failure() {
        let begun = AtomicUsize::new(0);
        let result = try_map(&[0; 100], 2, |_| {
            begun.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
            Err::<(), _>("broken")
        });
        assert_eq!(result, Err("broken"));
        assert!(begun.into_inner() <= 2);
    }

    #[test]
    fn no_items_give_no_results() {
        assert_eq!(try_map(&[] as &[i32], 4, |_| Ok::<i32, ()>(1)), Ok(vec![]));
    }
}
