//! Answers to a server that asks who we are: Basic (RFC 7617) and Digest (RFC 7616).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};
use sha2::Sha256;

use crate::{Credentials, Method};

/// What a server asked with `WWW-Authenticate`, to be answered with each further request.
#[derive(Debug)]
pub(crate) enum Challenge {
    Basic,
    Digest(Digest),
}

/// The Digest challenge of a server.
#[derive(Debug)]
pub(crate) struct Digest {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    hash: Hash,
    session: bool,
    /// The server knows `qop=auth`.
    with_counter: bool,
    /// Answers given to this nonce.
    counter: AtomicU32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Hash {
    Md5,
    Sha256,
}

impl Challenge {
    /// The strongest challenge among the `WWW-Authenticate` headers that we can answer.
    pub(crate) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
        let all: Vec<Challenge> = headers.flat_map(split_challenges).filter_map(|c| Challenge::parse_one(&c)).collect();
        let strength = |challenge: &Challenge| match challenge {
            Challenge::Basic => 0,
            Challenge::Digest(Digest { hash: Hash::Md5, .. }) => 1,
            Challenge::Digest(Digest { hash: Hash::Sha256, .. }) => 2,
        };
        all.into_iter().max_by_key(strength)
    }

    fn parse_one((scheme, parameters): &(String, Vec<(String, String)>)) -> Option<Challenge> {
        let parameter = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        match scheme.as_str() {
            "basic" => Some(Challenge::Basic),
            "digest" => {
                let algorithm = parameter("algorithm").unwrap_or_else(|| "MD5".to_owned()).to_ascii_uppercase();
                let (name, session) =
                    algorithm.strip_suffix("-SESS").map_or((algorithm.as_str(), false), |name| (name, true));
                let hash = match name {
                    "MD5" => Hash::Md5,
                    "SHA-256" => Hash::Sha256,
                    _ => return None,
                };
                let qop = parameter("qop");
                let with_counter = match &qop {
                    None => false,
                    Some(list) if list.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth")) => true,
                    Some(_) => return None,
                };
                Some(Challenge::Digest(Digest {
                    realm: parameter("realm")?,
                    nonce: parameter("nonce")?,
                    opaque: parameter("opaque"),
                    hash,
                    session,
                    with_counter,
                    counter: AtomicU32::new(0),
                }))
            }
            _ => None,
        }
    }

    /// The server would refuse another answer just like the last.
    pub(crate) fn is_same_as(&self, other: &Challenge) -> bool {
        match (self, other) {
            (Challenge::Basic, Challenge::Basic) => true,
            (Challenge::Digest(a), Challenge::Digest(b)) => a.nonce == b.nonce,
            _ => false,
        }
    }

    /// The value of `Authorization` for a request of `target` (path and query).
    pub(crate) fn answer(&self, credentials: &Credentials, method: Method, target: &str) -> String {
        match self {
            Challenge::Basic => basic(credentials),
            Challenge::Digest(digest) => {
                let seed: [u8; 8] = random();
                digest.answer(credentials, method, target, &hex(&seed))
            }
        }
    }
}

/// `Basic …`.
pub(crate) fn basic(credentials: &Credentials) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", credentials.user(), credentials.password())))
}

