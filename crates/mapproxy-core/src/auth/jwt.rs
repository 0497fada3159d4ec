//! JSON Web Tokens (RFC 7519) as bearer tokens (RFC 6750): who has one sees what its claims name.
//!
//! Signatures are checked by ring. What is refused, and why, follows RFC 8725: the algorithm is one of a list and fits
//! the key, `none` is no algorithm, and issuer, audience and time are looked at.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::jwks::Keys;
pub use super::jwks::{Algorithm, KeySet, KeySetError};
use super::remembered::Remembered;
use super::{Authorizer, AuthorizerError, Decision, Question, Unavailable, decision};
use crate::Request;

/// Longer tokens are none.
const MAX_TOKEN: usize = 16 << 10;
/// Tokens remembered as right at most, and for how long: a key that is withdrawn opens nothing after that.
const REMEMBERED: usize = 10_000;
const HOLDS: Duration = Duration::from_secs(60);

/// Which tokens a [`Jwt`] accepts, and what they open.
#[derive(Clone, Debug)]
pub struct JwtOptions {
    /// How tokens may be signed.
    pub algorithms: Vec<Algorithm>,
    /// `iss` has to be one of these, if there are any.
    pub issuers: Vec<String>,
    /// `aud` has to name one of these. Without any, tokens that name an audience are meant for others.
    pub audiences: Vec<String>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// The claim with a decision, as [`Decision::from_json`] reads it.
    pub claim: String,
    /// The claim with names of layers of which everything is granted: a list, or a text with blanks between them. Looked
    /// at where the other is missing.
    pub layers_claim: String,
    /// For tokens with neither.
    pub otherwise: Decision,
}

impl JwtOptions {
    /// Tokens signed in one of these ways, from whomever and for whom the keys are; claims `mapproxy` and `layers`.
    pub fn new(algorithms: impl Into<Vec<Algorithm>>) -> JwtOptions {
        JwtOptions {
            algorithms: algorithms.into(),
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway: Duration::from_secs(60),
            claim: "mapproxy".to_owned(),
            layers_claim: "layers".to_owned(),
            otherwise: Decision::None,
        }
    }
}

/// Decides by a token in `Authorization: Bearer …`.
pub struct Jwt {
    options: JwtOptions,
    keys: Keys,
    /// By the hash of the token.
    verified: Remembered<Verified>,
}

/// A decision by a token that is right, or none.
type Verified = Result<Decision, Invalid>;

/// Why a token is none.
#[derive(Clone, Debug)]
enum Invalid {
    Token(String),
    /// The keys cannot be had.
    Keys(String),
}

impl Jwt {
    /// Tokens signed with one of `keys`.
    pub fn new(options: JwtOptions, keys: impl Into<Keys>) -> Jwt {
        Jwt { options, keys: keys.into(), verified: Remembered::new(REMEMBERED) }
    }

