//! What may come in on a FastCGI connection: records, parameters, bodies. No input may cause a panic, and however the
//! network cuts it into pieces, it means the same.
//!
//! An input begins with two bytes that say where it is cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mapproxy_http::fastcgi::{Limits, parse};

const LIMITS: Limits = Limits { max_head: 1000, max_body: 1000, max_connections: 10, max_requests: 10 };

fuzz_target!(|data: &[u8]| {
    let Some((&cut, bytes)) = data.split_first_chunk() else { return };
    let whole = parse(bytes, 0, LIMITS);
    assert_eq!(parse(bytes, u16::from_be_bytes(cut).into(), LIMITS), whole);
    if let Ok((_, said)) = whole {
        // Nothing that comes in makes us say much more.
        assert!(said.len() <= 16 * (bytes.len() + 8), "{} bytes", said.len());
    }
});