impl Digest {
    fn answer(&self, credentials: &Credentials, method: Method, target: &str, cnonce: &str) -> String {
        let Digest { realm, nonce, .. } = self;
        let user = credentials.user();
        let mut secret = self.hash.hex(&format!("{user}:{realm}:{}", credentials.password()));
        if self.session {
            secret = self.hash.hex(&format!("{secret}:{nonce}:{cnonce}"));
        }
        let request = self.hash.hex(&format!("{}:{target}", method.as_str()));
        let count = format!("{:08x}", self.counter.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
        let response = if self.with_counter {
            self.hash.hex(&format!("{secret}:{nonce}:{count}:{cnonce}:auth:{request}"))
        } else {
            self.hash.hex(&format!("{secret}:{nonce}:{request}"))
        };
        let mut answer = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\"",
            quoted(user),
            quoted(realm),
            quoted(nonce),
            quoted(target),
        );
        let algorithm = match self.hash {
            Hash::Md5 => "MD5",
            Hash::Sha256 => "SHA-256",
        };
        let session = if self.session { "-sess" } else { "" };
        let _ = write!(answer, ", algorithm={algorithm}{session}");
        if let Some(opaque) = &self.opaque {
            let _ = write!(answer, ", opaque={}", quoted(opaque));
        }
        if self.with_counter {
            let _ = write!(answer, ", qop=auth, nc={count}, cnonce=\"{cnonce}\"");
        }
        answer
    }
}

impl Hash {
    fn hex(self, text: &str) -> String {
        match self {
            Hash::Md5 => hex(&Md5::digest(text)),
            Hash::Sha256 => hex(&Sha256::digest(text)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Enough against guessing a client nonce: the standard library's hasher is seeded by the system.
fn random() -> [u8; 8] {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::time::Instant::now()).to_ne_bytes()
}

/// A header may hold several challenges: `Basic realm="a", Digest realm="b", nonce="c"`. Schemes and names of
/// parameters are lowered.
fn split_challenges(header: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut challenges: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for part in split_commas(header) {
        let mut part = part.trim();
        let word = part.find([' ', '=']).unwrap_or(part.len());
        if !part[word..].trim_start().starts_with('=') {
            challenges.push((part[..word].to_ascii_lowercase(), Vec::new()));
            part = part[word..].trim_start();
        }
        if let (Some((_, parameters)), Some((name, value))) = (challenges.last_mut(), part.split_once('=')) {
            parameters.push((name.trim().to_ascii_lowercase(), unquoted(value.trim())));
        }
    }
    challenges
}

/// Splits at commas outside of quotes.
fn split_commas(header: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in header.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&header[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&header[start..]);
    parts
}

fn unquoted(value: &str) -> String {
    match value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) {
        None => value.to_owned(),
        Some(inner) => {
            let mut text = String::with_capacity(inner.len());
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                text.extend(if c == '\\' { chars.next() } else { Some(c) });
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(header: &str) -> Option<Challenge> {
        Challenge::parse([header].into_iter())
    }

    #[test]
    fn digest_answers_as_the_example_of_rfc_7616() {
        let example = |algorithm: &str| {
            let header = format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            );
            let Some(Challenge::Digest(digest)) = parse(&header) else { panic!("no digest") };
            let credentials = Credentials::new("Mufasa", "Circle of Life");
            digest.answer(&credentials, Method::Get, "/dir/index.html", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
        };
        assert!(example("MD5").contains("response=\"8ca523f5e9506fed4657c9700eebdbec\""), "{}", example("MD5"));
        let sha = example("SHA-256");
        assert!(sha.contains("response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\""), "{sha}");
        assert!(sha.contains("nc=00000001") && sha.contains("qop=auth"), "{sha}");
    }

    #[test]
    fn the_strongest_of_several_challenges_is_answered() {
        let both = "Basic realm=\"a, b\", Digest realm=\"x\\\"y\", nonce=\"n\"";
        let Some(Challenge::Digest(digest)) = parse(both) else { panic!("no digest") };
        assert_eq!((digest.realm.as_str(), digest.with_counter), ("x\"y", false));
        assert!(matches!(parse("Negotiate, Basic realm=x"), Some(Challenge::Basic)));
        assert!(parse("Negotiate").is_none());
        assert!(parse("Digest realm=\"x\", nonce=\"n\", algorithm=SHA-512-256").is_none());
        assert!(parse("").is_none());
    }

    #[test]
    fn basic_answers_as_the_example_of_rfc_7617() {
        let answer = Challenge::Basic.answer(&Credentials::new("Aladdin", "open sesame"), Method::Get, "/");
        assert_eq!(answer, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}