    /// The token of a request, right or wrong.
    pub(super) fn shown(request: &Request) -> Option<&str> {
        let (scheme, token) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    pub(super) fn decide(&self, token: &str) -> Result<Decision, AuthorizerError> {
        let verified = self.verified.get_or(Sha256::digest(token).into(), || match self.verify(token) {
            Ok((decision, expires)) => (Ok(decision), HOLDS.min(expires)),
            // The next time the keys may be there, or the right one among them.
            Err(invalid) => (Err(invalid), Duration::ZERO),
        });
        match verified {
            Ok(decision) => Ok(decision),
            Err(Invalid::Keys(reason)) => Err(Unavailable(reason.into()).into()),
            Err(Invalid::Token(reason)) => {
                log::info!(target: "mapproxy.auth", "a token is refused: {reason}");
                let challenge = "Bearer realm=\"MapProxy\", error=\"invalid_token\"";
                Ok(Decision::Challenged(HeaderValue::from_static(challenge)))
            }
        }
    }

    pub(super) fn decide_now(&self, token: &str) -> Option<Decision> {
        self.verified.get(&Sha256::digest(token).into())?.ok()
    }

    /// The decision, and how long the token will be right.
    fn verify(&self, token: &str) -> Result<(Decision, Duration), Invalid> {
        let invalid = |reason: &str| Invalid::Token(reason.to_owned());
        if token.len() > MAX_TOKEN {
            return Err(invalid("it is too long"));
        }
        let (message, signature) = token.rsplit_once('.').ok_or_else(|| invalid("it has no signature"))?;
        let (header, claims) = message.split_once('.').ok_or_else(|| invalid("it has no claims"))?;
        let header = object(header).ok_or_else(|| invalid("its header is none"))?;
        if header.contains_key("crit") {
            return Err(invalid("it asks for extensions"));
        }
        let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or("none");
        let known = self.options.algorithms.iter().find(|known| known.as_str() == algorithm);
        let Some(&algorithm) = known else {
            return Err(Invalid::Token(format!("its algorithm {algorithm:?} is not accepted")));
        };
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| invalid("its signature is none"))?;
        let id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.as_str()),
            Some(_) => return Err(invalid("the name of its key is none")),
        };
        let keys = self.keys.get(id).map_err(Invalid::Keys)?;
        if !keys.verify(algorithm, id, message.as_bytes(), &signature) {
            return Err(invalid("no key fits its signature"));
        }
        let claims = object(claims).ok_or_else(|| invalid("its claims are none"))?;
        let expires = self.check(&claims).map_err(invalid)?;
        let decision = self.granted(&claims).map_err(|error| Invalid::Token(format!("its claims: {error}")))?;
        Ok((decision, expires))
    }

    /// Time, issuer and audience; how long the token will be right.
    fn check(&self, claims: &Map<String, Value>) -> Result<Duration, &'static str> {
        // With a clock that knows nothing of the time, no token would ever expire.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock of this machine is wrong")?;
        let now = now.as_secs_f64();
        let leeway = self.options.leeway.as_secs_f64();
        let left = match claims.get("exp").map(Value::as_f64) {
            Some(Some(expires)) => expires + leeway - now,
            Some(None) => return Err("its time is none"),
            None => return Err("it does not say until when it is valid"),
        };
        if left <= 0.0 {
            return Err("it has expired");
        }
        match claims.get("nbf").map(Value::as_f64) {
            None => {}
            Some(Some(begins)) if begins <= now + leeway => {}
            Some(Some(_)) => return Err("it is not valid yet"),
            Some(None) => return Err("its time is none"),
        }
        let issuers = &self.options.issuers;
        let is_one_of =
            |list: &[String], value: &Value| value.as_str().is_some_and(|text| list.iter().any(|one| one == text));
        if !issuers.is_empty() && !claims.get("iss").is_some_and(|issuer| is_one_of(issuers, issuer)) {
            return Err("it is from another issuer");
        }
        let audiences = &self.options.audiences;
        let is_for_us = match claims.get("aud") {
            None => audiences.is_empty(),
            Some(Value::Array(list)) => list.iter().any(|audience| is_one_of(audiences, audience)),
            Some(audience) => is_one_of(audiences, audience),
        };
        if !is_for_us {
            return Err("it is for another audience");
        }
        Ok(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX))
    }

    fn granted(&self, claims: &Map<String, Value>) -> Result<Decision, decision::DecisionError> {
        if let Some(decision) = claims.get(&self.options.claim) {
            return decision::from_value(decision);
        }
        match claims.get(&self.options.layers_claim) {
            Some(layers) => decision::layers(Some(layers)).map(Decision::Partial),
            None => Ok(self.options.otherwise.clone()),
        }
    }
}

/// What the 401 says of us.
pub(super) const SCHEME: &str = "Bearer realm=\"MapProxy\"";

fn object(encoded: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

impl Authorizer for Jwt {
    fn authorize(&self, question: &Question<'_>) -> Result<Decision, AuthorizerError> {
        Jwt::shown(question.request).map_or(Ok(Decision::Unauthenticated), |token| self.decide(token))
    }

    fn authorize_now(&self, question: &Question<'_>) -> Option<Decision> {
        Jwt::shown(question.request).map_or(Some(Decision::Unauthenticated), |token| self.decide_now(token))
    }

    fn challenge(&self) -> Option<HeaderValue> {
        Some(HeaderValue::from_static(SCHEME))
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("options", &self.options).field("keys", &self.keys).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
