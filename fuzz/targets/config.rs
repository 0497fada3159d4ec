//! What a `mapproxy.yaml` may hold: reading and checking it may find any number of mistakes, but never panics, and
//! whatever is refused is refused with a reason.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // Files of others are not read: what a `base` names lies in a folder that does not exist.
    let loaded = mapproxy_config::load_str(data, Path::new("does-not-exist"));
    assert!(loaded.config.is_some() || loaded.diagnostics.has_errors());
});
