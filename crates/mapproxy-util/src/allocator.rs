//! The memory of pictures: a map takes some ten megabytes for some milliseconds, many times a second.
//!
//! With the C library's allocator each of them comes from the kernel, page by page, and goes back to it; with mimalloc's own
//! settings, too, if it is not wanted again within ten milliseconds. Page faults were a third of what maps cost so.

use libmimalloc_sys::{mi_option_get, mi_option_set_default, mi_option_t};

/// Without huge pages, which cost megabytes and brought nothing measurable.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `purge_delay` of mimalloc 2: for how long freed memory is kept for the next picture, in milliseconds.
const PURGE_DELAY: mi_option_t = 15;
/// What mimalloc does by itself, by which the option is known.
const DELAY_BUILT_IN: i64 = 10;
const DELAY: i64 = 100;

/// To be called first in a program. `MIMALLOC_PURGE_DELAY` in the environment has precedence.
#[expect(unsafe_code, reason = "options have no other interface; these calls read and write one number, at any time")]
pub(crate) fn keep_freed_memory() {
    // SAFETY: neither has preconditions: unknown options are passed over.
    unsafe {
        if mi_option_get(PURGE_DELAY) == DELAY_BUILT_IN {
            mi_option_set_default(PURGE_DELAY, DELAY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "see above")]
    fn freed_memory_is_kept_for_a_while() {
        keep_freed_memory();
        // SAFETY: no preconditions.
        assert_eq!(unsafe { mi_option_get(PURGE_DELAY) }, DELAY);
    }
}
