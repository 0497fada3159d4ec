//! What an authorization endpoint answers, what a token claims, and the token itself. No input may cause a panic, and
//! nothing but a decision that says so may grant anything.
//!
//! An input is a decision as JSON, and at the same time a bearer token, its two parts, and a set of keys.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mapproxy_core::auth::{Algorithm, Authorizer, Decision, Jwt, JwtOptions, KeySet, Operation, Question};

static TOKENS: LazyLock<Jwt> = LazyLock::new(|| {
    let keys = KeySet::from_secret(b"nobody who sends a token knows this one");
    Jwt::new(JwtOptions::new([Algorithm::HS256]), keys.expect("the secret is long enough"))
});

fuzz_target!(|data: &[u8]| {
    let _ = KeySet::from_json(data);
    if let Ok(Decision::Full) = Decision::from_json(data) {
        assert!(data.windows(4).any(|word| word == b"full") || data.contains(&b'\\'));
    }
    let token = [&b"Bearer "[..], data].concat();
    let request = http::Request::get("/").header("authorization", token).body(Bytes::new());
    // What is no header value never reaches us.
    let Ok(request) = request else { return };
    let decision = TOKENS.authorize(&Question::new(Operation::WmsMap, &[], None, &request));
    assert!(matches!(decision, Ok(Decision::Challenged(_) | Decision::Unauthenticated)), "{decision:?}");
});
