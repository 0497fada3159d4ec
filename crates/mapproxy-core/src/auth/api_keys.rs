//! Static API keys, of which only hashes are known.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;

use http::{HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Authorizer, AuthorizerError, Decision, Question};
use crate::Request;

/// Decides by a key: in a header, or in the address.
///
/// Keys are compared by their SHA-256, which is what is kept of them. That is safe for keys drawn at random, as they
/// should be; passwords that people think up want a slow hash.
pub struct ApiKeys {
    header: HeaderName,
    in_addresses: bool,
    /// By a hash of the hash that nobody outside can foretell; the comparison of what is found takes the same time for
    /// all keys.
    keys: HashMap<u64, Vec<(Hash, Decision)>>,
    hasher: RandomState,
}

type Hash = [u8; 32];

/// A key that stood in the address, as a request extension; see [`Authorizer::takes_keys_in_addresses`].
#[derive(Clone, PartialEq, Eq)]
pub struct AddressKey(pub String);

impl fmt::Debug for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressKey(…)")
    }
}

impl ApiKeys {
    /// Keys in this header; none yet.
    pub fn new(header: HeaderName) -> ApiKeys {
        ApiKeys { header, in_addresses: false, keys: HashMap::new(), hasher: RandomState::new() }
    }

    /// Takes keys from addresses, too: from `?api_key=KEY`, and from `/api_key/KEY/` before the path of a service.
    #[must_use]
    pub fn in_addresses(self, allowed: bool) -> ApiKeys {
        ApiKeys { in_addresses: allowed, ..self }
    }

    /// Adds a key by its SHA-256.
    #[must_use]
    pub fn hashed(mut self, sha256: [u8; 32], decision: impl Into<Decision>) -> ApiKeys {
        self.keys.entry(self.hasher.hash_one(sha256)).or_default().push((sha256, decision.into()));
        self
    }

    /// Adds a key.
    #[must_use]
    pub fn key(self, key: &str, decision: impl Into<Decision>) -> ApiKeys {
        self.hashed(Sha256::digest(key).into(), decision)
    }

    /// The key of a request, right or wrong.
    pub(super) fn shown<'a>(&self, request: &'a Request) -> Option<&'a [u8]> {
        let header = request.headers().get(&self.header).map(HeaderValue::as_bytes);
        header.or_else(|| {
            let key = request.extensions().get::<AddressKey>().filter(|_| self.in_addresses);
            key.map(|key| key.0.as_bytes())
        })
    }

    pub(super) fn decide(&self, key: &[u8]) -> Decision {
        let hash: Hash = Sha256::digest(key).into();
        let found = self.keys.get(&self.hasher.hash_one(hash)).into_iter().flatten();
        let mut found = found.filter(|(known, _)| known.ct_eq(&hash).into());
        found.next().map_or(Decision::Unauthenticated, |(_, decision)| decision.clone())
    }

    /// What the 401 says of us.
    pub(super) fn scheme(&self) -> String {
        format!("ApiKey realm=\"MapProxy\", header=\"{}\"", self.header)
    }
}

impl Authorizer for ApiKeys {
    fn authorize(&self, question: &Question<'_>) -> Result<Decision, AuthorizerError> {
        Ok(self.shown(question.request).map_or(Decision::Unauthenticated, |key| self.decide(key)))
    }

    fn authorize_now(&self, question: &Question<'_>) -> Option<Decision> {
        self.authorize(question).ok()
    }

    fn challenge(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.scheme()).ok()
    }

    fn takes_keys_in_addresses(&self) -> bool {
        self.in_addresses
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys").field("header", &self.header).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::auth::Operation;

    fn ask(keys: &ApiKeys, request: http::request::Builder) -> Decision {
        let request = request.body(Bytes::new()).unwrap();
        keys.authorize(&Question::new(Operation::WmsMap, &[], None, &request)).unwrap()
    }

    #[test]
    fn a_key_opens_what_it_is_for_and_a_wrong_one_nothing() {
        let keys =
            ApiKeys::new(HeaderName::from_static("x-key")).key("sesame", Decision::Full).key("poppy", Decision::None);
        let get = || http::Request::get("/");
        assert!(matches!(ask(&keys, get().header("X-Key", "sesame")), Decision::Full));
        assert!(matches!(ask(&keys, get().header("X-Key", "poppy")), Decision::None));
        for key in ["", "Sesame", "sesame ", "sesam", "é"] {
            assert!(matches!(ask(&keys, get().header("X-Key", key)), Decision::Unauthenticated), "{key}");
        }
        assert!(matches!(ask(&keys, get().header("X-API-Key", "sesame")), Decision::Unauthenticated));
    }

    #[test]
    fn keys_in_addresses_count_only_where_they_are_allowed() {
        let keys = || ApiKeys::new(HeaderName::from_static("x-key")).key("sesame", Decision::Full);
        let get = || http::Request::get("/").extension(AddressKey("sesame".to_owned()));
        assert!(matches!(ask(&keys(), get()), Decision::Unauthenticated));
        assert!(matches!(ask(&keys().in_addresses(true), get()), Decision::Full));
        assert!(matches!(ask(&keys().in_addresses(true), get().header("x-key", "wrong")), Decision::Unauthenticated));
    }
}
